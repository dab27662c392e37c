//! What the division says, by example and by properties.

use super::super::{JobTerms, LinkCap};
use super::*;
use farhaul_sync::calendar::Percent;
use farhaul_sync::job::JobId;
use proptest::prelude::*;

const ALL: Load = Load { is_busy: true, demand: Demand::All };
const IDLE: Load = Load { is_busy: false, demand: Demand::Rate(BitRate::ZERO) };

fn peer(n: u8) -> SiteId {
    SiteId([n; 32])
}

fn job(n: u8) -> Lot {
    Lot::Job(JobId([n; 16]))
}

fn terms(class: Class, weight: u32) -> JobTerms {
    let name = String::new();
    JobTerms { name, class, weight, cap: None, calendar: None, is_paused: false }
}

/// A link and jobs, and to whom there is something to send of which.
struct Scene {
    rules: Rules,
    jobs: JobTable,
    loads: Loads,
}

impl Scene {
    fn new(cap: Option<BitRate>) -> Self {
        let link = LinkCap { up: cap, cap, ..LinkCap::default() };
        let rules = Rules { links: vec![link], ..Rules::default() };
        Self { rules, jobs: JobTable::default(), loads: Loads::new() }
    }

    fn job(mut self, n: u8, terms: JobTerms, to: &[u8]) -> Self {
        self.jobs.jobs.insert(JobId([n; 16]), terms);
        for to in to {
            self.loads.entry(peer(*to)).or_default().insert(job(n), ALL);
        }
        self
    }

    fn load(mut self, to: u8, lot: Lot, load: Load) -> Self {
        self.loads.entry(peer(to)).or_default().insert(lot, load);
        self
    }

    fn divide(&self) -> Division {
        divide(&self.rules, &self.jobs, &self.loads)
    }

    fn part(&self, to: u8, lot: Lot) -> FlowPart {
        self.divide()[&peer(to)].flows[&lot]
    }

    fn share(&self, to: u8, lot: Lot) -> u64 {
        self.part(to, lot).share.map_or(0, BitRate::get)
    }
}

const MBIT: u64 = 1_000_000;

/// spec: S-206
#[test]
fn weights_of_five_three_and_one_are_those_of_flows_in_one_session_and_of_several_sessions() {
    let normal = |weight| terms(Class::Normal, weight);
    let link = || Scene::new(Some(BitRate::mbps(36)));
    let one = link().job(1, normal(5), &[7]).job(2, normal(3), &[7]).job(3, normal(1), &[7]);
    let weights = [1, 2, 3].map(|n| one.part(7, job(n)).plan.weight.get());
    assert_eq!(weights, [300, 180, 60]);
    assert_eq!([1, 2, 3].map(|n| one.share(7, job(n))), [20, 12, 4].map(|n| n * MBIT));
    assert_eq!(one.part(7, job(1)).hold, Some(Hold::Share));
    assert_eq!(one.part(7, job(1)).plan.cap, None, "what nobody uses is there for all");
    let apart = link().job(1, normal(5), &[7]).job(2, normal(3), &[8]).job(3, normal(1), &[9]);
    let division = apart.divide();
    let weights = [7, 8, 9].map(|n| u64::from(division[&peer(n)].weight.get()));
    assert_eq!(weights, [33_333, 20_000, 6_666]);
    // The first one goes to two peers: each has half of it, beside a third of its class in one session.
    let both = link().job(1, normal(5), &[7, 8]).job(2, normal(3), &[7]).job(3, normal(1), &[9]);
    let weights = [1, 2].map(|n| both.part(7, job(n)).plan.weight.get());
    assert_eq!(weights, [150, 180]);
    let division = both.divide();
    let weights = [7, 8, 9].map(|n| u64::from(division[&peer(n)].weight.get()));
    assert_eq!(weights, [36_666, 16_666, 6_666]);
}

/// spec: S-206
#[test]
fn what_one_leaves_the_others_have_and_folders_are_a_job_of_weight_one() {
    let little = Load { is_busy: true, demand: Demand::Rate(BitRate::mbps(4)) };
    let scene = Scene::new(Some(BitRate::mbps(40)))
        .job(1, terms(Class::Normal, 5), &[7])
        .load(8, Lot::Folders, ALL)
        .load(7, job(1), little);
    assert_eq!(scene.share(8, Lot::Folders), 36 * MBIT);
    assert_eq!(scene.part(7, job(1)).hold, Some(Hold::Session));
    assert_eq!(scene.load(7, job(1), IDLE).share(8, Lot::Folders), 40 * MBIT);
    let scene = Scene::new(Some(BitRate::mbps(40))).job(1, terms(Class::Normal, 3), &[7]).load(
        8,
        Lot::Folders,
        ALL,
    );
    assert_eq!(scene.share(8, Lot::Folders), 10 * MBIT);
}

