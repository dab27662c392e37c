//! What a receiver takes, what it refuses, and what it lets go.

use super::solve::DIGEST_FAILURES_MAX;
use super::*;
use crate::limits::{BLOCK_DATA, BLOCK_REPAIR_MAX};
use crate::limits::{SYMBOL_SIZE, SYMBOL_SIZE_SMALL};

const SIZE: u16 = SYMBOL_SIZE;
/// Source symbols of a full block.
const K: u32 = 998;

fn block(n: u32) -> BlockIndex {
    BlockIndex::new(n)
}

/// A receiver of one object of `blocks` full blocks, of which `open` may be open.
fn receiver(open: u32, blocks: u64) -> Receiver {
    let mut receiver = Receiver::new(open);
    receiver.on_reported(Duration::ZERO, Timestamp::ZERO);
    receiver.declare(BLOCK_DATA.saturating_mul(blocks), &[]).unwrap();
    receiver
}

fn take(receiver: &mut Receiver, index: u32, symbol: u32) -> Placement {
    receiver.on_symbol(DataId::plain(block(index), SymbolId::new(symbol)), SIZE)
}

/// Repair symbols of one block, of which so many are taken.
fn repair(receiver: &mut Receiver, index: u32, count: u32) -> u32 {
    let taken = |&n: &u32| matches!(take(receiver, index, K + n), Placement::Repair { .. });
    let count = (0..count).filter(taken).count();
    u32::try_from(count).unwrap()
}

#[test]
fn a_symbol_of_a_block_that_nobody_declared_is_refused() {
    let mut receiver = receiver(4, 1);
    assert_eq!(take(&mut receiver, 1, 0), Placement::Refused(Refusal::Undeclared));
    assert_eq!(receiver.counters().refused, 1);
    assert_eq!(receiver.blocks_open(), 0);
}

#[test]
fn a_block_has_a_known_symbol_size_and_begins_anew_with_a_smaller_one() {
    let mut receiver = receiver(4, 2);
    let malformed = Placement::Refused(Refusal::Malformed);
    assert_eq!(receiver.on_symbol(DataId::plain(block(0), SymbolId::new(0)), 1344), malformed);
    assert_eq!(receiver.blocks_open(), 0);
    assert!(matches!(take(&mut receiver, 0, 0), Placement::Source { first: true, .. }));
    assert_eq!(receiver.on_symbol(DataId::plain(block(0), SymbolId::new(1)), 1344), malformed);
    assert!(receiver.on_symbol(DataId::plain(block(0), SymbolId::new(K + 5)), SIZE) != malformed);
    assert_eq!(receiver.repair_held(), 1);
    let small = |receiver: &mut Receiver, n| {
        receiver.on_symbol(DataId::plain(block(0), SymbolId::new(n)), SYMBOL_SIZE_SMALL)
    };
    // Until the body has thrown away what it has, nothing may come between.
    let restarting = Placement::Refused(Refusal::Restarting);
    assert_eq!(small(&mut receiver, 0), restarting);
    assert_eq!(small(&mut receiver, 0), restarting);
    assert_eq!(receiver.repair_held(), 0);
    assert_eq!(receiver.poll_effect(), Some(RecvEffect::Clear { block: block(0) }));
    assert!(matches!(small(&mut receiver, 0), Placement::Source { first: false, .. }));
    // From before: of no use, and no reason to begin anew again.
    assert_eq!(take(&mut receiver, 0, 1), Placement::Redundant);
    assert!(matches!(small(&mut receiver, 1), Placement::Source { first: false, .. }));
    assert_eq!(receiver.poll_effect(), None);
}

#[test]
fn a_block_beyond_the_credit_is_refused_until_another_is_written() {
    let mut receiver = receiver(1, 2);
    (0..K).for_each(|n| {
        take(&mut receiver, 0, n);
    });
    assert_eq!(take(&mut receiver, 1, 0), Placement::Refused(Refusal::OverCredit));
    receiver.on_verified(block(0), Verified::Good);
    assert_eq!(take(&mut receiver, 1, 0), Placement::Refused(Refusal::OverCredit));
    receiver.on_written(block(0));
    assert!(matches!(take(&mut receiver, 1, 0), Placement::Source { first: true, .. }));
    assert_eq!(take(&mut receiver, 0, 0), Placement::Redundant);
}

