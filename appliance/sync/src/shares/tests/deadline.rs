//! When flows are through, and what is said of deadlines.

use crate::shares::{
    Change, Class, ClassFloor, Deadline, Flow, Network, Prediction, ShareError, Weight, deadline,
    predict,
};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const UP: u8 = 0;

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Bytes that take so many seconds at 1 Mbit/s.
fn work(seconds: u64) -> Bytes {
    Bytes::new(seconds * 125_000)
}

fn flow(links: &[u8], class: Class, weight: u32) -> Flow<u8> {
    let weight = Weight::new(weight).expect("not zero");
    Flow { links: links.to_vec(), class, weight, most: BitRate::MAX }
}

fn network(mbps: &[u64], flows: &[Flow<u8>]) -> Network<u8, usize> {
    let mut network = Network::new(ClassFloor::permille(0).expect("bounded"));
    for (link, &room) in (0..).zip(mbps) {
        network.set_link(link, BitRate::mbps(room));
    }
    for (key, flow) in flows.iter().enumerate() {
        network.add(key, flow.clone()).expect("known");
    }
    network
}

fn left(seconds: &[u64]) -> BTreeMap<usize, Bytes> {
    seconds.iter().map(|&seconds| work(seconds)).enumerate().collect()
}

fn finishes(of: &BTreeMap<usize, Prediction<u8>>) -> Vec<Option<Duration>> {
    of.values().map(|prediction| prediction.finish).collect()
}

#[test]
fn what_a_flow_leaves_when_it_ends_is_lent_to_the_others() {
    let flows = [flow(&[UP], Class::Normal, 1), flow(&[UP], Class::Normal, 1)];
    let got = predict(&network(&[10], &flows), &left(&[50, 100]), &[]).expect("known");
    assert_eq!(finishes(&got), [Some(secs(10)), Some(secs(15))]);
    assert_eq!(got[&1].held_by, Some(UP));
}

#[test]
fn a_flow_of_a_lower_class_waits_for_those_above() {
    let flows = [flow(&[UP], Class::Urgent, 1), flow(&[UP], Class::Background, 1)];
    let got = predict(&network(&[10], &flows), &left(&[50, 50]), &[]).expect("known");
    assert_eq!(finishes(&got), [Some(secs(5)), Some(secs(10))]);
}

#[test]
fn another_room_of_a_link_counts_from_when_it_is_there() {
    let flows = [flow(&[UP], Class::Normal, 1)];
    let change = |after, room| Change { after: secs(after), link: UP, room: BitRate::mbps(room) };
    let network = network(&[10], &flows);
    let got = predict(&network, &left(&[100]), &[change(8, 20), change(5, 0)]).expect("known");
    assert_eq!(finishes(&got), [Some(Duration::from_millis(10_500))]);
    let got = predict(&network, &left(&[100]), &[change(5, 0)]).expect("known");
    assert_eq!(finishes(&got), [None]);
    let wrong = Change { link: 9, ..change(1, 1) };
    assert_eq!(predict(&network, &left(&[1]), &[wrong]), Err(ShareError::NoLink));
}

#[test]
fn what_is_through_already_takes_no_time_and_who_is_not_named_goes_on() {
    let flows = [flow(&[UP], Class::Normal, 1), flow(&[UP], Class::Normal, 1)];
    let left = BTreeMap::from([(1, Bytes::ZERO)]);
    let got = predict(&network(&[10], &flows), &left, &[]).expect("known");
    assert_eq!(got.len(), 1);
    assert_eq!(got[&1].finish, Some(Duration::ZERO));
    let left = BTreeMap::from([(1, work(50))]);
    let got = predict(&network(&[10], &flows), &left, &[]).expect("known");
    assert_eq!(got[&1].finish, Some(secs(10)));
}

