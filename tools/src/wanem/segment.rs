//! Frames of the kernel's segmentation offload: what they consist of, and how to write any run of
//! their segments as a frame of its own.
//!
//! A frame is parsed once and never cut in memory: a segment is a number, and only the headers are
//! written anew, in front of the untouched payload. Checksums stay unfinished where the kernel left
//! them so (the receiving kernel takes them as verified); [`materialise`] finishes them for packets
//! that are damaged on purpose and for tests. It knows nothing of time or loss.

use super::checksum;
use super::nat::Ports;
use super::vnet::{GsoKind, VnetHeader};
use farhaul_proto::units::Bytes;
use std::ops::Range;

/// Longest IP and L4 headers of a frame with segments; longer ones (chains of IPv6 extensions) are
/// refused.
const HEADERS_MAX: usize = 192;

/// Longest frame: lengths have 16 bits in both IP versions.
const PACKET_MAX: usize = 65_535;

const TCP_CHECKSUM_OFFSET: u16 = 16;
const UDP_CHECKSUM_OFFSET: u16 = 6;
const UDP_HEADER_LEN: usize = 8;
const TCP_FIN_PSH: u8 = 0x01 | 0x08;
const TCP_CWR: u8 = 0x80;
const PROTOCOL_TCP: u8 = 6;
const PROTOCOL_UDP: u8 = 17;

/// Why a frame cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Neither IPv4 nor IPv6, or shorter than its headers say.
    Malformed,
    /// The virtio-net header contradicts the packet.
    Contradiction,
    /// Headers of more bytes than are supported.
    HeadersTooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ip {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transport {
    Tcp,
    Udp,
}

/// How a frame with segments is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    ip: Ip,
    transport: Transport,
    transport_at: usize,
    payload_at: usize,
    segment_payload: usize,
}

/// What is known of a frame: one packet that passes as it is, or many segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    vnet: VnetHeader,
    len: usize,
    layout: Option<Layout>,
    segments: u16,
    is_tcp: bool,
}

/// Consecutive segments of one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Number of the first one, from 0.
    pub first: u16,
    /// How many, at least 1.
    pub count: u16,
}

/// The headers of a run, virtio-net header first; the payload follows from the frame.
#[derive(Clone, Copy, Debug)]
pub struct Headers {
    bytes: [u8; VnetHeader::LEN + HEADERS_MAX],
    len: usize,
}

impl Headers {
    /// The bytes to write before the payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Frame {
    /// Understands `packet`, which came with `vnet` in front.
    ///
    /// # Errors
    /// A [`FrameError`] when the two do not fit together; nothing is read out of bounds.
    pub fn parse(mut vnet: VnetHeader, packet: &[u8]) -> Result<Self, FrameError> {
        if packet.is_empty() || packet.len() > PACKET_MAX {
            return Err(FrameError::Malformed);
        }
        let layout = match vnet.gso {
            GsoKind::None => None,
            _ => Some(Layout::parse(vnet, packet)?),
        };
        let mut segments = 1;
        if let Some(layout) = layout {
            vnet.header_len =
                u16::try_from(layout.payload_at).map_err(|_| FrameError::HeadersTooLong)?;
            let payload = packet.len() - layout.payload_at;
            let count = payload.div_ceil(layout.segment_payload).max(1);
            segments = u16::try_from(count).map_err(|_| FrameError::Contradiction)?;
        }
        Ok(Self { vnet, len: packet.len(), layout, segments, is_tcp: is_tcp(packet) })
    }

    /// True for TCP directly behind the IP header.
    pub fn is_tcp(&self) -> bool {
        self.is_tcp
    }

    /// How many packets the frame stands for.
    pub fn segments(&self) -> u16 {
        self.segments
    }

    /// The run of all its segments.
    pub fn whole(&self) -> Run {
        Run { first: 0, count: self.segments }
    }

