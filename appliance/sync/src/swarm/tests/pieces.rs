//! Pieces follow from the list alone, and hold each byte of it once.

use crate::chunk::{Chunk, ChunkId};
use crate::message::ByteRange;
use crate::swarm::pieces::{Pieces, Placed, piece_size};
use crate::swarm::{Part, Terms};
use farhaul_proto::units::Bytes;
use proptest::prelude::*;

/// Chunks of these lengths, each behind so many zeros.
fn pieces_of(list: &[(u32, u32)]) -> Pieces {
    let (mut chunks, mut offset) = (Vec::new(), 0);
    for (at, (zeros, len)) in list.iter().enumerate() {
        offset += u64::from(*zeros);
        let mut id = [0; 32];
        id[..8].copy_from_slice(&(at as u64).to_be_bytes());
        chunks.push(Placed { offset, chunk: Chunk { id: ChunkId(id), len: *len } });
        offset += u64::from(*len);
    }
    Pieces::of_list(chunks)
}

#[test]
fn the_length_of_pieces_depends_on_what_is_in_the_file_alone() {
    let sizes = [
        (0, 18),
        (1 << 28, 18),
        (1 << 30, 20),
        ((1 << 30) + 1024, 21),
        (1 << 33, 23),
        (1 << 40, 24),
    ];
    for (data, bits) in sizes {
        assert_eq!(piece_size(Bytes::new(data)), 1 << bits, "{data}");
    }
}

#[test]
fn zeros_between_chunks_make_pieces_no_longer() {
    let chunk = 128 << 10;
    let dense = pieces_of(&[(0, chunk); 64]);
    let sparse = pieces_of(&[(1 << 30, chunk); 64]);
    assert_eq!(dense.count(), 32);
    assert_eq!(sparse.lengths(), dense.lengths());
}

proptest! {
    #[test]
    fn each_byte_of_the_list_is_in_one_piece_and_found_in_the_file(
        list in proptest::collection::vec((0_u32..3 << 14, 1_u32..1 << 20), 1..40),
        asked in (0_u32..1 << 21, 1_u32..1 << 21),
    ) {
        let pieces = pieces_of(&list);
        prop_assert!(pieces.is_spreadable());
        let all: u64 = list.iter().map(|(_, len)| u64::from(*len)).sum();
        prop_assert_eq!(pieces.lengths().iter().map(|len| u64::from(*len)).sum::<u64>(), all);
        let terms = Terms::new(pieces.lengths().to_vec(), Vec::new()).expect("few");
        let mut next = 0;
        for piece in 0..pieces.count() {
            prop_assert_eq!(pieces.within(piece).start, next);
            next = pieces.within(piece).end;
            let is_last = piece + 1 == pieces.count();
            prop_assert!(is_last || u64::from(terms.bytes(piece)) >= piece_size(Bytes::new(all)));
            // All of it stands where its chunks do, in order.
            let whole = pieces.wanted(terms.whole(piece), |_| true);
            prop_assert_eq!(&whole, &[ByteRange { offset: 0, len: u64::from(terms.bytes(piece)) }]);
            let found: u64 = pieces.in_file(piece, &whole).iter().map(|range| range.len).sum();
            prop_assert_eq!(found, u64::from(terms.bytes(piece)));
            // And so does any part of it.
            let (from, to) = (asked.0.min(terms.bytes(piece)), asked.0.saturating_add(asked.1));
            let part = Part { chunk: piece, from, to: to.min(terms.bytes(piece)) };
            let some = pieces.wanted(part, |at| at % 2 == 0);
            let bytes = |ranges: &[ByteRange]| ranges.iter().map(|range| range.len).sum::<u64>();
            prop_assert_eq!(bytes(&pieces.in_file(piece, &some)), bytes(&some));
            prop_assert!(some.iter().all(|r| r.offset >= u64::from(part.from)));
            prop_assert!(some.iter().all(|r| r.offset + r.len <= u64::from(part.to)));
        }
        prop_assert_eq!(next, list.len());
        prop_assert!(pieces.within(pieces.count()).is_empty());
        for (at, placed) in pieces.chunks().iter().enumerate() {
            prop_assert_eq!(pieces.at(placed.offset), Some(at));
        }
    }
}
