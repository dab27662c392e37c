//! Trains: where they begin and end.

use super::*;

const PACKET: Bytes = Bytes::new(1_473);

fn arrive(acks: &mut AckRecorder, number: u64, train: bool, at: Timestamp) {
    let proof = Proof::new(u16::try_from(number % 60_000).unwrap() + 1);
    acks.on_packet(&Arrival { number: PacketNumber::new(number), proof, train, at }, PACKET);
}

/// Trains that a receiver reports at `now` after these packets of trains: (number, microseconds).
fn trains(packets: &[(u64, u64)], now: u64) -> Vec<TrainReport> {
    let mut acks = AckRecorder::new();
    for &(number, micros) in packets {
        arrive(&mut acks, number, true, at(micros));
    }
    acks.report(at(now)).unwrap().trains
}

const fn at(micros: u64) -> Timestamp {
    Timestamp::from_nanos(micros * 1_000)
}

fn train(first: u64, last: u64, gap_sum: u32, gaps: u32) -> TrainReport {
    let (first, last) = (PacketNumber::new(first), PacketNumber::new(last));
    TrainReport { first, last, gap_sum: Micros::new(gap_sum), gaps }
}

#[test]
fn a_train_ends_after_five_milliseconds_of_silence() {
    let packets = [(0, 0), (1, 100), (2, 200)];
    assert_eq!(trains(&packets, 5_199), []);
    assert_eq!(trains(&packets, 5_200), [train(0, 2, 200, 2)]);
}

/// At 1 Mbit/s a packet takes 12 ms: each was a train of its own, and no rate was ever measured.
#[test]
fn a_train_forms_on_a_link_where_a_packet_takes_longer_than_five_milliseconds() {
    let packets = [(0, 0), (1, 12_000), (2, 24_000), (3, 36_000)];
    assert_eq!(trains(&packets, 36_000 + 47_999), []);
    assert_eq!(trains(&packets, 36_000 + 48_000), [train(0, 3, 36_000, 3)]);
}

#[test]
fn a_gap_across_a_loss_is_not_counted() {
    assert_eq!(trains(&[(0, 0), (1, 100), (3, 300), (4, 400)], 9_000), [train(0, 4, 200, 2)]);
}

#[test]
fn a_train_begins_behind_its_first_loss_if_nothing_was_measured_before() {
    assert_eq!(trains(&[(0, 0), (2, 200), (3, 300)], 9_000), [train(2, 3, 100, 1)]);
}

#[test]
fn a_packet_that_was_overtaken_ends_a_train() {
    assert_eq!(trains(&[(0, 0), (1, 100), (3, 200), (2, 300)], 9_000), [train(0, 3, 100, 1)]);
}

#[test]
fn a_train_has_no_more_packets_than_the_protocol_allows() {
    let packets: Vec<_> = (0..100).map(|n| (n, n * 10)).collect();
    let most = TRAIN_PACKETS_MAX - 1;
    assert_eq!(trains(&packets, 900), [train(0, u64::from(most), most * 10, most)]);
}

#[test]
fn a_single_packet_is_no_train() {
    assert_eq!(trains(&[(0, 0)], 60_000), []);
}

#[test]
fn an_unmarked_packet_ends_a_train() {
    let mut acks = AckRecorder::new();
    arrive(&mut acks, 0, true, at(0));
    arrive(&mut acks, 1, true, at(100));
    arrive(&mut acks, 2, false, at(200));
    assert_eq!(acks.report(at(200)).unwrap().trains, [train(0, 1, 100, 1)]);
}

/// Clock noise: clipping a negative gap at zero would make the link look slower.
#[test]
fn negative_gaps_are_summed_with_their_sign() {
    assert_eq!(trains(&[(0, 0), (1, 200), (2, 150), (3, 300)], 9_000), [train(0, 3, 300, 3)]);
}

#[test]
fn a_train_is_reported_three_times() {
    let mut acks = AckRecorder::new();
    arrive(&mut acks, 0, true, at(0));
    arrive(&mut acks, 1, true, at(100));
    let counts = [10_000, 20_000, 30_000, 40_000].map(|now| acks.report(at(now)).unwrap().trains);
    assert_eq!(counts.map(|trains| trains.len()), [1, 1, 1, 0]);
}

#[test]
fn the_span_that_no_report_named_starts_anew_with_each_report() {
    let mut acks = AckRecorder::new();
    assert_eq!(acks.unreported_span(), 0);
    arrive(&mut acks, 700, false, at(0));
    assert_eq!(acks.unreported_span(), 700);
    acks.report(at(0)).unwrap();
    arrive(&mut acks, 710, false, at(0));
    assert_eq!(acks.unreported_span(), 10);
}

/// Every report proves what it names, also when a history of losses was forgotten. spec: W-047
#[test]
fn a_receipt_covers_what_the_report_names_and_nothing_else() {
    let mut acks = AckRecorder::new();
    let numbers = (0..5 * RANGES_MAX as u64).map(|n| 3 * n).collect::<Vec<_>>();
    numbers.iter().for_each(|&n| arrive(&mut acks, n, false, at(n)));
    let report = acks.report(at(0)).unwrap();
    assert!(report.covered_from > PacketNumber::new(RANGES_MAX as u64));
    assert_eq!(report.validate(), Ok(()));
    let mut payload = Vec::new();
    report.encode_with(&mut payload, 400, |covered_from| acks.receipt(covered_from));
    let said = Feedback::decode(&payload).unwrap();
    assert!(said.covered_from > report.covered_from);
    let named = numbers.iter().filter(|&&n| n >= said.covered_from.get());
    let proofs = named.map(|n| Proof::new(u16::try_from(n % 60_000).unwrap() + 1));
    assert_eq!(said.receipt, proofs.fold(Proof::NONE, |a, b| a ^ b));
}

/// What arrives of so many numbers, each tenth of them lost, and then of the one behind them after
/// `pause`: what a report names after that.
fn named_after(pause: Duration, is_settled: bool) -> Feedback {
    let mut acks = AckRecorder::new();
    let lost = |number: &u64| number % 10 == 9;
    (0..1_000).filter(|number| !lost(number)).for_each(|n| arrive(&mut acks, n, false, at(n)));
    acks.report(at(1_000)).unwrap();
    if is_settled {
        acks.on_settled();
    }
    arrive(&mut acks, 1_000, false, at(998) + pause);
    acks.report(at(1_000) + pause).unwrap()
}

/// spec: W-043
#[test]
fn what_was_settled_before_a_pause_is_named_no_more() {
    let report = named_after(SETTLED_AFTER, true);
    // From the step below what was named last.
    assert_eq!(report.covered_from, PacketNumber::new(960));
    assert_eq!(report.ranges.len(), 5);
    assert_eq!((report.received_packets, report.duplicates), (901, 0));
    let in_time = SETTLED_AFTER - Duration::from_micros(1);
    for report in [named_after(in_time, true), named_after(SETTLED_AFTER * 9, false)] {
        assert_eq!(report.covered_from, PacketNumber::new(0));
        assert_eq!(report.ranges.len(), 101);
    }
}
