//! What the receiving side makes of objects that are reopened and given up.

use super::*;
use crate::limits::BLOCK_DATA;
use crate::limits::SYMBOL_SIZE;

fn receiver() -> Receiver {
    let mut receiver = Receiver::new(64);
    receiver.on_reported(Duration::ZERO, Timestamp::ZERO);
    receiver
}

fn blocks(n: u64) -> Bytes {
    BLOCK_DATA.saturating_mul(n)
}

/// Takes a whole block in.
fn take(receiver: &mut Receiver, block: u32) {
    let block = BlockIndex::new(block);
    let shape = BlockShape::new(BLOCK_DATA, SYMBOL_SIZE).unwrap();
    for symbol in 0..shape.symbols() {
        let placement =
            receiver.on_symbol(DataId::plain(block, SymbolId::new(symbol)), SYMBOL_SIZE);
        assert!(matches!(placement, Placement::Source { .. }), "{placement:?}");
    }
    receiver.on_verified(block, Verified::Good);
    receiver.on_written(block);
}

fn events(receiver: &mut Receiver) -> Vec<RecvEvent> {
    core::iter::from_fn(|| receiver.poll_event()).collect()
}

#[test]
fn a_reopened_object_is_complete_once_more() {
    let mut receiver = receiver();
    let object = receiver.declare(blocks(3), &[(1, 2)]).unwrap();
    let complete = |generation| {
        let generation = Generation::new(generation);
        [RecvEvent::ObjectComplete { object, generation }]
    };
    take(&mut receiver, 0);
    assert_eq!(events(&mut receiver), complete(0));
    receiver.reopen(object, &[(2, 1)]).unwrap();
    assert!(!receiver.is_idle());
    take(&mut receiver, 1);
    assert_eq!(events(&mut receiver), complete(1));
}

#[test]
fn a_peer_cannot_reopen_what_it_placed() {
    let mut receiver = receiver();
    let object = receiver.declare(blocks(3), &[(1, 1)]).unwrap();
    for run in [(0, 1), (0, 2), (2, 1)] {
        assert_eq!(receiver.reopen(object, &[run]), Err(ObjectError::NotClaimed(object)));
    }
    receiver.reopen(object, &[(1, 1)]).unwrap();
    assert_eq!(receiver.reopen(object, &[(1, 1)]), Err(ObjectError::NotClaimed(object)));
    let symbol =
        receiver.on_symbol(DataId::plain(BlockIndex::new(3), SymbolId::new(0)), SYMBOL_SIZE);
    assert_eq!(symbol, Placement::Refused(Refusal::Undeclared));
}

/// The numbers are taken, as the peer took them; nothing is waited for.
#[test]
fn a_reopening_that_crosses_giving_up_is_dropped() {
    let mut receiver = receiver();
    let object = receiver.declare(blocks(3), &[(1, 1)]).unwrap();
    let next = receiver.declare(blocks(1), &[]).unwrap();
    receiver.abandon(object);
    let reopened = receiver.reopen(object, &[(1, 1)]).unwrap();
    assert_eq!(reopened.first_block, BlockIndex::new(3));
    let symbol =
        receiver.on_symbol(DataId::plain(BlockIndex::new(3), SymbolId::new(0)), SYMBOL_SIZE);
    assert_eq!(symbol, Placement::Redundant);
    take(&mut receiver, 2);
    let generation = Generation::default();
    assert_eq!(events(&mut receiver), [RecvEvent::ObjectComplete { object: next, generation }]);
    assert!(receiver.is_idle());
    receiver.settle(object);
    let mut report = Feedback::default();
    receiver.report(&mut report);
    assert_eq!(report.complete_below, BlockIndex::new(4));
}

#[test]
fn giving_up_an_object_that_was_never_declared_changes_nothing() {
    let mut receiver = receiver();
    receiver.abandon(ObjectId::new(0));
    receiver.settle(ObjectId::new(0));
    receiver.declare(blocks(1), &[]).unwrap();
    take(&mut receiver, 0);
    assert_eq!(events(&mut receiver).len(), 1);
}