/// spec: S-206
#[test]
fn a_higher_class_has_all_but_two_percent_for_each_lower_one_and_what_it_leaves() {
    let scene = |urgent| {
        let demand = Demand::Rate(BitRate::mbps(urgent));
        Scene::new(Some(BitRate::mbps(100)))
            .job(1, terms(Class::Urgent, 1), &[7])
            .job(2, terms(Class::Normal, 900), &[8])
            .job(3, terms(Class::Background, 1), &[8])
            .load(7, job(1), Load { is_busy: true, demand })
    };
    let all = scene(1000);
    let shares = [all.share(7, job(1)), all.share(8, job(2)), all.share(8, job(3))];
    assert_eq!(shares, [96 * MBIT, 2 * MBIT, 2 * MBIT]);
    assert_eq!(all.part(8, job(2)).hold, Some(Hold::Class));
    assert_eq!(all.part(7, job(1)).plan.class, flows::Class::Urgent);
    let some = scene(30);
    let shares = [some.share(7, job(1)), some.share(8, job(2)), some.share(8, job(3))];
    assert_eq!(shares, [30 * MBIT, 68 * MBIT, 2 * MBIT]);
}

/// spec: S-206
#[test]
fn a_configured_floor_of_a_class_is_no_part_of_a_higher_one_while_it_is_used() {
    let mut scene = Scene::new(Some(BitRate::mbps(100))).job(1, terms(Class::Urgent, 1), &[7]).job(
        2,
        terms(Class::Background, 1),
        &[7],
    );
    let floor = ClassCap { floor: Some(BitRate::mbps(20)), ..ClassCap::default() };
    scene.rules.links[0].classes.insert(Class::Background, floor);
    assert_eq!(scene.part(7, job(1)).plan.cap, Some(BitRate::mbps(80)));
    assert_eq!(scene.share(7, job(2)), 20 * MBIT);
    let scene = scene.load(7, job(2), IDLE);
    assert_eq!(scene.part(7, job(1)).plan.cap, None);
}

/// spec: S-197, S-198, S-208
#[test]
fn the_cap_of_a_job_holds_over_all_its_sessions_and_links_together() {
    let cap = Some(BitRate::mbps(10));
    let capped = JobTerms { cap, ..terms(Class::Normal, 1) };
    let scene = Scene::new(Some(BitRate::mbps(100))).job(1, capped.clone(), &[7, 8]);
    for to in [7, 8] {
        assert_eq!(scene.part(to, job(1)).plan.cap, Some(BitRate::mbps(5)));
        assert_eq!(scene.part(to, job(1)).hold, Some(Hold::Cap));
    }
    let slow = Load { is_busy: true, demand: Demand::Rate(BitRate::mbps(2)) };
    let scene = scene.load(7, job(1), slow);
    assert_eq!(scene.part(8, job(1)).plan.cap, Some(BitRate::mbps(8)));
    // Who has nothing to send just now may begin with a little.
    let scene = scene.load(7, job(1), IDLE);
    assert_eq!(scene.part(8, job(1)).plan.cap, cap);
    assert_eq!(scene.part(7, job(1)).plan.cap, Some(BitRate::kbps(100)));
    // Over two links.
    let mut scene = Scene::new(Some(BitRate::mbps(100))).job(1, capped, &[7, 8]);
    let other = LinkCap { peers: Some([peer(8)].into()), ..scene.rules.links[0].clone() };
    scene.rules.links.push(other);
    assert_eq!([7, 8].map(|to| scene.part(to, job(1)).plan.cap), [Some(BitRate::mbps(5)); 2]);
}

/// spec: S-205, S-208, S-209
#[test]
fn a_job_keeps_to_its_calendar_and_to_that_of_its_class() {
    let by = |calendar: &str| JobTerms {
        calendar: Some(calendar.to_owned()),
        ..terms(Class::Normal, 1)
    };
    let percent = Allowed::Percent(Percent::new(25).expect("a part"));
    let rate = Allowed::Rate(BitRate::mbps(3));
    let mut scene = Scene::new(Some(BitRate::mbps(40))).job(1, by("quarter"), &[7]);
    let calendars =
        [("quarter", percent), ("slow", rate), ("off", Allowed::Pause), ("on", Allowed::Full)];
    scene.rules.calendars = calendars.map(|(name, limit)| (name.to_owned(), limit)).into();
    assert_eq!(scene.part(7, job(1)).plan.cap, Some(BitRate::mbps(10)));
    assert_eq!(scene.part(7, job(1)).hold, Some(Hold::Calendar));
    let scene = scene.job(1, by("slow"), &[]);
    assert_eq!(scene.part(7, job(1)).plan.cap, Some(BitRate::mbps(3)));
    let scene = scene.job(1, by("on"), &[]);
    assert_eq!(
        scene.part(7, job(1)).plan,
        FlowPlan { weight: flows::Weight::new(60), ..FlowPlan::default() }
    );
    // Nobody knows what one says that is not there.
    for name in ["off", "gone"] {
        let scene = Scene::new(None).job(1, by(name), &[7]);
        let paused = scene.part(7, job(1));
        assert!(paused.plan.paused && paused.hold == Some(Hold::Calendar), "{name}");
    }
    let mut scene =
        scene.job(1, by("slow"), &[]).load(7, Lot::Folders, ALL).load(7, Lot::Words, ALL);
    let none = ClassCap { cap: Some(BitRate::ZERO), by_calendar: true, floor: None };
    scene.rules.links[0].classes.insert(Class::Normal, none);
    assert!(scene.part(7, job(1)).plan.paused && scene.part(7, Lot::Folders).plan.paused);
    assert!(!scene.part(7, Lot::Words).plan.paused, "what is said is of no class");
}

