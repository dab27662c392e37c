//! Keys of the lanes: derived from the TLS session, one per direction, ratcheted epoch by epoch.
//!
//! Seals and opens single packets in place. It keeps no replay window, reads no header fields and
//! knows no clock: whoever owns the lane checks the window first, and takes new keys and retires
//! old ones in time.
//!
//! ```text
//! TLS exporter -> secret(0) -> secret(1) -> ...     HKDF-Expand(secret, "farhaul rekey")
//!                    |            |
//!                 key, iv      key, iv              HKDF-Expand(secret, "farhaul key" | "farhaul iv")
//! nonce = iv xor packet number;  a new epoch after 2^22 packets, 16 GiB, or when asked
//! ```
//! spec: W-026

use std::fmt;

use farhaul_proto::ids::PacketNumber;
use farhaul_proto::limits::{
    BYTES_PER_EPOCH, EPOCHS_AHEAD_MAX, FORGERY_LIMIT, PACKETS_PER_EPOCH, PACKETS_PER_KEY_MAX,
    TAG_LEN,
};
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::number::KeyEpoch;
use zeroize::Zeroize;

use derive::{Secret, expand, ratchet};

mod aead;
mod derive;
mod salt;

pub use aead::{Aead, Aes256Gcm, KEY_LEN, NONCE_LEN};
pub use derive::{DirectionSecret, EXPORTER_LABEL, LaneIds, LaneSecrets, PROTOCOL_VERSION, Side};
pub use salt::Salts;

const INFO_KEY: &[u8] = b"farhaul key";
const INFO_IV: &[u8] = b"farhaul iv";

/// The key of one epoch.
struct EpochKey<A> {
    epoch: KeyEpoch,
    iv: [u8; NONCE_LEN],
    cipher: A,
}

impl<A: Aead> EpochKey<A> {
    fn new(epoch: KeyEpoch, secret: &Secret) -> Self {
        let mut key = Secret::default();
        expand(secret, INFO_KEY, &mut key[..]);
        let mut iv = [0; NONCE_LEN];
        expand(secret, INFO_IV, &mut iv);
        Self { epoch, iv, cipher: A::new(&key) }
    }

    #[inline]
    fn nonce(&self, number: PacketNumber) -> [u8; NONCE_LEN] {
        nonce(self.iv, number)
    }
}

impl<A> Drop for EpochKey<A> {
    fn drop(&mut self) {
        self.iv.zeroize();
    }
}

/// The IV with the packet number, in network order, folded into its last 8 bytes (the
/// construction of RFC 8446 section 5.3).
#[inline]
fn nonce(mut iv: [u8; NONCE_LEN], number: PacketNumber) -> [u8; NONCE_LEN] {
    for (byte, number) in iv[NONCE_LEN - 8..].iter_mut().zip(number.get().to_be_bytes()) {
        *byte ^= number;
    }
    iv
}

/// Why a packet was not sealed; the caller is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The number was used, or passed over: sealing with it could repeat a nonce.
    #[error("packet number {number} is behind the next free one, {next}")]
    NumberReused {
        /// The number given.
        number: PacketNumber,
        /// The smallest number that may be used.
        next: PacketNumber,
    },
    /// The key has sealed as many packets as its cipher bears: the next one was never taken.
    #[error("the key has sealed {PACKETS_PER_KEY_MAX} packets")]
    Exhausted,
    /// The body is longer than the cipher takes (64 GiB).
    #[error("a packet of {len} bytes is too long for the cipher")]
    TooLong {
        /// Length of the body.
        len: usize,
    },
}

/// Seals the packets of one direction of one lane. Numbers only go up.
pub struct SealKey<A: Aead = Aes256Gcm> {
    secret: Secret,
    key: EpochKey<A>,
    next: PacketNumber,
    /// Sealed under this key.
    packets: u64,
    bytes: Bytes,
}

impl<A: Aead> SealKey<A> {
    fn new(secret: Secret) -> Self {
        let key = EpochKey::new(KeyEpoch::new(0), &secret);
        Self { key, secret, next: PacketNumber::new(0), packets: 0, bytes: Bytes::ZERO }
    }

    /// The smallest packet number that may be sealed.
    pub const fn next_number(&self) -> PacketNumber {
        self.next
    }

    /// The epoch of the next packet, which its header has to name. Takes the next key first when
    /// this one has sealed its share. spec: W-023
    #[inline]
    pub fn epoch(&mut self) -> KeyEpoch {
        if self.packets >= PACKETS_PER_EPOCH || self.bytes >= BYTES_PER_EPOCH {
            self.rekey();
        }
        self.key.epoch
    }

    /// Whether a packet was sealed with this key.
    pub const fn has_sealed(&self) -> bool {
        self.packets > 0
    }

    /// Takes the next key; earlier ones cannot be derived again.
    #[cold]
    pub fn rekey(&mut self) {
        self.secret = ratchet(&self.secret);
        self.key = EpochKey::new(self.key.epoch.next(), &self.secret);
        (self.packets, self.bytes) = (0, Bytes::ZERO);
    }

