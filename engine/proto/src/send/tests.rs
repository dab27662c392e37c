//! What the sending side does with blocks, without a path.

use super::*;
use crate::fec::LossEstimate;
use crate::limits::{BLOCK_DATA, OBJECT_MAX, SYMBOL_SIZE};
use crate::units::Ratio;
use crate::wire::feedback::{BlockDeficit, BlockRange};

const BLOCK: Bytes = BLOCK_DATA;

fn context() -> RepairContext {
    let loss = LossEstimate { mean: Ratio::new(0.02), packets: 1000.0, run: 1.0 };
    RepairContext { loss, bdp: Bytes::mib(10), congested: false, decoder_behind: false }
}

/// A path of which nobody fears loss.
fn clean() -> RepairContext {
    let loss = LossEstimate { mean: Ratio::ZERO, packets: f64::INFINITY, run: 1.0 };
    RepairContext { loss, ..context() }
}

/// A long path with a loss that is known exactly.
fn lossy(mean: f64) -> RepairContext {
    let loss = LossEstimate { mean: Ratio::new(mean), packets: 1e9, run: 1.0 };
    RepairContext { loss, ..context() }
}

/// A sender whose peer takes any number of blocks.
fn sender(fec: FecPolicy) -> Sender {
    let mut sender = Sender::new(SendConfig { blocks_max: 64, fec });
    sender.set_symbol_size(SYMBOL_SIZE);
    let feedback = Feedback { open_blocks_limit: 64, ..Feedback::default() };
    sender.on_feedback(&feedback, true, &context()).unwrap();
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
        if let SendEffect::Read { block, shape, .. } = effect {
            sender.on_loaded(block, shape);
        }
    }
    while sender.poll_event().is_some() {}
    (sender, object)
}

fn encodes(sender: &mut Sender) -> Vec<(SymbolId, u32)> {
    let encode = |effect| match effect {
        SendEffect::Encode { first, count, .. } => Some((first, count)),
        SendEffect::Read { .. } | SendEffect::Reshape { .. } | SendEffect::Release { .. } => None,
    };
    effects(sender).into_iter().filter_map(encode).collect()
}

fn first_block(n: u32) -> Carried {
    Carried::Symbol { block: BlockIndex::new(0), symbol: SymbolId::new(n), size: SYMBOL_SIZE }
}

#[test]
fn a_block_that_was_read_for_credit_since_taken_back_waits_for_new_credit() {
    let (mut sender, _) = loaded(FecPolicy::Off, 2);
    let granted = |blocks| Feedback { open_blocks_limit: blocks, ..Feedback::default() };
    sender.on_feedback(&granted(1), true, &context()).unwrap();
    while let Some(ticket) = sender.next_symbol(&context()) {
        assert_eq!(ticket.block, BlockIndex::new(0));
    }
    assert!(!sender.has_symbol() && sender.awaits_peer() && sender.blocked_by_peer());
    sender.on_feedback(&granted(2), true, &context()).unwrap();
    assert!(sender.has_symbol() && !sender.awaits_peer() && !sender.blocked_by_peer());
    assert_eq!(sender.next_symbol(&context()).unwrap().block, BlockIndex::new(1));
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
    assert_eq!(sender.on_feedback(&feedback, true, &context()), Ok(()));
    let feedback = Feedback { complete_below: below.next(), ..feedback };
    let lie = SendError::NeverSent(below.next());
    assert_eq!(sender.on_feedback(&feedback, true, &context()), Err(lie));
}

