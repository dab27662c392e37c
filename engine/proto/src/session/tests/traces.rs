//! What a session writes down, and whom it blames when it is slow.

use super::*;
use crate::trace::{Closed, Limit, TraceRecord, Way};

impl Pair {
    /// An object on its way from the first side to the second.
    fn loaded(policy: Policy, cap: Option<BitRate>, len: Bytes) -> Self {
        let mut pair = Self::new(policy, cap);
        pair.ends[0].declare_send(len, &[]).unwrap();
        pair.ends[1].declare_recv(len, &[]).unwrap();
        pair
    }

    fn trace(&mut self, side: usize) -> Vec<TraceRecord> {
        std::iter::from_fn(|| self.ends[side].poll_trace()).collect()
    }

    /// The sending side's body comes round only every `every`.
    fn run_late(&mut self, span: Duration, every: Duration) {
        let (end, mut next) = (self.now + span, self.now);
        while self.now < end {
            self.now += TICK;
            if self.now >= next {
                next = self.now + every;
                // It takes what there is, as a driver does.
                (0..8).for_each(|_| self.step(0));
            }
            self.step(1);
        }
    }
}

fn names(trace: &[TraceRecord]) -> Vec<&'static str> {
    trace.iter().map(|record| record.event.name()).collect()
}

fn count(trace: &[TraceRecord], wanted: impl Fn(&TraceEvent) -> bool) -> usize {
    trace.iter().filter(|record| wanted(&record.event)).count()
}

#[test]
fn a_transfer_is_told_from_start_to_end_in_order_of_time() {
    let len = Bytes::mib(8);
    let mut pair = Pair::loaded(Policy::Fair, Some(BitRate::mbps(400)), len);
    pair.run(Duration::from_secs(2));
    let now = pair.now;
    for (side, way) in [(0, Way::Out), (1, Way::In)] {
        pair.ends[side].close(Closed::Done, now);
        let trace = pair.trace(side);
        assert!(trace.is_sorted_by_key(|record| record.at), "{trace:?}");
        let names = names(&trace);
        assert_eq!(names.first(), Some(&"connectivity:session_started"));
        assert_eq!(names.last(), Some(&"connectivity:session_closed"));
        let opened = count(
            &trace,
            |event| matches!(event, TraceEvent::BlockOpened { way: w, .. } if *w == way),
        );
        let completed = count(
            &trace,
            |event| matches!(event, TraceEvent::BlockCompleted { way: w, .. } if *w == way),
        );
        assert!(opened > 4 && opened == completed, "{opened} {completed}");
        assert!(names.contains(&"transfer:object_completed"));
        assert_eq!(pair.ends[side].trace_dropped(), 0);
    }
}

#[test]
fn the_sender_tells_packet_size_phases_rates_and_limits() {
    let mut pair = Pair::loaded(Policy::Fair, Some(BitRate::mbps(400)), Bytes::mib(8));
    pair.run(Duration::from_secs(2));
    let trace = pair.trace(0);
    let names = names(&trace);
    for name in [
        "connectivity:mtu_updated",
        "recovery:congestion_state_updated",
        "recovery:rate_updated",
        "recovery:metrics_updated",
        "recovery:limit_updated",
    ] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    let limits: Vec<_> = trace
        .iter()
        .filter_map(|record| match record.event {
            TraceEvent::LimitUpdated { old, new } => Some((old, new)),
            _ => None,
        })
        .collect();
    assert_eq!(limits.first().map(|first| first.0), Some(None));
    assert_eq!(limits.last().map(|last| last.1), Some(None));
    assert!(limits.windows(2).all(|pair| pair[0].1 == pair[1].0), "{limits:?}");
}

/// Twenty thousand packets, and not a twentieth as many events.
#[test]
fn events_do_not_grow_with_packets() {
    let mut pair = Pair::loaded(Policy::Fixed, Some(BitRate::mbps(240)), Bytes::mib(64));
    pair.run(Duration::from_secs(1));
    pair.trace(0);
    let before = pair.ends[0].counters().packets_sent;
    pair.run(Duration::from_secs(1));
    let packets = pair.ends[0].counters().packets_sent - before;
    assert!(packets > 19_000, "{packets}");
    for side in [0, 1] {
        let trace = pair.trace(side);
        let routine = count(&trace, TraceEvent::is_routine);
        assert!(trace.len() - routine < 100, "{:?}", names(&trace));
    }
}

#[test]
fn a_trace_that_nobody_takes_is_bounded_and_counts_what_it_dropped() {
    let mut end = session(Policy::Fair, None);
    for n in 0..5_000 {
        end.set_policy(Policy::Low, Bounds::FREE, Timestamp::from_millis(n));
    }
    let dropped = end.trace_dropped();
    let trace: Vec<_> = std::iter::from_fn(|| end.poll_trace()).collect();
    assert_eq!(trace.len() as u64 + dropped, 5_001);
    assert!(trace.len() < 1_000);
    assert_eq!(trace.last().map(|record| record.at), Some(Timestamp::from_millis(4_999)));
}

#[test]
fn the_same_inputs_give_the_same_events() {
    let run = || {
        let mut pair = Pair::loaded(Policy::Fair, None, Bytes::mib(8));
        pair.run(Duration::from_secs(1));
        [pair.trace(0), pair.trace(1)]
    };
    assert_eq!(run(), run());
}