#[test]
fn a_deadline_is_met_or_met_when_raised_or_missed_because_of_a_link() {
    let flows = [flow(&[UP, 1], Class::Normal, 1), flow(&[UP], Class::Urgent, 1)];
    let network = network(&[10, 8], &flows);
    let (left, job) = (left(&[80, 50]), BTreeSet::from([0]));
    let of = |by| deadline(&network, &left, &[], &job, by).expect("known");
    // 5 s behind the urgent one, then 10 s at 8 Mbit/s.
    assert_eq!(of(secs(15)), Deadline::Met { finish: secs(15) });
    let needed = BTreeMap::from([(0, BitRate::mbps(8))]);
    assert_eq!(of(secs(10)), Deadline::IfRaised { late_by: Some(secs(5)), needed });
    let needed = BTreeMap::from([(0, BitRate::mbps(20))]);
    let (late_by, held_by) = (Some(secs(6)), Some(1));
    assert_eq!(of(secs(4)), Deadline::Missed { late_by, needed, held_by });
}

#[test]
fn a_deadline_that_was_is_missed_by_how_long_it_takes() {
    let network = network(&[10], &[flow(&[UP], Class::Normal, 1)]);
    let got = deadline(&network, &left(&[10]), &[], &BTreeSet::from([0]), Duration::ZERO);
    let needed = BTreeMap::from([(0, BitRate::MAX)]);
    let missed = Deadline::Missed { late_by: Some(secs(1)), needed, held_by: Some(UP) };
    assert_eq!(got, Ok(missed));
    let nothing = deadline(&network, &left(&[0]), &[], &BTreeSet::from([0]), Duration::ZERO);
    assert_eq!(nothing, Ok(Deadline::Met { finish: Duration::ZERO }));
}

#[test]
fn a_link_that_is_shut_is_why_a_deadline_is_never_met() {
    let network = network(&[10, 0], &[flow(&[UP, 1], Class::Normal, 1)]);
    let got = deadline(&network, &left(&[10]), &[], &BTreeSet::from([0]), secs(10));
    let needed = BTreeMap::from([(0, BitRate::mbps(1))]);
    assert_eq!(got, Ok(Deadline::Missed { late_by: None, needed, held_by: Some(1) }));
}

proptest! {
    #![proptest_config(crate::cases::cases(128))]

    /// On one link all are through when the sum of the work is, whoever comes first, to rounding.
    #[test]
    fn a_link_is_busy_until_all_are_through(
        room in 1_000..u64::from(u32::MAX),
        flows in proptest::collection::vec(
            (prop::sample::select(Class::ALL.to_vec()), 1..9_u32, 0..1_u64 << 30),
            1..12,
        ),
    ) {
        let of: Vec<_> = flows.iter().map(|&(class, weight, _)| flow(&[UP], class, weight)).collect();
        let mut network = network(&[0], &of);
        network.set_link(UP, BitRate::bps(room));
        let left: BTreeMap<_, _> = flows.iter().map(|f| Bytes::new(f.2)).enumerate().collect();
        let got = predict(&network, &left, &[]).expect("known");
        let last = got.values().filter_map(|p| p.finish).max().expect("all are through");
        let sum: Bytes = left.values().copied().sum();
        let exact = sum.time_at(BitRate::bps(room));
        prop_assert!(got.values().all(|p| p.finish.is_some()));
        prop_assert!(last >= exact && last - exact <= Duration::from_micros(1), "{last:?} {exact:?}");
    }

    #[test]
    fn numbers_at_their_ends_do_not_overflow(
        rooms in proptest::collection::vec(prop_oneof![Just(0), Just(1), Just(u64::MAX), any::<u64>()], 3),
        bytes in proptest::collection::vec(prop_oneof![Just(0), Just(u64::MAX), any::<u64>()], 1..8),
        after in any::<u64>(),
        by in any::<u64>(),
    ) {
        let of: Vec<_> = (0..bytes.len()).map(|at| {
            let links = [u8::try_from(at % 3).unwrap_or(0), u8::try_from(at / 3).unwrap_or(0)];
            flow(&links, Class::ALL[at % 3], u32::MAX)
        }).collect();
        let mut network = network(&[0; 3], &of);
        for (link, &room) in (0..).zip(&rooms) {
            network.set_link(link, BitRate::bps(room));
        }
        let left: BTreeMap<_, _> = bytes.into_iter().map(Bytes::new).enumerate().collect();
        let change = Change { after: secs(after), link: UP, room: BitRate::bps(rooms[1]) };
        let job = left.keys().copied().collect();
        let got = deadline(&network, &left, &[change], &job, Duration::from_nanos(by));
        prop_assert!(got.is_ok());
    }
}
