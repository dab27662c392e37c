//! Rate control against the link model, in virtual time: the figures that must not get worse.
//!
//! The cells are those of `engine/sim/cells/`, most of them shortened; the seeds are fixed, so every
//! figure is exact and a failure repeats. A sender of the simulator's own drives the law here;
//! `transfer_cells` has whole sessions. `cargo run --release -p farhaul-sim --bin cells` prints the whole
//! tables.

use core::time::Duration;
use farhaul_proto::units::{BitRate, Ratio};
use farhaul_sim::cells::{Cell, CellFile, Outcome, run};

const ACCEPTANCE: &str = include_str!("../cells/acceptance.toml");
const BUSY: &str = include_str!("../cells/busy.toml");
const MATRIX: &str = include_str!("../cells/matrix.toml");
const SHAPES: &str = include_str!("../cells/shapes.toml");
const SHARING: &str = include_str!("../cells/sharing.toml");
const SECTIONS: &str = include_str!("../cells/sections.toml");
const HELD_OUT: &str = include_str!("../cells/held_out.toml");
const RIVALS: &str = include_str!("../cells/rivals.toml");
const RATE: &str = include_str!("../../RATE.md");
const SEED: u64 = 7;
/// The seeds of the tables in RATE.md.
const TABLE_SEEDS: [u64; 3] = [1, 2, 3];

fn cell(file: &str, name: &str, seconds: u64) -> Cell {
    let cells = CellFile::from_toml(file).expect("the files of the repository are valid").cells;
    let found = cells.into_iter().find(|cell| cell.name == name);
    let cell = found.unwrap_or_else(|| panic!("there is no cell {name:?}"));
    let duration = cell.duration.min(Duration::from_secs(seconds));
    let measure_from = cell.measure_from.min(duration / 2);
    Cell { duration, measure_from, ..cell }
}

fn play(file: &str, name: &str, seconds: u64) -> Outcome {
    run(&cell(file, name, seconds), SEED)
}

/// At least 0.97 of what any scheme can carry, and a mean queue of at most 5 ms or a tenth of the RTT.
fn assert_full_and_polite(outcome: &Outcome, name: &str) {
    let goodput = outcome.goodput();
    assert!(goodput >= 0.97, "{name}: {goodput:.3} of G*");
    let bound = Duration::from_millis(5).max(outcome.rtt / 10);
    let queue = outcome.queue_mean();
    assert!(queue <= bound, "{name}: {queue:?} of queue, allowed {bound:?}");
}

#[test]
fn the_acceptance_cells_are_full_with_a_short_queue_and_a_quick_start() {
    for name in [
        "A 500M 100ms 0.1%",
        "B 500M 200ms 2%",
        "C 200M 150ms 1%",
        "D 200M 200ms 10%",
        "E 100M 300ms 20%",
    ] {
        let outcome = play(ACCEPTANCE, name, 12);
        assert_full_and_polite(&outcome, name);
        let ready = outcome.rtts_to_90().unwrap_or(f64::INFINITY);
        assert!(ready <= 5.0, "{name}: 90 % after {ready:.1} round trips");
        assert!(outcome.overshoot_bdp() <= 0.05, "{name}: {:.3} BDP lost", outcome.overshoot_bdp());
    }
}

#[test]
fn reverse_jitter_of_milliseconds_does_not_cost_goodput() {
    for name in ["A 500M 100ms 0.1%, jitter", "D 200M 200ms 10%, jitter"] {
        assert_full_and_polite(&play(ACCEPTANCE, name, 12), name);
    }
}

/// The sender of these cells stands still for 6 % of the time; what its queue cannot bridge is
/// lost to any law. What must not happen is a rate that collapses.
#[test]
fn stalls_of_either_host_cost_no_more_than_the_time_they_take() {
    for name in ["B 500M 200ms 2%, stalls", "C 200M 150ms 1%, both", "E 100M 300ms 20%, both"] {
        let goodput = play(ACCEPTANCE, name, 12).goodput();
        assert!(goodput >= 0.93, "{name}: {goodput:.3}");
    }
}