    /// Encrypts `body` in place, authenticates it together with `header`, writes the tag.
    ///
    /// Errors: see [`SealError`]; nothing was written then.
    #[inline]
    pub fn seal_in_place(
        &mut self,
        number: PacketNumber,
        header: &[u8],
        body: &mut [u8],
        tag_out: &mut [u8; TAG_LEN],
    ) -> Result<(), SealError> {
        if number < self.next {
            return Err(SealError::NumberReused { number, next: self.next });
        }
        if self.packets >= PACKETS_PER_KEY_MAX {
            return Err(SealError::Exhausted);
        }
        // The number counts as used whatever happens next. The last one of all is given up, for
        // `next` could not move past it.
        self.next = number.next();
        if self.next == number {
            return Err(SealError::NumberReused { number, next: self.next });
        }
        self.packets += 1;
        self.bytes += Bytes::of_len(body.len());
        let sealed = self.key.cipher.seal(self.key.nonce(number), header, body);
        *tag_out = sealed.ok_or(SealError::TooLong { len: body.len() })?;
        Ok(())
    }
}

impl<A: Aead> fmt::Debug for SealKey<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealKey").field("next", &self.next).finish_non_exhaustive()
    }
}

/// Why a packet was not opened. None of these is ever answered on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Shorter than a tag.
    #[error("a packet of {len} bytes after its header has no room for the tag")]
    TooShort {
        /// Bytes after the header.
        len: usize,
    },
    /// Its key was retired, or is further ahead than a peer goes: it is very late, or forged.
    #[error("there is no key for the epoch byte {epoch_byte}")]
    NoKey {
        /// The low 8 bits of the epoch.
        epoch_byte: u8,
    },
    /// Header, body or tag are not what the peer sealed.
    #[error("the packet is not authentic")]
    Forged,
    /// So many forgeries were tried that one might succeed: the session must be closed.
    #[error("more than {FORGERY_LIMIT} forgeries on this key")]
    Exhausted,
}

/// Opens the packets of one direction of one lane, in any order within the epochs that are live:
/// the previous, the current, and up to [`EPOCHS_AHEAD_MAX`] ahead.
pub struct OpenKey<A: Aead = Aes256Gcm> {
    /// Secret of the newest derived epoch.
    secret: Secret,
    /// Keys in ascending order of epoch, without gaps.
    keys: Vec<EpochKey<A>>,
    /// The newest epoch of which an authentic packet was seen.
    current: KeyEpoch,
    forgeries: u64,
}

impl<A: Aead> OpenKey<A> {
    fn new(secret: Secret) -> Self {
        let mut keys = Vec::with_capacity(KEYS_LIVE_MAX);
        let current = KeyEpoch::new(0);
        keys.push(EpochKey::new(current, &secret));
        Self { secret, keys, current, forgeries: 0 }
    }

    /// How many packets failed authentication under any key so far.
    pub const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// The newest epoch of which an authentic packet was seen.
    pub const fn epoch(&self) -> KeyEpoch {
        self.current
    }

    /// Checks `header`, body and tag, and decrypts in place; returns the plaintext. `epoch_byte` is
    /// what the header says about the key.
    ///
    /// Errors: see [`OpenError`]; `body_and_tag` must not be used then.
    #[inline]
    pub fn open_in_place<'a>(
        &mut self,
        number: PacketNumber,
        epoch_byte: u8,
        header: &[u8],
        body_and_tag: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        if body_and_tag.len() < TAG_LEN {
            return Err(OpenError::TooShort { len: body_and_tag.len() });
        }
        if self.forgeries >= FORGERY_LIMIT {
            return Err(OpenError::Exhausted);
        }
        let epoch = self.current.near(epoch_byte).ok_or(OpenError::NoKey { epoch_byte })?;
        let key = self.key_of(epoch)?;
        let Some(body) = key.cipher.open(key.nonce(number), header, body_and_tag) else {
            self.forgeries += 1;
            return Err(OpenError::Forged);
        };
        if epoch > self.current {
            self.current = epoch;
            self.keys.retain(|key| key.epoch.next() >= epoch);
        }
        Ok(body)
    }

    /// Forgets the key of the previous epoch; to be called when no packet under it can still be
    /// on its way (3 PTO after the epoch began, at most 5 s).
    pub fn retire_previous(&mut self) {
        let current = self.current;
        self.keys.retain(|key| key.epoch >= current);
    }

    #[inline]
    fn key_of(&mut self, epoch: KeyEpoch) -> Result<&EpochKey<A>, OpenError> {
        let ahead = epoch.get().checked_sub(self.keys[0].epoch.get());
        let retired = OpenError::NoKey { epoch_byte: epoch.wire_byte() };
        let index = ahead.and_then(|ahead| usize::try_from(ahead).ok()).ok_or(retired)?;
        // Derived keys stay, so that forged epochs cost one derivation each and not one a packet.
        while index >= self.keys.len() {
            self.derive_next();
        }
        Ok(&self.keys[index])
    }

    #[cold]
    fn derive_next(&mut self) {
        let newest = self.keys.last().map_or(self.current, |key| key.epoch);
        self.secret = ratchet(&self.secret);
        self.keys.push(EpochKey::new(newest.next(), &self.secret));
        debug_assert!(self.keys.len() <= KEYS_LIVE_MAX);
    }
}

/// Previous, current and those ahead.
const KEYS_LIVE_MAX: usize = 4;
const _: () = assert!(KEYS_LIVE_MAX as u64 == 2 + EPOCHS_AHEAD_MAX);

impl<A: Aead> fmt::Debug for OpenKey<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenKey")
            .field("epoch", &self.current)
            .field("forgeries", &self.forgeries)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