    /// Bytes of the frame as it is, headers once.
    pub fn bytes(&self) -> Bytes {
        Bytes::of_len(self.len)
    }

    /// Bytes at IP level of one segment.
    pub fn segment_len(&self, segment: u16) -> Bytes {
        let headers = self.layout.map_or(0, |layout| layout.payload_at);
        Bytes::of_len(headers + self.payload(Run { first: segment, count: 1 }).len())
    }

    /// Where the payload of `run` lies in the packet. A frame without segments is all payload.
    pub fn payload(&self, run: Run) -> Range<usize> {
        let Some(layout) = self.layout else { return 0..self.len };
        let boundary =
            |segment: usize| (layout.payload_at + segment * layout.segment_payload).min(self.len);
        boundary(usize::from(run.first))..boundary(usize::from(run.first) + usize::from(run.count))
    }

    /// True when the kernel left its checksums to whoever sends it.
    pub fn is_unfinished(&self) -> bool {
        self.vnet.needs_checksum
    }

    /// The headers that make `run` a frame of its own.
    pub fn headers(&self, packet: &[u8], run: Run) -> Headers {
        let mut headers =
            Headers { bytes: [0; VnetHeader::LEN + HEADERS_MAX], len: VnetHeader::LEN };
        let Some(layout) = self.layout else {
            headers.bytes[..VnetHeader::LEN].copy_from_slice(&self.vnet.encode());
            return headers;
        };
        headers.len += layout.payload_at;
        let (vnet, rest) = headers.bytes.split_at_mut(VnetHeader::LEN);
        vnet.copy_from_slice(&self.vnet_of(run, layout).encode());
        let ip = &mut rest[..layout.payload_at];
        ip.copy_from_slice(&packet[..layout.payload_at]);
        if run != self.whole() {
            layout.rewrite(ip, run, self.segments, self.payload(run).len());
        }
        headers
    }

    fn vnet_of(&self, run: Run, layout: Layout) -> VnetHeader {
        let several = self.payload(run).len() > layout.segment_payload;
        VnetHeader {
            gso: if several { self.vnet.gso } else { GsoKind::None },
            gso_size: if several { self.vnet.gso_size } else { 0 },
            ecn: self.vnet.ecn && run.first == 0,
            ..self.vnet
        }
    }
}

fn is_tcp(packet: &[u8]) -> bool {
    let protocol = match packet.first().map(|first| first >> 4) {
        Some(4) => packet.get(9),
        Some(6) => packet.get(6),
        _ => None,
    };
    protocol == Some(&PROTOCOL_TCP)
}

impl Layout {
    fn parse(vnet: VnetHeader, packet: &[u8]) -> Result<Self, FrameError> {
        let (ip, ip_len) = parse_ip(packet)?;
        let transport_at = usize::from(vnet.checksum_start);
        let (transport, checksum_offset) = match (vnet.gso, ip) {
            (GsoKind::Tcp4, Ip::V4) | (GsoKind::Tcp6, Ip::V6) => {
                (Transport::Tcp, TCP_CHECKSUM_OFFSET)
            }
            (GsoKind::Udp, _) => (Transport::Udp, UDP_CHECKSUM_OFFSET),
            (GsoKind::None | GsoKind::Tcp4 | GsoKind::Tcp6, _) => {
                return Err(FrameError::Contradiction);
            }
        };
        let fits = vnet.needs_checksum
            && vnet.checksum_offset == checksum_offset
            && vnet.gso_size > 0
            && transport_at >= ip_len
            && (ip == Ip::V6 || transport_at == ip_len);
        if !fits {
            return Err(FrameError::Contradiction);
        }
        let transport_len = match transport {
            Transport::Udp => UDP_HEADER_LEN,
            Transport::Tcp => {
                let offset = packet.get(transport_at + 12).ok_or(FrameError::Malformed)?;
                usize::from(offset >> 4) * 4
            }
        };
        let payload_at = transport_at + transport_len;
        if transport == Transport::Tcp && transport_len < 20 || payload_at > packet.len() {
            return Err(FrameError::Malformed);
        }
        if payload_at > HEADERS_MAX {
            return Err(FrameError::HeadersTooLong);
        }
        let segment_payload = usize::from(vnet.gso_size);
        Ok(Self { ip, transport, transport_at, payload_at, segment_payload })
    }

