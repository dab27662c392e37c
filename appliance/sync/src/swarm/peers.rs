//! What a site thinks of a peer: how fast it gives, how often it failed, how much it may owe.
//!
//! Only what was measured counts, nothing that a peer claims. A new one gets a few asks and more as
//! it answers; one that fails waits, ever longer; one whose bytes have another hash is named at once
//! and, the second time, never asked again.

use core::time::Duration;
use farhaul_proto::units::Timestamp;

/// Asks that a peer may owe before it has answered any.
const ROOM_FIRST: u16 = 2;
/// Asks that a peer may owe at most.
pub const ROOM_MAX: u16 = 6;
/// The first pause after a failure; doubled up to [`PAUSE_MAX`].
const PAUSE_FIRST: Duration = Duration::from_millis(500);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// The pause after bad bytes, the first time.
const PAUSE_BAD: Duration = Duration::from_secs(60);
/// Bad chunks after which a peer is asked no more.
const BAD_MAX: u16 = 2;
/// Failures in a row after which a peer is named as silent.
pub const SILENT_AFTER: u16 = 4;
/// A peer that was never heard of to give anything is thought to give so much, in bytes per second.
const RATE_UNKNOWN: f64 = 1e6;

/// What is thought of one peer.
#[derive(Clone, Debug)]
pub struct Score {
    /// Asks under way.
    pub owed: u16,
    /// Bytes of them.
    pub owed_bytes: u64,
    room: u16,
    /// Bytes per second while it owed something, over its last dozen answers.
    rate: Option<f64>,
    last: Timestamp,
    since_report: u64,
    failures: u16,
    bad: u16,
    pause_until: Timestamp,
    is_aside: bool,
}

impl Default for Score {
    fn default() -> Self {
        Self {
            owed: 0,
            owed_bytes: 0,
            room: ROOM_FIRST,
            rate: None,
            last: Timestamp::ZERO,
            since_report: 0,
            failures: 0,
            bad: 0,
            pause_until: Timestamp::ZERO,
            is_aside: false,
        }
    }
}

impl Score {
    /// True if it may be asked for one more.
    pub fn has_room(&self, now: Timestamp) -> bool {
        !self.is_aside && self.owed < self.room && now >= self.pause_until
    }

    /// True if it is asked no more, for good.
    pub fn is_aside(&self) -> bool {
        self.is_aside
    }

    /// It is never asked again.
    pub fn set_aside(&mut self) {
        self.is_aside = true;
    }

    /// It is asked for so many bytes.
    pub fn asked(&mut self, bytes: u32, now: Timestamp) {
        if self.owed == 0 {
            self.last = now;
        }
        self.owed += 1;
        self.owed_bytes += u64::from(bytes);
    }

    /// It owes so many bytes less, whatever the reason.
    pub fn settled(&mut self, bytes: u32) {
        self.owed = self.owed.saturating_sub(1);
        self.owed_bytes = self.owed_bytes.saturating_sub(u64::from(bytes));
    }

    /// It gave so many bytes.
    pub fn gave(&mut self, bytes: u32, now: Timestamp) {
        let took = now.since(self.last).as_secs_f64().max(1e-3);
        let rate = f64::from(bytes) / took;
        self.rate = Some(self.rate.map_or(rate, |old| old + (rate - old) / 12.0));
        self.last = now;
        self.failures = 0;
        self.room = (self.room + 1).min(ROOM_MAX);
    }

    /// So many bytes that it gave are what they should be.
    pub fn verified(&mut self, bytes: u32) {
        self.since_report += u64::from(bytes);
    }

    /// It gave nothing, or not in time.
    pub fn failed(&mut self, now: Timestamp) {
        self.failures = self.failures.saturating_add(1);
        self.room = (self.room / 2).max(1);
        let pause = PAUSE_FIRST * (1 << (self.failures - 1).min(7));
        self.pause_until = now + pause.min(PAUSE_MAX);
    }

    /// It has too much to do: no fault of its own, but it is left alone for a moment.
    pub fn busy(&mut self, now: Timestamp) {
        self.room = (self.room * 3 / 4).max(1);
        self.pause_until = self.pause_until.max(now + PAUSE_FIRST / 2);
    }

    /// Its bytes have another hash.
    pub fn lied(&mut self, now: Timestamp) {
        self.bad = self.bad.saturating_add(1);
        self.is_aside |= self.bad >= BAD_MAX;
        self.room = 1;
        self.pause_until = now + PAUSE_BAD;
    }

    /// True if it failed so often in a row that somebody should hear of it.
    pub fn is_silent(&self) -> bool {
        self.failures >= SILENT_AFTER
    }

    /// How long what it owes, and `bytes` more, may take, in milliseconds.
    pub fn wait_millis(&self, bytes: u32) -> u64 {
        let rate = self.rate.unwrap_or(RATE_UNKNOWN).max(1.0);
        let owed = Duration::from_secs_f64((self.owed_bytes + u64::from(bytes)) as f64 / rate);
        u64::try_from(owed.as_millis()).unwrap_or(u64::MAX)
    }

    /// The verified bytes that it gave since this was asked last.
    pub fn take_given(&mut self) -> u64 {
        core::mem::take(&mut self.since_report)
    }
}
