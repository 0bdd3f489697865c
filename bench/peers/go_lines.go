// Lines in Go: a goroutine for each connection, bufio on both sides.
//
// Finds each line, calls a handler with it, writes its reply and LF, and flushes
// when no whole request is left in the reader. A line of more than 64 KiB ends
// its connection. No deadline, no count of connections. One processor, so that
// it has no more of them than the others. TCP_NODELAY is Go's default.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"runtime"
)

const maxLine = 64 * 1024

func main() {
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

func serve(conn net.Conn) {
	defer conn.Close()
	// Small at first, as bufio has it; `ReadSlice` alone would make the buffer's
	// size the limit of a line.
	reader := bufio.NewReader(conn)
	writer := bufio.NewWriter(conn)
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
