//! What the lane header promises: one layout, every length checked, no panic on any bytes.

use super::*;
use proptest::prelude::*;

const LANE: LaneTag = LaneTag::new(0x0102_0304_0506_0708);

fn packet(number: u64) -> PacketId {
    let (epoch, number) = (KeyEpoch::new(0x18d), PacketNumber::new(number));
    PacketId { lane: LANE, epoch, number, salt: 0x5a }
}

fn data_header() -> Header {
    let id = DataId::plain(BlockIndex::new(0x0a0b_0c0d), SymbolId::new(0x00e0_f001));
    Header::data(&packet(0x0001_2345_6789), id, Train::No)
}

/// A whole datagram: the header, then a payload and a tag of zeros.
fn datagram(header: &Header, payload: usize) -> Vec<u8> {
    let mut out = vec![0; header.encoded_len() + payload + TAG_LEN];
    header.encode(&mut out);
    out
}

#[test]
fn a_data_header_has_the_documented_bytes() {
    let mut out = [0; DATA_HEADER_LEN];
    assert_eq!(data_header().encode(&mut out), DATA_HEADER_LEN);
    assert_eq!(out[0], 0x10);
    assert_eq!(out[1], 0x8d);
    assert_eq!(out[2..10], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(out[10..13], [0x45, 0x67, 0x89]);
    assert_eq!(out[13], 0x5a);
    assert_eq!(out[14..18], [0x0a, 0x0b, 0x0c, 0x0d]);
    assert_eq!(out[18..21], [0xe0, 0xf0, 0x01]);
}

#[test]
fn a_packed_header_has_the_documented_bytes() {
    let packed = NonZeroU16::new(0x0155);
    let id = DataId { block: BlockIndex::new(0x0a0b_0c0d), symbol: SymbolId::new(0x1002), packed };
    let header = Header::data(&packet(0x0001_2345_6789), id, Train::No);
    let mut out = [0; DATA_HEADER_LEN];
    assert_eq!(header.encode(&mut out), DATA_HEADER_LEN);
    assert_eq!(out[0], 0x18);
    // 0x155 << 13 | 0x1002
    assert_eq!(out[18..21], [0x2a, 0xb0, 0x02]);
}

#[test]
fn a_packed_block_of_no_symbols_is_refused() {
    let mut bytes = datagram(&data_header(), 64);
    bytes[0] = 0x18;
    bytes[18..21].copy_from_slice(&[0, 0x1f, 0xff]);
    assert_eq!(Header::decode(&bytes), Err(HeaderError::PackedNothing));
}

#[test]
fn a_train_differs_from_plain_data_in_the_kind_alone() {
    let header = data_header();
    let id = header.data.expect("a data header has an id");
    let train = Header::data(&packet(0x0001_2345_6789), id, Train::Member);
    assert_eq!(Header { kind: Kind::DataTrain, ..header }, train);
}

#[test]
fn only_whole_symbols_are_data() {
    let header = data_header();
    for payload in [64, 128, 1152, 1408, 8896] {
        assert_eq!(Header::decode(&datagram(&header, payload)), Ok((header, 21)));
    }
    let decoded = Header::decode(&datagram(&header, 1400));
    assert_eq!(decoded, Err(HeaderError::SymbolSize { len: 1400 }));
    assert!(matches!(
        Header::decode(&datagram(&header, 8960)),
        Err(HeaderError::TooLong { len: 8997 })
    ));
    assert!(matches!(Header::decode(&datagram(&header, 0)), Err(HeaderError::TooShort { .. })));
}

#[test]
fn a_header_without_room_for_its_tag_is_too_short() {
    let header = Header::plain(Kind::Pad, &packet(1));
    let whole = datagram(&header, 0);
    assert_eq!(Header::decode(&whole), Ok((header, PLAIN_HEADER_LEN)));
    for len in 0..whole.len() {
        assert_eq!(Header::decode(&whole[..len]), Err(HeaderError::TooShort { len }));
    }
}

#[test]
fn a_path_challenge_that_does_not_prove_the_mtu_is_refused() {
    let header = Header::plain(Kind::PathChallenge, &packet(1));
    let shortest = PATH_DATAGRAM_MIN - PLAIN_HEADER_LEN - TAG_LEN;
    assert!(Header::decode(&datagram(&header, shortest)).is_ok());
    assert_eq!(
        Header::decode(&datagram(&header, shortest - 1)),
        Err(HeaderError::TooShort { len: PATH_DATAGRAM_MIN - 1 })
    );
}

#[test]
fn other_versions_and_unknown_kinds_are_told_apart() {
    let mut bytes = datagram(&data_header(), 64);
    bytes[0] = 0x20;
    assert_eq!(Header::decode(&bytes), Err(HeaderError::Version { version: 2 }));
    bytes[0] = 0x1a;
    assert_eq!(Header::decode(&bytes), Err(HeaderError::Kind { kind: 10 }));
}

#[test]
fn quic_and_stun_are_never_taken_for_a_lane() {
    for first in 0..=u8::MAX {
        let quic = first & 0x40 != 0 || first & 0x80 != 0;
        let stun = first < 4;
        assert_eq!(is_lane(first), !quic && !stun, "first byte {first:#04x}");
        let lane_kind = first >> 4 == VERSION && usize::from(first & 15) < Kind::ALL.len();
        assert!(is_lane(first) || !lane_kind);
    }
}

fn any_header() -> impl Strategy<Value = Header> {
    let ids = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u8>());
    let parts = (0..Kind::ALL.len(), ids, any::<u32>(), 0..SYMBOL_ID_END);
    parts.prop_map(|(kind, (lane, epoch, number, salt), block, symbol)| {
        let (kind, lane) = (Kind::ALL[kind], LaneTag::new(lane));
        let (epoch, number) = (KeyEpoch::new(epoch), PacketNumber::new(number));
        let packet = PacketId { lane, epoch, number, salt };
        let train = if kind.is_train() { Train::Member } else { Train::No };
        let block = BlockIndex::new(block);
        match kind {
            Kind::Data | Kind::DataTrain => {
                let id = DataId::plain(block, SymbolId::new(symbol));
                Header::data(&packet, id, train)
            }
            Kind::Packed | Kind::PackedTrain => {
                let symbols = u16::try_from(symbol % u32::from(PACKED_SYMBOLS_MAX)).unwrap() + 1;
                let symbol = SymbolId::new(symbol % PACKED_SYMBOL_ID_END);
                let id = DataId { block, symbol, packed: NonZeroU16::new(symbols) };
                Header::data(&packet, id, train)
            }
            _ => Header::plain(kind, &packet),
        }
    })
}

proptest! {
    #[test]
    fn every_header_survives_in_a_datagram_of_its_shortest_and_longest_payload(
        header in any_header(),
    ) {
        let lens = header.kind.payload_len();
        for payload in [*lens.start(), *lens.end()] {
            let decoded = Header::decode(&datagram(&header, payload));
            prop_assert_eq!(decoded, Ok((header, header.encoded_len())));
        }
    }

    #[test]
    fn whatever_decodes_encodes_to_the_same_bytes(
        first in any::<u8>(),
        rest in proptest::collection::vec(any::<u8>(), 0..1500),
    ) {
        let mut bytes = rest;
        bytes.insert(0, first);
        if let Ok((header, len)) = Header::decode(&bytes) {
            let mut out = [0; DATA_HEADER_LEN];
            prop_assert_eq!(header.encode(&mut out), len);
            prop_assert_eq!(&out[..len], &bytes[..len]);
        }
    }
}
