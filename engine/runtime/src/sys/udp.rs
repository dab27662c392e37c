//! The datagram system calls: socket options, `recvmmsg`, `sendmmsg`, socket addresses.
//!
//! Safe face over raw memory, nothing else: no policy about offloads, buffers or errors. Addresses
//! are encoded and decoded by hand from bytes, so the kernel's answer is never trusted to hold a
//! particular structure. Called by `net::port` and `net::batch`.

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;

use libc::{c_int, c_uint, socklen_t};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Messages that one call sends at most.
pub(crate) const MESSAGES_MAX: usize = 32;
/// Messages that one call receives at most: so few that what was received, half a mebibyte, is
/// still in the processor's cache when it is opened.
pub(crate) const RECEIVED_MAX: usize = 8;
/// Bytes of one receive buffer: the largest batch that the kernel merges.
pub(crate) const BUFFER_LEN: usize = 65_536;
/// Bytes kept for control messages of one received message; about 130 are used.
const CONTROL_LEN: usize = 256;
/// Bytes of the largest socket address in use (`sockaddr_in6` has 28).
const NAME_LEN: usize = 32;
/// `CMSG_LEN(2)` and `CMSG_SPACE(2)`.
const SEGMENT_CONTROL_LEN: usize = CMSG_HEADER_LEN + 2;
const SEGMENT_CONTROL_SPACE: usize = CMSG_HEADER_LEN + size_of::<usize>();
/// Header of a control message: length, level, type (`struct cmsghdr`).
pub(crate) const CMSG_HEADER_LEN: usize = size_of::<usize>() + 8;

/// Sets an integer socket option.
pub(crate) fn set_option(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: c_int,
) -> io::Result<()> {
    // SAFETY: the pointer and length describe `value`, which lives across the call; the kernel
    // only reads it.
    let status = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_ref(&value).cast(),
            length_of::<c_int>(),
        )
    };
    if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Reads an integer socket option.
pub(crate) fn option(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<c_int> {
    let mut value: c_int = 0;
    let mut len = length_of::<c_int>();
    // SAFETY: both pointers refer to live locals, and `len` holds the size of `value`, so the
    // kernel writes within it.
    let status = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            ptr::from_mut(&mut value).cast(),
            ptr::from_mut(&mut len),
        )
    };
    if status == 0 { Ok(value) } else { Err(io::Error::last_os_error()) }
}

/// Watches a socket for room to send, on the runtime within which this is called.
pub(crate) fn watch_writable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, always names the same descriptor, and is owned by the
    // `AsyncFd` from here on.
    let watched = unsafe { AsyncFd::register_with_interest(fd, Interest::WRITABLE) };
    watched.map_err(io::Error::from)
}

#[expect(clippy::cast_possible_truncation, reason = "sizes of C integers")]
const fn length_of<T>() -> socklen_t {
    size_of::<T>() as socklen_t
}

/// One message to send: one datagram, or several of `segment` bytes each that the kernel splits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// Destination, in the address family of the socket.
    pub(crate) to: SocketAddr,
    /// The payload of all segments.
    pub(crate) data: &'a [u8],
    /// Segment length for `UDP_SEGMENT`; `None` sends one datagram.
    pub(crate) segment: Option<u16>,
}

/// Sends up to [`MESSAGES_MAX`] messages without blocking and returns how many the kernel took.
/// An error concerns the first message.
pub(crate) fn send(fd: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    let mut names = [Name::EMPTY; MESSAGES_MAX];
    let mut controls = [SegmentControl::EMPTY; MESSAGES_MAX];
    let mut vectors = [EMPTY_VECTOR; MESSAGES_MAX];
    let mut headers = empty_headers::<MESSAGES_MAX>();
    let count = messages.len().min(MESSAGES_MAX);
    for (slot, message) in messages.iter().take(count).enumerate() {
        let header = &mut headers[slot].msg_hdr;
        header.msg_namelen = names[slot].encode(message.to);
        header.msg_name = names[slot].0.as_mut_ptr().cast();
        vectors[slot].iov_base = message.data.as_ptr().cast_mut().cast();
        vectors[slot].iov_len = message.data.len();
        header.msg_iov = &raw mut vectors[slot];
        header.msg_iovlen = 1;
        if let Some(segment) = message.segment {
            controls[slot].encode(segment);
            header.msg_control = controls[slot].0.as_mut_ptr().cast();
            header.msg_controllen = SEGMENT_CONTROL_SPACE;
        }
    }
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the first `count` headers point at names, controls, vectors and payload that all
    // outlive this call; payload is only read although `iov_base` is a `*mut`.
    let taken = unsafe {
        libc::sendmmsg(fd.as_raw_fd(), headers.as_mut_ptr(), message_count(count), flags)
    };
    usize::try_from(taken).map_err(|_| io::Error::last_os_error())
}

