//! Several members behind one link: what they lend, and that it never is more than there is.

use crate::shares::{
    Announcement, Demand, Heard, LEASE_MAX, Lease, LeaseConfig, Life, ShareError, Weight,
};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

const LINK: BitRate = BitRate::mbps(90);
const LEASE: Duration = Duration::from_secs(2);

fn config(weights: &[u32]) -> LeaseConfig<usize> {
    let weight = |&weight: &u32| Weight::new(weight).expect("not zero");
    let members = weights.iter().map(weight).enumerate().collect();
    LeaseConfig { link: LINK, members, lease: LEASE }
}

fn mbps(n: u64) -> Demand {
    Demand::Rate(BitRate::mbps(n))
}

/// Members with clocks of their own that run too slow or too fast by up to 4 %.
struct Site {
    members: Vec<Lease<usize>>,
    config: LeaseConfig<usize>,
    demands: Vec<(Demand, Weight)>,
    lives: u64,
    /// The true time.
    nanos: u64,
}

impl Site {
    fn new(weights: &[u32]) -> Self {
        let config = config(weights);
        let demands = vec![(Demand::All, Weight::ONE); weights.len()];
        let mut site = Self { members: Vec::new(), config, demands, lives: 0, nanos: 0 };
        for own in 0..weights.len() {
            let member = site.start(own);
            site.members.push(member);
        }
        site
    }

    fn start(&mut self, own: usize) -> Lease<usize> {
        self.lives += 1;
        let life = Life::new(self.lives);
        let mut lease = Lease::new(own, life, &self.config, self.clock(own)).expect("a member");
        lease.set_demand(self.demands[own].0, self.demands[own].1);
        lease
    }

    fn clock(&self, of: usize) -> Timestamp {
        let drift = [100, 104, 96, 102, 98][of % 5];
        let nanos = u128::from(self.nanos) * drift / 100 + 1_000_000_007 * of as u128;
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    fn set_demand(&mut self, of: usize, demand: Demand, weight: u32) {
        self.demands[of] = (demand, Weight::new(weight).expect("not zero"));
        self.members[of].set_demand(self.demands[of].0, self.demands[of].1);
    }

    fn set_link(&mut self, link: BitRate) {
        self.config.link = link;
        self.members.iter_mut().for_each(|member| member.set_link(link));
    }

    fn announce(&mut self, from: usize, to: usize) -> Announcement {
        let now = self.clock(from);
        self.members[from].announce(&to, now).expect("a member")
    }

    fn hear(&mut self, from: usize, to: usize, said: &Announcement) -> bool {
        let now = self.clock(to);
        self.members[to].hear(&from, said, now)
    }

    /// Everybody tells everybody; nothing is lost.
    fn round(&mut self, cut_off: Option<usize>) {
        self.nanos += 100_000_000;
        for from in 0..self.members.len() {
            for to in (0..self.members.len()).filter(|&to| to != from) {
                let said = self.announce(from, to);
                if cut_off != Some(from) && cut_off != Some(to) {
                    self.hear(from, to, &said);
                }
                assert!(self.sum() <= u128::from(self.config.link.get()));
            }
        }
    }

    fn limit(&self, of: usize) -> BitRate {
        self.members[of].limit(self.clock(of))
    }

    fn limits(&self) -> Vec<u64> {
        (0..self.members.len()).map(|of| self.limit(of).get() / 1_000_000).collect()
    }

    fn sum(&self) -> u128 {
        (0..self.members.len()).map(|of| u128::from(self.limit(of).get())).sum()
    }
}

#[test]
fn a_member_that_knows_of_nobody_begins_with_nothing_and_then_has_its_part() {
    let mut site = Site::new(&[1, 2]);
    assert_eq!(site.limits(), [0, 0]);
    assert!(site.members[0].changes_at(site.clock(0)).is_some());
    site.nanos += 6_000_000_000;
    assert_eq!(site.limits(), [30, 60]);
    assert_eq!(site.members[0].changes_at(site.clock(0)), None);
}

#[test]
fn members_that_hear_of_each_other_begin_at_once() {
    let mut site = Site::new(&[1, 1, 1]);
    site.round(None);
    site.round(None);
    assert_eq!(site.limits(), [30, 30, 30]);
}

#[test]
fn what_idle_members_do_not_use_is_lent_and_given_back_within_three_rounds() {
    let mut site = Site::new(&[1, 1, 1]);
    site.set_demand(1, mbps(10), 1);
    site.set_demand(2, mbps(0), 1);
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [80, 10, 0]);
    site.set_demand(2, Demand::All, 1);
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [40, 10, 40]);
}

