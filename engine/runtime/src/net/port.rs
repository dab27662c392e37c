//! The socket itself: options at bind, batched receive, trains out with or without offload.
//!
//! It does not wait inside send or receive, keeps no queue and knows no packet format. A datagram
//! that the kernel refuses is a lost datagram to whoever sent it.

use std::io;
use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use farhaul_proto::units::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec};
use socket2::{Domain, Protocol, Socket, Type};

use super::batch::RecvBatch;
use super::offload::{self, Offload};
use super::train::{Cursor, EMPTY_OUTGOING, Sent, Train};
use super::{Meter, Traffic};
use crate::sys::udp::{self, MESSAGES_MAX, Outgoing};

/// What a port asks of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// Kernel memory for datagrams not yet read. Without the right to exceed it, `rmem_max`
    /// decides; see [`UdpPort::recv_buffer`].
    pub recv_buffer: Bytes,
    /// Kernel memory for datagrams not yet sent.
    pub send_buffer: Bytes,
}

impl Default for PortConfig {
    /// 25 ms of 10 Gbit/s inward (the kernel charges about twice the payload), less outward:
    /// what stands in the send buffer is beyond the pacer's control.
    fn default() -> Self {
        Self { recv_buffer: Bytes::mib(64), send_buffer: Bytes::mib(4) }
    }
}

/// The one UDP socket of a site, shared by lanes and control channel.
#[derive(Debug)]
pub struct UdpPort {
    socket: Socket,
    local: SocketAddr,
    offload: Offload,
    gro: bool,
    /// Total of datagrams dropped by the socket; its low half is the kernel's own counter.
    drops: AtomicU64,
    truncated: AtomicU64,
    meter: Meter,
}