#[test]
fn a_block_that_was_never_started_cannot_be_complete() {
    let mut sender = sender(FecPolicy::Off);
    sender.declare(BLOCK.saturating_mul(10), &[]).unwrap();
    let (first, last) = (BlockIndex::new(4), BlockIndex::new(6));
    let complete = vec![BlockRange { first, last }];
    let feedback = Feedback { complete, ..Feedback::default() };
    assert_eq!(sender.on_feedback(&feedback, true, &context()), Err(SendError::NeverSent(last)));
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
    let lost: Vec<_> = (0..100).map(first_block).collect();
    sender.on_lost(&lost, &context());
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
            sent.push(Carried::Symbol { block, symbol: ticket.symbol, size: SYMBOL_SIZE });
        }
        packets += sent.len();
        sender.on_lost(&sent, &context());
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
        sent.push(Carried::Symbol { block, symbol: ticket.symbol, size: SYMBOL_SIZE });
    }
    for (_, count) in encodes(&mut sender) {
        sender.on_encoded(block, count);
    }
    while let Some(ticket) = sender.next_symbol(&context()) {
        sent.push(Carried::Symbol { block, symbol: ticket.symbol, size: SYMBOL_SIZE });
    }
    sent.into_iter().for_each(|carried| sender.on_acked(carried));
    let deficits = vec![BlockDeficit { block, missing: 5 }];
    let feedback = Feedback { deficits, open_blocks_limit: 64, ..Feedback::default() };
    sender.on_feedback(&feedback, true, &context()).unwrap();
    for (_, count) in encodes(&mut sender) {
        sender.on_encoded(block, count);
    }
    let repairs = core::iter::from_fn(|| sender.next_symbol(&context())).count();
    assert!(repairs >= 5, "{repairs}");
}

#[test]
fn repair_symbols_of_the_tail_are_computed_during_the_first_pass() {
    let (mut sender, _) = loaded(FecPolicy::Auto, 1);
    let block = BlockIndex::new(0);
    sender.next_symbol(&context()).unwrap();
    let [(first, count)] = encodes(&mut sender)[..] else { panic!("one encode") };
    sender.on_encoded(block, count);
    for symbol in 1..998 {
        let ticket = sender.next_symbol(&context()).unwrap();
        assert_eq!((ticket.symbol.get(), ticket.reason), (symbol, Reason::Source));
    }
    assert_eq!(sender.next_symbol(&context()).unwrap().symbol, first);
    assert_eq!(encodes(&mut sender), [], "what was computed is enough");
}

#[test]
fn a_provision_that_cannot_be_computed_changes_nothing() {
    let (mut sender, _) = loaded(FecPolicy::Auto, 1);
    sender.next_symbol(&context()).unwrap();
    sender.on_encode_failed(BlockIndex::new(0));
    let symbols: Vec<u32> =
        core::iter::from_fn(|| sender.next_symbol(&context())).map(|t| t.symbol.get()).collect();
    assert_eq!(symbols, (1..998).collect::<Vec<_>>());
}

/// Coding two packets would take two more, and a decoder.
#[test]
fn a_block_of_few_symbols_goes_twice() {
    let mut sender = sender(FecPolicy::Auto);
    sender.declare(Bytes::new(2_000), &[]).unwrap();
    sender.read_ahead(Bytes::mib(1));
    let (block, shape) =
        (BlockIndex::new(0), BlockShape::new(Bytes::new(2_000), SYMBOL_SIZE).unwrap());
    sender.on_loaded(block, shape);
    let mut sent = Vec::new();
    while let Some(ticket) = sender.next_symbol(&context()) {
        sent.push(ticket.symbol.get());
    }
    assert_eq!(sent, [0, 1, 0, 1]);
    assert_eq!(encodes(&mut sender), []);
    // Both copies have to be lost before anything is sent again.
    sender.on_lost(&[first_block(0), first_block(1)], &context());
    assert_eq!(sender.next_symbol(&context()), None);
    sender.on_lost(&[first_block(1)], &context());
    assert_eq!(sender.next_symbol(&context()).unwrap().symbol, SymbolId::new(1));
}

/// Fewer buffers than credit: the peer's only one went to a block that was still in its first
/// pass, and that pass waited behind the repair of an older block, whose symbols were dropped.
#[test]
fn the_first_pass_of_a_block_that_the_peer_asks_for_goes_before_the_repair_of_others() {
    let mut sender = sender(FecPolicy::Off);
    sender.declare(BLOCK.saturating_mul(2), &[]).unwrap();
    sender.read_ahead(Bytes::mib(100));
    let (older, asked) = (BlockIndex::new(0), BlockIndex::new(1));
    let shape = BlockShape::new(BLOCK, SYMBOL_SIZE).unwrap();
    sender.on_loaded(asked, shape);
    assert_eq!(sender.next_symbol(&context()).map(|ticket| ticket.block), Some(asked));
    sender.on_loaded(older, shape);
    assert_eq!(sender.next_symbol(&context()).map(|ticket| ticket.block), Some(older));
    sender.on_lost(&[first_block(0)], &context());
    let report = Feedback {
        deficits: vec![BlockDeficit { block: asked, missing: 997 }],
        open_blocks_limit: 64,
        ..Feedback::default()
    };
    sender.on_feedback(&report, true, &context()).unwrap();
    let ticket = sender.next_symbol(&context()).expect("a first pass that is not done");
    assert_eq!((ticket.block, ticket.reason), (asked, Reason::Source));
}

