//! G13: a transfer says what limits it. Each case has one known limit, drawn with its other
//! parameters from a seed; the limit that was told for the longest time must be that one in 95 of
//! 100 cases, of each kind and of all.

use core::time::Duration;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::trace::{Limit, Spent, longest};
use farhaul_proto::units::{BitRate, Bytes, Timestamp};
use farhaul_sim::rng::Rng;
use farhaul_sim::scenario::{Outage, Scenario, Side, Step, cell};
use farhaul_sim::world::{Speech, run};

/// Cases of each kind.
const CASES: u64 = 20;
/// Of those, the most that may be told wrong: one in twenty.
const WRONG_MAX: u64 = CASES / 20;

/// What a case is drawn with.
struct Case {
    rng: Rng,
    rate: BitRate,
    rtt: Duration,
    loss: f64,
}

impl Case {
    fn draw(kind: &str, seed: u64) -> Self {
        let mut rng = Rng::new(seed).fork(kind);
        let rate = BitRate::mbps(20 + rng.below(130));
        let rtt = Duration::from_millis(10 + rng.below(290));
        let loss = if rng.chance(0.5) { rng.f64() * 0.03 } else { 0.0 };
        Self { rng, rate, rtt, loss }
    }

    /// A share between two.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.rng.f64()
    }

    fn bdp(&self) -> Bytes {
        self.rate.bytes_in(self.rtt)
    }

    /// A transfer that takes 20 round trips and 2 s at `share` of the rate.
    fn long(&self, share: f64) -> Scenario {
        let span = self.rtt * 20 + Duration::from_secs(2);
        self.of(self.rate.mul_f64(share).bytes_in(span))
    }

    fn of(&self, len: Bytes) -> Scenario {
        let link = cell(self.rate, self.rtt, self.loss);
        Scenario::one_way("limit", 1 + self.rate.get(), link, &[len])
    }
}

fn told(limited: &Spent) -> String {
    let named = Limit::ALL.into_iter().zip(limited).filter(|(_, spent)| !spent.is_zero());
    let named =
        named.map(|(limit, spent)| format!("{} {:.2} s", limit.name(), spent.as_secs_f64()));
    named.collect::<Vec<_>>().join(", ")
}

