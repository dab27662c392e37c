//! One direction of a link: classes, weights, caps, floors, and what limits whom.

use crate::shares::{
    Class, ClassFloor, Demand, Level, Limit, Part, ShareError, Shared, Tree, Weight,
};
use farhaul_proto::units::BitRate;
use proptest::prelude::*;
use std::collections::BTreeMap;

type Rates = BTreeMap<&'static str, Shared<&'static str>>;

fn mbps(n: u64) -> BitRate {
    BitRate::mbps(n)
}

fn link(room: u64) -> Tree<&'static str> {
    Tree::new("link", mbps(room), ClassFloor::default())
}

fn job(class: Class, weight: u32) -> Part {
    let weight = Weight::new(weight).expect("not zero");
    Part::new(Level::Job).class(class).weight(weight).demand(Demand::All)
}

fn add(tree: &mut Tree<&'static str>, parent: &'static str, key: &'static str, part: Part) {
    tree.add(&parent, key, part).expect("fits");
}

fn rate(rates: &Rates, key: &str) -> u64 {
    rates[key].rate.get() / 1_000_000
}

fn limit(rates: &Rates, key: &str) -> Limit<&'static str> {
    rates[key].limited_by.clone()
}

#[test]
fn jobs_of_5_to_3_to_1_get_so_much_and_what_one_leaves_is_lent_at_once() {
    let mut tree = link(90);
    for (key, weight) in [("five", 5), ("three", 3), ("one", 1)] {
        add(&mut tree, "link", key, job(Class::Normal, weight));
    }
    let rates = tree.allocate();
    assert_eq!(["five", "three", "one"].map(|key| rate(&rates, key)), [50, 30, 10]);
    assert_eq!(limit(&rates, "one"), Limit::Share { of: "link", level: Level::Link });
    assert!(tree.set_demand(&"five", Demand::Rate(mbps(10))));
    let rates = tree.allocate();
    assert_eq!(["five", "three", "one"].map(|key| rate(&rates, key)), [10, 60, 20]);
    assert_eq!(limit(&rates, "five"), Limit::Demand);
}

#[test]
fn an_urgent_job_preempts_and_the_others_keep_their_floors() {
    let mut tree = link(100);
    add(&mut tree, "link", "urgent", job(Class::Urgent, 1));
    add(&mut tree, "link", "normal", job(Class::Normal, 9));
    add(&mut tree, "link", "background", job(Class::Background, 9));
    let rates = tree.allocate();
    assert_eq!(["urgent", "normal", "background"].map(|key| rate(&rates, key)), [96, 2, 2]);
    tree.set_demand(&"urgent", Demand::Rate(mbps(30)));
    let rates = tree.allocate();
    assert_eq!(["urgent", "normal", "background"].map(|key| rate(&rates, key)), [30, 68, 2]);
    tree.set_demand(&"normal", Demand::Rate(BitRate::kbps(500)));
    let rates = tree.allocate();
    assert_eq!(rates["normal"].rate, BitRate::kbps(500));
    assert_eq!(rates["background"].rate, BitRate::kbps(69_500));
}

#[test]
fn a_floor_is_of_what_the_classes_share_and_bounded() {
    assert_eq!(
        ClassFloor::permille(201),
        Err(ShareError::FloorTooHigh { permille: 201, most: 200 })
    );
    let floor = ClassFloor::permille(200).expect("bounded");
    let mut tree = Tree::new("link", mbps(100), floor);
    add(&mut tree, "link", "urgent", job(Class::Urgent, 1));
    add(&mut tree, "link", "background", job(Class::Background, 1));
    assert_eq!(rate(&tree.allocate(), "background"), 20);
}

