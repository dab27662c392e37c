//! Keys of the lanes: derived from the TLS session, one per direction, ratcheted by packet number.
//!
//! Seals and opens single packets in place. It keeps no replay window, reads no header fields and
//! knows no clock: whoever owns the lane checks the window first and retires old keys in time.
//!
//! ```text
//! TLS exporter -> secret(0) -> secret(1) -> ...     HKDF-Expand(secret, "farhaul rekey")
//!                    |            |
//!                 key, iv      key, iv              HKDF-Expand(secret, "farhaul key" | "farhaul iv")
//! nonce = iv xor packet number;  epoch = packet number / 2^22
//! ```
//! spec: W-026

use std::fmt;

use farhaul_proto::ids::PacketNumber;
use farhaul_proto::limits::{FORGERY_LIMIT, TAG_LEN};
use farhaul_proto::wire::number;
use zeroize::Zeroize;

use derive::{Secret, expand, ratchet};

mod aead;
mod derive;

pub use aead::{Aead, Aes256Gcm, KEY_LEN, NONCE_LEN};
pub use derive::{DirectionSecret, EXPORTER_LABEL, LaneIds, LaneSecrets, PROTOCOL_VERSION, Side};

const INFO_KEY: &[u8] = b"farhaul key";
const INFO_IV: &[u8] = b"farhaul iv";

/// How many epochs ahead of the newest authentic packet a packet is tried. Random skips and loss
/// never span a whole epoch, so 2 is generous; each costs a derivation that anyone can provoke.
pub const EPOCHS_AHEAD_MAX: u64 = 2;

/// The key of one epoch.
struct EpochKey<A> {
    epoch: u64,
    iv: [u8; NONCE_LEN],
    cipher: A,
}

impl<A: Aead> EpochKey<A> {
    fn new(epoch: u64, secret: &Secret) -> Self {
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
    /// The number skips more epochs than the receiver follows.
    #[error("packet number {number} is more than {EPOCHS_AHEAD_MAX} key epochs ahead")]
    TooFarAhead {
        /// The number given.
        number: PacketNumber,
    },
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
}

impl<A: Aead> SealKey<A> {
    fn new(secret: Secret) -> Self {
        Self { key: EpochKey::new(0, &secret), secret, next: PacketNumber::new(0) }
    }

    /// The smallest packet number that may be sealed.
    pub const fn next_number(&self) -> PacketNumber {
        self.next
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
        if number::epoch_of(number).get() != self.key.epoch {
            self.advance_to(number)?;
        }
        // The number counts as used whatever happens next. The last one of all is given up, for
        // `next` could not move past it.
        self.next = number.next();
        if self.next == number {
            return Err(SealError::NumberReused { number, next: self.next });
        }
        let sealed = self.key.cipher.seal(self.key.nonce(number), header, body);
        *tag_out = sealed.ok_or(SealError::TooLong { len: body.len() })?;
        Ok(())
    }

