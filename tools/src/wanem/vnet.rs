//! The virtio-net header that stands before each packet of a TUN device with `IFF_VNET_HDR`
//! (virtio 1.2, section 5.1.6; legacy layout, host byte order).
//!
//! It only translates; what the fields mean for a packet is `segment`'s business.

/// What a frame is to be cut into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GsoKind {
    /// Nothing: it is one packet.
    #[default]
    None,
    /// TCP segments over IPv4.
    Tcp4,
    /// TCP segments over IPv6.
    Tcp6,
    /// UDP datagrams over either.
    Udp,
}

const GSO_NONE: u8 = 0;
const GSO_TCP4: u8 = 1;
const GSO_TCP6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;
const FLAG_NEEDS_CHECKSUM: u8 = 1;

/// The header's fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VnetHeader {
    /// True when the checksum field holds only the pseudo header's sum.
    pub needs_checksum: bool,
    /// What the frame is to be cut into.
    pub gso: GsoKind,
    /// True when the first TCP segment alone carries the CWR flag.
    pub ecn: bool,
    /// Bytes of all headers; a hint.
    pub header_len: u16,
    /// Payload bytes of each segment but the last.
    pub gso_size: u16,
    /// Where the checksummed part begins, from the start of the packet.
    pub checksum_start: u16,
    /// Where the checksum lies, from `checksum_start`.
    pub checksum_offset: u16,
}

impl VnetHeader {
    /// Bytes of the encoded header.
    pub const LEN: usize = 10;

    /// Reads the header; `None` when `bytes` is short or names a kind that was not asked for.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::LEN] = bytes.first_chunk()?;
        let word = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let gso = match bytes[1] & !GSO_ECN {
            GSO_NONE => GsoKind::None,
            GSO_TCP4 => GsoKind::Tcp4,
            GSO_TCP6 => GsoKind::Tcp6,
            GSO_UDP_L4 => GsoKind::Udp,
            _ => return None,
        };
        Some(Self {
            needs_checksum: bytes[0] & FLAG_NEEDS_CHECKSUM != 0,
            gso,
            ecn: bytes[1] & GSO_ECN != 0,
            header_len: word(2),
            gso_size: word(4),
            checksum_start: word(6),
            checksum_offset: word(8),
        })
    }

    /// The bytes to put before the packet.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let gso = match self.gso {
            GsoKind::None => GSO_NONE,
            GsoKind::Tcp4 => GSO_TCP4,
            GsoKind::Tcp6 => GSO_TCP6,
            GsoKind::Udp => GSO_UDP_L4,
        };
        let mut bytes = [0; Self::LEN];
        bytes[0] = if self.needs_checksum { FLAG_NEEDS_CHECKSUM } else { 0 };
        bytes[1] = gso | if self.ecn && gso != GSO_NONE { GSO_ECN } else { 0 };
        let words = [self.header_len, self.gso_size, self.checksum_start, self.checksum_offset];
        for (to, word) in bytes[2..].as_chunks_mut::<2>().0.iter_mut().zip(words) {
            *to = word.to_ne_bytes();
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_round_trip() {
        for gso in [GsoKind::None, GsoKind::Tcp4, GsoKind::Tcp6, GsoKind::Udp] {
            let header = VnetHeader {
                needs_checksum: true,
                gso,
                ecn: gso == GsoKind::Tcp4,
                header_len: 54,
                gso_size: 1448,
                checksum_start: 20,
                checksum_offset: 16,
            };
            assert_eq!(VnetHeader::decode(&header.encode()), Some(header));
        }
    }

    #[test]
    fn short_input_and_unknown_kinds_are_refused() {
        assert_eq!(VnetHeader::decode(&[0; 9]), None);
        assert_eq!(VnetHeader::decode(&[0, 3, 0, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
