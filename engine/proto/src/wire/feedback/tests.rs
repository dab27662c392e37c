//! What feedback promises: it survives the wire, it fits, and what it leaves out it does not
//! deny.

use super::*;
use crate::limits::{FEEDBACK_LEN_MAX, PROOF_STEP};
use crate::wire::varint;
use proptest::collection::vec;
use proptest::prelude::*;

fn number(n: u64) -> PacketNumber {
    PacketNumber::new(n)
}

fn packets(first: u64, last: u64) -> PacketRange {
    PacketRange { first: number(first), last: number(last) }
}

fn blocks(first: u32, last: u32) -> BlockRange {
    BlockRange { first: BlockIndex::new(first), last: BlockIndex::new(last) }
}

fn deficit(block: u32, missing: u32) -> BlockDeficit {
    BlockDeficit { block: BlockIndex::new(block), missing }
}

fn encoded(report: &Feedback, max_len: usize) -> Vec<u8> {
    let mut out = Vec::new();
    report.encode_into(&mut out, max_len);
    out
}

fn small_report() -> Feedback {
    Feedback {
        largest: number(1_000),
        received_packets: 998,
        receipt: Proof::new(0xbeef),
        covered_from: number(0),
        ranges: vec![packets(500, 1_000), packets(0, 497)],
        complete_below: BlockIndex::new(3),
        complete: vec![blocks(5, 6), blocks(8, 8)],
        deficits: vec![deficit(3, 2), deficit(7, 1)],
        open_blocks_limit: 64,
        ..Feedback::default()
    }
}

#[test]
fn a_report_before_the_first_packet_survives() {
    let report = Feedback { open_blocks_limit: 16, ..Feedback::default() };
    assert_eq!(Feedback::decode(&encoded(&report, 128)), Ok(report));
}

#[test]
fn a_report_has_the_documented_bytes() {
    let bytes = encoded(&small_report(), FEEDBACK_LEN_MAX);
    let head = [0x01, 0xbe, 0xef, 0x43, 0xe8, 0x00, 0x43, 0xe6, 0, 0, 0, 0, 0x03, 0x40, 0x40, 0, 0];
    let lists = [0, 0, 2, 1, 1, 0, 0, 2, 0, 2, 3, 1];
    let ranges = [0x43, 0xe8, 1, 0x41, 0xf4, 1, 0x41, 0xf1];
    assert_eq!(bytes, [&head[..], &lists, &ranges].concat());
}

#[test]
fn a_report_with_few_losses_takes_ranges_and_few_bytes() {
    let bytes = encoded(&small_report(), FEEDBACK_LEN_MAX);
    assert_eq!(bytes[0], ranges::Form::Ranges.value());
    assert!(bytes.len() < 40, "{} bytes", bytes.len());
    assert_eq!(Feedback::decode(&bytes), Ok(small_report()));
}

#[test]
fn a_report_where_every_second_packet_is_lost_takes_the_bitmap() {
    let ranges: Vec<_> = (0..1_000).rev().map(|n| packets(2 * n, 2 * n)).collect();
    let report =
        Feedback { largest: number(1_998), received_packets: 1_000, ranges, ..small_report() };
    let bytes = encoded(&report, FEEDBACK_LEN_MAX);
    assert_eq!(bytes[0], ranges::Form::Bitmap.value());
    assert_eq!(Feedback::decode(&bytes), Ok(report));
}

#[test]
fn the_oldest_ranges_are_dropped_first_and_the_report_says_so() {
    let ranges: Vec<_> = (0..1_000).rev().map(|n| packets(1_000 * n, 1_000 * n + 5)).collect();
    let report = Feedback { largest: number(999_005), ranges, ..Feedback::default() };
    let bytes = encoded(&report, 300);
    assert!(bytes.len() <= 300);
    let decoded = Feedback::decode(&bytes).expect("own report");
    let kept = decoded.ranges.len();
    assert!(kept > 80, "{kept} ranges");
    assert_eq!(decoded.ranges[..], report.ranges[..kept]);
    let dropped = report.ranges[kept].last.next().get();
    assert_eq!(decoded.covered_from, number(dropped.next_multiple_of(PROOF_STEP)));
}