    /// Derives the key of the number's epoch; earlier ones cannot be derived again.
    #[cold]
    fn advance_to(&mut self, number: PacketNumber) -> Result<(), SealError> {
        let epoch = number::epoch_of(number).get();
        if epoch > self.key.epoch + EPOCHS_AHEAD_MAX {
            return Err(SealError::TooFarAhead { number });
        }
        for _ in self.key.epoch..epoch {
            self.secret = ratchet(&self.secret);
        }
        self.key = EpochKey::new(epoch, &self.secret);
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
    /// Its key was retired: it is very late, or forged.
    #[error("the key of epoch {epoch} is retired")]
    Retired {
        /// The epoch of the packet number.
        epoch: u64,
    },
    /// Its epoch is further ahead than a peer goes: forged.
    #[error("epoch {epoch} is more than {EPOCHS_AHEAD_MAX} ahead")]
    TooFarAhead {
        /// The epoch of the packet number.
        epoch: u64,
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
    current: u64,
    forgeries: u64,
}

impl<A: Aead> OpenKey<A> {
    fn new(secret: Secret) -> Self {
        let mut keys = Vec::with_capacity(KEYS_LIVE_MAX);
        keys.push(EpochKey::new(0, &secret));
        Self { secret, keys, current: 0, forgeries: 0 }
    }

    /// How many packets failed authentication under any key so far.
    pub const fn forgeries(&self) -> u64 {
        self.forgeries
    }

    /// The newest epoch of which an authentic packet was seen.
    pub const fn epoch(&self) -> u64 {
        self.current
    }

    /// Checks `header`, body and tag, and decrypts in place; returns the plaintext.
    ///
    /// Errors: see [`OpenError`]; `body_and_tag` must not be used then.
    #[inline]
    pub fn open_in_place<'a>(
        &mut self,
        number: PacketNumber,
        header: &[u8],
        body_and_tag: &'a mut [u8],
    ) -> Result<&'a mut [u8], OpenError> {
        if body_and_tag.len() < TAG_LEN {
            return Err(OpenError::TooShort { len: body_and_tag.len() });
        }
        if self.forgeries >= FORGERY_LIMIT {
            return Err(OpenError::Exhausted);
        }
        let epoch = number::epoch_of(number).get();
        let key = self.key_of(epoch)?;
        let Some(body) = key.cipher.open(key.nonce(number), header, body_and_tag) else {
            self.forgeries += 1;
            return Err(OpenError::Forged);
        };
        if epoch > self.current {
            self.current = epoch;
            self.keys.retain(|key| key.epoch + 1 >= epoch);
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
    fn key_of(&mut self, epoch: u64) -> Result<&EpochKey<A>, OpenError> {
        let oldest = self.keys[0].epoch;
        let Some(ahead) = epoch.checked_sub(oldest) else {
            return Err(OpenError::Retired { epoch });
        };
        let index = usize::try_from(ahead).unwrap_or(usize::MAX);
        if index >= self.keys.len() {
            self.derive_up_to(epoch)?;
        }
        Ok(&self.keys[index])
    }

    /// Derived keys stay, so that forged numbers cost one derivation per epoch and not per packet.
    #[cold]
    fn derive_up_to(&mut self, epoch: u64) -> Result<(), OpenError> {
        if epoch > self.current + EPOCHS_AHEAD_MAX {
            return Err(OpenError::TooFarAhead { epoch });
        }
        let newest = self.keys.last().map_or(self.current, |key| key.epoch);
        for epoch in newest + 1..=epoch {
            self.secret = ratchet(&self.secret);
            self.keys.push(EpochKey::new(epoch, &self.secret));
        }
        debug_assert!(self.keys.len() <= KEYS_LIVE_MAX);
        Ok(())
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
mod tests {
    use super::*;
    use crate::seal::derive::tests::secrets;
    use farhaul_proto::limits::PACKETS_PER_EPOCH;
    use proptest::prelude::*;
    use ring::aead;

    const HEADER: &[u8] = b"\x04header of a packet..";

    fn pair() -> (SealKey, OpenKey) {
        (secrets(Side::Client, 0).send.seal_key(), secrets(Side::Server, 0).recv.open_key())
    }

    fn sealed(key: &mut SealKey, number: u64, body: &[u8]) -> Result<Vec<u8>, SealError> {
        let (mut packet, mut tag) = (body.to_vec(), [0; TAG_LEN]);
        key.seal_in_place(PacketNumber::new(number), HEADER, &mut packet, &mut tag)?;
        packet.extend(tag);
        Ok(packet)
    }

    fn opened(key: &mut OpenKey, number: u64, packet: &[u8]) -> Result<Vec<u8>, OpenError> {
        let mut packet = packet.to_vec();
        key.open_in_place(PacketNumber::new(number), HEADER, &mut packet).map(|body| body.to_vec())
    }

    #[test]
    fn the_nonce_is_the_iv_with_the_number_in_its_last_eight_bytes() {
        let iv = [0xA0, 0xA1, 0xA2, 0xA3, 0, 0, 0, 0, 0, 0, 0, 0xFF];
        let number = PacketNumber::new(0x0102_0304_0506_0708);
        let expected = [0xA0, 0xA1, 0xA2, 0xA3, 1, 2, 3, 4, 5, 6, 7, 0xF7];
        assert_eq!(nonce(iv, number), expected);
    }

    #[test]
    fn a_packet_is_plain_aes_gcm_under_the_derived_key_and_nonce() {
        let secret = Secret::new([9; KEY_LEN]);
        let mut seal: SealKey = SealKey::new(secret.clone());
        let packet = sealed(&mut seal, 5, b"body").expect("fresh");

        let (mut key, mut iv) = ([0; KEY_LEN], [0; NONCE_LEN]);
        expand(&secret, b"farhaul key", &mut key);
        expand(&secret, b"farhaul iv", &mut iv);
        iv[11] ^= 5;
        let key = aead::LessSafeKey::new(
            aead::UnboundKey::new(&aead::AES_256_GCM, &key).expect("32 bytes"),
        );
        let mut packet = packet;
        let nonce = aead::Nonce::assume_unique_for_key(iv);
        let body = key.open_in_place(nonce, aead::Aad::from(HEADER), &mut packet);
        assert_eq!(body.expect("authentic"), b"body");
    }

    #[test]
    fn a_number_is_sealed_once_and_numbers_never_go_back() {
        let (mut seal, _) = pair();
        sealed(&mut seal, 7, b"x").expect("fresh");
        for number in [7, 6, 0] {
            let error = sealed(&mut seal, number, b"x").expect_err("used or passed over");
            let (number, next) = (PacketNumber::new(number), PacketNumber::new(8));
            assert_eq!(error, SealError::NumberReused { number, next });
        }
        sealed(&mut seal, 9, b"x").expect("skipping is allowed");
    }

    #[test]
    fn keys_change_at_the_epoch_boundary_and_late_packets_still_open() {
        let (mut seal, mut open) = pair();
        let edge = PACKETS_PER_EPOCH;
        let late = sealed(&mut seal, edge - 2, b"late").expect("fresh");
        let last = sealed(&mut seal, edge - 1, b"last").expect("fresh");
        let first = sealed(&mut seal, edge, b"first").expect("fresh");

        assert_eq!(opened(&mut open, edge - 1, &last), Ok(b"last".to_vec()));
        assert_eq!(open.epoch(), 0);
        assert_eq!(opened(&mut open, edge, &first), Ok(b"first".to_vec()));
        assert_eq!(open.epoch(), 1);
        assert_eq!(opened(&mut open, edge - 2, &late), Ok(b"late".to_vec()));
        open.retire_previous();
        assert_eq!(opened(&mut open, edge - 2, &late), Err(OpenError::Retired { epoch: 0 }));
        assert_eq!(opened(&mut open, edge, &first), Ok(b"first".to_vec()));
    }

    #[test]
    fn only_the_previous_epoch_stays_behind_an_authentic_packet() {
        let (mut seal, mut open) = pair();
        let numbers: Vec<u64> = (0..6).map(|epoch| epoch * PACKETS_PER_EPOCH).collect();
        let packets: Vec<Vec<u8>> =
            numbers.iter().map(|&n| sealed(&mut seal, n, b"x").expect("fresh")).collect();
        for epoch in [2, 4, 5] {
            assert!(opened(&mut open, numbers[epoch], &packets[epoch]).is_ok(), "epoch {epoch}");
        }
        assert!(open.keys.len() <= KEYS_LIVE_MAX);
        assert_eq!(
            opened(&mut open, numbers[3], &packets[3]),
            Err(OpenError::Retired { epoch: 3 })
        );
        assert!(opened(&mut open, numbers[4], &packets[4]).is_ok());
    }

    #[test]
    fn forged_numbers_do_not_move_the_epoch_and_derive_at_most_two_keys() {
        let (mut seal, mut open) = pair();
        let honest = sealed(&mut seal, 3, b"honest").expect("fresh");
        for round in 0..10 {
            for epoch in 1..=EPOCHS_AHEAD_MAX {
                let number = epoch * PACKETS_PER_EPOCH + round;
                assert_eq!(opened(&mut open, number, &[0; 40]), Err(OpenError::Forged));
            }
        }
        let far = (EPOCHS_AHEAD_MAX + 1) * PACKETS_PER_EPOCH;
        let error = OpenError::TooFarAhead { epoch: EPOCHS_AHEAD_MAX + 1 };
        assert_eq!(opened(&mut open, far, &[0; 40]), Err(error));
        assert!(opened(&mut open, u64::MAX, &[0; 40]).is_err());
        assert_eq!((open.epoch(), open.forgeries(), open.keys.len()), (0, 20, 3));
        assert_eq!(opened(&mut open, 3, &honest), Ok(b"honest".to_vec()));
    }

    #[test]
    fn sealing_does_not_run_away_from_the_receiver() {
        let (mut seal, _) = pair();
        let number = (EPOCHS_AHEAD_MAX + 1) * PACKETS_PER_EPOCH;
        let error = sealed(&mut seal, number, b"x").expect_err("too far");
        assert_eq!(error, SealError::TooFarAhead { number: PacketNumber::new(number) });
        sealed(&mut seal, number - 1, b"x").expect("within reach");
    }

    #[test]
    fn after_too_many_forgeries_nothing_opens_any_more() {
        let (mut seal, mut open) = pair();
        let packet = sealed(&mut seal, 0, b"x").expect("fresh");
        open.forgeries = FORGERY_LIMIT;
        assert_eq!(opened(&mut open, 0, &packet), Err(OpenError::Exhausted));
    }

    #[test]
    fn what_is_shorter_than_a_tag_is_no_forgery() {
        let (_, mut open) = pair();
        assert_eq!(opened(&mut open, 0, &[0; 15]), Err(OpenError::TooShort { len: 15 }));
        assert_eq!(open.forgeries(), 0);
    }

    proptest! {
        #[test]
        fn what_was_sealed_opens_and_any_changed_byte_is_noticed(
            number in 0..3 * PACKETS_PER_EPOCH, body in proptest::collection::vec(any::<u8>(), 0..1500),
            at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let (mut seal, mut open) = pair();
            let packet = sealed(&mut seal, number, &body).expect("fresh");
            prop_assert_eq!(opened(&mut open, number, &packet), Ok(body));

            let mut whole = [HEADER, &packet[..]].concat();
            whole[at.index(HEADER.len() + packet.len())] ^= flip;
            let (header, packet) = whole.split_at_mut(HEADER.len());
            let result = open.open_in_place(PacketNumber::new(number), header, packet);
            prop_assert_eq!(result.map(|body| body.to_vec()), Err(OpenError::Forged));
            prop_assert_eq!(open.forgeries(), 1);
        }

        #[test]
        fn a_packet_opens_under_no_other_number(number in 0u64..1000, other in 0u64..1000) {
            prop_assume!(number != other);
            let (mut seal, mut open) = pair();
            let packet = sealed(&mut seal, number, b"body").expect("fresh");
            prop_assert_eq!(opened(&mut open, other, &packet), Err(OpenError::Forged));
        }
    }
}
