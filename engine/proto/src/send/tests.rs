//! What the sending side does with blocks, without a path.

use super::*;
use crate::fec::LossEstimate;
use crate::limits::{BLOCK_DATA, OBJECT_MAX, SYMBOL_SIZE};
use crate::units::Ratio;
use crate::wire::feedback::{BlockDeficit, BlockRange};

const BLOCK: Bytes = BLOCK_DATA;

fn context() -> RepairContext {
    let loss = LossEstimate { mean: Ratio::new(0.02), upper80: Ratio::new(0.03), run: 1.0 };
    RepairContext { loss, bdp: Bytes::mib(10), congested: false }
}

/// A sender whose peer takes any number of blocks.
fn sender(fec: FecPolicy) -> Sender {
    let mut sender = Sender::new(SendConfig { blocks_max: 64, fec });
    sender.set_symbol_size(SYMBOL_SIZE);
    let feedback = Feedback { open_blocks_limit: 64, ..Feedback::default() };
    sender.on_feedback(&feedback, &context()).unwrap();
    sender
}

fn effects(sender: &mut Sender) -> Vec<SendEffect> {
    core::iter::from_fn(|| sender.poll_effect()).collect()
}

/// Declares one object of `blocks` full blocks and loads all of it.
fn loaded(fec: FecPolicy, blocks: u64) -> (Sender, ObjectId) {
    let mut sender = sender(fec);
    let object = sender.declare(BLOCK.saturating_mul(blocks), &[]).unwrap();
    sender.read_ahead(Bytes::mib(100));
    for effect in effects(&mut sender) {
        if let SendEffect::Read { block, .. } = effect {
            sender.on_loaded(block);
        }
    }
    while sender.poll_event().is_some() {}
    (sender, object)
}

fn encodes(sender: &mut Sender) -> Vec<(SymbolId, u32)> {
    let encode = |effect| match effect {
        SendEffect::Encode { first, count, .. } => Some((first, count)),
        SendEffect::Read { .. } | SendEffect::Release { .. } => None,
    };
    effects(sender).into_iter().filter_map(encode).collect()
}

#[test]
fn an_abandoned_object_is_not_complete() {
    let (mut sender, object) = loaded(FecPolicy::Off, 3);
    sender.abandon(object);
    assert_eq!(sender.poll_event(), None);
    assert!(sender.is_idle());
    assert_eq!(sender.unsent(), Bytes::ZERO);
}

#[test]
fn the_largest_object_is_declared_and_abandoned_at_once() {
    let mut sender = sender(FecPolicy::Off);
    let object = sender.declare(OBJECT_MAX, &[]).unwrap();
    assert_eq!(sender.unsent(), OBJECT_MAX);
    sender.read_ahead(Bytes::mib(10));
    sender.abandon(object);
    assert_eq!(sender.unsent(), Bytes::ZERO);
    let small = sender.declare(Bytes::new(7), &[]).unwrap();
    sender.read_ahead(Bytes::mib(10));
    let started = effects(&mut sender)
        .into_iter()
        .any(|effect| matches!(effect, SendEffect::Read { placed, .. } if placed.object == small));
    assert!(started, "the object behind the abandoned one does not start");
}

/// Blocks of an abandoned object were never started, and an honest receiver calls them done.
#[test]
fn abandoned_blocks_may_be_reported_although_they_were_never_started() {
    let mut sender = sender(FecPolicy::Off);
    let object = sender.declare(BLOCK.saturating_mul(10), &[]).unwrap();
    sender.declare(BLOCK, &[]).unwrap();
    sender.abandon(object);
    let below = BlockIndex::new(10);
    let feedback = Feedback { complete_below: below, open_blocks_limit: 64, ..Feedback::default() };
    assert_eq!(sender.on_feedback(&feedback, &context()), Ok(()));
    let feedback = Feedback { complete_below: below.next(), ..feedback };
    let lie = SendError::NeverSent(below.next());
    assert_eq!(sender.on_feedback(&feedback, &context()), Err(lie));
}

#[test]
fn a_block_that_was_never_started_cannot_be_complete() {
    let mut sender = sender(FecPolicy::Off);
    sender.declare(BLOCK.saturating_mul(10), &[]).unwrap();
    let (first, last) = (BlockIndex::new(4), BlockIndex::new(6));
    let complete = vec![BlockRange { first, last }];
    let feedback = Feedback { complete, ..Feedback::default() };
    assert_eq!(sender.on_feedback(&feedback, &context()), Err(SendError::NeverSent(last)));
}

/// Two jobs of one block end in any order, and their ends carry no names: symbols of the job that
/// was not done were sent.
#[test]
fn a_block_has_one_encoder_at_a_time() {
    let (mut sender, _) = loaded(FecPolicy::Always, 1);
    while sender.next_symbol(&context()).is_some() {}
    let first = encodes(&mut sender);
    assert_eq!(first.len(), 1, "{first:?}");
    // Nothing arrived: more is needed, but the first job still runs.
    let lost = |n| Carried::Symbol { block: BlockIndex::new(0), symbol: SymbolId::new(n) };
    (0..100).for_each(|n| sender.on_lost(lost(n), &context()));
    assert_eq!(encodes(&mut sender), []);
    let (start, count) = first[0];
    sender.on_encoded(BlockIndex::new(0), count);
    let second = encodes(&mut sender);
    assert_eq!(second.first().map(|&(id, _)| id.get()), Some(start.get() + count));
}