#[test]
fn the_same_symbol_is_taken_once() {
    let mut receiver = receiver(4, 1);
    for symbol in [5, K + 5] {
        assert!(!matches!(take(&mut receiver, 0, symbol), Placement::Redundant));
        assert_eq!(take(&mut receiver, 0, symbol), Placement::Redundant);
    }
}

#[test]
fn repair_symbols_are_bounded_for_a_session() {
    let blocks = SESSION_REPAIR_MAX / (K - 1) + 2;
    let mut receiver = receiver(blocks, u64::from(blocks));
    // One symbol fewer than a block needs to be solved.
    let taken: u32 = (0..blocks).map(|index| repair(&mut receiver, index, K)).sum();
    assert_eq!(taken, SESSION_REPAIR_MAX);
    assert_eq!(take(&mut receiver, blocks - 1, K), Placement::Refused(Refusal::RepairFull));
    receiver.abandon(ObjectId::new(0));
    assert_eq!(receiver.repair_held, 0);
}

/// The block counted as open, and no later symbol of it was called the first: its body never had
/// a buffer for it, and gave the whole object up when the block was solved.
#[test]
fn a_block_whose_first_symbol_is_refused_is_not_open() {
    let blocks = SESSION_REPAIR_MAX / (K - 1) + 2;
    let mut receiver = receiver(blocks + 1, u64::from(blocks + 1));
    (0..blocks).for_each(|index| {
        repair(&mut receiver, index, K);
    });
    let open = receiver.blocks_open();
    assert!(receiver.would_open(block(blocks)));
    assert_eq!(take(&mut receiver, blocks, K), Placement::Refused(Refusal::RepairFull));
    assert_eq!(receiver.blocks_open(), open);
    assert!(matches!(take(&mut receiver, blocks, 0), Placement::Source { first: true, .. }));
    assert!(!receiver.would_open(block(blocks)));
}

/// One session could take the buffers of all others, whatever it was granted.
#[test]
fn a_block_beyond_what_reports_granted_is_refused() {
    let mut receiver = Receiver::new(8);
    receiver.declare(BLOCK_DATA.saturating_mul(8), &[]).unwrap();
    let opened = |receiver: &mut Receiver| {
        let first = receiver.blocks_open();
        let taken = (first..8).take_while(|&index| {
            let opens = receiver.would_open(block(index));
            let placement = take(receiver, index, 0);
            assert_eq!(opens, !matches!(placement, Placement::Refused(_)));
            opens
        });
        taken.count()
    };
    receiver.set_credit(3);
    assert_eq!(opened(&mut receiver), 1);
    receiver.on_reported(Duration::ZERO, Timestamp::ZERO);
    assert_eq!(opened(&mut receiver), 2);
    assert_eq!(take(&mut receiver, 3, 0), Placement::Refused(Refusal::OverCredit));
}

#[test]
fn a_session_keeps_no_more_repair_symbols_than_it_may() {
    let mut receiver = receiver(4, 4);
    receiver.set_repair_max(100);
    assert_eq!((0..4).map(|index| repair(&mut receiver, index, 90)).sum::<u32>(), 100);
    receiver.set_repair_max(50);
    assert_eq!((repair(&mut receiver, 0, 100), receiver.repair_held()), (0, 100));
    receiver.set_repair_max(u32::MAX);
    assert_eq!(repair(&mut receiver, 3, 100), 100);
}

/// The data was right: losing it is no fault of the peer, and not the end of the object.
#[test]
fn a_block_whose_memory_is_lost_before_it_is_written_comes_again() {
    let mut receiver = receiver(1, 1);
    for _ in 0..2 * DIGEST_FAILURES_MAX {
        (0..K).for_each(|n| {
            take(&mut receiver, 0, n);
        });
        receiver.on_verified(block(0), Verified::Good);
        receiver.on_lost(block(0));
        let effects: Vec<_> = core::iter::from_fn(|| receiver.poll_effect()).collect();
        assert!(effects.ends_with(&[
            RecvEffect::Release { block: block(0) },
            RecvEffect::AskAgain { block: block(0) },
        ]));
        assert_eq!((receiver.blocks_open(), receiver.backlog()), (0, Bytes::ZERO));
    }
    assert_eq!((receiver.poll_event(), receiver.counters().corrupt), (None, 0));
    // A word that comes too late changes nothing.
    receiver.on_lost(block(0));
    assert_eq!(receiver.poll_effect(), None);
}