/// spec: S-208
#[test]
fn a_paused_job_sends_nothing_and_leaves_its_share_and_one_that_is_over_comes_to_its_end() {
    let paused = JobTerms { is_paused: true, ..terms(Class::Urgent, 9) };
    let scene = Scene::new(Some(BitRate::mbps(40)))
        .job(1, paused, &[7])
        .job(2, terms(Class::Normal, 1), &[7])
        .load(7, job(3), ALL);
    assert!(scene.part(7, job(1)).plan.paused);
    assert_eq!(scene.part(7, job(1)).hold, Some(Hold::Paused));
    let over = scene.part(7, job(3)).plan;
    assert_eq!((over.class, over.paused), (flows::Class::Background, false));
    assert_eq!(scene.share(7, job(2)) + scene.share(7, job(3)), 40 * MBIT);
}

fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Urgent), Just(Class::Normal), Just(Class::Background)]
}

fn load() -> impl Strategy<Value = Load> {
    prop_oneof![
        Just(ALL),
        Just(IDLE),
        (1_u64..50)
            .prop_map(|mbps| Load { is_busy: true, demand: Demand::Rate(BitRate::mbps(mbps)) })
    ]
}

proptest! {
    /// Whatever there is to send: all flows together never have more of a cap than it, but for what those
    /// may begin with that are idle; and what a link has is given away as long as somebody can use it.
    ///
    /// spec: S-206, S-208
    #[test]
    fn nothing_has_more_than_its_caps_and_nothing_is_left_that_could_be_used(
        link in 10_u64..200,
        class_cap in prop::option::of(5_u64..100),
        jobs in prop::collection::vec(
            (class(), 1_u32..1000, prop::option::of(1_u64..100), prop::collection::vec(load(), 3)),
            1..6,
        ),
    ) {
        let mut scene = Scene::new(Some(BitRate::mbps(link)));
        let cap = ClassCap { cap: class_cap.map(BitRate::mbps), ..ClassCap::default() };
        scene.rules.links[0].classes.insert(Class::Normal, cap);
        for (n, (class, weight, cap, loads)) in jobs.iter().enumerate() {
            let n = u8::try_from(n).expect("few");
            let cap = cap.map(BitRate::mbps);
            scene = scene.job(n, JobTerms { cap, ..terms(*class, *weight) }, &[]);
            for (to, load) in loads.iter().enumerate() {
                scene = scene.load(u8::try_from(to).expect("few") + 7, job(n), *load);
            }
        }
        let division = scene.divide();
        let flows = || division.values().flat_map(|session| &session.flows);
        let caps = |is: &dyn Fn(usize) -> bool| {
            let of = |(lot, part): (&Lot, &FlowPart)| {
                let at = (0..jobs.len()).find(|n| job(u8::try_from(*n).expect("few")) == *lot)?;
                is(at).then_some(part.plan.cap.unwrap_or(BitRate::MAX).get())
            };
            flows().filter_map(of).map(u128::from).sum::<u128>()
        };
        // A flow has a least rate even where a cap leaves it none.
        let slack = |cap: u64| u128::from(cap * MBIT) * 101 / 100 + 18 * 8_000;
        for (n, (_, _, cap, _)) in jobs.iter().enumerate() {
            if let Some(cap) = cap {
                prop_assert!(caps(&|at| at == n) <= slack(*cap), "{} of {cap}", caps(&|at| at == n));
            }
        }
        if let Some(cap) = class_cap {
            prop_assert!(caps(&|at| jobs[at].0 == Class::Normal) <= slack(cap));
        }
        let given: u64 = flows().filter_map(|(_, part)| part.share).map(BitRate::get).sum();
        prop_assert!(given <= link * MBIT);
        let holds = |hold: Hold| flows().any(|(_, part)| part.hold == Some(hold));
        if holds(Hold::Link) || holds(Hold::Share) && class_cap.is_none() {
            prop_assert!(given * 1000 >= link * MBIT * 999, "{given} of {link}");
        }
    }
}