#[test]
fn caps_that_stand_in_each_other_all_hold_and_the_binding_one_is_named() {
    let mut tree = link(100);
    add(&mut tree, "link", "site", Part::new(Level::Site).cap(mbps(60)));
    add(&mut tree, "link", "other", job(Class::Normal, 1));
    add(&mut tree, "site", "job", Part::new(Level::Job).cap(mbps(20)));
    add(&mut tree, "site", "rest", job(Class::Normal, 1));
    let peer = Part::new(Level::Peer).demand(Demand::All);
    add(&mut tree, "job", "peer", peer);
    let rates = tree.allocate();
    assert_eq!(
        ["site", "other", "job", "rest", "peer"].map(|k| rate(&rates, k)),
        [50, 50, 20, 30, 20]
    );
    assert_eq!(limit(&rates, "peer"), Limit::Cap { of: "job", level: Level::Job });
    assert_eq!(limit(&rates, "rest"), Limit::Share { of: "link", level: Level::Link });
    assert!(tree.set_demand(&"other", Demand::Rate(mbps(10))));
    let rates = tree.allocate();
    assert_eq!(["site", "rest"].map(|key| rate(&rates, key)), [60, 40]);
    assert_eq!(limit(&rates, "rest"), Limit::Share { of: "site", level: Level::Site });
    add(&mut tree, "job", "small", peer.cap(mbps(3)));
    let rates = tree.allocate();
    assert_eq!(["peer", "small"].map(|key| rate(&rates, key)), [17, 3]);
    assert_eq!(limit(&rates, "small"), Limit::OwnCap);
    assert_eq!(limit(&rates, "peer"), Limit::Share { of: "job", level: Level::Job });
}

#[test]
fn weights_count_between_sites_before_they_count_between_their_jobs() {
    let mut tree = link(100);
    for site in ["berlin", "tokyo"] {
        add(&mut tree, "link", site, Part::new(Level::Site));
    }
    add(&mut tree, "berlin", "a", job(Class::Normal, 100));
    for key in ["b", "c"] {
        add(&mut tree, "tokyo", key, job(Class::Normal, 1));
    }
    let rates = tree.allocate();
    assert_eq!(["a", "b", "c"].map(|key| rate(&rates, key)), [50, 25, 25]);
}

#[test]
fn a_guaranteed_rate_is_kept_for_a_job_below_a_higher_class() {
    let mut tree = link(100);
    add(&mut tree, "link", "urgent", Part::new(Level::Class).class(Class::Urgent));
    add(&mut tree, "urgent", "flood", job(Class::Normal, 1));
    add(&mut tree, "link", "low", Part::new(Level::Class).class(Class::Background));
    add(&mut tree, "low", "kept", job(Class::Normal, 1).floor(mbps(15)));
    add(&mut tree, "low", "plain", job(Class::Normal, 1));
    let rates = tree.allocate();
    assert_eq!(["flood", "kept", "plain"].map(|key| rate(&rates, key)), [85, 15, 0]);
    tree.set_demand(&"kept", Demand::Rate(BitRate::ZERO));
    assert_eq!(rate(&tree.allocate(), "flood"), 98);
}

#[test]
fn a_tree_that_makes_no_sense_is_refused_with_the_reason() {
    let mut tree = link(1);
    let leaf = Part::new(Level::Job).demand(Demand::All);
    assert_eq!(tree.add(&"nowhere", "a", leaf), Err(ShareError::NoParent));
    assert_eq!(tree.add(&"link", "a", leaf), Ok(()));
    assert_eq!(tree.add(&"link", "a", leaf), Err(ShareError::Twice));
    assert_eq!(tree.add(&"a", "b", Part::new(Level::Peer)), Err(ShareError::BelowLeaf));
    let (parent, child) = (Level::Link, Level::Link);
    let wrong = tree.add(&"link", "c", Part::new(Level::Link));
    assert_eq!(wrong, Err(ShareError::WrongLevel { parent, child }));
    assert_eq!(Weight::new(0), Err(ShareError::NoWeight));
    assert!(!tree.set_demand(&"link", Demand::All));
}

/// How a node of a random tree is drawn.
#[derive(Clone, Debug)]
struct Drawn {
    above: prop::sample::Index,
    level: Level,
    class: Class,
    weight: u32,
    cap: Option<u64>,
    floor: u64,
    demand: Option<u64>,
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..50_u64, 0..2_000_000_u64, any::<u64>(), Just(u64::MAX)]
}

fn drawn(max_floor: u64) -> impl Strategy<Value = Drawn> {
    let level = prop::sample::select(vec![Level::Site, Level::Class, Level::Job, Level::Peer]);
    let class = prop::sample::select(Class::ALL.to_vec());
    let cap = prop::option::weighted(0.3, number());
    let demand = prop::option::weighted(0.8, number());
    let weight = prop_oneof![1..10_u32, Just(u32::MAX)];
    let floor = prop_oneof![4 => Just(0), 1 => 0..=max_floor];
    (any::<prop::sample::Index>(), level, class, weight, cap, floor, demand).prop_map(
        |(above, level, class, weight, cap, floor, demand)| Drawn {
            above,
            level,
            class,
            weight,
            cap,
            floor,
            demand,
        },
    )
}

