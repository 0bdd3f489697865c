//! Lines in Rust: Tokio on one thread, a task for each connection, `LinesCodec`.
//!
//! Finds each line, calls a handler with it, and frames its reply. `forward`
//! flushes when no whole request is left, so the replies to a batch are one
//! write. A line of more than 64 KiB ends its connection. No deadline, no count
//! of connections. `LinesCodec` makes a `String` of each line: it checks that it
//! is UTF-8.

use std::net::Ipv4Addr;

use futures_util::StreamExt;
use tokio::net::{TcpSocket, TcpStream};
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};

const MAX_LINE: usize = 64 * 1024;
const BACKLOG: u32 = 4096;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let listener = socket.listen(BACKLOG)?;
    println!("{}", listener.local_addr()?.port());
    loop {
        // A client that has reset while it was queued is no reason to end.
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(serve(socket));
        }
    }
}

async fn serve(socket: TcpStream) -> Result<(), LinesCodecError> {
    socket.set_nodelay(true)?;
    let codec = LinesCodec::new_with_max_length(MAX_LINE);
    let (replies, requests) = Framed::new(socket, codec).split();
    requests.map(|line| line.map(handle)).forward(replies).await
}

/// The handler: the reply is the request.
fn handle(request: String) -> String {
    request
}
