//! Flows over several links: by example, beside a slow division in fractions, and by properties.

use crate::shares::{Class, ClassFloor, Crossing, Flow, Network, ShareError, Weight};
use farhaul_proto::units::BitRate;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn flow(links: &[u8], class: Class, weight: u32, most: u64) -> Flow<u8> {
    let weight = Weight::new(weight).expect("not zero");
    Flow { links: links.to_vec(), class, weight, most: BitRate::bps(most) }
}

fn plain(links: &[u8]) -> Flow<u8> {
    flow(links, Class::Normal, 1, u64::MAX)
}

fn network(rooms: &[u64], flows: &[Flow<u8>], permille: u16) -> Network<u8, usize> {
    let mut network = Network::new(ClassFloor::permille(permille).expect("bounded"));
    for (link, &room) in (0..).zip(rooms) {
        network.set_link(link, BitRate::bps(room));
    }
    for (key, flow) in flows.iter().enumerate() {
        network.add(key, flow.clone()).expect("links are known");
    }
    network
}

fn rates(of: &BTreeMap<usize, Crossing<u8>>) -> Vec<u64> {
    of.values().map(|crossing| crossing.rate.get()).collect()
}

#[test]
fn what_one_link_holds_back_is_lent_on_the_other() {
    // Flow 1 crosses both links; the second holds it to 10, and flow 0 has the rest of the first.
    let flows = [plain(&[0]), plain(&[0, 1]), plain(&[1])];
    let got = network(&[100, 20], &flows, 20).allocate();
    assert_eq!(rates(&got), [90, 10, 10]);
    assert_eq!(got[&0].held_by, Some(0));
    assert_eq!(got[&1].held_by, Some(1));
}

#[test]
fn a_site_with_a_slow_downlink_leaves_the_uplink_to_the_others() {
    let flows = [plain(&[0, 1]), plain(&[0, 2]), plain(&[0, 3])];
    let got = network(&[90, 10, 1000, 1000], &flows, 20).allocate();
    assert_eq!(rates(&got), [10, 40, 40]);
}

#[test]
fn weights_count_on_the_link_that_holds() {
    let flows = [5, 3, 1].map(|weight| flow(&[0, 1], Class::Normal, weight, u64::MAX));
    assert_eq!(rates(&network(&[900, 2000], &flows, 20).allocate()), [500, 300, 100]);
}

#[test]
fn an_urgent_flow_goes_first_on_each_link_and_floors_stay() {
    let flows = [
        flow(&[0, 1], Class::Urgent, 1, u64::MAX),
        flow(&[0], Class::Normal, 1, u64::MAX),
        flow(&[1], Class::Background, 1, u64::MAX),
    ];
    let got = network(&[1000, 500], &flows, 20).allocate();
    assert_eq!(rates(&got), [490, 510, 10]);
    assert_eq!(got[&0].held_by, Some(1));
}

#[test]
fn what_is_kept_of_a_link_and_not_used_there_goes_to_the_first_class() {
    let urgent = |link| flow(&[link], Class::Urgent, 1, u64::MAX);
    let flows = [urgent(0), urgent(2), plain(&[0, 2]), plain(&[0, 1])];
    // Of the floors alone flow 2 would have 18, for flow 3 would be held by its own link.
    let got = network(&[1000, 100, 5000], &flows, 20).allocate();
    assert_eq!(rates(&got), [980, 4990, 10, 10]);
}

#[test]
fn a_bound_of_a_flow_is_no_link() {
    let got = network(&[100], &[flow(&[0], Class::Normal, 1, 30), plain(&[0, 0])], 20).allocate();
    assert_eq!(rates(&got), [30, 70]);
    assert_eq!((got[&0].held_by, got[&1].held_by), (None, Some(0)));
}

#[test]
fn a_flow_over_a_link_that_is_not_known_is_refused() {
    let mut network = network(&[1], &[], 20);
    assert_eq!(network.add(0, plain(&[7])), Err(ShareError::NoLink));
    assert_eq!(network.add(0, plain(&[0])), Ok(()));
    assert_eq!(network.add(0, plain(&[0])), Err(ShareError::Twice));
    assert!(network.remove(&0).is_some());
}

/// Progressive filling as it is said, in floating point: raise all, find who stops, again.
fn slowly(rooms: &[u64], flows: &[Flow<u8>]) -> Vec<f64> {
    let mut got = vec![0.0; flows.len()];
    let mut rising = vec![true; flows.len()];
    while rising.iter().any(|&is| is) {
        let mut step = f64::INFINITY;
        for (link, &room) in (0_u8..).zip(rooms) {
            let on = |at: &usize| flows[*at].links.contains(&link);
            let used: f64 = (0..flows.len()).filter(on).map(|at| got[at]).sum();
            let weight: f64 = (0..flows.len())
                .filter(on)
                .filter(|&at| rising[at])
                .map(|at| f64::from(flows[at].weight.get()))
                .sum();
            if weight > 0.0 {
                step = step.min((BitRate::bps(room).as_f64() - used).max(0.0) / weight);
            }
        }
        for (at, flow) in flows.iter().enumerate().filter(|&(at, _)| rising[at]) {
            step = step.min((flow.most.as_f64() - got[at]).max(0.0) / f64::from(flow.weight.get()));
        }
        for (at, flow) in flows.iter().enumerate().filter(|&(at, _)| rising[at]) {
            got[at] += step * f64::from(flow.weight.get());
        }
        let is_full = |link: u8, got: &[f64]| {
            let on = flows.iter().zip(got).filter(|(flow, _)| flow.links.contains(&link));
            let used: f64 = on.map(|(_, got)| got).sum();
            used >= BitRate::bps(rooms[usize::from(link)]).as_f64() - 1e-6
        };
        let stops: Vec<bool> = flows
            .iter()
            .zip(&got)
            .map(|(flow, has)| {
                *has >= flow.most.as_f64() - 1e-6
                    || flow.links.iter().any(|&link| is_full(link, &got))
            })
            .collect();
        rising.iter_mut().zip(stops).for_each(|(rising, stops)| *rising &= !stops);
    }
    got
}