/// Each loss was planned alone, while the others of the report still counted as on their way: forty
/// symbols got four copies each instead of sixty repair symbols.
#[test]
fn many_second_losses_in_one_report_are_planned_together() {
    let (mut sender, _) = loaded(FecPolicy::Auto, 30);
    let tickets: Vec<_> = (0..998).map(|_| sender.next_symbol(&context()).unwrap()).collect();
    assert!(tickets.iter().all(|ticket| ticket.block == BlockIndex::new(0)));
    let lost: Vec<_> = (0..40).map(first_block).collect();
    sender.on_lost(&lost, &context());
    for n in 0..40 {
        assert_eq!(sender.next_symbol(&context()).unwrap().symbol, SymbolId::new(n));
    }
    assert_eq!(encodes(&mut sender), [], "a first loss is resent as it is");
    let high = RepairContext { bdp: Bytes::ZERO, ..lossy(0.2) };
    sender.on_lost(&lost, &high);
    let asked: u32 = encodes(&mut sender).iter().map(|&(_, count)| count).sum();
    // 41 / 0.8, and 5 more: much is left to be sent, so that it may fail once in five times. W-121
    assert_eq!(asked, 56);
    assert_eq!(sender.next_symbol(&high).map(|ticket| ticket.reason), Some(Reason::Source));
}

#[test]
fn a_coded_block_plans_a_hundred_losses_as_one_deficit() {
    let (mut sender, _) = loaded(FecPolicy::Always, 30);
    for _ in 0..998 {
        sender.next_symbol(&clean()).unwrap();
    }
    let state = &sender.blocks[&BlockIndex::new(0)];
    assert!(state.first_pass_done() && !state.is_coded());
    sender.blocks.get_mut(&BlockIndex::new(0)).unwrap().begin_coding();
    let lost: Vec<_> = (0..99).map(first_block).collect();
    sender.on_lost(&lost, &lossy(0.1));
    // One symbol more than K, so 100 are missing, and more is left to be sent than hides a round: W-055.
    assert_eq!(encodes(&mut sender), [(SymbolId::new(998), 115)]);
}

/// A block that trickles is coded as well, once it lacked more than three symbols in all.
#[test]
fn copies_are_for_the_first_three_symbols_of_a_block() {
    let (mut sender, _) = loaded(FecPolicy::Auto, 1);
    while sender.next_symbol(&clean()).is_some() {}
    (10..998).for_each(|n| sender.on_acked(first_block(n)));
    let mut copies = 0;
    for n in 0..10 {
        sender.on_lost(&[first_block(n)], &lossy(0.02));
        while let Some(ticket) = sender.next_symbol(&lossy(0.02)) {
            copies += u32::from(ticket.reason == Reason::Resend);
        }
    }
    assert_eq!(copies, 6);
    assert!(!encodes(&mut sender).is_empty());
}

/// What repair decisions depend on when the peer's decoder is behind.
fn behind() -> RepairContext {
    RepairContext { decoder_behind: true, ..lossy(0.02) }
}

fn resent(sender: &mut Sender) -> usize {
    let tickets = core::iter::from_fn(|| sender.next_symbol(&behind()));
    tickets.filter(|ticket| ticket.reason == Reason::Resend).count()
}