/// One received message, possibly several datagrams merged by the kernel.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// The sender; `None` if the kernel gave an address of an unknown family.
    pub(crate) from: Option<SocketAddr>,
    /// The payload.
    pub(crate) data: &'a mut [u8],
    /// The control messages, as the kernel wrote them.
    pub(crate) control: &'a [u8],
    /// True when payload or control messages did not fit.
    pub(crate) truncated: bool,
}

/// The memory that `recvmmsg` fills; allocated once.
pub(crate) struct RecvArena {
    buffers: Box<[u8]>,
    controls: Box<[Control]>,
    names: Box<[Name]>,
    filled: Vec<Filled>,
}

#[derive(Clone, Copy, Debug)]
struct Filled {
    len: usize,
    control_len: usize,
    name_len: usize,
    truncated: bool,
}

impl RecvArena {
    pub(crate) fn new() -> Self {
        Self {
            buffers: vec![0; RECEIVED_MAX * BUFFER_LEN].into_boxed_slice(),
            controls: vec![Control([0; CONTROL_LEN]); RECEIVED_MAX].into_boxed_slice(),
            names: vec![Name::EMPTY; RECEIVED_MAX].into_boxed_slice(),
            filled: Vec::with_capacity(RECEIVED_MAX),
        }
    }

    /// Receives what is there, without blocking, and returns the number of messages; what an
    /// earlier call received is gone.
    pub(crate) fn receive(&mut self, fd: BorrowedFd<'_>) -> io::Result<usize> {
        self.filled.clear();
        let mut vectors = [EMPTY_VECTOR; RECEIVED_MAX];
        let mut headers = empty_headers::<RECEIVED_MAX>();
        let memory = self.buffers.chunks_exact_mut(BUFFER_LEN).zip(&mut self.controls);
        let memory = memory.zip(&mut self.names).zip(vectors.iter_mut()).zip(headers.iter_mut());
        for ((((buffer, control), name), vector), header) in memory {
            vector.iov_base = buffer.as_mut_ptr().cast();
            vector.iov_len = buffer.len();
            header.msg_hdr.msg_name = name.0.as_mut_ptr().cast();
            header.msg_hdr.msg_namelen = length_of::<Name>();
            header.msg_hdr.msg_iov = ptr::from_mut(vector);
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL_LEN;
        }
        // SAFETY: every header points at a name, vector, control area and buffer with their true
        // lengths, exclusively borrowed by `self` and the locals until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                fd.as_raw_fd(),
                headers.as_mut_ptr(),
                message_count(RECEIVED_MAX),
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.filled.extend(headers.iter().take(count).map(|header| Filled {
            len: usize::try_from(header.msg_len).unwrap_or(usize::MAX).min(BUFFER_LEN),
            control_len: header.msg_hdr.msg_controllen.min(CONTROL_LEN),
            name_len: usize::try_from(header.msg_hdr.msg_namelen).unwrap_or(0).min(NAME_LEN),
            truncated: header.msg_hdr.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0,
        }));
        Ok(count)
    }

    /// The messages of the last successful [`Self::receive`], in order of arrival.
    pub(crate) fn messages_mut(&mut self) -> impl Iterator<Item = Incoming<'_>> {
        let memory = self.buffers.chunks_exact_mut(BUFFER_LEN).zip(&self.controls);
        self.filled.iter().zip(memory.zip(&self.names)).map(
            |(filled, ((buffer, control), name))| Incoming {
                from: decode_address(&name.0[..filled.name_len]),
                data: &mut buffer[..filled.len],
                control: &control.0[..filled.control_len],
                truncated: filled.truncated,
            },
        )
    }
}

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Control([u8; CONTROL_LEN]);

#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct SegmentControl([u8; SEGMENT_CONTROL_SPACE]);

impl SegmentControl {
    const EMPTY: Self = Self([0; SEGMENT_CONTROL_SPACE]);

    fn encode(&mut self, segment: u16) {
        let (len, rest) = self.0.split_at_mut(size_of::<usize>());
        len.copy_from_slice(&SEGMENT_CONTROL_LEN.to_ne_bytes());
        rest[0..4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        rest[4..8].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        rest[8..10].copy_from_slice(&segment.to_ne_bytes());
    }
}

/// A socket address as the kernel reads and writes it.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct Name([u8; NAME_LEN]);

impl Name {
    const EMPTY: Self = Self([0; NAME_LEN]);