fn any_flow(links: u8, biggest: u64) -> impl Strategy<Value = Flow<u8>> {
    let links = proptest::collection::vec(0..links, 1..4);
    let class = prop::sample::select(Class::ALL.to_vec());
    let most = prop_oneof![0..=biggest, Just(u64::MAX)];
    let weight = prop_oneof![1..8_u32, Just(u32::MAX)];
    (links, class, weight, most)
        .prop_map(|(links, class, weight, most)| flow(&links, class, weight, most))
}

fn used(flows: &[Flow<u8>], got: &[u64], link: u8) -> u128 {
    let on = flows.iter().zip(got).filter(|(flow, _)| flow.links.contains(&link));
    on.map(|(_, got)| u128::from(*got)).sum()
}

proptest! {
    #![proptest_config(crate::cases::cases(256))]

    /// No link carries more than it has, and each flow that could use more crosses one that is full.
    #[test]
    fn links_hold_and_nothing_is_left_that_is_wanted(
        rooms in proptest::collection::vec(prop_oneof![any::<u64>(), 0..2000_u64], 5),
        flows in proptest::collection::vec(any_flow(5, u64::MAX), 0..25),
        permille in 0..=200_u16,
    ) {
        let crossings = network(&rooms, &flows, permille).allocate();
        let got = rates(&crossings);
        for (link, room) in (0..).zip(&rooms) {
            prop_assert!(used(&flows, &got, link) <= u128::from(*room));
        }
        for (at, flow) in flows.iter().enumerate() {
            let full = flow.links.iter().find(|&&link| {
                used(&flows, &got, link) == u128::from(rooms[usize::from(link)])
            });
            prop_assert!(got[at] <= flow.most.get());
            prop_assert!(got[at] == flow.most.get() || full.is_some());
            prop_assert_eq!(crossings[&at].held_by.is_some(), got[at] < flow.most.get());
        }
    }

    /// Within one class it is the division in fractions, but for the bits that rounding moves.
    #[test]
    fn it_is_what_filling_slowly_comes_to(
        rooms in proptest::collection::vec(0..1_000_000_u64, 5),
        flows in proptest::collection::vec(
            any_flow(5, 500_000).prop_map(|flow| Flow {
                class: Class::Normal,
                weight: Weight::new(flow.weight.get() % 16 + 1).expect("not zero"),
                ..flow
            }),
            0..20,
        ),
    ) {
        let got = rates(&network(&rooms, &flows, 20).allocate());
        for ((got, slow), flow) in got.iter().zip(slowly(&rooms, &flows)).zip(&flows) {
            let apart = (BitRate::bps(*got).as_f64() - slow).abs();
            prop_assert!(apart <= 64.0 * f64::from(flow.weight.get()), "{got} and {slow}");
        }
    }

    #[test]
    fn the_order_in_which_flows_are_added_changes_nothing(
        rooms in proptest::collection::vec(0..10_000_u64, 4),
        flows in proptest::collection::vec(any_flow(4, 5_000), 1..15),
    ) {
        let forward = network(&rooms, &flows, 20).allocate();
        let mut network = network(&rooms, &[], 20);
        for (key, flow) in flows.iter().enumerate().rev() {
            let mut flow = flow.clone();
            flow.links.reverse();
            network.add(key, flow).expect("links are known");
        }
        prop_assert_eq!(forward, network.allocate());
    }

    /// On one link it is the division of a tree of one level.
    #[test]
    fn on_one_link_it_is_the_division_of_a_tree(
        room in prop_oneof![any::<u64>(), 0..5_000_u64],
        flows in proptest::collection::vec(any_flow(1, 3_000), 1..15),
        permille in 0..=200_u16,
    ) {
        use crate::shares::{Demand, Level, Part, Tree};
        let got = rates(&network(&[room], &flows, permille).allocate());
        let floor = ClassFloor::permille(permille).expect("bounded");
        let mut tree = Tree::new(usize::MAX, BitRate::bps(room), floor);
        for (key, flow) in flows.iter().enumerate() {
            let part = Part::new(Level::Job).class(flow.class).weight(flow.weight);
            let part = part.demand(Demand::Rate(flow.most));
            tree.add(&usize::MAX, key, part).expect("fits");
        }
        let tree = tree.allocate();
        for (key, got) in got.iter().enumerate() {
            prop_assert_eq!(tree[&key].rate.get(), *got);
        }
    }
}