#[test]
fn a_restarted_block_is_counted_as_unsent_once() {
    let (mut sender, _) = loaded(FecPolicy::Off, 1);
    for _ in 0..400 {
        sender.next_symbol(&context()).unwrap();
    }
    sender.on_restart(BlockIndex::new(0));
    assert_eq!(sender.unsent(), BLOCK);
    while sender.next_symbol(&context()).is_some() {}
    assert_eq!(sender.unsent(), Bytes::ZERO);
}

/// The receiver refused every symbol, so it never opened the block and reports no deficit.
#[test]
fn the_last_loss_of_a_block_that_nobody_knows_plans_everything_again() {
    let (mut sender, _) = loaded(FecPolicy::Auto, 1);
    let block = BlockIndex::new(0);
    let mut packets = 0;
    for _ in 0..200 {
        let mut sent = Vec::new();
        while let Some(ticket) = sender.next_symbol(&context()) {
            sent.push(Carried::Symbol { block, symbol: ticket.symbol });
        }
        packets += sent.len();
        sent.into_iter().for_each(|carried| sender.on_lost(carried, &context()));
        for (_, count) in encodes(&mut sender) {
            sender.on_encoded(block, count);
        }
        assert!(sender.has_symbol(), "gave up after {packets} packets");
    }
}

#[test]
fn a_deficit_of_a_block_with_nothing_under_way_is_repaired() {
    let (mut sender, _) = loaded(FecPolicy::Auto, 1);
    let block = BlockIndex::new(0);
    let mut sent = Vec::new();
    while let Some(ticket) = sender.next_symbol(&context()) {
        sent.push(Carried::Symbol { block, symbol: ticket.symbol });
    }
    for (_, count) in encodes(&mut sender) {
        sender.on_encoded(block, count);
    }
    while let Some(ticket) = sender.next_symbol(&context()) {
        sent.push(Carried::Symbol { block, symbol: ticket.symbol });
    }
    sent.into_iter().for_each(|carried| sender.on_acked(carried));
    let deficits = vec![BlockDeficit { block, missing: 5 }];
    let feedback = Feedback { deficits, open_blocks_limit: 64, ..Feedback::default() };
    sender.on_feedback(&feedback, &context()).unwrap();
    let asked: u32 = encodes(&mut sender).iter().map(|&(_, count)| count).sum();
    assert!(asked >= 5, "{asked}");
}

/// Loads what is to be read, and tells that the peer has everything up to `below`.
fn carry(sender: &mut Sender, below: u32) {
    sender.read_ahead(Bytes::mib(100));
    for effect in effects(sender) {
        if let SendEffect::Read { block, .. } = effect {
            sender.on_loaded(block);
        }
    }
    let complete_below = BlockIndex::new(below);
    let feedback = Feedback { complete_below, open_blocks_limit: 64, ..Feedback::default() };
    sender.on_feedback(&feedback, &context()).unwrap();
}

fn events(sender: &mut Sender) -> Vec<SendEvent> {
    core::iter::from_fn(|| sender.poll_event()).collect()
}

#[test]
fn a_reopened_object_is_read_and_complete_once_more() {
    let mut sender = sender(FecPolicy::Off);
    let object = sender.declare(BLOCK.saturating_mul(4), &[(1, 2)]).unwrap();
    let both = |generation| {
        let generation = Generation::new(generation);
        let read = SendEvent::ObjectRead { object, generation };
        [read, SendEvent::ObjectComplete { object, generation }]
    };
    carry(&mut sender, 2);
    assert_eq!(events(&mut sender), both(0));
    assert!(sender.is_idle());
    let reopened = sender.reopen(object, &[(1, 2)]).unwrap();
    assert_eq!(reopened.generation, Generation::new(1));
    assert_eq!((sender.unsent(), sender.is_idle()), (BLOCK + BLOCK, false));
    carry(&mut sender, 4);
    assert_eq!(events(&mut sender), both(1));
    assert_eq!(sender.reopen(object, &[(1, 2)]), Err(ObjectError::NotClaimed(object)));
    assert!(sender.is_idle());
}

#[test]
fn an_abandoned_object_is_not_reopened() {
    let mut sender = sender(FecPolicy::Off);
    let object = sender.declare(BLOCK.saturating_mul(4), &[(1, 2)]).unwrap();
    sender.abandon(object);
    assert_eq!(sender.reopen(object, &[(1, 1)]), Err(ObjectError::GivenUp(object)));
    assert!(sender.is_idle());
    assert_eq!(sender.unsent(), Bytes::ZERO);
}

#[test]
fn a_refused_declaration_leaves_nothing_to_send() {
    let mut sender = sender(FecPolicy::Off);
    assert!(sender.declare(BLOCK.saturating_mul(4), &[(1, 1), (3, 2)]).is_err());
    assert_eq!(sender.unsent(), Bytes::ZERO);
    sender.read_ahead(Bytes::mib(100));
    assert_eq!(effects(&mut sender), []);
    assert!(sender.is_idle());
}
