//! Receivers that squeeze arrivals, and ways back that only seem to.

use super::*;

/// Reports each 12 ms of 100 packets, whose clock takes `share` percent of the time out while b
/// grows, up to 100 ms, and gives it back in `falls` reports: how many were torn.
fn torn(share: i64, falls: i64) -> usize {
    let (mut pace, mut back, mut falling) = (Pace::default(), 0, false);
    let reports = (0..2_000).map(|_| {
        let change = if falling { -100_000 / falls } else { 120 * share };
        falling = if falling { back + change > 0 } else { back + change >= 100_000 };
        let change = change.max(-back);
        back += change;
        pace.on_report(100, 12_000 - change);
        pace.is_torn(back)
    });
    reports.filter(|&torn| torn).count()
}

#[test]
fn a_clock_that_squeezes_arrivals_is_found_out_however_it_goes_back() {
    for share in [50, 75, 90] {
        for falls in [1, 2, 4, 8] {
            assert!(torn(share, falls) > 0, "{share} % {falls}");
        }
    }
}

/// Reports each `micros` of ten packets, whose clock takes `share` percent of the time out while b grows,
/// up to 100 ms, and gives it back in one: how many were torn.
fn torn_in_small_steps(micros: i64, share: i64) -> usize {
    let (mut pace, mut back) = (Pace::default(), 0);
    let reports = (0..20_000_000 / micros).map(|_| {
        let change = if back >= 100_000 { -back } else { micros * share / 100 };
        back += change;
        pace.on_report(10, micros - change);
        pace.is_torn(back)
    });
    reports.filter(|&torn| torn).count()
}

#[test]
fn small_steps_hide_nothing() {
    for (micros, share) in [(1_000, 30), (1_000, 48), (500, 90), (200, 90), (100, 99)] {
        assert!(torn_in_small_steps(micros, share) > 0, "{micros} us, {share} %");
    }
}

/// Which of these windows, torn or even, is the one that finds a liar out; they come again and again.
fn found_in(windows: &[bool]) -> Option<usize> {
    let (mut pace, mut back) = (Pace::default(), 0);
    (0..100).find(|n| {
        let torn = windows[n % windows.len()];
        // Five changes of 100 ms each make a window.
        let found = (0..5).map(|_| {
            back = 100_000 - back;
            pace.on_report(100, if torn && back == 0 { 100_000 } else { 12_000 });
            pace.is_torn(back)
        });
        found.last() == Some(true)
    })
}

#[test]
fn who_takes_turns_between_squeezed_and_even_windows_is_found_out() {
    assert_eq!(found_in(&[true]), Some(1));
    assert_eq!(found_in(&[true, false]), Some(2));
    assert_eq!(found_in(&[true, false, false]), Some(3));
    assert_eq!(found_in(&[true, false, false, false]), Some(8));
}

#[test]
fn one_torn_window_of_five_is_chance() {
    assert_eq!(found_in(&[true, false, false, false, false]), None);
    assert_eq!(found_in(&[false]), None);
}

#[test]
fn a_queue_that_is_on_the_way_back_changes_no_pace() {
    let mut pace = Pace::default();
    for n in 0_i64..4_000 {
        // Reports are made each 12 ms, some are lost, and b swings by 60 ms.
        let lost = n % 7 == 0;
        pace.on_report(if lost { 200 } else { 100 }, if lost { 24_000 } else { 12_000 });
        assert!(!pace.is_torn((n % 20 - 10).abs() * 6_000), "{n}");
    }
}

#[test]
fn few_packets_and_small_changes_tell_nothing() {
    let (mut few, mut small) = (Pace::default(), Pace::default());
    for n in 0_i64..200 {
        few.on_report(1, 1_000);
        assert!(!few.is_torn(n % 2 * 90_000));
        small.on_report(1_000, 100);
        assert!(!small.is_torn(n % 2 * 400));
    }
}