#[test]
fn repair_symbols_are_bounded_for_a_block() {
    let mut state = RecvBlock::new(
        Placed { object: ObjectId::new(0), position: 0, offset: Bytes::ZERO, len: BLOCK_DATA },
        BlockShape::new(BLOCK_DATA, SYMBOL_SIZE_SMALL).unwrap(),
    );
    let k = state.shape.symbols();
    assert!(k > BLOCK_REPAIR_MAX, "it has enough before");
    let taken = (0..2 * BLOCK_REPAIR_MAX)
        .filter(|n| state.take(SymbolId::new(k + n), true) == Take::Repair);
    assert_eq!(taken.count(), BLOCK_REPAIR_MAX as usize);
}

/// A slow disk held the budget of blocks that were solved long ago, and the others got nothing.
#[test]
fn a_solved_block_gives_its_repair_budget_back_before_it_is_written() {
    let mut receiver = receiver(4, 1);
    (0..K - 10).for_each(|n| {
        take(&mut receiver, 0, n);
    });
    assert_eq!(repair(&mut receiver, 0, 11), 11);
    assert_eq!(receiver.repair_held, 11);
    receiver.on_verified(block(0), Verified::Good);
    assert_eq!(receiver.repair_held, 0);
    receiver.on_written(block(0));
    assert_eq!(receiver.repair_held, 0);
}

#[test]
fn a_wrong_digest_frees_everything_and_asks_again() {
    let mut receiver = receiver(4, 1);
    (0..K - 1).for_each(|n| {
        take(&mut receiver, 0, n);
    });
    repair(&mut receiver, 0, 2);
    receiver.on_verified(block(0), Verified::Bad);
    assert_eq!(receiver.repair_held, 0);
    let effects: Vec<_> = core::iter::from_fn(|| receiver.poll_effect()).collect();
    assert!(effects.contains(&RecvEffect::AskAgain { block: block(0) }), "{effects:?}");
    assert!(matches!(take(&mut receiver, 0, 0), Placement::Source { first: false, .. }));
}

fn take_packed(receiver: &mut Receiver, symbol: u32, of: u16) -> Placement {
    let packed = core::num::NonZeroU16::new(of);
    receiver.on_symbol(DataId { block: block(0), symbol: SymbolId::new(symbol), packed }, SIZE)
}

#[test]
fn a_packed_block_is_whole_with_the_symbols_that_its_packets_name() {
    let mut receiver = receiver(4, 1);
    for n in 0..4 {
        assert!(matches!(take_packed(&mut receiver, n, 5), Placement::Source { .. }));
    }
    assert!(receiver.poll_effect().is_none());
    assert!(matches!(take_packed(&mut receiver, 6, 5), Placement::Repair { .. }));
    assert!(matches!(take_packed(&mut receiver, 4, 5), Placement::Source { .. }));
    let effect = receiver.poll_effect();
    let Some(RecvEffect::Verify { shape, whole: true, .. }) = effect else { panic!("{effect:?}") };
    assert_eq!(shape.packed_symbols().map(core::num::NonZeroU16::get), Some(5));
}

#[test]
fn packets_that_disagree_about_the_packing_of_their_block_are_refused() {
    let mut receiver = receiver(4, 1);
    let malformed = Placement::Refused(Refusal::Malformed);
    assert!(matches!(take_packed(&mut receiver, 0, 5), Placement::Source { first: true, .. }));
    assert_eq!(take_packed(&mut receiver, 1, 6), malformed);
    assert_eq!(take(&mut receiver, 0, 1), malformed);
}

#[test]
fn a_block_packed_into_more_symbols_is_refused() {
    let mut receiver = receiver(4, 1);
    assert_eq!(take_packed(&mut receiver, 0, 999), Placement::Refused(Refusal::Malformed));
    assert_eq!(receiver.blocks_open(), 0);
    assert!(matches!(take_packed(&mut receiver, 0, 998), Placement::Source { .. }));
}
