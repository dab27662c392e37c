//! How many labs a test program has up at once: two, so that labs do not starve each other.
//!
//! It does not know of other processes: `cargo test` runs test programs one after the other.

use std::sync::{Condvar, Mutex, PoisonError};

/// Labs with transfers in them at the same time. Most of a transfer's time is round trips, so two
/// fit on two cores.
const TURNS: u32 = 2;

static FREE: Mutex<u32> = Mutex::new(TURNS);
static GIVEN_BACK: Condvar = Condvar::new();

/// The right to have a lab up; given back when dropped.
#[derive(Debug)]
pub struct Turn(());

impl Turn {
    /// Waits for one.
    pub fn take() -> Self {
        let free = FREE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut free =
            GIVEN_BACK.wait_while(free, |free| *free == 0).unwrap_or_else(PoisonError::into_inner);
        *free -= 1;
        Self(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *FREE.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        GIVEN_BACK.notify_one();
    }
}
