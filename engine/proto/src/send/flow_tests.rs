//! Flows of the sending side: what is given back, what is forgotten, what goes where.

use super::*;
use crate::fec::LossEstimate;
use crate::limits::{BLOCK_DATA, SYMBOL_SIZE};
use crate::shares::{Class, FlowLimit, FlowPlan, Weight};
use crate::units::{BitRate, Ratio};
use crate::wire::feedback::BlockDeficit;
use std::num::NonZeroU16;

const ONE: FlowId = FlowId::new(1);
const TWO: FlowId = FlowId::new(2);

fn context() -> RepairContext {
    let loss = LossEstimate { mean: Ratio::ZERO, packets: f64::INFINITY, run: 1.0 };
    RepairContext { loss, bdp: Bytes::mib(10), congested: false, decoder_behind: false }
}

fn blocks(n: u64) -> Bytes {
    BLOCK_DATA.saturating_mul(n)
}

fn plan(class: Class) -> FlowPlan {
    FlowPlan { class, ..FlowPlan::default() }
}

fn paused(class: Class) -> FlowPlan {
    FlowPlan { paused: true, ..plan(class) }
}

/// A sender with flows one and two and room for so many blocks, at the peer as well.
fn sender(blocks_max: u32, one: FlowPlan, two: FlowPlan) -> Sender {
    let mut sender = Sender::new(SendConfig { blocks_max, fec: FecPolicy::Off });
    sender.set_symbol_size(SYMBOL_SIZE);
    let feedback = Feedback { open_blocks_limit: blocks_max, ..Feedback::default() };
    sender.on_feedback(&feedback, true, &context()).unwrap();
    sender.set_flow(ONE, one).unwrap();
    sender.set_flow(TWO, two).unwrap();
    sender
}

/// Reads ahead and loads what is asked for; answers the objects of the blocks, and of those released.
fn load(sender: &mut Sender, packed: bool) -> (Vec<ObjectId>, u32) {
    sender.read_ahead(blocks(4));
    let (mut loaded, mut released) = (Vec::new(), 0);
    while let Some(effect) = sender.poll_effect() {
        match effect {
            SendEffect::Read { block, placed, shape } => {
                let small = NonZeroU16::new(10).unwrap();
                let small = BlockShape::packed(small, SYMBOL_SIZE).unwrap();
                loaded.push(placed.object);
                sender.on_loaded(block, if packed { small } else { shape });
            }
            SendEffect::Release { .. } => released += 1,
            SendEffect::Encode { .. } | SendEffect::Reshape { .. } => {}
        }
    }
    (loaded, released)
}

#[test]
fn what_was_read_for_a_lower_class_makes_room_for_a_higher_one_and_comes_again() {
    for packed in [false, true] {
        let mut sender = sender(4, plan(Class::Background), plan(Class::Urgent));
        let low = sender.declare_in(ONE, blocks(10), &[]).unwrap();
        assert_eq!(load(&mut sender, packed), (vec![low; 4], 0));
        let before = sender.counters();
        assert_eq!(before.packed, if packed { blocks(4) } else { Bytes::ZERO });
        let urgent = sender.declare_in(TWO, blocks(3), &[]).unwrap();
        let (read, released) = load(&mut sender, packed);
        assert_eq!((read, released), (vec![urgent; 3], 3));
        assert_eq!(sender.flows[1].open, 1, "one is left for the floor");
        let counters = sender.counters();
        assert_eq!(counters.packed, if packed { blocks(4) } else { Bytes::ZERO });
        assert_eq!(counters.packed_to, before.packed_to);
        sender.abandon(urgent);
        assert_eq!(load(&mut sender, packed).0, vec![low; 3]);
        sender.abandon(low);
        assert_eq!((sender.unsent(), sender.blocks_open()), (Bytes::ZERO, 0));
    }
}

#[test]
fn a_pause_gives_back_what_was_not_begun_and_forgets_nothing() {
    let mut sender = sender(8, plan(Class::Normal), plan(Class::Normal));
    let object = sender.declare_in(ONE, blocks(10), &[]).unwrap();
    load(&mut sender, false);
    let unsent = sender.unsent();
    sender.next_symbol(&context()).unwrap();
    sender.set_flow(ONE, paused(Class::Normal)).unwrap();
    assert!(!sender.has_symbol() && sender.is_resting() && !sender.awaits_peer());
    assert_eq!(sender.next_symbol(&context()), None);
    assert_eq!((load(&mut sender, false), sender.blocks_open()), ((vec![], 3), 1));
    assert_eq!(sender.unsent() + Bytes::new(u64::from(SYMBOL_SIZE)), unsent);
    sender.set_flow(ONE, plan(Class::Normal)).unwrap();
    assert_eq!(load(&mut sender, false).0, vec![object; 4]);
    while sender.next_symbol(&context()).is_some() {}
    assert_eq!(sender.unsent(), blocks(5));
    // What was given back is forgotten with its object.
    load(&mut sender, false);
    sender.set_flow(ONE, paused(Class::Normal)).unwrap();
    sender.abandon(object);
    assert_eq!((sender.unsent(), sender.is_idle()), (Bytes::ZERO, true));
}