#[test]
fn live_weights_divide_and_all_compute_the_same() {
    let mut site = Site::new(&[1, 1, 1]);
    for (of, weight) in [5, 3, 1].into_iter().enumerate() {
        site.set_demand(of, Demand::All, weight);
    }
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [50, 30, 10]);
    let targets: Vec<_> = (0..3).map(|of| site.members[of].targets(site.clock(of))).collect();
    assert!(targets.iter().all(|one| *one == targets[0]));
}

#[test]
fn whoever_is_cut_off_has_its_part_once_what_it_lent_has_run_out() {
    let mut site = Site::new(&[1, 1, 1]);
    site.set_demand(2, mbps(0), 1);
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [45, 45, 0]);
    site.set_demand(2, Demand::All, 1);
    (0..15).for_each(|_| site.round(Some(2)));
    assert_eq!(site.limits(), [45, 45, 0]);
    (0..10).for_each(|_| site.round(Some(2)));
    assert_eq!(site.limits(), [30, 30, 30]);
}

#[test]
fn a_member_that_starts_anew_uses_nothing_until_all_know() {
    let mut site = Site::new(&[1, 1]);
    site.set_demand(0, mbps(0), 1);
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [0, 90]);
    site.demands[0] = (Demand::All, Weight::ONE);
    site.members[0] = site.start(0);
    assert_eq!(site.limits(), [0, 90]);
    (0..2).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [45, 45]);
}

#[test]
fn an_announcement_that_was_overtaken_or_is_of_an_earlier_run_is_ignored() {
    let mut site = Site::new(&[1, 1]);
    let old = site.announce(0, 1);
    let new = site.announce(0, 1);
    assert!(site.hear(0, 1, &new));
    assert!(!site.hear(0, 1, &old));
    assert!(!site.hear(0, 1, &new));
    site.members[0] = site.start(0);
    let anew = site.announce(0, 1);
    assert!(site.hear(0, 1, &anew));
    let late = Announcement { number: new.number + 100, ..new };
    assert!(!site.hear(0, 1, &late));
    assert!(!site.hear(7, 1, &anew));
}

#[test]
fn what_answers_nothing_lends_nothing() {
    let mut site = Site::new(&[1, 1]);
    site.nanos += 7_000_000_000;
    let said = site.announce(0, 1);
    let lavish = Announcement { lend: BitRate::mbps(45), valid: Duration::MAX, ..said };
    assert!(site.hear(0, 1, &lavish));
    assert_eq!(site.limit(1), BitRate::mbps(45));
    // A number that was never sent, and one of an earlier run.
    for (number, heard) in [
        (2, Heard { life: Life::new(2), number: 99 }),
        (3, Heard { life: Life::new(1), number: 1 }),
    ] {
        assert!(site.hear(0, 1, &Announcement { number, heard: Some(heard), ..lavish }));
        assert_eq!(site.limit(1), BitRate::mbps(45));
    }
}

#[test]
fn what_is_lent_counts_from_when_it_was_asked_for_however_late_it_comes() {
    let mut site = Site::new(&[1, 1]);
    site.set_demand(0, mbps(0), 1);
    (0..3).for_each(|_| site.round(None));
    let asked = site.announce(1, 0);
    assert!(site.hear(1, 0, &asked));
    let answer = site.announce(0, 1);
    site.nanos += 1_500_000_000;
    assert!(site.hear(0, 1, &answer));
    assert_eq!(site.limits(), [0, 90]);
    site.nanos += 500_000_000;
    assert_eq!(site.limits(), [0, 45]);
}

#[test]
fn a_lender_with_a_fast_clock_waits_for_a_borrower_with_a_slow_one() {
    let mut site = Site::new(&[1, 1, 1]);
    site.set_demand(1, mbps(0), 1);
    site.set_demand(0, mbps(0), 1);
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [0, 0, 90]);
    for _ in 0..300 {
        site.nanos += 10_000_000;
        assert!(site.sum() <= u128::from(LINK.get()), "{:?}", site.limits());
    }
    assert_eq!(site.limits(), [30, 30, 30]);
}

