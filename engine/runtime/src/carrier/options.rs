//! The TCP sockets of links: how they are opened, and what is asked of the kernel for them.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};

use rustix::io::Errno;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::LINK_IDLE;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Bytes that the kernel takes beyond what it has sent. The send buffer itself is left to grow with
/// the path; what is not sent yet is what control would wait behind.
const NOT_SENT_MAX: u32 = 128 << 10;
/// Congestion control where the kernel has it: loss alone does not slow it down.
const CONGESTION: &[u8] = b"bbr";

/// Listens for links at `addr`. An IPv6 wildcard serves IPv4 as well.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = new(addr)?;
    if addr.is_ipv6() && addr.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    // Connections of an earlier process may still be on their way out.
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Begins to connect to `addr`.
pub(super) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let socket = new(addr)?;
    match socket.connect(&addr.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => {}
        other => other?,
    }
    let stream = TcpStream::from(socket);
    tune(&stream);
    Ok(stream)
}

fn new(addr: SocketAddr) -> io::Result<Socket> {
    let kind = Type::STREAM.nonblocking().cloexec();
    Socket::new(Domain::for_address(addr), kind, Some(Protocol::TCP))
}

/// Asks for what a link needs. A kernel that does not grant something carries it all the same.
pub(super) fn tune(stream: &TcpStream) {
    let socket = SockRef::from(stream);
    let outcomes = [
        socket.set_tcp_nodelay(true),
        socket.set_tcp_notsent_lowat(NOT_SENT_MAX),
        socket.set_tcp_user_timeout(Some(LINK_IDLE)),
        socket.set_tcp_congestion(CONGESTION),
    ];
    for error in outcomes.into_iter().filter_map(Result::err) {
        tracing::trace!(%error, "a TCP option was not granted");
    }
}