/// Whether its source changed was asked when it had been read: what is read again later would be of
/// another state, and nobody would ask any more.
#[test]
fn an_object_that_was_read_to_its_end_is_not_read_again() {
    let mut sender = sender(8, plan(Class::Normal), plan(Class::Normal));
    let object = sender.declare_in(ONE, blocks(2), &[]).unwrap();
    load(&mut sender, false);
    let read = SendEvent::ObjectRead { object, generation: Generation::default() };
    assert_eq!(sender.poll_event(), Some(read));
    sender.set_flow(ONE, paused(Class::Normal)).unwrap();
    assert_eq!((load(&mut sender, false), sender.blocks_open()), ((vec![], 0), 2));
    sender.set_flow(ONE, plan(Class::Normal)).unwrap();
    assert_eq!(sender.next_symbol(&context()).unwrap().block, BlockIndex::new(0));
    assert_eq!(sender.poll_event(), None);
}

/// Small objects are read to their end at once, so a pause gives nothing of them back.
///
/// spec: W-146
#[test]
fn small_objects_of_a_paused_flow_leave_before_they_keep_all_others_out() {
    let cap = Some(BitRate::mbps(8));
    let mut sender = sender(4, plan(Class::Normal), plan(Class::Normal));
    let small: Vec<_> = (0..4).map(|_| sender.declare_in(ONE, blocks(1), &[]).unwrap()).collect();
    assert_eq!(load(&mut sender, false), (small.clone(), 0));
    sender.set_flow(ONE, FlowPlan { cap, ..paused(Class::Normal) }).unwrap();
    assert_eq!(sender.next_symbol(&context()), None, "nobody else wants anything");
    sender.declare_in(TWO, blocks(1), &[]).unwrap();
    assert_eq!(load(&mut sender, false), (vec![], 0));
    sender.turn(Timestamp::from_millis(1_000));
    let left = sender.next_symbol(&context()).expect("what keeps it out leaves");
    assert_eq!(sender.object_of(left.block), Some(small[0]));
    while sender.next_symbol(&context()).is_some() {}
    // As fast as its cap lets it, and it says when it goes on.
    let opens_at = sender.opens_at().expect("its cap");
    assert!(opens_at > Timestamp::from_millis(1_000));
    sender.turn(opens_at);
    assert!(sender.has_symbol());
}

#[test]
fn a_capped_flow_keeps_no_more_blocks_than_its_cap_empties() {
    let cap = Some(BitRate::kbps(100));
    let mut sender = sender(4, FlowPlan { cap, ..plan(Class::Normal) }, plan(Class::Normal));
    let slow = sender.declare_in(ONE, blocks(10), &[]).unwrap();
    assert_eq!(load(&mut sender, false).0, vec![slow]);
    let other = sender.declare_in(TWO, blocks(10), &[]).unwrap();
    assert_eq!(load(&mut sender, false).0, vec![other; 2], "its half of what is read ahead");
}

#[test]
fn what_is_read_while_a_pause_begins_is_given_back_when_it_is_there() {
    let mut sender = sender(8, plan(Class::Normal), plan(Class::Normal));
    sender.declare_in(ONE, blocks(10), &[]).unwrap();
    sender.read_ahead(blocks(4));
    sender.set_flow(ONE, paused(Class::Normal)).unwrap();
    assert_eq!((load(&mut sender, false).1, sender.blocks_open()), (4, 0));
}

#[test]
fn a_lower_class_that_the_peer_asks_for_does_not_go_before_a_higher_one() {
    let mut sender = sender(8, plan(Class::Background), plan(Class::Urgent));
    sender.declare_in(ONE, blocks(2), &[]).unwrap();
    load(&mut sender, false);
    let asked = sender.next_symbol(&context()).unwrap().block;
    let urgent = sender.declare_in(TWO, blocks(2), &[]).unwrap();
    load(&mut sender, false);
    let deficits = vec![BlockDeficit { block: asked, missing: 900 }];
    let feedback = Feedback { deficits, open_blocks_limit: 8, ..Feedback::default() };
    sender.on_feedback(&feedback, true, &context()).unwrap();
    let (mut low, mut high) = (0, 0);
    for _ in 0..500 {
        let block = sender.next_symbol(&context()).unwrap().block;
        *(if sender.object_of(block) == Some(urgent) { &mut high } else { &mut low }) += 1;
    }
    assert!((9..=11).contains(&low) && high + low == 500, "{low} and {high}");
}