    /// Writes `address` and returns its length (`sockaddr_in` 16, `sockaddr_in6` 28 bytes).
    fn encode(&mut self, address: SocketAddr) -> socklen_t {
        self.0 = [0; NAME_LEN];
        self.0[2..4].copy_from_slice(&address.port().to_be_bytes());
        match address {
            SocketAddr::V4(v4) => {
                self.0[..2].copy_from_slice(&FAMILY_V4.to_ne_bytes());
                self.0[4..8].copy_from_slice(&v4.ip().octets());
                length_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                self.0[..2].copy_from_slice(&FAMILY_V6.to_ne_bytes());
                self.0[8..24].copy_from_slice(&v6.ip().octets());
                self.0[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                length_of::<libc::sockaddr_in6>()
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, reason = "2 and 10")]
const FAMILY_V4: u16 = libc::AF_INET as u16;
#[expect(clippy::cast_possible_truncation, reason = "2 and 10")]
const FAMILY_V6: u16 = libc::AF_INET6 as u16;

/// Reads a socket address; an IPv4 address mapped into IPv6 comes back as IPv4.
fn decode_address(name: &[u8]) -> Option<SocketAddr> {
    let family = u16::from_ne_bytes(*name.first_chunk()?);
    let port = u16::from_be_bytes(*name.get(2..)?.first_chunk()?);
    if family == FAMILY_V4 {
        let ip = Ipv4Addr::from(*name.get(4..)?.first_chunk::<4>()?);
        return Some(SocketAddrV4::new(ip, port).into());
    }
    if family != FAMILY_V6 {
        return None;
    }
    let ip = Ipv6Addr::from(*name.get(8..)?.first_chunk::<16>()?);
    let scope = u32::from_ne_bytes(*name.get(24..)?.first_chunk()?);
    Some(match ip.to_ipv4_mapped() {
        Some(v4) => SocketAddr::new(IpAddr::V4(v4), port),
        None => SocketAddrV6::new(ip, port, 0, scope).into(),
    })
}

const EMPTY_VECTOR: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

fn empty_headers<const COUNT: usize>() -> [libc::mmsghdr; COUNT] {
    // SAFETY: `mmsghdr` holds integers and raw pointers, for which all-zero bytes are a value.
    unsafe { mem::zeroed() }
}

#[expect(clippy::cast_possible_truncation, reason = "at most 32")]
const fn message_count(count: usize) -> c_uint {
    assert!(count <= MESSAGES_MAX);
    count as c_uint
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The C library's layout, through another implementation.
    fn reference(address: SocketAddr) -> Vec<u8> {
        let reference = socket2::SockAddr::from(address);
        // SAFETY: the storage is initialised for the length it reports.
        unsafe {
            std::slice::from_raw_parts(reference.as_ptr().cast::<u8>(), reference.len() as usize)
        }
        .to_vec()
    }

    proptest! {
        #[test]
        fn addresses_are_encoded_as_the_c_library_does(
            v4 in any::<[u8; 4]>(), v6 in any::<[u8; 16]>(), port in any::<u16>(),
            scope in any::<u32>(),
        ) {
            let v4 = SocketAddr::from((v4, port));
            let v6 = SocketAddr::from(SocketAddrV6::new(v6.into(), port, 0, scope));
            for address in [v4, v6] {
                let mut name = Name::EMPTY;
                let len = name.encode(address) as usize;
                prop_assert_eq!(&name.0[..len], &reference(address)[..]);
            }
        }

        #[test]
        fn an_address_survives_the_round_trip(
            ip in any::<[u8; 16]>(), port in any::<u16>(), scope in any::<u32>(),
        ) {
            let address = SocketAddr::from(SocketAddrV6::new(ip.into(), port, 0, scope));
            let mut name = Name::EMPTY;
            let len = name.encode(address) as usize;
            prop_assert_eq!(decode_address(&name.0[..len]), Some(address));
        }

        #[test]
        fn any_bytes_decode_without_panic(name in proptest::collection::vec(any::<u8>(), 0..32)) {
            let known = decode_address(&name).is_some();
            prop_assert!(!known || name.len() >= 8);
        }
    }

    #[test]
    fn mapped_addresses_come_back_as_ipv4() {
        let mapped: SocketAddr = "[::ffff:192.0.2.7]:99".parse().expect("a literal");
        let mut name = Name::EMPTY;
        let len = name.encode(mapped) as usize;
        let plain: SocketAddr = "192.0.2.7:99".parse().expect("a literal");
        assert_eq!(decode_address(&name.0[..len]), Some(plain));
    }
}
