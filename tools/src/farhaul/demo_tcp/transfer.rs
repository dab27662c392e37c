//! Both ends of one TCP connection between the sites, and the transfer over it.
//!
//! Each end has a blocking thread; the time limit is kept by a third, which looks at a counter and
//! leaves the other two behind: the process ends right after. Buffers are left to the kernel's own
//! tuning, which setting them would switch off.

use super::{Delivery, NotMeasured};
use crate::netns::Netns;
use crate::wanem::site::Site;
use farhaul_proto::units::Bytes;
use farhaul_sim::rng::Rng;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// What one call hands to or takes from the kernel.
const BLOCK: usize = 1 << 20;
const ACKNOWLEDGEMENT: [u8; 1] = [0x06];

/// A listener in site B and an unconnected socket in site A; sockets stay in the namespace they
/// were made in.
pub(super) struct Ends {
    socket: Socket,
    listener: TcpListener,
    target: SocketAddr,
}

impl Ends {
    /// Makes them.
    ///
    /// # Errors
    /// [`NotMeasured::Congestion`] if the kernel does not have it; else what the system says.
    pub(super) fn open(
        source: &Netns,
        target: &Netns,
        congestion: &str,
    ) -> Result<Self, NotMeasured> {
        let failed = |error| NotMeasured::system("open sockets", &error);
        let any_port = SocketAddr::V4(SocketAddrV4::new(Site::B.ipv4(), 0));
        let listener = target.run(|| TcpListener::bind(any_port))?.map_err(failed)?;
        let target = listener.local_addr().map_err(failed)?;
        let socket = source
            .run(|| Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)))?
            .map_err(failed)?;
        reset_on_close(&socket).map_err(failed)?;
        // Allowed by the rights over site A, also where the system's list leaves it out.
        rustix::net::sockopt::set_tcp_congestion(&socket, congestion).map_err(|errno| {
            let cause = io::Error::from(errno).to_string();
            NotMeasured::Congestion { name: congestion.to_owned(), cause }
        })?;
        Ok(Self { socket, listener, target })
    }
}

/// Closing throws away what is unsent. Otherwise the kernel keeps the connection, and with it the
/// namespace, for minutes after the process has ended.
fn reset_on_close(socket: &Socket) -> io::Result<()> {
    socket.set_linger(Some(Duration::ZERO))
}

/// Transfers `size` bytes, or what gets through in `limit`.
///
/// # Errors
/// [`NotMeasured::System`] if a socket fails in another way than by giving up on the link.
pub(super) fn run(ends: Ends, size: Bytes, limit: Duration) -> Result<Delivery, NotMeasured> {
    let Ends { socket, listener, target } = ends;
    let delivered = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&delivered);
    let (done, wait) = mpsc::sync_channel(2);
    let failures = done.clone();
    let noise = noise();
    spawn("demo-receive", move || {
        // Its end is the sender's to tell, unless it is a failure.
        if let Err(error) = receive(&listener, size, &counter) {
            report(&failures, Err(error));
        }
    })?;
    let start = Instant::now();
    spawn("demo-send", move || report(&done, send(socket, target, size, &noise)))?;
    let ended = wait.recv_timeout(limit);
    let delivery = |at: Instant, finished| Delivery {
        nanos: u64::try_from(at.duration_since(start).as_nanos()).unwrap_or(u64::MAX),
        size_bytes: delivered.load(Ordering::Relaxed),
        finished,
    };
    match ended {
        Ok(Ok(at)) => Ok(delivery(at, true)),
        Ok(Err(error)) if gave_up(&error) => Ok(delivery(Instant::now(), false)),
        Ok(Err(error)) => Err(NotMeasured::system("transfer", &error)),
        Err(RecvTimeoutError::Timeout) => Ok(delivery(Instant::now(), false)),
        Err(RecvTimeoutError::Disconnected) => Err(NotMeasured::Silent),
    }
}

type Told = io::Result<Instant>;

