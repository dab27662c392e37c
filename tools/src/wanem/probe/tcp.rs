//! One file over the kernel's TCP, with a chosen congestion control, ending with the receiver's
//! acknowledgement that it has written everything.
//!
//! Wire: 8 bytes of length (big endian), the bytes; back: 8 bytes with the number written.

use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Instant;

const BUFFER: usize = 1 << 20;

/// One transfer, seen from one end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TcpReport {
    /// Payload bytes.
    pub bytes: u64,
    /// From before the connection to the acknowledgement.
    pub seconds: f64,
    /// Bits of payload per second.
    pub goodput_bps: f64,
    /// The congestion control that the kernel says it used.
    pub congestion: String,
}

/// Accepts one connection at `listen` and writes what comes to `output`, or nowhere.
///
/// # Errors
/// Any of the network or the file; `UnexpectedEof` when the sender gives up.
pub fn receive(listen: SocketAddr, output: Option<&Path>) -> io::Result<TcpReport> {
    let listener = TcpListener::bind(listen)?;
    super::announce_ready()?;
    let (mut stream, _) = listener.accept()?;
    let start = Instant::now();
    let mut announced = [0; 8];
    stream.read_exact(&mut announced)?;
    let announced = u64::from_be_bytes(announced);
    let mut sink: Box<dyn Write> = match output {
        Some(path) => Box::new(File::create(path)?),
        None => Box::new(io::sink()),
    };
    let mut buffer = vec![0; BUFFER];
    let mut bytes = 0;
    while bytes < announced {
        let len = match stream.read(&mut buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sink.write_all(&buffer[..len])?;
        bytes += len as u64;
    }
    sink.flush()?;
    stream.write_all(&bytes.to_be_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    Ok(report(&stream, bytes, start))
}

/// Sends `file` to `to` and waits for the acknowledgement.
///
/// # Errors
/// Any of the network or the file; an unknown or forbidden congestion control; `InvalidData` when
/// the receiver wrote another number of bytes.
pub fn send(to: SocketAddr, file: &Path, congestion: Option<&str>) -> io::Result<TcpReport> {
    let mut file = File::open(file)?;
    let len = file.metadata()?.len();
    let start = Instant::now();
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(to),
        socket2::Type::STREAM,
        Some(socket2::Protocol::TCP),
    )?;
    if let Some(name) = congestion {
        rustix::net::sockopt::set_tcp_congestion(&socket, name)?;
    }
    socket.connect(&to.into())?;
    let mut stream: TcpStream = socket.into();
    stream.write_all(&len.to_be_bytes())?;
    // io::copy uses sendfile here: the peer pays no user-space copy that a good sender would avoid.
    let sent = io::copy(&mut file, &mut stream)?;
    let mut written = [0; 8];
    stream.read_exact(&mut written)?;
    let written = u64::from_be_bytes(written);
    if written != len || sent != len {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the receiver wrote another length",
        ));
    }
    Ok(report(&stream, len, start))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people and medians")]
fn report(stream: &TcpStream, bytes: u64, start: Instant) -> TcpReport {
    let seconds = start.elapsed().as_secs_f64();
    let congestion = rustix::net::sockopt::tcp_congestion(stream).unwrap_or_default();
    TcpReport { bytes, seconds, goodput_bps: bytes as f64 * 8.0 / seconds.max(1e-9), congestion }
}
