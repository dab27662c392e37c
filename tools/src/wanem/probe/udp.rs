//! A numbered UDP stream at a given rate, its receiver, and a round-trip measurement.
//!
//! A datagram begins with 8 bytes: 24 bits that name the stream, 40 bits that count its datagrams;
//! 8 more hold their complement, zeroes follow. The receiver counts numbers it has not seen, numbers that come twice, and numbers
//! that come after a higher one; late datagrams of another stream do not disturb it.

use crate::sys;
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

/// IP and UDP header over IPv4; rates count them.
const OVERHEAD: u64 = 28;
/// The largest UDP payload, which is what one batch may hold.
const BATCH_MAX: usize = 65_000;
const DATAGRAMS_PER_BATCH_MAX: usize = 40;
const RECEIVE_BUFFER: u32 = 64 << 20;
/// Largest number that the receiver keeps track of.
const NUMBERS_MAX: u64 = 1 << 28;
/// Stream and number, and their complement.
const HEAD_LEN: usize = 16;
const NUMBER_BITS: u32 = 40;
/// The number that marks the end of a stream; sent several times because it may be lost.
const END: u64 = (1 << NUMBER_BITS) - 1;
const ENDS: usize = 50;
/// The receiver's rate is the median over windows of this span: a machine that stands still for a
/// moment does not count against the link.
const WINDOW: Duration = Duration::from_millis(100);
const WINDOWS_MAX: usize = 36_000;

/// What a stream is.
#[derive(Clone, Copy, Debug)]
pub struct Stream {
    /// Rate at IP level; `None` as fast as possible.
    pub rate: Option<BitRate>,
    /// UDP payload of each datagram, 16 bytes or more.
    pub size: usize,
    /// How long to send.
    pub duration: Duration,
    /// Longest run that leaves back to back.
    pub batch: Duration,
}

/// What the sender did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SendReport {
    /// Datagrams handed to the kernel.
    pub sent: u64,
    /// How long that took.
    pub seconds: f64,
    /// Bits per second at IP level.
    pub rate_bps: f64,
}

/// What the receiver saw.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ReceiveReport {
    /// Different datagrams.
    pub received: u64,
    /// Datagrams that had come before.
    pub duplicates: u64,
    /// Datagrams that came after one with a higher number.
    pub reordered: u64,
    /// Datagrams whose content is not what was sent.
    pub damaged: u64,
    /// Highest number plus one.
    pub numbers: u64,
    /// From the first to the last datagram.
    pub seconds: f64,
    /// Bits per second at IP level between the two.
    pub rate_bps: f64,
    /// Median of the rate over windows of 100 ms.
    pub rate_median_bps: f64,
}

/// Round trips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RttReport {
    /// Answers.
    pub answers: u64,
    /// Smallest, in microseconds.
    pub min_us: u64,
    /// Median.
    pub p50_us: u64,
    /// 95th percentile.
    pub p95_us: u64,
    /// Largest.
    pub max_us: u64,
}

/// Sends `stream` to `to`.
///
/// # Errors
/// Any of the socket; `InvalidInput` for a size that no datagram has.
pub fn send(to: SocketAddr, stream: Stream) -> io::Result<SendReport> {
    if stream.size < HEAD_LEN || stream.size > BATCH_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "bad datagram size"));
    }
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    let segment = u16::try_from(stream.size).map_err(io::Error::other)?;
    sys::set_udp_segment(&socket, segment)?;
    let batch = batch_of(stream);
    let mut buffer = vec![0; batch * stream.size];
    let tag = tag_of_now();
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < stream.duration {
        for (index, datagram) in buffer.chunks_exact_mut(stream.size).enumerate() {
            datagram[..HEAD_LEN].copy_from_slice(&head_of(tag | (sent + index as u64)));
        }
        send_all(&socket, &buffer)?;
        sent += batch as u64;
        if let Some(rate) = stream.rate {
            let due = wire_bytes(stream.size, sent).time_at(rate);
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    for _ in 0..ENDS {
        match socket.send(&head_of(tag | END)) {
            // The receiver has seen an end and is gone.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => break,
            result => result?,
        };
        thread::sleep(Duration::from_millis(2));
    }
    let rate_bps = bits(stream.size, sent) / seconds;
    Ok(SendReport { sent, seconds, rate_bps })
}

fn head_of(word: u64) -> [u8; HEAD_LEN] {
    ((u128::from(word) << 64) | u128::from(!word)).to_be_bytes()
}

/// What [`head_of`] wrote; none if it was damaged.
fn read_head(datagram: &[u8]) -> Option<u64> {
    let (word, rest) = datagram.split_first_chunk::<8>()?;
    let word = u64::from_be_bytes(*word);
    (rest.first_chunk() == Some(&(!word).to_be_bytes())).then_some(word)
}

/// A name for a stream that the previous one on this port did not have.
fn tag_of_now() -> u64 {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    // The low bits differ; streams are at least microseconds apart.
    let nanos = nanos.map_or(0, |span| u64::from(span.subsec_nanos()) >> 6);
    nanos << NUMBER_BITS
}

/// As many datagrams as leave together.
fn batch_of(stream: Stream) -> usize {
    let fits = (BATCH_MAX / stream.size).clamp(1, DATAGRAMS_PER_BATCH_MAX);
    match stream.rate {
        None => fits,
        Some(rate) => {
            let bytes = rate.bytes_in(stream.batch).as_len();
            (bytes / wire_bytes(stream.size, 1).as_len()).clamp(1, fits)
        }
    }
}

fn send_all(socket: &UdpSocket, buffer: &[u8]) -> io::Result<()> {
    loop {
        match socket.send(buffer) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The device's queue is full: a sender without pacing waits for it.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                thread::sleep(Duration::from_micros(50));
            }
            Err(error) => return Err(error),
        }
    }
}