/// A tree of what was drawn, as far as it fits; what each stands below.
fn grow(room: u64, floor: u16, nodes: &[Drawn]) -> (Tree<usize>, Vec<Option<usize>>, Vec<Part>) {
    let floor = ClassFloor::permille(floor).expect("bounded");
    let mut tree = Tree::new(0, BitRate::bps(room), floor);
    let mut above = vec![None];
    let mut parts = vec![Part::new(Level::Link).cap(BitRate::bps(room))];
    for node in nodes {
        let weight = Weight::new(node.weight).expect("not zero");
        let mut part = Part::new(node.level).class(node.class).weight(weight);
        part = part.floor(BitRate::bps(node.floor));
        part = node.cap.map_or(part, |cap| part.cap(BitRate::bps(cap)));
        if node.level == Level::Peer {
            let demand = node.demand.map_or(Demand::All, |n| Demand::Rate(BitRate::bps(n)));
            part = part.demand(demand);
        }
        let parent = node.above.index(above.len());
        if tree.add(&parent, above.len(), part).is_ok() {
            above.push(Some(parent));
            parts.push(part);
        }
    }
    (tree, above, parts)
}

fn sums(above: &[Option<usize>], rates: &BTreeMap<usize, Shared<usize>>) -> Vec<u128> {
    let mut sums = vec![0; above.len()];
    for (at, parent) in above.iter().enumerate() {
        if let Some(parent) = *parent {
            sums[parent] += u128::from(rates[&at].rate.get());
        }
    }
    sums
}