#[test]
fn a_capped_flow_says_when_it_goes_on_and_what_limits_it() {
    let cap = Some(BitRate::mbps(8));
    let mut sender = sender(8, FlowPlan { cap, ..FlowPlan::default() }, plan(Class::Normal));
    sender.declare_in(ONE, blocks(2), &[]).unwrap();
    load(&mut sender, false);
    let begin = Timestamp::from_millis(1_000);
    sender.turn(begin);
    while sender.next_symbol(&context()).is_some() {}
    let opens = sender.opens_at().unwrap();
    assert!(opens > begin && !sender.has_symbol());
    sender.note_flows(begin);
    let later = begin + core::time::Duration::from_millis(10);
    assert!(opens <= later);
    sender.turn(later);
    assert!(sender.has_symbol());
    sender.note_flows(later);
    let figures = sender.flows().find(|figures| figures.flow == ONE).unwrap();
    assert_eq!(figures.limit, Some(FlowLimit::Session));
    assert_eq!(figures.spent[FlowLimit::Cap as usize], later.since(begin));
    sender.set_flow(ONE, FlowPlan { cap: Some(BitRate::ZERO), ..figures.plan }).unwrap();
    assert!(!sender.has_symbol() && sender.opens_at().is_none());
}

#[test]
fn flows_are_bounded_and_end_when_they_have_nothing_under_way() {
    let mut sender = sender(8, plan(Class::Normal), plan(Class::Normal));
    for id in 3..64 {
        sender.set_flow(FlowId::new(id), FlowPlan::default()).unwrap();
    }
    let more = FlowId::new(64);
    assert_eq!(sender.set_flow(more, FlowPlan::default()), Err(FlowError::TooMany(more)));
    let object = sender.declare_in(ONE, blocks(1), &[]).unwrap();
    assert_eq!(sender.end_flow(ONE), Err(FlowError::InUse(ONE)));
    assert_eq!(sender.end_flow(FlowId::default()), Err(FlowError::InUse(FlowId::default())));
    assert_eq!(sender.end_flow(more), Err(FlowError::Unknown(more)));
    sender.abandon(object);
    assert_eq!(sender.end_flow(ONE), Ok(()));
    assert_eq!(sender.declare_in(ONE, blocks(1), &[]), Err(FlowError::Unknown(ONE).into()));
    assert_eq!(sender.set_flow(more, FlowPlan::default()), Ok(()));
    assert_eq!(sender.flow_of(sender.objects.keys().next().copied().unwrap_or(object)), None);
}

#[test]
fn what_is_reopened_goes_in_the_flow_of_its_object() {
    let mut sender = sender(8, plan(Class::Normal), plan(Class::Normal));
    let object = sender.declare_in(TWO, blocks(3), &[(0, 3)]).unwrap();
    assert!(sender.is_idle());
    sender.reopen(object, &[(1, 1)]).unwrap();
    assert_eq!(sender.flow_of(object), Some(TWO));
    load(&mut sender, false);
    sender.next_symbol(&context()).unwrap();
    let wire = |id| sender.flows().find(|figures| figures.flow == id).unwrap().wire;
    assert!(wire(TWO) > Bytes::ZERO && wire(FlowId::default()) == Bytes::ZERO);
}

#[test]
fn read_ahead_follows_the_weights_and_every_flow_has_a_block() {
    let weight = |weight| FlowPlan { weight: Weight::new(weight), ..FlowPlan::default() };
    let mut sender = sender(64, weight(30), weight(10));
    let objects = [ONE, TWO].map(|flow| sender.declare_in(flow, blocks(50), &[]).unwrap());
    let third = FlowId::new(3);
    sender.set_flow(third, FlowPlan { weight: Weight::new(1), ..plan(Class::Background) }).unwrap();
    let low = sender.declare_in(third, blocks(50), &[]).unwrap();
    sender.read_ahead(blocks(16));
    let reads: Vec<_> = core::iter::from_fn(|| sender.poll_effect()).collect();
    let of = |object| {
        let own = |effect: &&SendEffect| matches!(effect, SendEffect::Read { placed, .. } if placed.object == object);
        reads.iter().filter(own).count()
    };
    assert_eq!((of(objects[0]), of(objects[1]), of(low)), (12, 4, 1));
}
