//! The few rtnetlink requests a lab needs: bring a device up, give it addresses, make a veth pair,
//! read its counters (rtnetlink(7); attribute numbers from `linux/if_link.h`).
//!
//! Encoded by hand: eight messages do not justify a library. Replies are read with every length
//! checked. A socket stays in the network namespace of the thread that opened it.

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with,
};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

const NLMSG_ERROR: u16 = 2;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;

const FLAG_REQUEST: u16 = 0x1;
const FLAG_ACK: u16 = 0x4;
const FLAG_EXCLUSIVE: u16 = 0x200;
const FLAG_CREATE: u16 = 0x400;

const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_TXQLEN: u16 = 13;
const IFLA_LINKINFO: u16 = 18;
const IFLA_STATS64: u16 = 23;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

const IFF_UP: u32 = 1;
/// No duplicate-address detection: the address works at once.
const IFA_F_NODAD: u8 = 0x02;
const NESTED: u16 = 0x8000;

const HEADER_LEN: usize = 16;
const IFINFO_LEN: usize = 16;
/// A reply about one device takes about 1.5 KiB.
const REPLY_MAX: usize = 32 << 10;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The socket itself failed.
    #[error("netlink socket")]
    Socket(#[source] io::Error),
    /// The kernel refused the request.
    #[error("the kernel refused to {request}")]
    Refused {
        /// What was asked for.
        request: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// The reply does not have the form of one.
    #[error("malformed netlink reply")]
    Malformed,
}

impl From<rustix::io::Errno> for NetlinkError {
    fn from(errno: rustix::io::Errno) -> Self {
        Self::Socket(errno.into())
    }
}

/// Number of a device within its namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkIndex(u32);

/// What a device counted since it exists, seen from its own side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounters {
    /// Packets received.
    pub received: u64,
    /// Packets sent (a large frame counts as one).
    pub sent: u64,
    /// Packets that could not be received.
    pub receive_dropped: u64,
    /// Packets that could not be sent, because the reader was too slow.
    pub send_dropped: u64,
}

/// A request under construction.
struct Message(Vec<u8>);