#[test]
fn what_is_still_lent_to_one_is_not_lent_to_another() {
    let mut site = Site::new(&[1, 1, 1]);
    site.set_demand(0, mbps(0), 1);
    site.set_demand(1, mbps(0), 1);
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [0, 0, 90]);
    // Member 1 wants everything now, member 2 nothing; member 2 hears nothing of it.
    site.set_demand(1, Demand::All, 1);
    site.set_demand(2, mbps(0), 1);
    for (from, to) in [(2, 0), (1, 0), (0, 1), (2, 1), (1, 0), (0, 1)] {
        let said = site.announce(from, to);
        site.hear(from, to, &said);
        assert!(site.sum() <= u128::from(LINK.get()), "{:?}", site.limits());
    }
    assert_eq!(site.limit(1), BitRate::ZERO);
}

#[test]
fn members_that_do_not_agree_on_their_parts_keep_to_them() {
    let mut site = Site::new(&[1, 1]);
    site.set_demand(1, mbps(0), 1);
    site.members[0].set_link(BitRate::mbps(80));
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [40, 45]);
    site.members[1].set_link(BitRate::mbps(80));
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [80, 0]);
}

#[test]
fn a_link_with_less_room_holds_what_is_lent_at_once() {
    let mut site = Site::new(&[1, 2]);
    site.set_demand(1, mbps(10), 1);
    (0..3).for_each(|_| site.round(None));
    assert_eq!(site.limits(), [80, 10]);
    site.set_link(BitRate::mbps(9));
    assert_eq!(site.limits(), [8, 1]);
}

/// What the lender counted as lent went down with the link, and did not come back with it; but the
/// announcement from before holds again, whole, where it arrives after the second change.
///
/// spec: S-193
#[test]
fn a_link_that_has_less_room_and_more_again_lends_nothing_twice() {
    for (low, high) in [(9, 90), (0, 90), (9, 180)] {
        let mut site = Site::new(&[1, 2]);
        site.set_demand(1, mbps(10), 1);
        (0..3).for_each(|_| site.round(None));
        let old = site.announce(1, 0);
        site.set_link(BitRate::mbps(low));
        site.set_link(BitRate::mbps(high));
        site.hear(1, 0, &old);
        let link = u128::from(site.config.link.get());
        assert!(site.sum() <= link, "{low} and {high}: {:?}", site.limits());
        (0..3).for_each(|_| site.round(None));
        assert!(site.limits()[0] >= high - 10, "{:?}", site.limits());
    }
    // Nor does it of a run before, of which the lender knows nothing.
    let mut site = Site::new(&[1, 2]);
    site.set_demand(1, mbps(10), 1);
    (0..3).for_each(|_| site.round(None));
    let old = site.announce(1, 0);
    site.set_link(BitRate::mbps(9));
    site.members[1] = site.start(1);
    site.set_link(BitRate::mbps(90));
    site.hear(1, 0, &old);
    assert!(site.sum() <= u128::from(LINK.get()), "{:?}", site.limits());
}

#[test]
fn a_lease_that_makes_no_sense_is_refused() {
    let now = Timestamp::ZERO;
    let good = config(&[1, 1]);
    let of = |own: usize, lease| {
        Lease::new(own, Life::new(1), &LeaseConfig { lease, ..good.clone() }, now).map(|_| ())
    };
    assert_eq!(of(2, LEASE), Err(ShareError::NotMember));
    let most = LEASE_MAX.as_millis();
    assert_eq!(of(0, Duration::ZERO), Err(ShareError::LeaseSpan { millis: 0, most }));
    assert_eq!(
        of(0, Duration::from_millis(5001)),
        Err(ShareError::LeaseSpan { millis: 5001, most })
    );
    assert_eq!(of(0, LEASE_MAX), Ok(()));
}

/// What happens to a site.
#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    Tell {
        from: usize,
        to: usize,
    },
    /// One of the announcements under way arrives, and may arrive again.
    Arrive {
        which: prop::sample::Index,
        again: bool,
    },
    Lose(prop::sample::Index),
    Demand {
        of: usize,
        mbps: u64,
        weight: u32,
    },
    Restart(usize),
    Link(u64),
    CutOff(Option<usize>),
    Everybody,
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        6 => (0..400_000_000_u64).prop_map(Step::Wait),
        1 => (0..6_000_000_000_u64).prop_map(Step::Wait),
        8 => (0..4_usize, 0..4_usize).prop_map(|(from, to)| Step::Tell { from, to }),
        8 => (index(), any::<bool>()).prop_map(|(which, again)| Step::Arrive { which, again }),
        2 => index().prop_map(Step::Lose),
        3 => (0..4_usize, 0..120_u64, 1..6_u32).prop_map(|(of, mbps, weight)| Step::Demand { of, mbps, weight }),
        1 => (0..4_usize).prop_map(Step::Restart),
        1 => (0..200_000_000_u64).prop_map(Step::Link),
        // As calendars have it: the same ones again and again.
        2 => (1..4_u64).prop_map(|part| Step::Link(LINK.get() / part.pow(4))),
        1 => prop::option::of(0..4_usize).prop_map(Step::CutOff),
        3 => Just(Step::Everybody),
    ]
}