impl UdpPort {
    /// Opens a non-blocking socket at `addr`. An IPv6 wildcard serves IPv4 as well.
    ///
    /// Offloads, stamps and large buffers are used where the kernel grants them and done without
    /// elsewhere; only that fragmentation is off is required.
    pub fn bind(addr: SocketAddr, config: PortConfig) -> io::Result<Arc<Self>> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(addr), kind, Some(Protocol::UDP))?;
        if addr.is_ipv6() && addr.ip().is_unspecified() {
            socket.set_only_v6(false)?;
        }
        forbid_fragments(&socket, addr)?;
        grow_buffers(&socket, config);
        request_control_messages(&socket, addr);
        let gro = try_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1);
        let gso = udp::option(socket.as_fd(), libc::SOL_UDP, libc::UDP_SEGMENT).is_ok();
        socket.bind(&addr.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Arc::new(Self {
            socket,
            local,
            offload: Offload::new(gso),
            gro,
            drops: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
            meter: Meter::default(),
        }))
    }

    /// The address the port is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The receive memory that the kernel granted (it counts twice what it gives to payload).
    pub fn recv_buffer(&self) -> Bytes {
        Bytes::of_len(self.socket.recv_buffer_size().unwrap_or(0))
    }

    /// The send memory that the kernel granted.
    pub fn send_buffer(&self) -> Bytes {
        Bytes::of_len(self.socket.send_buffer_size().unwrap_or(0))
    }

    /// Whether the kernel merges datagrams on the way in.
    pub fn merges_on_receive(&self) -> bool {
        self.gro
    }

    /// Whether trains to `to` leave through segmentation offload at this moment.
    pub fn segments_on_send(&self, to: SocketAddr) -> bool {
        self.offload.allows(to.ip())
    }

    /// Sends every datagram on its own from now on.
    pub fn disable_segmentation(&self) {
        self.offload.disable();
    }

    /// Datagrams that the kernel dropped because the receive buffer was full, as of the last
    /// received datagram.
    pub fn receiver_drops(&self) -> u64 {
        self.drops.load(Ordering::Relaxed)
    }

    /// Received buffers that were discarded because they did not fit. Not reachable with the
    /// buffers in use; counted so that it would be seen.
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
    }

    /// What it moved so far.
    pub(crate) fn traffic(&self) -> Traffic {
        self.meter.now()
    }

    /// Takes in what has arrived and returns the number of filled buffers, each one or more
    /// datagrams; [`RecvBatch::segments_mut`] yields them.
    ///
    /// Errors: `WouldBlock` when nothing is there.
    pub fn recv_batch(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        let received = loop {
            match batch.receive(self.socket.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        self.truncated.fetch_add(received.truncated, Ordering::Relaxed);
        self.meter.read(received.bytes);
        self.meter.received_packets(received.datagrams);
        if let Some(drops) = received.drops {
            self.note_drops(drops);
        }
        Ok(received.buffers)
    }

    /// Extends the kernel's 32-bit counter to 64 bits; an older reading changes nothing.
    fn note_drops(&self, counter: u32) {
        let update = |total: u64| {
            #[expect(clippy::cast_possible_truncation, reason = "the low half is what is meant")]
            let advance = counter.wrapping_sub(total as u32);
            (advance <= u32::MAX / 2).then(|| total + u64::from(advance))
        };
        let _ = self.drops.fetch_update(Ordering::Relaxed, Ordering::Relaxed, update);
    }

    /// Sends `train` to `to` as datagrams of `segment_len` bytes, the last perhaps shorter.
    ///
    /// Errors: what the kernel said when it refused a datagram for good; datagrams before it
    /// left, those after it did not. A full send buffer is no error: see [`Sent::left`].
    pub fn send_train(&self, to: SocketAddr, segment_len: usize, train: &[u8]) -> io::Result<Sent> {
        let train = Train { to, segment_len, data: train };
        let mut report = Report::default();
        self.send_from(&mut Cursor::new(std::slice::from_ref(&train))?, &mut report);
        let datagrams = report.sent.datagrams;
        self.meter.sent_packets(datagrams);
        self.meter.sent_bytes(train.data.len().min(datagrams.saturating_mul(segment_len)));
        report.error.map_or(Ok(report.sent), Err)
    }

    /// Sends several trains, to any destinations, with as few system calls as possible.
    ///
    /// A refused datagram ends its own train and no other; see [`Sent::failed`].
    ///
    /// Errors: `InvalidInput` for a segment length outside 1 to 65,507, before anything is sent.
    pub fn send_many(&self, trains: &[Train<'_>]) -> io::Result<Sent> {
        let mut report = Report::default();
        self.send_from(&mut Cursor::new(trains)?, &mut report);
        Ok(report.sent)
    }

    fn send_from(&self, cursor: &mut Cursor<'_>, report: &mut Report) {
        while !cursor.is_done() {
            let mut space = [EMPTY_OUTGOING; MESSAGES_MAX];
            let messages = cursor.peek(&mut space, |to| self.offload.allows(to.ip()));
            for message in messages.iter_mut() {
                message.to = self.in_own_family(message.to);
            }
            match udp::send(self.socket.as_fd(), messages) {
                Ok(taken) => {
                    for message in messages.iter().take(taken) {
                        report.sent.datagrams += cursor.advance(message.data.len());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    report.sent.left = cursor.datagrams_left();
                    return;
                }
                Err(error) if messages[0].segment.is_some() && offload::is_refusal(&error) => {
                    if self.resend_singly(cursor, messages[0].data, report) {
                        report.sent.left = cursor.datagrams_left();
                        return;
                    }
                }
                Err(error) => {
                    report.sent.failed += cursor.skip_train();
                    report.error.get_or_insert(error);
                }
            }
        }
    }

    /// Sends the datagrams of a refused message one by one, at once; the destination is
    /// remembered if that works where offload did not. True when the send buffer filled up.
    fn resend_singly(&self, cursor: &mut Cursor<'_>, data: &[u8], report: &mut Report) -> bool {
        let Some(train) = cursor.current() else { return false };
        let mut done = 0;
        while done < data.len() {
            let mut space = [EMPTY_OUTGOING; MESSAGES_MAX];
            let to = self.in_own_family(train.to);
            let mut count = 0;
            for (slot, datagram) in space.iter_mut().zip(data[done..].chunks(train.segment_len)) {
                *slot = Outgoing { to, data: datagram, segment: None };
                count += 1;
            }
            match udp::send(self.socket.as_fd(), &space[..count]) {
                Ok(taken) => {
                    self.offload.note_refusal(train.to.ip());
                    for message in &space[..taken] {
                        done += message.data.len();
                        report.sent.datagrams += cursor.advance(message.data.len());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
                Err(error) => {
                    report.sent.failed += cursor.skip_train();
                    report.error.get_or_insert(error);
                    return false;
                }
            }
        }
        false
    }

    /// An IPv6 socket reaches IPv4 through mapped addresses.
    pub(crate) fn in_own_family(&self, address: SocketAddr) -> SocketAddr {
        match address {
            SocketAddr::V4(v4) if self.local.is_ipv6() => {
                SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0).into()
            }
            _ => address,
        }
    }

    /// Waits until something can be received; false when `timeout` passed first. `None` waits
    /// for ever.
    pub fn readable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.poll(PollFlags::IN, timeout)
    }

    /// Waits until something can be sent; false when `timeout` passed first.
    pub fn writable(&self, timeout: Option<Duration>) -> io::Result<bool> {
        self.poll(PollFlags::OUT, timeout)
    }

    fn poll(&self, flags: PollFlags, timeout: Option<Duration>) -> io::Result<bool> {
        let timeout = timeout.and_then(|span| Timespec::try_from(span).ok());
        let mut fds = [PollFd::new(&self.socket, flags)];
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for UdpPort {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpPort {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// The path MTU is ours to find, so the kernel neither fragments nor keeps its own estimate.
fn forbid_fragments(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    let fd = socket.as_fd();
    let v4 = udp::set_option(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_PROBE);
    if addr.is_ipv4() {
        return v4;
    }
    // On an IPv6 socket the IPv4 option governs mapped addresses only, and may be missing.
    udp::set_option(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_PROBE)
}

/// Asks for the full size as administrator first, then for what the limits allow.
fn grow_buffers(socket: &Socket, config: PortConfig) {
    for (forced, plain, size) in [
        (libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, config.recv_buffer),
        (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, config.send_buffer),
    ] {
        let size = i32::try_from(size.get()).unwrap_or(i32::MAX);
        let _granted = try_option(socket, libc::SOL_SOCKET, forced, size)
            || try_option(socket, libc::SOL_SOCKET, plain, size);
    }
}

/// Drop counter, arrival stamps and ECN bits; each is done without where the kernel lacks it.
fn request_control_messages(socket: &Socket, addr: SocketAddr) {
    try_option(socket, libc::SOL_SOCKET, libc::SO_RXQ_OVFL, 1);
    try_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
    try_option(socket, libc::IPPROTO_IP, libc::IP_RECVTOS, 1);
    if addr.is_ipv6() {
        try_option(socket, libc::IPPROTO_IPV6, libc::IPV6_RECVTCLASS, 1);
    }
}

fn try_option(socket: &Socket, level: i32, name: i32, value: i32) -> bool {
    udp::set_option(socket.as_fd(), level, name, value).is_ok()
}

#[derive(Debug, Default)]
struct Report {
    sent: Sent,
    /// The first refusal.
    error: Option<io::Error>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local_port() -> Arc<UdpPort> {
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        UdpPort::bind(addr, PortConfig::default()).expect("loopback has a free port")
    }

    fn receive_all(port: &UdpPort, expected: usize) -> Vec<Vec<u8>> {
        let mut batch = RecvBatch::new();
        let mut seen = Vec::new();
        while seen.len() < expected {
            assert!(port.readable(Some(Duration::from_secs(10))).expect("poll"), "lost datagrams");
            port.recv_batch(&mut batch).expect("readable");
            seen.extend(batch.segments_mut().map(|segment| segment.data.to_vec()));
        }
        seen
    }

    /// A socket without checksums cannot use offload: the kernel refuses with EINVAL.
    #[test]
    fn a_train_refused_by_the_kernel_leaves_singly_at_once_and_the_destination_is_remembered() {
        let (sender, receiver) = (local_port(), local_port());
        let to = receiver.local_addr();
        let train: Vec<u8> = (0..=255).cycle().take(1408 * 100 + 17).collect();
        udp::set_option(sender.as_fd(), libc::SOL_SOCKET, libc::SO_NO_CHECK, 1).expect("an option");
        assert!(sender.segments_on_send(to));

        let sent = sender.send_train(to, 1408, &train).expect("singles pass");

        assert_eq!(sent, Sent { datagrams: 101, left: 0, failed: 0 });
        assert!(!sender.segments_on_send(to));
        let expected: Vec<Vec<u8>> = train.chunks(1408).map(<[u8]>::to_vec).collect();
        assert_eq!(receive_all(&receiver, 101), expected);
    }

    #[test]
    fn the_drop_counter_grows_past_32_bits_and_never_back() {
        let port = local_port();
        port.note_drops(u32::MAX - 1);
        // The first reading is taken from zero, so it may be at most half the space ahead.
        assert_eq!(port.receiver_drops(), 0);
        port.note_drops(0x7000_0000);
        port.note_drops(0xE000_0000);
        port.note_drops(0xD000_0000);
        assert_eq!(port.receiver_drops(), 0xE000_0000);
        port.note_drops(5);
        assert_eq!(port.receiver_drops(), 0x1_0000_0005);
    }

    #[test]
    fn a_full_receive_buffer_is_counted_and_what_arrives_is_whole() {
        let config = PortConfig { recv_buffer: Bytes::kib(64), ..PortConfig::default() };
        let addr = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = UdpPort::bind(addr, config).expect("loopback has a free port");
        let sender = local_port();
        sender.disable_segmentation();
        let sent = sender.send_train(receiver.local_addr(), 1000, &[7; 1_000_000]).expect("sends");
        assert_eq!(sent.datagrams, 1000);

        let mut batch = RecvBatch::new();
        let mut arrived = 0;
        while receiver.recv_batch(&mut batch).is_ok() {
            arrived +=
                batch.segments_mut().map(|segment| assert_eq!(segment.data, [7; 1000])).count();
        }
        // The counter travels with the next datagram that is let in.
        let _sent = sender.send_train(receiver.local_addr(), 1, &[7]).expect("sends");
        receiver.readable(Some(Duration::from_secs(10))).expect("poll");
        receiver.recv_batch(&mut batch).expect("readable");

        assert!(arrived < 1000);
        assert_eq!(receiver.receiver_drops(), 1000 - arrived as u64);
    }
}