#[test]
fn a_path_that_falls_silent_is_told_with_its_probes_and_its_return() {
    let mut pair = Pair::loaded(Policy::Fixed, Some(BitRate::mbps(20)), Bytes::mib(64));
    pair.run(Duration::from_millis(500));
    pair.mtu = Bytes::ZERO;
    pair.run(Duration::from_secs(3));
    pair.mtu = Bytes::new(1_500);
    pair.run(Duration::from_secs(3));
    let trace = pair.trace(0);
    let silence: Vec<_> = names(&trace)
        .into_iter()
        .filter(|name| name.contains("path_") || name.contains("overdue"))
        .collect();
    assert_eq!(silence.first(), Some(&"recovery:feedback_overdue"));
    assert_eq!(
        silence.iter().filter(|name| !name.contains("overdue")).copied().collect::<Vec<_>>(),
        ["connectivity:path_silent", "connectivity:path_restored"]
    );
    assert!(names(&trace).contains(&"connectivity:probe_sent"));
    assert!(names(&trace).contains(&"recovery:packets_lost"));
}

#[test]
fn a_lie_is_the_last_thing_told_before_the_end() {
    let mut pair = Pair::loaded(Policy::Fixed, Some(BitRate::mbps(20)), Bytes::mib(4));
    pair.run(Duration::from_millis(100));
    let now = pair.now;
    let liar = arrival(PacketNumber::new(1 << 20), false, now);
    let lie = Feedback { largest: PacketNumber::new(1 << 30), ..Feedback::default() };
    let lie = Feedback {
        ranges: vec![crate::wire::feedback::PacketRange { first: lie.largest, last: lie.largest }],
        covered_from: lie.largest,
        ..lie
    };
    let error = pair.ends[0].on_feedback(&liar, &lie, now).unwrap_err();
    pair.ends[0].close(Closed::Violation, now);
    let trace = pair.trace(0);
    let [.., report, closed] = &trace[..] else { panic!("{trace:?}") };
    let number = PacketNumber::new(1 << 20);
    assert_eq!(report.event, TraceEvent::ReportInvalid { number, error });
    assert!(matches!(closed.event, TraceEvent::SessionClosed { why: Closed::Violation, .. }));
}

#[test]
fn a_host_that_comes_round_too_late_is_what_limits() {
    let rate = BitRate::mbps(100);
    let mut pair = Pair::loaded(Policy::Fixed, Some(rate), Bytes::mib(256));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.ends[0].limits().dominant(), Some(Limit::Policy));
    pair.run_late(Duration::from_secs(1), Duration::from_millis(20));
    assert_eq!(pair.ends[0].limits().current(), Some(Limit::Cpu));
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.ends[0].limits().current(), Some(Limit::Policy));
}

#[test]
fn who_has_no_data_or_a_full_socket_is_not_late() {
    let rate = BitRate::mbps(100);
    let mut pair = Pair::loaded(Policy::Fixed, Some(rate), Bytes::mib(256));
    let end = pair.now + Duration::from_secs(2);
    while pair.now < end {
        pair.run(Duration::from_millis(1));
        pair.ends[0].on_blocked();
        pair.now += Duration::from_millis(19);
    }
    assert_ne!(pair.ends[0].limits().current(), Some(Limit::Cpu));
    let mut idle = Pair::loaded(Policy::Fixed, Some(rate), Bytes::mib(1));
    idle.run(Duration::from_secs(1));
    idle.run_late(Duration::from_secs(1), Duration::from_millis(20));
    assert_eq!(idle.ends[0].limits().current(), None);
}

#[test]
fn sizes_of_packets_and_trains_are_kept() {
    let mut pair = Pair::loaded(Policy::Fixed, Some(BitRate::mbps(800)), Bytes::mib(16));
    pair.run(Duration::from_millis(500));
    let end = &pair.ends[0];
    let full = packet_bytes(SYMBOL_SIZE).get();
    let packet = end.packet_sizes().quantile(0.5).get();
    assert!(packet.abs_diff(full) < full / 50, "{packet}");
    let train = end.train_sizes().quantile(0.9);
    assert!(train >= Bytes::new(3 * full) && train <= Bytes::new(65 * full), "{train}");
}

#[test]
fn a_session_says_what_it_waits_for() {
    let mut pair = Pair::new(Policy::Fixed, Some(BitRate::mbps(20)));
    assert_eq!(pair.ends[0].next_timer(pair.now), None);
    pair.ends[0].declare_send(Bytes::mib(16), &[]).unwrap();
    pair.ends[1].declare_recv(Bytes::mib(16), &[]).unwrap();
    pair.step(0);
    let reason = |pair: &mut Pair| pair.ends[0].next_timer(pair.now).map(|(_, timer)| timer);
    assert_eq!(reason(&mut pair), Some(Timer::SilenceCheck));
    pair.run(Duration::from_millis(200));
    assert_eq!(reason(&mut pair), Some(Timer::Send));
    pair.mtu = Bytes::ZERO;
    pair.run(Duration::from_secs(3));
    assert_eq!(reason(&mut pair), Some(Timer::Probe));
    let other = pair.ends[1].next_timer(pair.now).map(|(_, timer)| timer);
    assert_eq!(other, Some(Timer::Report));
}