    /// Makes the headers of the whole frame those of `run`.
    fn rewrite(&self, headers: &mut [u8], run: Run, segments: u16, payload: usize) {
        match self.ip {
            Ip::V4 => self.rewrite_ip4(headers, run, payload),
            Ip::V6 => put_u16(headers, 4, self.payload_at - 40 + payload),
        }
        let addresses = match self.ip {
            Ip::V4 => 12..20,
            Ip::V6 => 8..40,
        };
        let transport_len = self.payload_at - self.transport_at + payload;
        let (protocol, checksum_offset) = match self.transport {
            Transport::Tcp => (PROTOCOL_TCP, TCP_CHECKSUM_OFFSET),
            Transport::Udp => (PROTOCOL_UDP, UDP_CHECKSUM_OFFSET),
        };
        let pseudo = checksum::pseudo_header(&headers[addresses], protocol, transport_len);
        let transport = &mut headers[self.transport_at..];
        put_u16(transport, usize::from(checksum_offset), usize::from(checksum::fold(pseudo)));
        match self.transport {
            Transport::Udp => put_u16(transport, 4, transport_len),
            Transport::Tcp => self.rewrite_tcp(transport, run, segments),
        }
    }

    fn rewrite_ip4(&self, headers: &mut [u8], run: Run, payload: usize) {
        put_u16(headers, 2, self.payload_at + payload);
        // As the kernel's own segmentation does: one identification per segment, counting up.
        let id = u16::from_be_bytes([headers[4], headers[5]]).wrapping_add(run.first);
        put_u16(headers, 4, usize::from(id));
        put_u16(headers, 10, 0);
        let sum = checksum::finish(checksum::add(0, &headers[..self.transport_at]));
        put_u16(headers, 10, usize::from(sum));
    }

    fn rewrite_tcp(&self, tcp: &mut [u8], run: Run, segments: u16) {
        let skipped = usize::from(run.first) * self.segment_payload;
        let skipped = u32::try_from(skipped).expect("a frame is at most 64 KiB");
        let sequence = u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]).wrapping_add(skipped);
        tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
        if run.first + run.count < segments {
            tcp[13] &= !TCP_FIN_PSH;
        }
        if run.first > 0 {
            tcp[13] &= !TCP_CWR;
        }
    }
}

/// The IP version and the length of its fixed header (with options for IPv4).
fn parse_ip(packet: &[u8]) -> Result<(Ip, usize), FrameError> {
    let first = *packet.first().ok_or(FrameError::Malformed)?;
    let (ip, len, len_min) = match first >> 4 {
        4 => (Ip::V4, usize::from(first & 0x0f) * 4, 20),
        6 => (Ip::V6, 40, 40),
        _ => return Err(FrameError::Malformed),
    };
    if len < len_min || packet.len() < len { Err(FrameError::Malformed) } else { Ok((ip, len)) }
}

/// Where addresses, ports and checksum of a UDP or TCP packet lie; `None` for everything else, later
/// fragments included.
pub(crate) fn locate_ports(packet: &[u8]) -> Option<Ports> {
    let (ip, ports_at) = parse_ip(packet).ok()?;
    let (protocol, addresses_at, address_len) = match ip {
        Ip::V4 => (packet[9], 12, 4),
        Ip::V6 => (packet[6], 8, 16),
    };
    if ip == Ip::V4 && u16::from_be_bytes([packet[6], packet[7]]) & 0x1fff != 0 {
        return None;
    }
    let checksum_at = match protocol {
        PROTOCOL_TCP => ports_at + usize::from(TCP_CHECKSUM_OFFSET),
        PROTOCOL_UDP => ports_at + usize::from(UDP_CHECKSUM_OFFSET),
        _ => return None,
    };
    let whole = packet.len() >= checksum_at + 2;
    whole.then_some(Ports { protocol, addresses_at, address_len, ports_at, checksum_at })
}

