//! What one end of a flow grants the other: late and reordered grants, and where both come to rest.

use crate::shares::{
    Class, ClassFloor, Demand, Flow, Grant, GrantNumber, Granted, Granting, Level, Network, Part,
    Tree, Weight,
};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LONG: Duration = Duration::from_secs(3600);

fn grant(number: u64, rate: u64, valid: Duration) -> Grant {
    Grant { number: GrantNumber::new(number), valid, rate: BitRate::mbps(rate) }
}

#[test]
fn the_smaller_of_both_ends_is_sent() {
    let mut granted = Granted::new(BitRate::mbps(1));
    let now = Timestamp::ZERO;
    assert_eq!(granted.limit(BitRate::mbps(50), now), BitRate::mbps(1));
    assert!(granted.hear(grant(1, 20, LONG), now));
    assert_eq!(granted.limit(BitRate::mbps(50), now), BitRate::mbps(20));
    assert_eq!(granted.limit(BitRate::mbps(5), now), BitRate::mbps(5));
}

#[test]
fn a_grant_that_was_overtaken_changes_nothing() {
    let mut granted = Granted::new(BitRate::ZERO);
    let mut granting = Granting::default();
    let first = granting.grant(BitRate::mbps(90), LONG);
    let second = granting.grant(BitRate::mbps(10), LONG);
    assert_eq!((first.number.get(), second.number.get()), (1, 2));
    assert!(granted.hear(second, Timestamp::ZERO));
    assert!(!granted.hear(first, Timestamp::ZERO));
    assert!(!granted.hear(second, Timestamp::from_millis(5)));
    assert_eq!(granted.rate(Timestamp::ZERO), BitRate::mbps(10));
}

#[test]
fn a_grant_that_ran_out_leaves_what_counts_without() {
    let mut granted = Granted::new(BitRate::mbps(2));
    assert!(granted.hear(grant(1, 20, Duration::from_secs(3)), Timestamp::from_millis(100)));
    assert_eq!(granted.rate(Timestamp::from_millis(3099)), BitRate::mbps(20));
    assert_eq!(granted.holds_until(Timestamp::ZERO), Some(Timestamp::from_millis(3100)));
    assert_eq!(granted.rate(Timestamp::from_millis(3100)), BitRate::mbps(2));
    assert_eq!(granted.holds_until(Timestamp::from_millis(3100)), None);
}

/// A flow from a giver's link to a taker's, as each end knows it.
type Ends = BTreeMap<(usize, usize), [Granted; 2]>;

/// What the end `which` of each flow would give it, by what the other ends told last.
fn offers(room: u64, of: &Ends, which: usize, own: usize) -> Vec<((usize, usize), BitRate)> {
    let mut tree = Tree::new(None, BitRate::bps(room), ClassFloor::default());
    let flows = of.iter().filter(|(key, _)| [key.0, key.1][which] == own);
    let flows: Vec<_> = flows.collect();
    for (key, heard) in &flows {
        let weight = Weight::new(u32::try_from(key.0 + 2 * key.1).unwrap_or(0) % 5 + 1);
        let told = Demand::Rate(heard[which].rate(Timestamp::ZERO));
        let part = Part::new(Level::Peer).weight(weight.expect("not zero")).demand(told);
        tree.add(&None, Some(**key), part).expect("fits");
    }
    flows.iter().map(|(key, _)| (**key, tree.offer(&Some(**key)).expect("a leaf"))).collect()
}

proptest! {
    #![proptest_config(crate::cases::cases(128))]

    /// Each end knows its own link and what the other end offers, no more, and offers are lost,
    /// late and overtaken: the flows come to the rates of a division of all links at once.
    #[test]
    fn both_ends_come_to_the_division_of_all_links_at_once(
        up in proptest::collection::vec(1_000..1_000_000_u64, 1..5),
        down in proptest::collection::vec(1_000..1_000_000_u64, 1..5),
        flows in proptest::collection::btree_set((0..4_usize, 0..4_usize), 1..12),
        luck in proptest::collection::vec(0..10_u8, 64),
    ) {
        let flows: Vec<_> = flows.into_iter().filter(|f| f.0 < up.len() && f.1 < down.len()).collect();
        let fresh = [Granted::new(BitRate::MAX); 2];
        let mut ends: Ends = flows.iter().map(|&key| (key, fresh)).collect();
        let mut granting = BTreeMap::<_, [Granting; 2]>::new();
        let mut late: Vec<((usize, usize), usize, Grant)> = Vec::new();
        let mut luck = luck.into_iter().cycle();
        for round in 0..120 {
            for (which, rooms) in [&up, &down].into_iter().enumerate() {
                for (own, &room) in rooms.iter().enumerate() {
                    for (key, rate) in offers(room, &ends, which, own) {
                        let grant = granting.entry(key).or_default()[which].grant(rate, LONG);
                        late.push((key, 1 - which, grant));
                    }
                }
                // Lost, delivered at once, or later than what comes after it.
                late.retain(|(key, to, grant)| match luck.next() {
                    Some(0..3) if round < 80 => false,
                    Some(3..6) if round < 80 => true,
                    _ => {
                        let end = ends.get_mut(key).map(|ends| ends[*to].hear(*grant, Timestamp::ZERO));
                        end.is_none()
                    }
                });
            }
        }
        let mut network = Network::new(ClassFloor::default());
        for (end, rooms) in [&up, &down].into_iter().enumerate() {
            for (own, &room) in rooms.iter().enumerate() {
                network.set_link((end, own), BitRate::bps(room));
            }
        }
        for &key in &flows {
            let weight = Weight::new(u32::try_from(key.0 + 2 * key.1).unwrap_or(0) % 5 + 1);
            let (class, weight) = (Class::Normal, weight.expect("not zero"));
            let links = vec![(0, key.0), (1, key.1)];
            network.add(key, Flow { links, class, weight, most: BitRate::MAX }).expect("known");
        }
        for (key, crossing) in network.allocate() {
            let [from_taker, from_giver] = ends[&key].map(|end| end.rate(Timestamp::ZERO));
            let rate = from_taker.min(from_giver).get();
            prop_assert!(rate.abs_diff(crossing.rate.get()) <= 64, "{key:?}: {rate} {crossing:?}");
        }
    }
}
