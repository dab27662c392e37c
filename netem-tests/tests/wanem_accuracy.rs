//! The emulator keeps what a profile promises: real packets through a real lab, root or not.
//!
//! Bounds and methods are those of `wanem selftest`; tests take turns, since two streams at once
//! would share the processors and measure each other.

use farhaul_netem_tests::require::binary;
use farhaul_netem_tests::{Lab, LabProfile, require};
use farhaul_tools::wanem::segmentation;
use farhaul_tools::wanem::selftest::{self, Check, SelftestError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

static TURN: Mutex<()> = Mutex::new(());

const SPAN: Duration = Duration::from_secs(3);

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(2);

/// Runs one check in a lab of its own. A machine that is short of processors for a moment is given
/// three further tries; a wrong emulator fails all of them.
fn passes(test: &str, check: impl Fn(&Lab) -> Result<Check, SelftestError>) {
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = require!(test, Lab::start(&LabProfile::default()));
    for last in [false, false, false, true] {
        let done = check(&lab).expect("the traffic tools run");
        if done.passed {
            return;
        }
        eprintln!("{}: {}", done.name, done.finding);
        assert!(!last, "{} failed each time", done.name);
        std::thread::sleep(PAUSE);
    }
}

#[test]
fn the_round_trip_is_right_to_a_millisecond() {
    passes("the_round_trip_is_right_to_a_millisecond", |lab| {
        selftest::check_round_trip(lab.process())
    });
}

#[test]
fn the_rate_is_right_to_a_percent_and_order_is_kept() {
    passes("the_rate_is_right_to_a_percent_and_order_is_kept", |lab| {
        selftest::check_rate(lab.process(), SPAN)
    });
}

#[test]
fn the_loss_is_the_profiles_and_no_other() {
    passes("the_loss_is_the_profiles_and_no_other", |lab| {
        selftest::check_loss(lab.process(), SPAN)
    });
}

#[test]
fn duplicates_damage_and_reordering_come_when_asked_for() {
    passes("duplicates_damage_and_reordering_come_when_asked_for", |lab| {
        selftest::check_mischief(lab.process(), SPAN)
    });
}

#[test]
fn tcp_carries_a_file_byte_for_byte_through_a_bad_link() {
    for congestion in ["cubic", "reno"] {
        passes("tcp_carries_a_file_byte_for_byte_through_a_bad_link", |lab| {
            let directory = tempfile::tempdir().expect("a directory");
            selftest::check_tcp(lab.process(), congestion, directory.path())
        });
    }
}

#[test]
fn large_frames_are_split_as_the_kernel_splits_them() {
    let test = "large_frames_are_split_as_the_kernel_splits_them";
    // A machine without labs has no namespace for this either.
    drop(require!(test, Lab::start(&LabProfile::default())));
    let check = segmentation::check(&binary("wanem")).expect("the comparison runs");
    assert!(check.passed, "{}", check.finding);
}