#[test]
fn nothing_is_coded_for_a_peer_whose_decoder_is_behind() {
    for fec in [FecPolicy::Auto, FecPolicy::Always] {
        let (mut sender, _) = loaded(fec, 1);
        while sender.next_symbol(&behind()).is_some() {}
        let lost: Vec<_> = (0..40).map(first_block).collect();
        sender.on_lost(&lost, &behind());
        // One more round should do, so all of them go twice.
        assert_eq!((resent(&mut sender), encodes(&mut sender)), (80, vec![]), "{fec}");
        (40..998).for_each(|n| sender.on_acked(first_block(n)));
        lost.iter().chain(&lost).for_each(|&carried| sender.on_acked(carried));
        let deficits = vec![BlockDeficit { block: BlockIndex::new(0), missing: 40 }];
        let report = Feedback { open_blocks_limit: 64, deficits, ..Feedback::default() };
        sender.on_feedback(&report, true, &behind()).unwrap();
        assert!(resent(&mut sender) >= 40);
        assert_eq!(encodes(&mut sender), [], "{fec}");
    }
}

/// Copies need no decoder.
#[test]
fn two_packets_go_twice_although_the_decoder_is_behind() {
    let mut sender = sender(FecPolicy::Auto);
    sender.declare(Bytes::new(2_000), &[]).unwrap();
    sender.read_ahead(Bytes::mib(1));
    let Some(SendEffect::Read { block, shape, .. }) = sender.poll_effect() else { panic!("none") };
    sender.on_loaded(block, shape);
    assert_eq!(resent(&mut sender), 2);
}

#[test]
fn a_block_that_waits_for_the_decoder_gets_once_what_it_lost() {
    let (mut sender, _) = loaded(FecPolicy::Always, 1);
    while sender.next_symbol(&lossy(0.02)).is_some() {}
    let count: u32 = encodes(&mut sender).iter().map(|&(_, count)| count).sum();
    sender.on_encoded(BlockIndex::new(0), count);
    let repairs = core::iter::from_fn(|| sender.next_symbol(&lossy(0.02))).last();
    let last = repairs.expect("repair symbols").symbol.get();
    (20..=last).for_each(|n| sender.on_acked(first_block(n)));
    let lost: Vec<_> = (0..20).map(first_block).collect();
    sender.on_lost(&lost, &lossy(0.02));
    let report = Feedback { open_blocks_limit: 64, ..Feedback::default() };
    sender.on_feedback(&report, true, &lossy(0.02)).unwrap();
    assert_eq!(resent(&mut sender), 0, "the peer has enough");
    sender.on_feedback(&report, true, &behind()).unwrap();
    sender.on_feedback(&report, true, &behind()).unwrap();
    assert_eq!(resent(&mut sender), 20);
    lost[1..].iter().for_each(|&carried| sender.on_acked(carried));
    sender.on_lost(&lost[..1], &behind());
    assert_eq!(resent(&mut sender), 2, "lost again");
    assert_eq!(encodes(&mut sender), []);
}

/// Three copies were sent and lost their use at once: the block lacked twenty in the end.
#[test]
fn a_block_that_will_lose_more_is_coded_at_its_first_loss_in_the_tail() {
    let (mut sender, _) = loaded(FecPolicy::Auto, 1);
    while sender.next_symbol(&clean()).is_some() {}
    sender.on_lost(&[first_block(0)], &lossy(0.02));
    assert_eq!(sender.next_symbol(&lossy(0.02)), None, "no copies");
    let asked: u32 = encodes(&mut sender).iter().map(|&(_, count)| count).sum();
    // The symbol, one beyond K, and what may be lost of them.
    assert!((3..8).contains(&asked), "{asked}");
}

/// On a thin path most of a block has arrived when its first pass ends.
#[test]
fn what_arrived_needs_no_redundancy() {
    let asked = |acked: u32| {
        let (mut sender, _) = loaded(FecPolicy::Auto, 1);
        for _ in 0..997 {
            sender.next_symbol(&clean()).unwrap();
        }
        (0..acked).for_each(|n| sender.on_acked(first_block(n)));
        sender.next_symbol(&context()).unwrap();
        encodes(&mut sender).iter().map(|&(_, count)| count).sum::<u32>()
    };
    let (all, few) = (asked(0), asked(900));
    assert!(all > 35 && few < 15, "{all} {few}");
}