/// Writes a length or sum; callers pass what fits 16 bits.
fn put_u16(bytes: &mut [u8], at: usize, value: usize) {
    let value = u16::try_from(value).expect("lengths within one frame fit 16 bits");
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes one segment as a finished packet, all checksums computed, into `out` (cleared first),
/// with a virtio-net header in front that says so.
pub fn materialise(frame: &Frame, packet: &[u8], segment: u16, out: &mut Vec<u8>) {
    let run = Run { first: segment, count: 1 };
    let headers = frame.headers(packet, run);
    out.clear();
    out.extend_from_slice(headers.as_bytes());
    out.extend_from_slice(&packet[frame.payload(run)]);
    if frame.vnet.needs_checksum {
        finish_checksum(&mut out[VnetHeader::LEN..], frame.vnet);
    }
    out[..VnetHeader::LEN].copy_from_slice(&VnetHeader::default().encode());
}

/// Replaces the pseudo header's sum by the checksum; leaves a packet alone whose header lies.
fn finish_checksum(packet: &mut [u8], vnet: VnetHeader) {
    let start = usize::from(vnet.checksum_start);
    let field = start + usize::from(vnet.checksum_offset);
    if start > packet.len() || field + 2 > packet.len() {
        return;
    }
    let checksum = match checksum::finish(checksum::add(0, &packet[start..])) {
        // RFC 768: an all-zero field means "no checksum"; for TCP the two zeroes are equal.
        0 => 0xffff,
        sum => sum,
    };
    packet[field..field + 2].copy_from_slice(&checksum.to_be_bytes());
}

/// Damages a finished packet (without virtio-net header): one bit, chosen by `at`.
///
/// A UDP checksum is repaired afterwards, so that the damage reaches the application, as from a
/// middlebox that recomputes checksums. Everything else keeps its checksum, and the receiving
/// kernel drops it.
pub fn damage(packet: &mut [u8], at: u64) {
    let Ok((ip, ip_len)) = parse_ip(packet) else { return };
    let fragmented = ip == Ip::V4 && u16::from_be_bytes([packet[6], packet[7]]) & 0x3fff != 0;
    let protocol = if ip == Ip::V4 { packet[9] } else { packet[6] };
    let udp = protocol == PROTOCOL_UDP && !fragmented && packet.len() > ip_len + UDP_HEADER_LEN;
    let damageable = if udp { ip_len + UDP_HEADER_LEN } else { ip_len }..packet.len();
    let Ok(span) = u64::try_from(damageable.len()) else { return };
    if span == 0 {
        return;
    }
    let offset = usize::try_from((at >> 3) % span).expect("below a usize span");
    packet[damageable.start + offset] ^= 1 << (at & 7);
    if udp && packet[ip_len + 6..ip_len + 8] != [0, 0] {
        let addresses = if ip == Ip::V4 { 12..20 } else { 8..40 };
        let len = packet.len() - ip_len;
        let pseudo = checksum::pseudo_header(&packet[addresses], PROTOCOL_UDP, len);
        put_u16(packet, ip_len + 6, usize::from(checksum::fold(pseudo)));
        let vnet = VnetHeader {
            needs_checksum: true,
            checksum_start: u16::try_from(ip_len).expect("an IP header is at most 60 bytes"),
            checksum_offset: UDP_CHECKSUM_OFFSET,
            ..VnetHeader::default()
        };
        finish_checksum(packet, vnet);
    }
}

#[cfg(test)]
mod tests;