/// Hosts that share their processors run a few milliseconds and stand still for as long. What they
/// missed left at 1.25 times the rate, which made half of it good; the law took the rest for what
/// the link carries, and the rate sank: 0.31 to 0.56 of the link, and 0.10 of it on the last.
#[test]
fn hosts_that_run_half_of_the_time_fill_the_link_all_the_same() {
    for name in [
        "busy sender, 2 Gbit/s, 1 ms",
        "busy hosts, 2 Gbit/s, 1 ms",
        "busy hosts, 500 Mbit/s, 20 ms",
        "busy hosts, 500 Mbit/s, 100 ms, 1 %",
    ] {
        let outcome = play(BUSY, name, 15);
        assert!(outcome.goodput() >= 0.9, "{name}: {:.3}", outcome.goodput());
        assert!(outcome.load_loss() <= Ratio::new(0.02), "{name}: {:?}", outcome.load_loss());
    }
    // On average 3 of 10.5 ms, and away for longer than is made up for.
    let goodput = play(BUSY, "busier hosts, 2 Gbit/s, 1 ms", 15).goodput();
    assert!(goodput >= 0.4, "{goodput:.3}");
}

/// Trains that a host standing still hands on as one say nothing about the link. Taken at their
/// word they made the law flood it: 46 bandwidth-delay products lost at the start, and a queue
/// target beyond what the queue holds.
#[test]
fn trains_that_arrive_as_one_do_not_flood_the_link() {
    for seed in 1..=4 {
        let outcome = run(&cell(SHAPES, "reads each 10 ms, 100 Mbit/s, 300 ms, 20 %", 20), seed);
        assert!(outcome.goodput() >= 0.93, "seed {seed}: {:.3}", outcome.goodput());
        assert!(outcome.load_loss() <= Ratio::new(0.06), "seed {seed}: {:?}", outcome.load_loss());
        assert!(outcome.overshoot_bdp() <= 5.0, "seed {seed}: {:.1}", outcome.overshoot_bdp());
    }
}

#[test]
fn random_loss_does_not_slow_a_lone_flow_down() {
    for name in [
        "100Mbit/s x 1ms x 1%",
        "100Mbit/s x 10ms x 0%",
        "100Mbit/s x 50ms x 20%",
        "100Mbit/s x 100ms x 5%",
        "100Mbit/s x 200ms x GE 2%",
        "100Mbit/s x 300ms x 10%",
    ] {
        assert_full_and_polite(&play(MATRIX, name, 15), name);
    }
    assert!(play(MATRIX, "50Mbit/s x 1s x 2%", 30).goodput() >= 0.97);
}

#[test]
fn a_shallow_queue_is_filled_without_drowning_it() {
    for name in ["100Mbit/s x 20ms x 2%", "100Mbit/s x 100ms x 0%"] {
        let outcome = play(SHAPES, name, 15);
        assert!(outcome.goodput() >= 0.97, "{name}: {:.3}", outcome.goodput());
        assert!(outcome.load_loss() <= Ratio::new(0.01), "{name}: {:?}", outcome.load_loss());
    }
}

#[test]
fn a_step_of_random_loss_is_not_taken_for_congestion() {
    let outcome = play(SHAPES, "loss 1 % -> 20 %, 100 ms", 20);
    assert!(outcome.goodput() >= 0.97, "{:.3}", outcome.goodput());
}

#[test]
fn a_link_that_becomes_four_times_slower_or_faster_is_followed() {
    for name in ["rate x4, 50 ms", "rate x4, 100 ms, 2 %", "rate /4, 50 ms", "rate /4, 100 ms, 2 %"]
    {
        let outcome = play(SHAPES, name, 24);
        assert!(outcome.goodput() >= 0.95, "{name}: {:.3}", outcome.goodput());
        assert!(outcome.load_loss() <= Ratio::new(0.02), "{name}: {:?}", outcome.load_loss());
    }
}