proptest! {
    #![proptest_config(crate::cases::cases(256))]

    /// Caps hold to the bit at each level, a node has just what its parts have, nobody wants what
    /// anybody above could give, and what is said to hold a leaf does.
    #[test]
    fn caps_hold_at_each_level_and_nothing_is_left_that_is_wanted(
        room in number(),
        floor in 0..=200_u16,
        nodes in proptest::collection::vec(drawn(u64::MAX), 0..60),
    ) {
        let (tree, above, parts) = grow(room, floor, &nodes);
        let rates = tree.allocate();
        let sums = sums(&above, &rates);
        prop_assert_eq!(rates.len(), above.len());
        for at in 0..above.len() {
            let rate = rates[&at].rate;
            let cap = parts[at].cap_of().unwrap_or(BitRate::MAX);
            prop_assert!(rate <= cap);
            let Some(demand) = parts[at].demand_of() else {
                prop_assert_eq!(sums[at], u128::from(rate.get()));
                continue;
            };
            prop_assert!(u128::from(rate.get()) <= demand.wanted());
            match &rates[&at].limited_by {
                Limit::Demand => prop_assert_eq!(u128::from(rate.get()), demand.wanted()),
                Limit::OwnCap => prop_assert_eq!(rate, cap),
                Limit::Cap { of, level } | Limit::Share { of, level } => {
                    prop_assert!(u128::from(rate.get()) < demand.wanted());
                    prop_assert!(parts[at].cap_of().is_none_or(|cap| rate < cap));
                    prop_assert_eq!(Some(rates[of].rate), parts[*of].cap_of());
                    prop_assert_eq!(*level, parts[*of].level_of());
                    let mut up = above[at];
                    while up != Some(*of) {
                        prop_assert!(up.is_some());
                        up = up.and_then(|up| above[up]);
                    }
                }
            }
        }
    }

    #[test]
    fn no_class_that_wants_something_starves(
        room in 1_000..u64::MAX,
        floor in 1..=200_u16,
        nodes in proptest::collection::vec(drawn(0), 1..40),
    ) {
        let (tree, above, parts) = grow(room, floor, &nodes);
        let rates = tree.allocate();
        for parent in 0..above.len() {
            let least = u128::from(rates[&parent].rate.get()) * u128::from(floor) / 1000;
            for class in Class::ALL {
                let of = |at: &usize| above[*at] == Some(parent) && parts[*at].class_of() == class;
                let of: Vec<usize> = (0..above.len()).filter(of).collect();
                let has: u128 = of.iter().map(|at| u128::from(rates[at].rate.get())).sum();
                let is_held = of.iter().any(|at| match rates[at].limited_by {
                    Limit::Share { of, .. } | Limit::Cap { of, .. } => of != *at,
                    Limit::Demand | Limit::OwnCap => false,
                });
                prop_assert!(!is_held || has >= least, "{class:?} has {has} of {least}");
            }
        }
    }

    /// While a class is held down, none below it has more than what is kept for it.
    #[test]
    fn a_lower_class_has_no_more_than_its_floor_while_a_higher_one_wants_more(
        room in 1_000..u64::MAX,
        demands in proptest::collection::vec((prop::sample::select(Class::ALL.to_vec()), number()), 1..20),
    ) {
        let mut tree = Tree::new(0, BitRate::bps(room), ClassFloor::default());
        for (at, &(class, demand)) in demands.iter().enumerate() {
            let part = Part::new(Level::Job).class(class).demand(Demand::Rate(BitRate::bps(demand)));
            tree.add(&0, at + 1, part).expect("fits");
        }
        let rates = tree.allocate();
        let of = |class: Class| {
            let jobs = demands.iter().enumerate().filter(move |(_, job)| job.0 == class);
            jobs.map(|(at, job)| (u128::from(rates[&(at + 1)].rate.get()), u128::from(job.1)))
        };
        for (rank, class) in Class::ALL.into_iter().enumerate() {
            if of(class).any(|(has, wants)| has < wants) {
                for lower in &Class::ALL[rank + 1..] {
                    let has: u128 = of(*lower).map(|(has, _)| has).sum();
                    prop_assert!(has <= u128::from(room) * 20 / 1000);
                }
            }
        }
    }

    #[test]
    fn the_order_in_which_parts_are_added_changes_nothing(
        room in number(),
        leaves in proptest::collection::vec((number(), 1..9_u32, prop::sample::select(Class::ALL.to_vec())), 1..20),
        seed in any::<u64>(),
    ) {
        let keys: Vec<usize> = (1..=leaves.len()).collect();
        let mut mixed = keys.clone();
        mixed.sort_by_key(|&key| (key as u64).wrapping_mul(seed | 1).rotate_left(17));
        let grown = |keys: &[usize]| {
            let mut tree = Tree::new(0, BitRate::bps(room), ClassFloor::default());
            for &key in keys {
                let (demand, weight, class) = leaves[key - 1];
                let part = Part::new(Level::Job).class(class).demand(Demand::Rate(BitRate::bps(demand)));
                let weight = Weight::new(weight).expect("not zero");
                tree.add(&0, key, part.weight(weight)).expect("fits");
            }
            tree.allocate()
        };
        prop_assert_eq!(grown(&keys), grown(&mixed));
    }

    /// Within one class, more room is less for nobody, and who wants more takes only from others.
    #[test]
    fn more_room_is_less_for_nobody_and_a_higher_demand_more_for_nobody_else(
        room in number(),
        more in number(),
        nodes in proptest::collection::vec(drawn(0).prop_map(|node| Drawn { class: Class::Normal, ..node }), 1..40),
        who in any::<prop::sample::Index>(),
    ) {
        let (mut tree, above, parts) = grow(room, 0, &nodes);
        let before = tree.allocate();
        let (wider, ..) = grow(room.saturating_add(more), 0, &nodes);
        for (at, shared) in wider.allocate() {
            prop_assert!(before[&at].rate <= shared.rate);
        }
        let who = who.index(above.len());
        let Some(Demand::Rate(was)) = parts[who].demand_of() else { return Ok(()) };
        tree.set_demand(&who, Demand::Rate(BitRate::bps(was.get().saturating_add(more))));
        for (at, shared) in tree.allocate().into_iter().filter(|(at, _)| parts[*at].demand_of().is_some()) {
            let was = before[&at].rate;
            let is_right = if at == who { was <= shared.rate } else { was >= shared.rate };
            prop_assert!(is_right);
        }
    }

    #[test]
    fn an_offer_is_what_is_had_by_whoever_is_held_by_the_link(
        room in number(),
        nodes in proptest::collection::vec(drawn(0), 1..30),
    ) {
        let (tree, ..) = grow(room, 20, &nodes);
        for (at, shared) in tree.allocate() {
            let Some(offer) = tree.offer(&at) else { continue };
            match shared.limited_by {
                Limit::Demand => prop_assert!(offer >= shared.rate),
                _ => prop_assert_eq!(offer, shared.rate),
            }
        }
    }
}