#[test]
fn a_long_history_of_losses_reaches_further_back_in_a_bitmap() {
    let ranges: Vec<_> = (0..20_000).rev().map(|n| packets(3 * n, 3 * n)).collect();
    let report = Feedback { largest: number(59_997), ranges, ..Feedback::default() };
    let decoded = Feedback::decode(&encoded(&report, FEEDBACK_LEN_MAX)).expect("own report");
    let covered = report.largest.get() - decoded.covered_from.get() + 1;
    assert!(covered > 10_000, "{covered} packets");
}

#[test]
fn crowded_block_lists_leave_half_of_the_room_to_the_ranges() {
    let far = 1 << 24;
    let complete = (1..=128).map(|n| blocks(far * n / 2, far * n / 2 + (far >> 2))).collect();
    let ranges: Vec<_> = (0..1_000).rev().map(|n| packets(1_000 * n, 1_000 * n + 5)).collect();
    let report = Feedback { largest: number(999_005), ranges, complete, ..Feedback::default() };
    let decoded = Feedback::decode(&encoded(&report, 600)).expect("own report");
    assert!(decoded.ranges.len() > 60, "{} ranges", decoded.ranges.len());
    assert!(decoded.complete.len() > 20, "{} block ranges", decoded.complete.len());
    assert_eq!(decoded.complete[..], report.complete[..decoded.complete.len()]);
}

#[test]
fn a_report_of_the_greatest_numbers_fits_into_the_least_room() {
    let top = VARINT_MAX;
    let report = Feedback {
        largest: number(top),
        largest_age: Micros::new(u32::MAX),
        received_packets: top,
        received_bytes: Bytes::new(top),
        duplicates: top,
        invalid: top,
        receiver_drops: top,
        receipt: Proof::new(u16::MAX),
        covered_from: number(0),
        ranges: vec![packets(1 << 61, top), packets(0, 5)],
        delays: vec![DelayMark { number: number(0), age: Micros::new(u32::MAX) }; 16],
        trains: vec![
            TrainReport {
                first: number(0),
                last: number(63),
                gap_sum: Micros::new(u32::MAX),
                gaps: 63
            };
            8
        ],
        complete_below: BlockIndex::new(u32::MAX),
        complete: Vec::new(),
        deficits: vec![deficit(u32::MAX, 4096)],
        open_blocks_limit: u32::MAX,
        backlog: Bytes::new(top),
        decoding: Micros::new(u32::MAX),
    };
    let bytes = encoded(&report, ENCODED_LEN_MIN);
    assert!(bytes.len() <= ENCODED_LEN_MIN);
    let decoded = Feedback::decode(&bytes).expect("own report");
    assert_eq!(decoded.largest, report.largest);
    assert_eq!(Feedback::decode(&encoded(&report, FEEDBACK_LEN_MAX)), Ok(report));
}