fn report(to: &SyncSender<Told>, told: Told) {
    // Nobody listens any more once the limit is over.
    drop(to.send(told));
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<(), NotMeasured> {
    let builder = thread::Builder::new().name(name.to_owned());
    let started = builder.spawn(work).map(drop);
    started.map_err(|error| NotMeasured::system("start a thread", &error))
}

/// True when the kernel's TCP found the link too bad to go on, which is a result.
fn gave_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// Drawn once and sent over and over: nothing on this way could compress it.
fn noise() -> Vec<u8> {
    let mut rng = Rng::new(1);
    let mut block = vec![0; BLOCK];
    for word in block.as_chunks_mut::<8>().0 {
        *word = rng.next_u64().to_ne_bytes();
    }
    block
}

/// Sends everything and waits for the acknowledgement; tells when that came.
fn send(socket: Socket, target: SocketAddr, size: Bytes, noise: &[u8]) -> Told {
    socket.connect(&target.into())?;
    let mut stream: TcpStream = socket.into();
    write_noise(&mut stream, size, noise)?;
    let mut answer = [0; ACKNOWLEDGEMENT.len()];
    stream.read_exact(&mut answer)?;
    Ok(Instant::now())
}

fn write_noise(to: &mut impl Write, size: Bytes, noise: &[u8]) -> io::Result<()> {
    let mut left = size;
    while left > Bytes::ZERO {
        let part = left.as_len().min(noise.len());
        to.write_all(&noise[..part])?;
        left -= Bytes::of_len(part);
    }
    Ok(())
}

/// Takes `size` bytes from one connection, counting them in `delivered`, and acknowledges.
fn receive(listener: &TcpListener, size: Bytes, delivered: &AtomicU64) -> io::Result<()> {
    let (mut stream, _) = listener.accept()?;
    reset_on_close(&Socket::from(stream.try_clone()?))?;
    count(&mut stream, size, delivered)?;
    stream.write_all(&ACKNOWLEDGEMENT)?;
    // Closing earlier would throw the acknowledgement away; the sender ends with a reset.
    drop(stream.read(&mut [0]));
    Ok(())
}

fn count(from: &mut impl Read, size: Bytes, delivered: &AtomicU64) -> io::Result<()> {
    let mut buffer = vec![0; BLOCK];
    let mut left = size;
    while left > Bytes::ZERO {
        let room = left.as_len().min(buffer.len());
        let len = match from.read(&mut buffer[..room]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        left -= Bytes::of_len(len);
        delivered.fetch_add(Bytes::of_len(len).get(), Ordering::Relaxed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_of_any_length_is_written_and_counted_whole() {
        let noise = noise();
        for len in [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 7] {
            let (size, delivered) = (Bytes::of_len(len), AtomicU64::new(0));
            let mut wire = Vec::new();
            write_noise(&mut wire, size, &noise).expect("memory takes everything");
            assert_eq!(wire.len(), len);
            count(&mut wire.as_slice(), size, &delivered).expect("everything is there");
            assert_eq!(delivered.into_inner(), size.get());
        }
    }

    #[test]
    fn a_connection_that_ends_early_is_an_error_and_what_came_is_counted() {
        let delivered = AtomicU64::new(0);
        let error = count(&mut [7; 10].as_slice(), Bytes::new(11), &delivered);
        assert_eq!(error.expect_err("a byte is missing").kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(delivered.into_inner(), 10);
    }

    #[test]
    fn noise_does_not_repeat_within_a_block() {
        let noise = noise();
        let words: std::collections::BTreeSet<_> = noise.as_chunks::<8>().0.iter().collect();
        assert_eq!(words.len(), BLOCK / 8);
    }

    #[test]
    fn a_dead_link_is_a_result_and_a_refused_connection_is_not() {
        assert!(gave_up(&io::ErrorKind::TimedOut.into()));
        assert!(!gave_up(&io::ErrorKind::ConnectionRefused.into()));
    }
}