/// Plays the cases of a kind; `right` are the answers that are true.
#[track_caller]
fn assert_told(kind: &str, right: &[Limit], make: impl Fn(&mut Case) -> Scenario) {
    let mut wrong = Vec::new();
    for seed in 0..CASES {
        let mut case = Case::draw(kind, seed);
        let scenario = make(&mut case);
        let report = run(&scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"));
        let limited = &report.directions[0].limited;
        if !longest(limited).is_some_and(|limit| right.contains(&limit)) {
            let Case { rate, rtt, loss, .. } = case;
            wrong.push(format!("{seed}: {rate} {rtt:?} {loss:.3}: {}", told(limited)));
        }
    }
    assert!(
        wrong.len() as u64 <= WRONG_MAX,
        "{kind}, {} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_link_limits_what_nothing_else_does() {
    assert_told("link", &[Limit::Link], |case| {
        let mut scenario = case.long(1.0);
        scenario.hosts[0].policy = match case.rng.below(3) {
            0 => Policy::Fair,
            1 => Policy::High,
            _ => Policy::Low,
        };
        scenario
    });
}

#[test]
fn a_cap_limits_below_the_link() {
    assert_told("cap", &[Limit::Cap], |case| {
        let share = case.between(0.1, 0.8);
        let mut scenario = case.long(share);
        scenario.hosts[0].bounds = Bounds::capped(Some(case.rate.mul_f64(share)));
        scenario
    });
}

#[test]
fn a_fixed_rate_is_the_limit_of_the_policy() {
    assert_told("policy", &[Limit::Policy], |case| {
        let share = case.between(0.1, 0.8);
        let mut scenario = case.long(share);
        scenario.hosts[0].bounds = Bounds::capped(Some(case.rate.mul_f64(share)));
        scenario.hosts[0].policy = Policy::Fixed;
        scenario
    });
}

#[test]
fn a_floor_above_the_link_is_the_limit_of_the_policy() {
    assert_told("floor", &[Limit::Policy], |case| {
        let share = case.between(1.1, 2.0);
        let mut scenario = case.long(1.0);
        scenario.hosts[0].bounds = Bounds::new(Some(case.rate.mul_f64(share)), None).unwrap();
        scenario
    });
}

#[test]
fn a_slow_source_disk_limits() {
    assert_told("source disk", &[Limit::SourceDisk], |case| {
        let share = case.between(0.1, 0.75);
        let mut scenario = case.long(share);
        scenario.hosts[0].disk.rate = Some(case.rate.mul_f64(share));
        scenario
    });
}

#[test]
fn a_slow_destination_disk_limits() {
    assert_told("destination disk", &[Limit::DestinationDisk], |case| {
        let share = case.between(0.1, 0.7);
        // Fewer buffers than the path holds would be what limits.
        let held = case.bdp().get() / BLOCK_DATA.get();
        let buffers = 6 + 3 * held + case.rng.below(8);
        // Until they are full, a slow disk limits nothing.
        let filling = BLOCK_DATA.saturating_mul(buffers).time_at(case.rate.mul_f64(1.0 - share));
        let span = filling * 3 + case.rtt * 20 + Duration::from_secs(2);
        let mut scenario = case.of(case.rate.mul_f64(share).bytes_in(span));
        scenario.hosts[1].disk.rate = Some(case.rate.mul_f64(share));
        scenario.hosts[1].recv_blocks = u32::try_from(buffers).expect("few");
        scenario
    });
}

/// A path that holds so many blocks.
fn blocks_in_flight(case: &mut Case, blocks: u64) {
    case.rtt = Duration::from_millis(100 + case.rng.below(200));
    case.rate = BLOCK_DATA.saturating_mul(blocks).rate_over(case.rtt);
}

#[test]
fn few_buffers_of_the_receiver_limit() {
    assert_told("receiver", &[Limit::Receiver], |case| {
        blocks_in_flight(case, 4);
        let blocks = 1 + u32::try_from(case.rng.below(2)).expect("small");
        let mut scenario = case.of(BLOCK_DATA.saturating_mul(u64::from(blocks) * 25));
        scenario.hosts[1].recv_blocks = blocks;
        scenario
    });
}

#[test]
fn few_buffers_of_the_sender_limit() {
    assert_told("sender", &[Limit::Sender], |case| {
        blocks_in_flight(case, 4);
        let blocks = 1 + u32::try_from(case.rng.below(2)).expect("small");
        let mut scenario = case.of(BLOCK_DATA.saturating_mul(u64::from(blocks) * 25));
        scenario.hosts[0].send_blocks = blocks;
        scenario
    });
}

#[test]
fn the_share_of_the_buffers_that_others_leave_limits() {
    assert_told("share", &[Limit::Share], |case| {
        blocks_in_flight(case, 4);
        let mut scenario = case.of(BLOCK_DATA.saturating_mul(25));
        let share = Step::Share { side: Side::A, send: 1, recv: 64 };
        scenario.steps.push((Timestamp::from_millis(1), share));
        scenario
    });
}

#[test]
fn the_start_up_limits_a_short_transfer() {
    assert_told("start-up", &[Limit::StartUp], |case| {
        case.rtt += Duration::from_millis(40);
        let share = case.between(0.5, 1.0);
        case.of(Bytes::new(case.rate.mul_f64(share).bytes_in(case.rtt).get().max(200_000)))
    });
}

#[test]
fn a_transfer_of_one_packet_is_start_up_and_tail() {
    assert_told("one packet", &[Limit::StartUp, Limit::Tail], |case| case.of(Bytes::new(900)));
}

#[test]
fn a_peer_that_cannot_be_heard_limits() {
    assert_told("peer", &[Limit::Peer], |case| {
        let mut scenario = case.long(0.2);
        let from = Timestamp::from_millis(500 + case.rng.below(500));
        scenario.outages.push(Outage::both(from, from + Duration::from_secs(20)));
        scenario
    });
}