#[test]
fn every_cut_and_every_extension_of_a_report_is_refused() {
    let bytes = encoded(&small_report(), FEEDBACK_LEN_MAX);
    for len in 0..bytes.len() {
        assert!(Feedback::decode(&bytes[..len]).is_err(), "cut to {len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(Feedback::decode(&longer), Err(FeedbackError::Trailing { len: 1 }));
}

#[test]
fn a_count_beyond_its_limit_is_refused_before_its_items_are_read() {
    let mut bytes = vec![0; 14];
    varint::put(&mut bytes, 17);
    let refused = FeedbackError::TooMany { field: Field::Delays, count: 17 };
    assert_eq!(Feedback::decode(&bytes), Err(refused));
}

#[test]
fn a_bitmap_that_is_not_as_long_as_it_claims_is_refused() {
    let mut bytes = [0; 18];
    bytes[0] = ranges::Form::Bitmap.value();
    bytes[3] = 9;
    let claim = |span: u8, bitmap: &[u8]| Feedback::decode(&[&bytes[..], &[span], bitmap].concat());
    let refused = Err(FeedbackError::Contradiction { field: Field::Bitmap });
    assert!(claim(9, &[0x80, 0x40]).is_ok());
    assert_eq!(claim(9, &[0x80]), refused, "too short");
    assert_eq!(claim(9, &[0x80, 0x40, 0]), refused, "too long");
    assert_eq!(claim(9, &[0x40, 0x40]), refused, "the largest did not arrive");
    assert_eq!(claim(9, &[0x80, 0x20]), refused, "bits after the end");
}

/// What one field makes of a valid report, and which field the refusal names.
type Breach = (fn(&mut Feedback), Field);

#[test]
fn every_rule_between_the_fields_is_kept() {
    let breaches: [Breach; 18] = [
        (|r| r.largest = number(1_001), Field::Ranges),
        (|r| r.covered_from = number(64), Field::CoveredFrom),
        (|r| (r.ranges.truncate(1), r.covered_from = number(450)).1, Field::CoveredFrom),
        (|r| r.ranges[1] = packets(0, 499), Field::Ranges),
        (|r| r.ranges[1] = packets(5, 4), Field::Ranges),
        (|r| r.ranges.swap(0, 1), Field::Ranges),
        (|r| r.ranges.clear(), Field::Receipt),
        (|r| r.received_bytes = Bytes::MAX, Field::ReceivedBytes),
        (
            |r| r.delays = vec![DelayMark { number: number(1_001), age: Micros::new(0) }],
            Field::Delays,
        ),
        (|r| r.trains = vec![train(10, 9, 0, 0)], Field::Trains),
        (|r| r.trains = vec![train(10, 12, 1, 3)], Field::Trains),
        (|r| r.trains = vec![train(10, 12, 1, 0)], Field::Trains),
        (|r| r.trains = vec![train(10, 10 + 64, 1, 1)], Field::Trains),
        (|r| r.complete[0] = blocks(3, 4), Field::Complete),
        (|r| r.complete[1] = blocks(7, 7), Field::Complete),
        (|r| r.deficits[0] = deficit(2, 1), Field::Deficits),
        (|r| r.deficits[1] = deficit(6, 1), Field::Deficits),
        (|r| r.deficits[1] = deficit(7, 4_097), Field::Deficits),
    ];
    for (index, (breach, field)) in breaches.into_iter().enumerate() {
        let mut report = small_report();
        breach(&mut report);
        assert_eq!(
            report.validate(),
            Err(FeedbackError::Contradiction { field }),
            "breach {index}"
        );
    }
}

fn train(first: u64, last: u64, gap_sum: u32, gaps: u32) -> TrainReport {
    TrainReport { first: number(first), last: number(last), gap_sum: Micros::new(gap_sum), gaps }
}

/// Ranges below `largest`, built from gaps and runs.
fn any_ranges() -> impl Strategy<Value = (PacketNumber, PacketNumber, Vec<PacketRange>)> {
    let steps = vec((0u64..2_000, 0u64..70), 0..400);
    (0u64..70, steps, 0u64..100, 0u64..1 << 40).prop_map(|(run, steps, silence, bottom)| {
        let total: u64 = steps.iter().map(|(gap, run)| gap + run + 2).sum();
        let bottom = bottom / PROOF_STEP * PROOF_STEP;
        let largest = bottom + silence + total + run;
        let mut ranges = vec![packets(largest - run, largest)];
        for (gap, run) in steps {
            let last = ranges[ranges.len() - 1].first.get() - gap - 2;
            ranges.push(packets(last - run, last));
        }
        (number(largest), number(bottom), ranges)
    })
}

fn any_blocks() -> impl Strategy<Value = (BlockIndex, Vec<BlockRange>, Vec<BlockDeficit>)> {
    let steps = vec((any::<bool>(), 0u32..300, 0u32..100, 1u32..=4096), 0..64);
    (0u32..1 << 20, steps).prop_map(|(below, steps)| {
        let (mut complete, mut deficits) = (Vec::new(), Vec::new());
        let mut floor = below + 1;
        for (is_complete, gap, run, missing) in steps {
            let first = floor + gap;
            if is_complete {
                complete.push(blocks(first, first + run));
                floor = first + run + 2;
            } else {
                deficits.push(deficit(first, missing));
                floor = first + 1;
            }
        }
        (BlockIndex::new(below), complete, deficits)
    })
}

prop_compose! {
    fn any_feedback()(
        (largest, covered_from, ranges) in any_ranges(),
        (complete_below, complete, deficits) in any_blocks(),
        counters in vec(0..=VARINT_MAX, 6),
        receipt in any::<u16>(),
        (age, limit) in (any::<u32>(), any::<u32>()),
        delays in vec((any::<u64>(), any::<u32>()), 0..=DELAYS_MAX),
        trains in vec((any::<u64>(), 0u64..64, 1u32..u32::MAX), 0..=TRAINS_MAX),
    ) -> Feedback {
        let at = |seed: u64| seed % (largest.get() + 1);
        let trains = trains.into_iter().map(|(seed, len, gap_sum)| {
            let (last, gaps) = (at(seed), len.min(at(seed)));
            let gap_sum = if gaps == 0 { 0 } else { gap_sum };
            train(last - gaps, last, gap_sum, u32::try_from(gaps).expect("below 64"))
        });
        let delays = delays.into_iter();
        Feedback {
            largest,
            largest_age: Micros::new(age),
            received_packets: counters[0],
            received_bytes: Bytes::new(counters[1]),
            duplicates: counters[2],
            invalid: counters[3],
            receiver_drops: counters[4],
            receipt: Proof::new(receipt),
            covered_from,
            ranges,
            delays: delays.map(|(seed, age)| DelayMark { number: number(at(seed)), age: Micros::new(age) }).collect(),
            trains: trains.collect(),
            complete_below,
            complete,
            deficits,
            open_blocks_limit: limit,
            backlog: Bytes::new(counters[5]),
            decoding: Micros::new(limit.rotate_left(7)),
        }
    }
}

/// True when `report` says that packet `n` arrived, false that it did not, nothing when silent.
fn says(report: &Feedback, n: u64) -> Option<bool> {
    let spoken = (report.covered_from..=report.largest).contains(&number(n));
    spoken.then(|| report.ranges.iter().any(|r| (r.first..=r.last).contains(&number(n))))
}

proptest! {
    #[test]
    fn every_report_survives_when_there_is_room(report in any_feedback()) {
        prop_assert_eq!(report.validate(), Ok(()));
        let bytes = encoded(&report, 1 << 20);
        if bytes.len() <= FEEDBACK_LEN_MAX {
            prop_assert_eq!(Feedback::decode(&bytes), Ok(report));
        } else {
            prop_assert_eq!(Feedback::decode(&bytes), Err(FeedbackError::TooLong { len: bytes.len() }));
        }
    }

    #[test]
    fn a_cut_report_fits_and_denies_nothing_that_the_whole_one_said(
        report in any_feedback(),
        max_len in ENCODED_LEN_MIN..=FEEDBACK_LEN_MAX,
    ) {
        let bytes = encoded(&report, max_len);
        prop_assert!(bytes.len() <= max_len);
        let cut = Feedback::decode(&bytes).expect("own report");
        prop_assert!(cut.covered_from >= report.covered_from);
        for range in report.ranges.iter().take(200) {
            for n in [range.first.get(), range.last.get(), range.last.get() + 1] {
                let (cut, whole) = (says(&cut, n), says(&report, n));
                prop_assert!(cut.is_none() || cut == whole, "packet {}", n);
            }
        }
        prop_assert!(report.complete.starts_with(&cut.complete));
        prop_assert!(report.deficits.starts_with(&cut.deficits));
    }

    #[test]
    fn no_bytes_panic_and_what_decodes_keeps_the_rules(bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(report) = Feedback::decode(&bytes) {
            prop_assert_eq!(Feedback::decode(&encoded(&report, FEEDBACK_LEN_MAX)), Ok(report));
        }
    }

    #[test]
    fn a_damaged_report_is_refused_or_keeps_the_rules(
        report in any_feedback(),
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
    ) {
        let mut bytes = encoded(&report, FEEDBACK_LEN_MAX);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(report) = Feedback::decode(&bytes) {
            prop_assert_eq!(report.validate(), Ok(()));
        }
    }
}
