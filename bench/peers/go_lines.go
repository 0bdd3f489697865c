// Lines in Go: a goroutine for each connection, bufio on both sides:
// go_lines MAX_LINE BUFFER
//
// Finds each line, calls a handler with it, writes its reply and LF, and flushes
// when no whole request is left in the reader. A line of more than MAX_LINE bytes
// ends its connection. BUFFER is the size of the reader's and the writer's. No deadline, no count of connections. One processor, so that
// it has no more of them than the others. TCP_NODELAY is Go's default.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
)

var maxLine, bufferSize int

func main() {
	maxLine, bufferSize = number(1), number(2)
	runtime.GOMAXPROCS(1)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	for {
		conn, err := listener.Accept()
		if err != nil {
			continue
		}
		go serve(conn)
	}
}

func number(i int) int {
	value, err := strconv.Atoi(os.Args[i])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	return value
}

func serve(conn net.Conn) {
	defer conn.Close()
	// `ReadSlice` alone would make the buffer's size the limit of a line.
	reader := bufio.NewReaderSize(conn, bufferSize)
	writer := bufio.NewWriterSize(conn, bufferSize)
	var long []byte
	for {
		part, err := reader.ReadSlice('\n')
		if len(long)+len(part) > maxLine+1 {
			return
		}
		if err == bufio.ErrBufferFull {
			long = append(long, part...)
			continue
		}
		if err != nil {
			return
		}
		line := part
		if len(long) > 0 {
			long = append(long, part...)
			line = long
		}
		writer.Write(handle(bytes.TrimSuffix(line, []byte{'\n'})))
		// A failure of a write stays, and the flush tells of it.
		writer.WriteByte('\n')
		long = nil
		if wholeLine(reader) {
			continue
		}
		if writer.Flush() != nil {
			return
		}
	}
}

// handle is the handler: the reply is the request.
func handle(request []byte) []byte {
	return request
}

// wholeLine says whether a whole request is in the reader's buffer.
func wholeLine(reader *bufio.Reader) bool {
	buffered, _ := reader.Peek(reader.Buffered())
	return bytes.IndexByte(buffered, '\n') >= 0
}
