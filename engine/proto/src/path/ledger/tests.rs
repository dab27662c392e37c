//! What the ledger makes of reports.

use super::*;
use crate::units::Micros;
use crate::wire::feedback::{DelayMark, PacketRange};

const PACKET: Bytes = Bytes::new(1473);
const RTT: Duration = Duration::from_millis(2);

fn symbol(n: u32) -> Carried {
    Carried::Symbol { block: BlockIndex::new(0), symbol: SymbolId::new(n), size: 1408 }
}

/// A packet is planned and leaves.
fn leave(ledger: &mut Ledger, bytes: Bytes, carried: Carried, at: Timestamp) {
    ledger.on_sent(bytes, RateEpoch::default(), carried, at);
    ledger.on_handed(at);
}

fn report(first: u64, last: u64) -> Feedback {
    let (first, last) = (PacketNumber::new(first), PacketNumber::new(last));
    let ranges = vec![PacketRange { first, last }];
    Feedback { largest: last, covered_from: first, ranges, ..Feedback::default() }
}

#[test]
fn a_report_that_nothing_arrived_is_no_fault() {
    let mut ledger = Ledger::new(7);
    let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
    let empty = Feedback::default();
    let now = Timestamp::from_millis(1);
    assert_eq!(ledger.on_feedback(&empty, &mut rtt, now, &mut settled), Ok(()));
    let lie = ledger.on_feedback(&report(0, 0), &mut rtt, now, &mut settled);
    assert_eq!(lie, Err(LedgerError::NeverSent(PacketNumber::new(0))));
}

#[test]
fn a_packet_that_arrives_long_after_it_was_written_off_still_measures_the_round_trip() {
    let mut ledger = Ledger::new(7);
    let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
    for n in 0..40 {
        let at = Timestamp::from_millis(u64::from(n) * 10);
        leave(&mut ledger, PACKET, symbol(n), at);
    }
    // Packet 39 proves that the others are lost; all but a few records are dropped.
    let now = Timestamp::from_millis(392);
    ledger.on_feedback(&report(39, 39), &mut rtt, now, &mut settled).unwrap();
    assert_eq!(settled.lost.len(), 39);
    let now = Timestamp::from_millis(500);
    ledger.on_feedback(&report(0, 20), &mut rtt, now, &mut settled).unwrap();
    assert_eq!(settled.spurious.len(), 21);
    assert_eq!(rtt.latest(), Duration::from_millis(300));
    ledger.on_feedback(&report(0, 20), &mut rtt, now, &mut settled).unwrap();
    assert!(settled.spurious.is_empty(), "counted twice");
}

#[test]
fn a_side_that_only_reports_does_not_remember_every_report() {
    let mut ledger = Ledger::new(7);
    for n in 0..100_000 {
        let at = Timestamp::from_millis(n * 25);
        leave(&mut ledger, PACKET, Carried::Report, at);
    }
    assert!(ledger.len() <= UNWATCHED_MAX);
    assert_eq!(ledger.next_number(), PacketNumber::new(100_000));
}

/// Any report that left pushed settled packets out of a ledger of more than 4096 records, so
/// their late arrival was no news and their trains could not be placed in time.
#[test]
fn a_sender_that_also_reports_remembers_its_settled_packets() {
    let (mut ledger, long) = (Ledger::new(7), Duration::from_millis(500));
    let (mut rtt, mut settled) = (RttEstimator::new(long), Settled::default());
    for n in 0..10_000 {
        let at = Timestamp::from_millis(u64::from(n) / 20);
        leave(&mut ledger, PACKET, symbol(n), at);
    }
    let now = Timestamp::from_millis(1_000);
    ledger.on_feedback(&report(9_000, 9_999), &mut rtt, now, &mut settled).unwrap();
    assert!(settled.lost.len() > 5_000, "{}", settled.lost.len());
    let lost = settled.lost.len();
    leave(&mut ledger, PACKET, Carried::Report, now);
    assert_eq!(ledger.sent_at(PacketNumber::new(3)), Some(Timestamp::ZERO));
    ledger.on_feedback(&report(0, 9_999), &mut rtt, now, &mut settled).unwrap();
    assert_eq!(settled.spurious.len(), lost);
}

#[test]
fn the_size_of_packets_in_a_train_is_that_of_those_behind_the_first() {
    let mut ledger = Ledger::new(7);
    for bytes in [1473, 1217, 1217, 1217] {
        leave(&mut ledger, Bytes::new(bytes), Carried::Padding, Timestamp::ZERO);
    }
    let mean = |first, last| ledger.mean_bytes(PacketNumber::new(first), PacketNumber::new(last));
    assert_eq!(mean(0, 3), Some(Bytes::new(1217)));
    assert_eq!(mean(3, 3), None);
    assert_eq!(mean(2, 9), None);
}

