//! Kills this process at a chosen step of the commit path, and shows what a kill leaves behind.

use std::sync::atomic::{AtomicU64, Ordering};

/// The step, counted from 1, at which the process ends.
const CRASH_AT: &str = "FARHAUL_TEST_CRASH_AT";

static STEPS: AtomicU64 = AtomicU64::new(0);

/// Ends the process without any clean-up if this is the step of the environment.
pub(super) fn step() {
    let now = STEPS.fetch_add(1, Ordering::Relaxed) + 1;
    if std::env::var(CRASH_AT).is_ok_and(|at| at.parse() == Ok(now)) {
        std::process::abort();
    }
}