impl Message {
    fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&(FLAG_REQUEST | flags).to_ne_bytes());
        Self(bytes)
    }

    /// About the device `link`: flags that `change` selects become those of `flags`.
    fn link(kind: u16, flags: u16, link: LinkIndex, up: bool) -> Self {
        Self::new(kind, flags).ifinfo(link, up)
    }

    fn ifinfo(mut self, link: LinkIndex, up: bool) -> Self {
        let flags = if up { IFF_UP } else { 0 };
        self.0.extend_from_slice(&[0; 4]);
        for word in [link.0, flags, flags] {
            self.0.extend_from_slice(&word.to_ne_bytes());
        }
        self
    }

    fn address(kind: u16, flags: u16, link: LinkIndex, address: IpAddr, prefix_len: u8) -> Self {
        let (family, octets) = match address {
            IpAddr::V4(v4) => (libc::AF_INET, v4.octets().to_vec()),
            IpAddr::V6(v6) => (libc::AF_INET6, v6.octets().to_vec()),
        };
        let family = u8::try_from(family).expect("AF_INET and AF_INET6 are small");
        let mut message = Self::new(kind, flags);
        message.0.extend_from_slice(&[family, prefix_len, IFA_F_NODAD, 0]);
        message.0.extend_from_slice(&link.0.to_ne_bytes());
        message.attribute(IFA_LOCAL, &octets).attribute(IFA_ADDRESS, &octets)
    }

    fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(4 + value.len()).expect("attributes here are below 1 KiB");
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn name(self, name: &str) -> Self {
        self.attribute(IFLA_IFNAME, &[name.as_bytes(), &[0]].concat())
    }

    fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    fn nested(self, kind: u16, inside: &Self) -> Self {
        self.attribute(kind | NESTED, &inside.0)
    }

    fn body() -> Self {
        Self(Vec::new())
    }

    fn seal(mut self, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).expect("requests here are below 1 KiB");
        self.0[0..4].copy_from_slice(&len.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// A connection to the routing side of the kernel, in one network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

impl Netlink {
    /// Opens one in the namespace of the calling thread.
    ///
    /// # Errors
    /// [`NetlinkError::Socket`].
    pub fn open() -> Result<Self, NetlinkError> {
        // Protocol 0 is NETLINK_ROUTE.
        let socket =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Finds a device by name.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`] with `ENODEV` if there is none.
    pub fn index_of(&mut self, name: &str) -> Result<LinkIndex, NetlinkError> {
        let message = Message::link(RTM_GETLINK, 0, LinkIndex(0), false).name(name);
        let reply = self.request("find a device", message)?;
        reply
            .get(4..8)
            .and_then(|b| b.try_into().ok())
            .map(u32::from_ne_bytes)
            .map(LinkIndex)
            .ok_or(NetlinkError::Malformed)
    }

    /// Brings a device up.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub fn set_up(&mut self, link: LinkIndex) -> Result<(), NetlinkError> {
        self.request("bring a device up", Message::link(RTM_NEWLINK, FLAG_ACK, link, true))?;
        Ok(())
    }

    /// Sets MTU (bytes) and length of the sending queue (packets).
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub fn set_size(
        &mut self,
        link: LinkIndex,
        mtu: u16,
        queue_len: u32,
    ) -> Result<(), NetlinkError> {
        let message = Message::link(RTM_NEWLINK, FLAG_ACK, link, false)
            .number(IFLA_MTU, u32::from(mtu))
            .number(IFLA_TXQLEN, queue_len);
        self.request("set MTU and queue length", message)?;
        Ok(())
    }

    /// Gives a device an address that works at once.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub fn add_address(
        &mut self,
        link: LinkIndex,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<(), NetlinkError> {
        let flags = FLAG_ACK | FLAG_CREATE | FLAG_EXCLUSIVE;
        let message = Message::address(RTM_NEWADDR, flags, link, address, prefix_len);
        self.request("add an address", message)?;
        Ok(())
    }

    /// Takes an address from a device.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub fn delete_address(
        &mut self,
        link: LinkIndex,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<(), NetlinkError> {
        let message = Message::address(RTM_DELADDR, FLAG_ACK, link, address, prefix_len);
        self.request("take an address away", message)?;
        Ok(())
    }

    /// Makes a pair of joined devices: `name` here, `peer_name` in the namespace `peer`.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub fn add_veth(
        &mut self,
        name: &str,
        peer_name: &str,
        peer: BorrowedFd<'_>,
    ) -> Result<(), NetlinkError> {
        let namespace =
            u32::try_from(peer.as_raw_fd()).expect("an open descriptor is not negative");
        let other_end = Message::body()
            .ifinfo(LinkIndex(0), false)
            .name(peer_name)
            .number(IFLA_NET_NS_FD, namespace);
        let pair = Message::body().nested(VETH_INFO_PEER, &other_end);
        let kind = Message::body().attribute(IFLA_INFO_KIND, b"veth").nested(IFLA_INFO_DATA, &pair);
        let flags = FLAG_ACK | FLAG_CREATE | FLAG_EXCLUSIVE;
        let message = Message::link(RTM_NEWLINK, flags, LinkIndex(0), false)
            .name(name)
            .nested(IFLA_LINKINFO, &kind);
        self.request("make a veth pair", message)?;
        Ok(())
    }

    /// Removes a device.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`].
    pub fn delete(&mut self, link: LinkIndex) -> Result<(), NetlinkError> {
        self.request("remove a device", Message::link(RTM_DELLINK, FLAG_ACK, link, false))?;
        Ok(())
    }

    /// Reads a device's counters.
    ///
    /// # Errors
    /// [`NetlinkError::Refused`]; [`NetlinkError::Malformed`] if the reply has none.
    pub fn counters(&mut self, link: LinkIndex) -> Result<LinkCounters, NetlinkError> {
        let message = Message::link(RTM_GETLINK, 0, link, false);
        let reply = self.request("read counters", message)?;
        let attributes = reply.get(IFINFO_LEN..).ok_or(NetlinkError::Malformed)?;
        let stats = find_attribute(attributes, IFLA_STATS64).ok_or(NetlinkError::Malformed)?;
        let words = stats.as_chunks::<8>().0;
        let word = |at: usize| words.get(at).map(|word| u64::from_ne_bytes(*word));
        // struct rtnl_link_stats64: packets, bytes, errors, dropped, each received then sent.
        match (word(0), word(1), word(6), word(7)) {
            (Some(received), Some(sent), Some(receive_dropped), Some(send_dropped)) => {
                Ok(LinkCounters { received, sent, receive_dropped, send_dropped })
            }
            _ => Err(NetlinkError::Malformed),
        }
    }

    /// Sends one request and gives the body of its reply, without the netlink header; empty for
    /// an acknowledgement.
    fn request(&mut self, what: &'static str, message: Message) -> Result<Vec<u8>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = message.seal(self.sequence);
        send(&self.socket, &bytes, SendFlags::empty())?;
        let mut buffer = vec![0; REPLY_MAX];
        loop {
            let (len, _) = recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())?;
            let (header, body) = buffer[..len.min(REPLY_MAX)]
                .split_first_chunk::<HEADER_LEN>()
                .ok_or(NetlinkError::Malformed)?;
            let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
            if u32::from_ne_bytes(word(8)) != self.sequence {
                continue;
            }
            if u16::from_ne_bytes([header[4], header[5]]) == NLMSG_ERROR {
                return acknowledgement(what, body);
            }
            return Ok(body.to_vec());
        }
    }
}