fn member() -> impl Strategy<Value = Vec<u32>> {
    proptest::collection::vec(1..5_u32, 2..5)
}

/// The members themselves, one step further.
fn play(
    site: &mut Site,
    under_way: &mut Vec<(usize, usize, Announcement)>,
    cut_off: &mut Option<usize>,
    step: &Step,
) {
    let count = site.members.len();
    match *step {
        Step::Wait(nanos) => site.nanos += nanos,
        Step::Tell { from, to } if from % count != to % count => {
            let said = site.announce(from % count, to % count);
            under_way.push((from % count, to % count, said));
        }
        Step::Arrive { ref which, again } if !under_way.is_empty() => {
            let at = which.index(under_way.len());
            let (from, to, said) = under_way[at];
            if *cut_off != Some(from) && *cut_off != Some(to) {
                site.hear(from, to, &said);
                if !again {
                    under_way.swap_remove(at);
                }
            }
        }
        Step::Lose(ref which) if !under_way.is_empty() => {
            under_way.swap_remove(which.index(under_way.len()));
        }
        Step::Demand { of, mbps: rate, weight } => site.set_demand(of % count, mbps(rate), weight),
        Step::Link(room) => site.set_link(BitRate::bps(room)),
        Step::Restart(of) => site.members[of % count] = site.start(of % count),
        Step::CutOff(who) => *cut_off = who.map(|who| who % count),
        Step::Everybody => site.round(*cut_off),
        Step::Tell { .. } | Step::Arrive { .. } | Step::Lose(_) => {}
    }
}

proptest! {
    #![proptest_config(crate::cases::cases(512))]

    /// Whatever is lost, late, twice, out of order, cut off or started anew, with clocks that do not
    /// agree: at no moment may all together use more than the link.
    #[test]
    fn all_together_never_may_use_more_than_the_link(
        weights in member(),
        steps in proptest::collection::vec(step(), 1..250),
    ) {
        let mut site = Site::new(&weights);
        let (mut under_way, mut cut_off) = (Vec::new(), None);
        for step in steps {
            play(&mut site, &mut under_way, &mut cut_off, &step);
            prop_assert!(site.sum() <= u128::from(site.config.link.get()), "{:?}", site.limits());
        }
        // And nothing stays lost: once all hear of all again, each has what all compute.
        (0..60).for_each(|_| site.round(None));
        let targets = site.members[0].targets(site.clock(0));
        for of in 0..weights.len() {
            prop_assert_eq!(site.members[of].targets(site.clock(of)), targets.clone());
            prop_assert!(site.limit(of) >= targets[&of]);
        }
    }

    #[test]
    fn numbers_at_their_ends_do_not_overflow(
        link in prop_oneof![Just(0), any::<u64>(), Just(u64::MAX)],
        weights in proptest::collection::vec(prop_oneof![Just(u32::MAX), 1..5_u32], 2..4),
        lend in any::<u64>(),
        number in any::<u64>(),
        now in any::<u64>(),
    ) {
        let config = LeaseConfig { link: BitRate::bps(link), ..config(&weights) };
        let now = Timestamp::from_nanos(now);
        let mut lease = Lease::new(0, Life::new(u64::MAX), &config, now).expect("a member");
        lease.set_demand(Demand::All, Weight::new(u32::MAX).expect("not zero"));
        let said = lease.announce(&1, now).expect("a member");
        let heard = Some(Heard { life: said.life, number: said.number });
        let answer = Announcement { number, heard, lend: BitRate::bps(lend), valid: Duration::MAX, ..said };
        lease.hear(&1, &answer, now);
        let members: BTreeMap<_, _> = lease.targets(now);
        prop_assert_eq!(members.len(), weights.len());
        prop_assert!(lease.announce(&9, now).is_none());
        let _ = (lease.limit(now), lease.changes_at(now), lease.announce(&1, now));
    }
}