/// Nearly all was lost in one run, which no comparison of epochs told from a burst, and no cut of a
/// tenth changed: the rate rose to 1 Gbit/s, with 99.99 % lost.
#[test]
fn a_link_that_carries_a_thousandth_is_not_flooded() {
    for name in ["100 Mbit/s to 40 kbit/s, free", "100 Mbit/s to 40 kbit/s, cap of 40 Mbit/s"] {
        let outcome = play(SHAPES, name, 40);
        let last = outcome.flows[0].views.last().expect("a sender believes something");
        assert!(last.1.rate <= BitRate::kbps(300), "{name}: {}", last.1.rate);
    }
}

#[test]
fn a_longer_path_is_not_taken_for_a_queue() {
    let outcome = play(SHAPES, "rtt 50 -> 150 ms", 25);
    assert!(outcome.goodput() >= 0.9, "{:.3}", outcome.goodput());
}

/// Rows of RATE.md of one section: the cell, and its figures.
fn rows(section: &str) -> Vec<(&'static str, Vec<f64>)> {
    let cell = |line: &'static str| {
        let mut columns = line.trim_matches('|').split('|').map(str::trim);
        let name = columns.next()?.strip_prefix(section)?.strip_prefix(": ")?;
        Some((name, columns.filter_map(|figure| figure.parse().ok()).collect()))
    };
    RATE.lines().filter_map(cell).collect()
}

/// Same cells, same length, same seeds: what RATE.md says is the worst is the worst.
#[test]
fn a_policer_is_found_and_remembered_as_stated() {
    let rows = rows("policer");
    assert_eq!(rows.len(), 5);
    for (name, stated) in rows {
        let [goodput, .., lost] = stated[..] else { panic!("{name} lacks its figures") };
        let outcomes = TABLE_SEEDS.map(|seed| run(&cell(SHAPES, name, 60), seed));
        let least = outcomes.iter().map(Outcome::goodput).fold(f64::MAX, f64::min);
        let most = outcomes.iter().map(|o| o.load_loss().get() * 100.0).fold(0.0, f64::max);
        assert!(least >= 0.97 && most <= 2.5, "{name}: {least:.3} of G*, {most:.2} % lost");
        assert_eq!(format!("{least:.3} {most:.2}"), format!("{goodput:.3} {lost:.2}"), "{name}");
    }
}

#[test]
fn half_of_the_feedback_is_enough() {
    let outcome = play(SHAPES, "feedback loss 50 %, 1 %", 15);
    assert!(outcome.goodput() >= 0.97, "{:.3}", outcome.goodput());
}

/// Whole length, the first seed of the tables, the bars of the goals. BBRv1 the other way left 0.44 of
/// the link, CUBIC 0.67: the queue on the way back was taken for our own, and its growth for a
/// slower link.
#[test]
fn a_queue_on_the_way_back_is_not_taken_for_our_own() {
    for name in [
        "CUBIC the other way, 50 Mbit/s and 60 ms of queue, 80 ms",
        "BBRv1 the other way, 50 Mbit/s and 60 ms of queue, 80 ms",
        "our own the other way, 100 Mbit/s, 50 ms",
    ] {
        let cell = cell(HELD_OUT, name, 60);
        for check in cell.rule.expect("a rule").judge(&cell, &run(&cell, 1)) {
            assert!(check.holds(), "{name}: {} {:.3}", check.what, check.figure);
        }
    }
}

#[test]
fn a_right_hint_gives_the_rate_in_two_round_trips_and_a_wrong_one_is_dropped() {
    let right = play(SHAPES, "hint 450 of 500 Mbit/s, 100 ms", 6);
    let at = right.first_bin_at(BitRate::mbps(405), Duration::ZERO);
    assert!(at.is_some_and(|at| at <= right.rtt * 2), "{at:?}");
    let wrong = play(SHAPES, "hint 450 of 100 Mbit/s, 100 ms", 6);
    assert!(wrong.goodput() >= 0.95, "{:.3}", wrong.goodput());
}

