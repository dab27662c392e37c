//! Lane packets: keys from the live connection, headers, sealing and opening (W-012, W-021 to W-028).
//!
//! Everything stays in the first key epoch, and below 2^23 packets.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

/// Kinds of packets (W-013).
pub mod kind {
    /// One symbol.
    pub const DATA: u8 = 0;
    /// Zeros.
    pub const PAD: u8 = 2;
    /// A report.
    pub const FEEDBACK: u8 = 4;
    /// One symbol of a packed block; its K stands above its ESI (W-117).
    pub const PACKED: u8 = 8;
}

/// Header of a packet without symbol.
const PLAIN: usize = 14;
/// Header of a packet with one.
const WITH_SYMBOL: usize = 21;
const TAG: usize = 16;

/// One direction of a lane.
struct Direction {
    tag: [u8; 8],
    key: LessSafeKey,
    iv: [u8; 12],
}

impl Direction {
    /// From the 40 exported bytes.
    fn new(exported: &[u8; 40]) -> Self {
        let (tag, secret) = exported.split_first_chunk().expect("40 bytes hold 8");
        let prk = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // HKDF-Expand (RFC 5869) of at most one block of output.
        let expand = |info: &[u8]| hmac::sign(&prk, &[info, &[1]].concat());
        let key = UnboundKey::new(&AES_256_GCM, expand(b"farhaul key").as_ref());
        let iv = expand(b"farhaul iv");
        let iv = *iv.as_ref().first_chunk().expect("32 bytes hold 12");
        Self { tag: *tag, key: LessSafeKey::new(key.expect("32 bytes")), iv }
    }

    fn nonce(&self, number: u64) -> Nonce {
        let mut nonce = self.iv;
        let number = number.to_be_bytes();
        nonce[4..].iter_mut().zip(number).for_each(|(byte, number)| *byte ^= number);
        Nonce::assume_unique_for_key(nonce)
    }
}

/// A packet to send, with nothing checked.
#[derive(Clone, Debug)]
pub struct Packet<'a> {
    /// See [`kind`].
    pub kind: u8,
    /// Block and ESI, for kinds that have them.
    pub symbol: Option<(u32, u32)>,
    /// What is sealed.
    pub payload: &'a [u8],
}

/// Makes packets.
pub struct Mouth {
    direction: Direction,
    /// The number of the next packet.
    pub next: u64,
}

impl Mouth {
    /// From the 40 exported bytes of our direction.
    pub fn new(exported: &[u8; 40]) -> Self {
        Self { direction: Direction::new(exported), next: 0 }
    }

    /// The next packet, sealed.
    pub fn seal(&mut self, packet: &Packet<'_>) -> Vec<u8> {
        let number = self.next;
        self.next += 1;
        let mut header = vec![0x10 | packet.kind, 0];
        header.extend(self.direction.tag);
        header.extend(&number.to_be_bytes()[5..]);
        header.push(0x77);
        if let Some((block, esi)) = packet.symbol {
            header.extend(block.to_be_bytes());
            header.extend(&esi.to_be_bytes()[1..]);
        }
        let mut body = packet.payload.to_vec();
        let (nonce, aad) = (self.direction.nonce(number), Aad::from(&header[..]));
        let sealed = self.direction.key.seal_in_place_append_tag(nonce, aad, &mut body);
        sealed.expect("packets are short");
        header.extend(body);
        header
    }
}

/// An opened packet.
#[derive(Clone, Debug)]
pub struct Heard {
    /// Its number.
    pub number: u64,
    /// See [`kind`].
    pub kind: u8,
    /// What it proves to have arrived (W-047).
    pub proof: u16,
    /// Its length at IP level.
    pub bytes: u64,
    /// What was sealed.
    pub payload: Vec<u8>,
}

/// Opens packets.
pub struct Ear {
    direction: Direction,
}

impl Ear {
    /// From the 40 exported bytes of the victim's direction.
    pub fn new(exported: &[u8; 40]) -> Self {
        Self { direction: Direction::new(exported) }
    }

    /// The packet in a datagram, if it is one of this lane.
    pub fn open(&self, datagram: &[u8]) -> Option<Heard> {
        let kind = datagram.first()? & 0x0f;
        let len = if matches!(kind, 2..=7) { PLAIN } else { WITH_SYMBOL };
        let (header, sealed) = datagram.split_at_checked(len)?;
        if header[2..10] != self.direction.tag {
            return None;
        }
        let number = u64::from(u32::from_be_bytes([0, header[10], header[11], header[12]]));
        let tag = sealed.len().checked_sub(TAG)?;
        let proof = u16::from_be_bytes([sealed[tag], sealed[tag + 1]]);
        let mut body = sealed.to_vec();
        let (nonce, aad) = (self.direction.nonce(number), Aad::from(header));
        let payload = self.direction.key.open_in_place(nonce, aad, &mut body).ok()?.to_vec();
        Some(Heard { number, kind, proof, bytes: datagram.len() as u64 + 28, payload })
    }
}