#[test]
fn a_path_that_keeps_order_loses_nothing_by_standing_still() {
    let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
    for (mut ledger, lost) in [(Ledger::new(7), 2), (Ledger::ordered(7), 0)] {
        for n in 0..3 {
            leave(&mut ledger, PACKET, symbol(n), Timestamp::ZERO);
        }
        let now = Timestamp::from_millis(9_000);
        // The first one arrived at once, and nothing since.
        let first = Feedback { largest_age: Micros::new(8_998_000), ..report(0, 0) };
        ledger.on_feedback(&first, &mut rtt, now, &mut settled).unwrap();
        assert_eq!(settled.lost.len(), lost);
        // One that left later and arrived tells of those before it.
        leave(&mut ledger, PACKET, symbol(3), now);
        let mut both = report(3, 3);
        both.ranges.push(report(0, 0).ranges[0]);
        both.covered_from = PacketNumber::new(0);
        let later = now + RTT;
        ledger.on_feedback(&both, &mut rtt, later, &mut settled).unwrap();
        assert_eq!(settled.lost.len(), 2 - lost);
        assert_eq!(ledger.in_flight(), Bytes::ZERO);
    }
}

#[test]
fn a_packet_that_waits_in_the_socket_of_its_receiver_is_not_lost() {
    let mut ledger = Ledger::new(7);
    let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
    for n in 0..20 {
        let at = Timestamp::from_millis(u64::from(n) / 10);
        leave(&mut ledger, PACKET, symbol(n), at);
    }
    // The receiver took in the first ten when they had been there for 18 ms, and no more.
    let now = Timestamp::from_millis(20);
    let late = Feedback { largest_age: Micros::new(18_000), ..report(0, 9) };
    ledger.on_feedback(&late, &mut rtt, now, &mut settled).unwrap();
    assert_eq!((settled.acked.len(), settled.lost.len()), (10, 0));
    // It looked again, and nothing was there.
    let now = Timestamp::from_millis(25);
    let again = Feedback { largest_age: Micros::new(23_000), ..report(0, 9) };
    ledger.on_feedback(&again, &mut rtt, now, &mut settled).unwrap();
    assert_eq!(settled.lost.len(), 10);
}

#[test]
fn packets_of_unknown_fate_are_never_shed() {
    let mut ledger = Ledger::new(7);
    leave(&mut ledger, PACKET, symbol(0), Timestamp::ZERO);
    for n in 0..10_000 {
        let at = Timestamp::from_millis(n);
        leave(&mut ledger, PACKET, Carried::Report, at);
    }
    assert_eq!(ledger.in_flight(), PACKET);
    assert_eq!(ledger.sent_at(PacketNumber::new(0)), Some(Timestamp::ZERO));
}

/// A host may be taken off its processor between plan and packet, or have no room in its socket.
#[test]
fn a_packet_is_overdue_by_when_it_left_and_not_by_when_it_was_planned() {
    let mut ledger = Ledger::new(7);
    let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
    leave(&mut ledger, PACKET, symbol(0), Timestamp::ZERO);
    for n in 1..20 {
        ledger.on_sent(PACKET, RateEpoch::default(), symbol(n), Timestamp::ZERO);
    }
    // Two reports name the one that left at once, and none of the others has left.
    for ms in [2, 10] {
        let now = Timestamp::from_millis(ms);
        ledger.on_feedback(&report(0, 0), &mut rtt, now, &mut settled).unwrap();
        assert!(settled.lost.is_empty(), "{settled:?}");
    }
    ledger.on_handed(Timestamp::from_millis(11));
    ledger.on_feedback(&report(0, 9), &mut rtt, Timestamp::from_millis(13), &mut settled).unwrap();
    assert_eq!((settled.acked.len(), settled.lost.len()), (9, 0));
    let (now, age) = (Timestamp::from_millis(200), Micros::new(187_000));
    let again = Feedback { largest_age: age, ..report(0, 9) };
    ledger.on_feedback(&again, &mut rtt, now, &mut settled).unwrap();
    assert_eq!(settled.lost.len(), 10);
    assert_eq!(ledger.in_flight(), Bytes::ZERO);
}

/// Each report names packets of long ago as if they had arrived just now. What a sender remembers of
/// settled packets was two round trips, and a round trip whatever such a report said: 1,200,000 records
/// after a minute of 20,000 packets a second. spec: W-136
#[test]
fn a_receiver_that_makes_the_round_trip_long_makes_nobody_remember_more() {
    for (per_report, reports) in [(100, 12_000), (400, 3_000)] {
        let mut ledger = Ledger::new(7);
        let (mut rtt, mut settled) = (RttEstimator::new(RTT), Settled::default());
        for n in 0..reports {
            let now = Timestamp::from_millis(1_000 + n * 5);
            (0..per_report).for_each(|_| leave(&mut ledger, PACKET, Carried::Padding, now));
            let last = ledger.next_number().get() - 1;
            let mut lie = report(last.saturating_sub(2_047) / 64 * 64, last);
            lie.largest_age = Micros::new(u32::MAX);
            let oldest = PacketNumber::new(last + 1 - ledger.len() as u64);
            lie.delays = vec![DelayMark { number: oldest, age: Micros::new(0) }; 16];
            let taken = ledger.on_feedback(&lie, &mut rtt, now + RTT, &mut settled);
            taken.expect("all of it arrived");
        }
        assert!(ledger.len() <= 263_000, "{} records", ledger.len());
        let longest = LATE_SPAN + Duration::from_millis(5) + RTT;
        assert!(rtt.smoothed() <= longest, "{:?}", rtt.smoothed());
    }
}