fn wire_bytes(size: usize, count: u64) -> Bytes {
    Bytes::new((size as u64 + OVERHEAD).saturating_mul(count))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people and bounds")]
fn bits(size: usize, count: u64) -> f64 {
    wire_bytes(size, count).get() as f64 * 8.0
}

/// Receives one stream of datagrams of `size` at `listen`, until its end or `idle` of silence
/// after the first datagram.
///
/// # Errors
/// Any of the socket.
pub fn receive(listen: SocketAddr, size: usize, idle: Duration) -> io::Result<ReceiveReport> {
    let socket = Socket::new(Domain::for_address(listen), Type::DGRAM, Some(Protocol::UDP))?;
    if sys::force_receive_buffer(&socket, RECEIVE_BUFFER).is_err() {
        socket.set_recv_buffer_size(RECEIVE_BUFFER as usize)?;
    }
    sys::set_udp_gro(&socket)?;
    socket.bind(&listen.into())?;
    let socket: UdpSocket = socket.into();
    super::announce_ready()?;
    let mut tally = Tally::new(size.max(HEAD_LEN));
    let mut buffer = vec![0; 1 << 16];
    let origin = Instant::now();
    loop {
        let len = match socket.recv(&mut buffer) {
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        };
        if tally.numbers() == 0 {
            socket.set_read_timeout(Some(idle))?;
        }
        if !tally.add(&buffer[..len], Timestamp::ZERO + origin.elapsed()) {
            break;
        }
    }
    Ok(tally.report())
}

/// Which numbers came.
struct Tally {
    size: usize,
    stream: Option<u64>,
    windows: Vec<u64>,
    seen: Vec<u64>,
    highest: Option<u64>,
    first_at: Timestamp,
    last_at: Timestamp,
    report: ReceiveReport,
}

impl Tally {
    fn new(size: usize) -> Self {
        Self {
            size,
            stream: None,
            windows: Vec::new(),
            seen: Vec::new(),
            highest: None,
            first_at: Timestamp::ZERO,
            last_at: Timestamp::ZERO,
            report: ReceiveReport::default(),
        }
    }

    fn numbers(&self) -> u64 {
        self.highest.map_or(0, |highest| highest + 1)
    }

    /// Counts the datagrams of one buffer; false at the end of the stream.
    fn add(&mut self, buffer: &[u8], at: Timestamp) -> bool {
        for datagram in buffer.chunks(self.size) {
            let Some(head) = read_head(datagram) else {
                self.report.damaged += 1;
                continue;
            };
            let (stream, number) = (head >> NUMBER_BITS, head & END);
            match (number, self.stream) {
                (END, Some(own)) if own == stream => return false,
                (END, _) => {}
                (_, Some(own)) if own != stream => {}
                (NUMBERS_MAX.., _) => self.report.damaged += 1,
                _ => {
                    self.stream = Some(stream);
                    self.count(number, datagram, at);
                }
            }
        }
        true
    }

    fn count(&mut self, number: u64, datagram: &[u8], at: Timestamp) {
        if datagram.len() != self.size || datagram[HEAD_LEN..].iter().any(|byte| *byte != 0) {
            self.report.damaged += 1;
        }
        if self.highest.is_none() {
            self.first_at = at;
        }
        self.last_at = at;
        let window = at.since(self.first_at).as_millis() / WINDOW.as_millis();
        let window = usize::try_from(window).map_or(WINDOWS_MAX, |index| index.min(WINDOWS_MAX));
        if self.windows.len() <= window {
            self.windows.resize(window + 1, 0);
        }
        self.windows[window] += 1;
        let word = usize::try_from(number / 64).expect("bounded by NUMBERS_MAX");
        let bit = 1 << (number % 64);
        if self.seen.len() <= word {
            self.seen.resize(word + 1, 0);
        }
        if self.seen[word] & bit != 0 {
            self.report.duplicates += 1;
            return;
        }
        self.seen[word] |= bit;
        self.report.received += 1;
        self.report.reordered += u64::from(self.highest.is_some_and(|highest| number < highest));
        self.highest = self.highest.max(Some(number));
    }

    fn report(mut self) -> ReceiveReport {
        self.report.numbers = self.numbers();
        self.report.seconds = self.last_at.since(self.first_at).as_secs_f64();
        // The first datagram marks the start: its own bytes came before.
        let counted = (self.report.received + self.report.duplicates).saturating_sub(1);
        self.report.rate_bps = bits(self.size, counted) / self.report.seconds.max(1e-9);
        // The first window may hold the filling of a queue, the last one is not whole.
        let whole = self.windows.len().saturating_sub(1);
        if let Some(windows) = self.windows.get_mut(1..whole).filter(|windows| !windows.is_empty())
        {
            windows.sort_unstable();
            let median = bits(self.size, windows[windows.len() / 2]);
            self.report.rate_median_bps = median / WINDOW.as_secs_f64();
        }
        self.report
    }
}

/// Sends every datagram back to where it came from, until killed or `idle` of silence after the
/// first one.
///
/// # Errors
/// Any of the socket.
pub fn echo(listen: SocketAddr, idle: Duration) -> io::Result<()> {
    let socket = UdpSocket::bind(listen)?;
    super::announce_ready()?;
    let mut buffer = [0; 2048];
    loop {
        match socket.recv_from(&mut buffer) {
            Ok((len, from)) => {
                socket.send_to(&buffer[..len], from)?;
                socket.set_read_timeout(Some(idle))?;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Measures `count` round trips to an [`echo`], one at a time, `gap` apart.
///
/// # Errors
/// Any of the socket; `TimedOut` when nothing came back at all.
pub fn round_trips(to: SocketAddr, count: u64, gap: Duration) -> io::Result<RttReport> {
    const PATIENCE: Duration = Duration::from_secs(3);
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut micros = Vec::new();
    let mut buffer = [0; 64];
    for number in 0..count {
        let start = Instant::now();
        socket.send(&number.to_be_bytes())?;
        while let Ok(len) = socket.recv(&mut buffer) {
            if buffer[..len] == number.to_be_bytes() {
                micros.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
                break;
            }
        }
        thread::sleep(gap);
    }
    micros.sort_unstable();
    let (Some(min_us), Some(max_us)) = (micros.first(), micros.last()) else {
        return Err(io::ErrorKind::TimedOut.into());
    };
    let rank = |percent: usize| micros[(micros.len() - 1) * percent / 100];
    Ok(RttReport {
        answers: micros.len() as u64,
        min_us: *min_us,
        p50_us: rank(50),
        p95_us: rank(95),
        max_us: *max_us,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(number: u64) -> Vec<u8> {
        head_of(number).to_vec()
    }

    #[test]
    fn the_tally_tells_losses_duplicates_and_reordering_apart() {
        let mut tally = Tally::new(16);
        let merged = [datagram(0), datagram(1)].concat();
        assert!(tally.add(&merged, Timestamp::from_millis(0)));
        for number in [4, 3, 3, 9] {
            assert!(tally.add(&datagram(number), Timestamp::from_millis(100)));
        }
        assert!(!tally.add(&datagram(END), Timestamp::from_millis(900)));
        let report = tally.report();
        assert_eq!((report.received, report.numbers), (5, 10));
        assert_eq!((report.duplicates, report.reordered, report.damaged), (1, 1, 0));
        assert!((report.seconds - 0.1).abs() < 1e-9);
    }

    #[test]
    fn damage_is_seen_and_absurd_numbers_take_no_memory() {
        let mut tally = Tally::new(16);
        let mut bytes = datagram(1);
        bytes[15] = 1;
        assert!(tally.add(&bytes, Timestamp::ZERO));
        assert!(tally.add(&datagram(END - 1), Timestamp::ZERO));
        assert_eq!(tally.report().damaged, 2);
    }

    #[test]
    fn the_end_of_an_earlier_stream_is_not_the_end_of_this_one() {
        let mut tally = Tally::new(16);
        let other = 7 << NUMBER_BITS;
        assert!(tally.add(&datagram(other | END), Timestamp::ZERO));
        assert!(tally.add(&datagram(1), Timestamp::ZERO));
        assert!(tally.add(&datagram(other | END), Timestamp::ZERO));
        assert!(!tally.add(&datagram(END), Timestamp::ZERO));
        assert_eq!(tally.report().received, 1);
    }

    #[test]
    fn the_median_rate_forgives_a_standstill() {
        let mut tally = Tally::new(16);
        for number in 0..1000u64 {
            // One datagram a millisecond, with a hole of 300 ms that is caught up at once.
            let at = if (500..800).contains(&number) { 800 } else { number };
            assert!(tally.add(&datagram(number), Timestamp::from_millis(at)));
        }
        let expected = bits(16, 1000);
        assert!((tally.report().rate_median_bps / expected - 1.0).abs() < 0.01);
    }
}