fn acknowledgement(request: &'static str, body: &[u8]) -> Result<Vec<u8>, NetlinkError> {
    let code = body.first_chunk::<4>().ok_or(NetlinkError::Malformed)?;
    match i32::from_ne_bytes(*code) {
        0 => Ok(Vec::new()),
        code => {
            let source = io::Error::from_raw_os_error(code.saturating_neg());
            Err(NetlinkError::Refused { request, source })
        }
    }
}

/// The value of the first attribute of this kind.
fn find_attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let header = attributes.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]);
        let value = attributes.get(4..len)?;
        if kind & !NESTED == wanted {
            return Some(value);
        }
        attributes = attributes.get(len.next_multiple_of(4)..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_found_and_bad_lengths_end_the_search() {
        let message = Message::body().name("lo").number(IFLA_MTU, 1500);
        assert_eq!(find_attribute(&message.0, IFLA_IFNAME), Some(b"lo\0".as_slice()));
        assert_eq!(find_attribute(&message.0, IFLA_MTU), Some(1500u32.to_ne_bytes().as_slice()));
        assert_eq!(find_attribute(&message.0, IFLA_TXQLEN), None);
        for len in [0u16, 3, 9, 65_535] {
            let mut bad = message.0.clone();
            bad[0..2].copy_from_slice(&len.to_ne_bytes());
            assert_eq!(find_attribute(&bad, IFLA_TXQLEN), None, "length {len}");
        }
    }

    #[test]
    fn the_loopback_device_is_found_and_an_unknown_one_is_refused() {
        let mut netlink = Netlink::open().expect("netlink needs no rights");
        let lo = netlink.index_of("lo").expect("every namespace has lo");
        assert_eq!(lo, LinkIndex(1));
        assert!(netlink.counters(lo).is_ok());
        let error = netlink.index_of("no-such-device").expect_err("there is none");
        assert!(matches!(error, NetlinkError::Refused { .. }), "{error}");
    }
}