#[test]
fn a_block_of_which_nothing_was_sent_cannot_be_complete() {
    let (mut sender, _) = loaded(FecPolicy::Off, 3);
    sender.next_symbol(&context()).unwrap();
    let below = BlockIndex::new(1);
    let feedback = Feedback { complete_below: below, open_blocks_limit: 64, ..Feedback::default() };
    assert_eq!(sender.on_feedback(&feedback, true, &context()), Ok(()));
    let lie = Feedback { complete_below: below.next(), ..feedback.clone() };
    let caught = Err(SendError::NeverSent(below));
    assert_eq!(sender.on_feedback(&lie, true, &context()), caught);
    let complete = vec![BlockRange { first: below.next(), last: below.next() }];
    let lie = Feedback { complete, ..feedback };
    assert_eq!(sender.on_feedback(&lie, true, &context()), Err(SendError::NeverSent(below.next())));
}

/// It may have held all it needed although nothing was sent since it asked.
#[test]
fn a_restarted_block_may_be_complete_at_once() {
    let (mut sender, _) = loaded(FecPolicy::Off, 1);
    sender.next_symbol(&context()).unwrap();
    sender.on_restart(BlockIndex::new(0));
    let feedback = Feedback { complete_below: BlockIndex::new(1), ..Feedback::default() };
    assert_eq!(sender.on_feedback(&feedback, true, &context()), Ok(()));
}

#[test]
fn an_overtaken_report_completes_blocks_and_changes_nothing_else() {
    let (mut sender, _) = loaded(FecPolicy::Off, 2);
    for _ in 0..998 {
        sender.next_symbol(&context()).unwrap();
    }
    let stale = Feedback {
        complete_below: BlockIndex::new(1),
        open_blocks_limit: 0,
        ..Feedback::default()
    };
    sender.on_feedback(&stale, false, &context()).unwrap();
    assert_eq!((sender.blocks_open(), sender.peer_blocks_max), (1, 64));
    sender.on_feedback(&stale, true, &context()).unwrap();
    assert_eq!(sender.peer_blocks_max, 0);
}

/// Loads what is to be read, and tells that the peer has everything up to `below`.
fn carry(sender: &mut Sender, below: u32) {
    sender.read_ahead(Bytes::mib(100));
    for effect in effects(sender) {
        if let SendEffect::Read { block, shape, .. } = effect {
            sender.on_loaded(block, shape);
        }
    }
    while sender.next_symbol(&context()).is_some() {}
    let complete_below = BlockIndex::new(below);
    let feedback = Feedback { complete_below, open_blocks_limit: 64, ..Feedback::default() };
    sender.on_feedback(&feedback, true, &context()).unwrap();
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

#[test]
fn a_packed_block_is_sent_as_its_packed_symbols_and_counts_with_all_its_data() {
    let mut sender = sender(FecPolicy::Off);
    sender.declare(BLOCK.saturating_mul(2), &[]).unwrap();
    sender.read_ahead(Bytes::mib(100));
    let packed = crate::fec::packed_shape(200_000, SYMBOL_SIZE).unwrap();
    let plain = BlockShape::new(BLOCK, SYMBOL_SIZE).unwrap();
    sender.on_loaded(BlockIndex::new(0), packed);
    sender.on_loaded(BlockIndex::new(1), plain);
    assert_eq!(sender.unsent(), BLOCK + Bytes::of_len(packed.data_len()));
    let tickets: Vec<_> = core::iter::from_fn(|| sender.next_symbol(&context())).collect();
    let mut first = tickets.iter().filter(|ticket| ticket.block == BlockIndex::new(0));
    assert_eq!(first.clone().count(), packed.symbols() as usize);
    assert!(first.all(|ticket| ticket.shape == packed));
    assert_eq!(tickets.len(), (packed.symbols() + plain.symbols()) as usize);
    assert_eq!(sender.unsent(), Bytes::ZERO);
    sender.on_restart(BlockIndex::new(0));
    assert_eq!(sender.unsent(), Bytes::of_len(packed.data_len()));
    carry(&mut sender, 2);
    assert_eq!(sender.unsent(), Bytes::ZERO);
    let counters = sender.counters();
    assert_eq!(counters.complete, BLOCK.saturating_mul(2));
    assert_eq!((counters.packed, counters.packed_to), (BLOCK, Bytes::of_len(packed.data_len())));
}
