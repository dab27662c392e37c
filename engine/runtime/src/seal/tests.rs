//! What the keys of the lanes promise: one packet a number, one epoch after the other, and nothing
//! opens that was not sealed.

use super::*;
use crate::seal::derive::tests::secrets;
use proptest::prelude::*;
use ring::aead;

const HEADER: &[u8] = b"\x04header of a packet..";

fn pair() -> (SealKey, OpenKey) {
    (secrets(Side::Client, 0).send.seal_key(), secrets(Side::Server, 0).recv.open_key())
}

/// A sealed packet and the byte that names its key.
fn sealed(key: &mut SealKey, number: u64, body: &[u8]) -> Result<(u8, Vec<u8>), SealError> {
    let (mut packet, mut tag) = (body.to_vec(), [0; TAG_LEN]);
    let epoch = key.epoch();
    key.seal_in_place(PacketNumber::new(number), HEADER, &mut packet, &mut tag)?;
    packet.extend(tag);
    Ok((epoch.wire_byte(), packet))
}

fn opened(
    key: &mut OpenKey,
    number: u64,
    (epoch, packet): &(u8, Vec<u8>),
) -> Result<Vec<u8>, OpenError> {
    let (number, mut packet) = (PacketNumber::new(number), packet.clone());
    key.open_in_place(number, *epoch, HEADER, &mut packet).map(|body| body.to_vec())
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
    let (_, mut packet) = sealed(&mut seal, 5, b"body").expect("fresh");

    let (mut key, mut iv) = ([0; KEY_LEN], [0; NONCE_LEN]);
    expand(&secret, b"farhaul key", &mut key);
    expand(&secret, b"farhaul iv", &mut iv);
    iv[11] ^= 5;
    let key = aead::UnboundKey::new(&aead::AES_256_GCM, &key).expect("32 bytes");
    let key = aead::LessSafeKey::new(key);
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
    seal.rekey();
    assert!(sealed(&mut seal, 7, b"x").is_err(), "not under another key either");
    sealed(&mut seal, 9, b"x").expect("skipping is allowed");
}

#[test]
fn late_packets_of_the_epoch_before_still_open_until_it_is_retired() {
    let (mut seal, mut open) = pair();
    let late = sealed(&mut seal, 1, b"late").expect("fresh");
    let last = sealed(&mut seal, 2, b"last").expect("fresh");
    seal.rekey();
    let first = sealed(&mut seal, 3, b"first").expect("fresh");

    assert_eq!(opened(&mut open, 2, &last), Ok(b"last".to_vec()));
    assert_eq!(open.epoch(), KeyEpoch::new(0));
    assert_eq!(opened(&mut open, 3, &first), Ok(b"first".to_vec()));
    assert_eq!(open.epoch(), KeyEpoch::new(1));
    assert_eq!(opened(&mut open, 1, &late), Ok(b"late".to_vec()));
    open.retire_previous();
    assert_eq!(opened(&mut open, 1, &late), Err(OpenError::NoKey { epoch_byte: 0 }));
    assert_eq!(opened(&mut open, 3, &first), Ok(b"first".to_vec()));
}

#[test]
fn a_key_is_left_after_its_share_of_packets_or_bytes() {
    let (mut seal, _) = pair();
    seal.packets = PACKETS_PER_EPOCH - 1;
    assert_eq!(sealed(&mut seal, 0, b"x").expect("fresh").0, 0);
    assert_eq!(sealed(&mut seal, 1, b"x").expect("fresh").0, 1);
    assert_eq!(seal.packets, 1);
    seal.bytes = BYTES_PER_EPOCH;
    assert_eq!(sealed(&mut seal, 2, b"x").expect("fresh").0, 2);
}

#[test]
fn no_key_seals_more_than_its_cipher_bears() {
    let (mut seal, _) = pair();
    let (mut body, mut tag) = ([0; 4], [0; TAG_LEN]);
    seal.packets = PACKETS_PER_KEY_MAX;
    let refused = seal.seal_in_place(PacketNumber::new(0), HEADER, &mut body, &mut tag);
    assert_eq!(refused, Err(SealError::Exhausted));
    assert_eq!(body, [0; 4]);
}

#[test]
fn only_the_previous_epoch_stays_behind_an_authentic_packet() {
    let (mut seal, mut open) = pair();
    let packets: Vec<_> = (0..6)
        .map(|number| {
            let packet = sealed(&mut seal, number, b"x").expect("fresh");
            seal.rekey();
            packet
        })
        .collect();
    for number in [2, 4, 5] {
        assert!(opened(&mut open, number as u64, &packets[number]).is_ok(), "epoch {number}");
    }
    assert!(open.keys.len() <= KEYS_LIVE_MAX);
    assert_eq!(opened(&mut open, 3, &packets[3]), Err(OpenError::NoKey { epoch_byte: 3 }));
    assert!(opened(&mut open, 4, &packets[4]).is_ok());
}

#[test]
fn forged_epochs_move_nothing_and_derive_at_most_two_keys() {
    let (mut seal, mut open) = pair();
    let honest = sealed(&mut seal, 3, b"honest").expect("fresh");
    for number in 0..10 {
        for epoch in 1..=2 {
            assert_eq!(opened(&mut open, number, &(epoch, vec![0; 40])), Err(OpenError::Forged));
        }
    }
    for epoch_byte in 3..=u8::MAX {
        let forged = opened(&mut open, 1, &(epoch_byte, vec![0; 40]));
        assert_eq!(forged, Err(OpenError::NoKey { epoch_byte }));
    }
    assert_eq!((open.epoch(), open.forgeries(), open.keys.len()), (KeyEpoch::new(0), 20, 3));
    assert_eq!(opened(&mut open, 3, &honest), Ok(b"honest".to_vec()));
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
    assert_eq!(opened(&mut open, 0, &(0, vec![0; 15])), Err(OpenError::TooShort { len: 15 }));
    assert_eq!(open.forgeries(), 0);
}

proptest! {
    #[test]
    fn what_was_sealed_opens_and_any_changed_byte_is_noticed(
        number in any::<u32>(), body in proptest::collection::vec(any::<u8>(), 0..1500),
        at in any::<prop::sample::Index>(), flip in 1u8.., epochs in 0..3,
    ) {
        let (mut seal, mut open) = pair();
        (0..epochs).for_each(|_| seal.rekey());
        let packet = sealed(&mut seal, number.into(), &body).expect("fresh");
        prop_assert_eq!(opened(&mut open, number.into(), &packet), Ok(body));

        let mut whole = [HEADER, &packet.1[..]].concat();
        whole[at.index(HEADER.len() + packet.1.len())] ^= flip;
        let (header, body) = whole.split_at_mut(HEADER.len());
        let result = open.open_in_place(PacketNumber::new(number.into()), packet.0, header, body);
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