#[test]
fn an_application_with_little_data_keeps_its_rate() {
    let outcome = play(SHAPES, "application at 20 of 100 Mbit/s, 100 ms", 10);
    assert!((0.18..0.21).contains(&outcome.goodput()), "{:.3}", outcome.goodput());
}

#[test]
fn own_flows_share_a_link_and_keep_it_full() {
    let outcome = play(SHARING, "2 flows, second after 10 s, 100 ms", 45);
    assert!(outcome.goodput() >= 0.97, "{:.3}", outcome.goodput());
    for flow in 0..2 {
        let share = outcome.share(flow);
        assert!((0.4..0.6).contains(&share), "flow {flow}: {share:.3}");
    }
}

/// Whole length, the first seed of the tables, the bars of the goals.
#[test]
fn flows_that_join_one_by_one_share_by_weight() {
    for name in [
        "4 flows, one each 8s, 20 ms",
        "4 flows, one each 8s, 100 ms",
        "8 flows, one each 3s, 100 ms",
        "high and fair, 20 ms",
        "high and fair, 100 ms",
    ] {
        let cell = cell(SECTIONS, name, 100);
        let outcome = run(&cell, 1);
        for check in cell.rule.expect("a rule").judge(&cell, &outcome) {
            assert!(check.holds(), "{name}: {} {:.3}", check.what, check.figure);
        }
        assert!(outcome.goodput() >= 0.97, "{name}: {:.3}", outcome.goodput());
    }
}

#[test]
fn low_fills_an_idle_link_with_less_than_ten_milliseconds_of_queue() {
    let outcome = play(SHARING, "low alone, 50 ms", 15);
    assert!(outcome.goodput() >= 0.9, "{:.3}", outcome.goodput());
    assert!(outcome.queue_p95() <= Duration::from_millis(10), "{:?}", outcome.queue_p95());
}

#[test]
fn low_leaves_the_link_to_whoever_wants_it() {
    let outcome = play(SHARING, "low beside fixed at 90 %, 50 ms", 20);
    assert!(outcome.share(0) >= 0.89, "{:.3}", outcome.share(0));
    assert!(outcome.queue_p95() <= Duration::from_millis(20), "{:?}", outcome.queue_p95());
}

/// With the rival mode on: whole length, the first seed of the tables.
#[test]
fn the_mirror_takes_about_an_even_share_beside_cubic() {
    for (name, least, most) in
        [("1 CUBIC, 20 ms, ours first", 0.4, 0.6), ("3 CUBIC, 20 ms", 0.15, 0.35)]
    {
        let share = run(&cell(RIVALS, name, 80), 1).share(0);
        assert!((least..most).contains(&share), "{name}: {share:.3}");
    }
}

#[test]
fn low_leaves_the_link_to_cubic_at_any_round_trip() {
    for name in ["low yields to CUBIC, 20 ms", "low yields to CUBIC, 100 ms"] {
        let cell = cell(RIVALS, name, 60);
        let rule = cell.rule.expect("a rule");
        for check in rule.judge(&cell, &run(&cell, 1)) {
            assert!(check.holds(), "{name}: {} {:.3}", check.what, check.figure);
        }
    }
}

#[test]
fn fixed_holds_its_rate_under_loss() {
    let outcome = play(SHARING, "fixed at 80 Mbit/s, 100 ms, 5 %", 15);
    assert!(outcome.goodput() >= 0.99, "{:.3}", outcome.goodput());
}

#[test]
fn the_same_seed_gives_the_same_figures() {
    let cell = cell(ACCEPTANCE, "D 200M 200ms 10%, both", 4);
    let figures = |outcome: Outcome| (outcome.flows[0].arrived, outcome.flows[0].sent.clone());
    assert_eq!(figures(run(&cell, 3)), figures(run(&cell, 3)));
    assert_ne!(figures(run(&cell, 3)), figures(run(&cell, 4)));
}
