//! Start-up: ask the link with a train, test half of the answer, then jump.
//!
//! ```text
//! Train    32 packets back to back, again and longer if they arrive as one; meanwhile a trickle
//!          (or a quarter of the hint)
//! Test     R = C/2 with trains each r/6 for 1.6 r; if the trains still arrive as one, C/8, C/4, C/2
//!          q > max(3 Q0, 4 ms) -> Settle
//! Settle   R = 0.8 A for 1.1 r; D: the most that was delivered meanwhile
//!          D > 0.8 of what was tested -> that was no queue: Test of twice as much, for 1.1 r at least
//!          else R = 0.9 D, p0 forgotten, normal law
//! Jump     C trusted and q < Q0 -> R = 0.97 C
//!          trains disagree, but there are three -> R = 0.92 of their median, normal law
//! Double   no trains (lost, as one, or the path reorders): R doubles each 2.1 r until A grows by less than 20 %
//! ```
//! Half the rate for 1.6 r costs nothing if the answer is right and loses little if it is wrong;
//! doubling past the answer is what loses whole BDPs (rate-law section 2, item 8). A hint (a
//! remembered or demanded rate) is held against the first train and jumped to if they agree.

use super::capacity::{CLOCK_NOISE, Capacity};

/// Packets of the first train: 31 gaps of 24 us at 500 Mbit/s against clock noise of 50 us.
pub(super) const FIRST_TRAIN: u32 = 32;
const TEST_RTTS: f64 = 1.6;
const SETTLE_RTTS: f64 = 1.1;
const CARRIED: f64 = 0.9;
const FOLLOWED: f64 = 0.8;
/// Share of the first answer that is tested.
const TESTED: f64 = 0.5;
/// The same if the gaps are within the noise of the clocks.
const TESTED_OF_NOISE: f64 = 0.125;
const TRAINS_PER_RTT: f64 = 6.0;
/// Doubling waits until the last one is visible in the advance rate (one round trip of flight, one
/// of window).
const DOUBLE_RTTS: f64 = 2.1;
/// The first train's answer should have come by then.
const DESPAIR_RTTS: f64 = 1.5;
const DESPAIR_MIN: f64 = 0.05;
/// After so many trains that measured nothing, the rate is looked for without them.
const UNMEASURED_MAX: u32 = 3;
/// Trains that disagree still tell something when there are so many.
const TRAINS_MIN: usize = 3;
const CAUTIOUS: f64 = 0.92;
/// Without news of the first train for this long, it is sent again.
const TRAIN_TIMEOUT: f64 = 0.5;
/// A hint is believed if it and the first train's answer are within this share of each other.
const HINT_AGREES: f64 = 0.75;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    /// Waiting for the first train.
    Train,
    /// Sending at half the answer.
    Test,
    /// The test met a queue: waiting for what arrives of it.
    Settle,
    /// No trusted answer.
    Double,
    /// Over.
    Done,
}

/// See the module. Bytes per second, seconds.
#[derive(Debug)]
pub(super) struct Startup {
    pub(super) stage: Stage,
    since: f64,
    next_train: f64,
    hint: Option<f64>,
    before: f64,
    /// First trains that measured nothing.
    unmeasured: u32,
    /// The first answer lies within the noise of the clocks: C is not below it, no more is known.
    within_noise: bool,
    overshot: bool,
    /// What met a queue.
    tested: f64,
    /// Queues have been seen that were none.
    doubted: bool,
}

/// What start-up looks at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) q: f64,
    pub(super) target: f64,
    pub(super) r: f64,
    pub(super) advance: f64,
    pub(super) delivered: f64,
    pub(super) rate: f64,
    pub(super) app_limited: bool,
}

impl Startup {
    pub(super) fn new(hint: Option<f64>, now: f64) -> Self {
        Self {
            stage: Stage::Train,
            since: now,
            next_train: now,
            hint,
            before: 0.0,
            unmeasured: 0,
            within_noise: false,
            overshot: false,
            tested: 0.0,
            doubted: false,
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stage == Stage::Done
    }

    /// It ended because a queue stood: the rate that was tested was above the link, and what was
    /// lost meanwhile was lost to that.
    pub(super) fn overshot(&self) -> bool {
        self.overshot
    }

    /// The path was silent and is back: a train leaves at once, and has all its time.
    pub(super) fn ask_again(&mut self, now: f64) {
        if !self.is_over() {
            self.since = now;
            self.next_train = now;
        }
    }

    /// A first train arrived as one: another leaves at once, but not for ever.
    pub(super) fn on_unmeasured(&mut self, now: f64) {
        self.unmeasured += 1;
        self.next_train = now;
        if self.unmeasured <= UNMEASURED_MAX {
            self.since = now;
        }
    }

    /// When the next train is due.
    pub(super) fn train_at(&self) -> Option<f64> {
        (self.stage != Stage::Done).then_some(self.next_train)
    }

    /// A train of this stage leaves.
    pub(super) fn on_train_sent(&mut self, r: f64, now: f64) {
        let wait = match self.stage {
            Stage::Train => TRAIN_TIMEOUT.max(3.0 * r),
            Stage::Test | Stage::Settle | Stage::Double | Stage::Done => r / TRAINS_PER_RTT,
        };
        self.next_train = now + wait;
    }

    /// The first train came through; answers the rate to test, or to use.
    pub(super) fn on_first_train(&mut self, bytes: f64, gap_sum: f64, now: f64) -> f64 {
        // The noise may have eaten as much of the gaps as it can.
        let capacity = bytes / (gap_sum + CLOCK_NOISE);
        self.within_noise = gap_sum < CLOCK_NOISE;
        let tested = if self.within_noise { TESTED_OF_NOISE } else { TESTED };
        self.enter(Stage::Test, now);
        self.next_train = now;
        match self.hint {
            Some(hint) if agree(hint, capacity) && !self.within_noise => {
                self.enter(Stage::Done, now);
                0.97 * hint
            }
            _ => tested * capacity,
        }
    }

    /// Looks at a feedback; answers a new rate, if it changes.
    pub(super) fn on_feedback(
        &mut self,
        sight: Sight,
        capacity: &Capacity,
        now: f64,
    ) -> Option<f64> {
        match self.stage {
            Stage::Done => None,
            Stage::Train => self.despair(sight, now),
            // Delivery followed although a queue was seen: it was none, and shows nothing now.
            Stage::Test if self.doubted && now - self.since < SETTLE_RTTS * sight.r => None,
            Stage::Test | Stage::Double if sight.q > (3.0 * sight.target).max(0.004) => {
                self.tested = sight.rate;
                self.overshot = true;
                self.enter(Stage::Settle, now);
                self.before = sight.delivered;
                Some((0.8 * sight.advance).min(sight.rate))
            }
            Stage::Settle => self.settle(sight, now),
            Stage::Test => self.test(sight, capacity, now),
            Stage::Double => self.double(sight, capacity, now),
        }
    }

    /// Of what was tested as much arrives as the link carries.
    fn settle(&mut self, sight: Sight, now: f64) -> Option<f64> {
        self.before = self.before.max(sight.delivered);
        if now - self.since < SETTLE_RTTS * sight.r {
            return None;
        }
        if self.before > FOLLOWED * self.tested && !sight.app_limited {
            self.doubted = true;
            self.overshot = false;
            self.enter(Stage::Test, now);
            return Some(2.0 * self.tested);
        }
        self.enter(Stage::Done, now);
        Some((CARRIED * self.before).max(sight.rate))
    }

    fn test(&mut self, sight: Sight, capacity: &Capacity, now: f64) -> Option<f64> {
        if now - self.since < TEST_RTTS * sight.r {
            return None;
        }
        if let Some(trusted) = capacity.trusted().and(capacity.median())
            && sight.q < sight.target.max(0.001)
        {
            if self.within_noise && 2.0 * sight.rate < trusted {
                self.since = now;
                return Some(2.0 * sight.rate);
            }
            self.enter(Stage::Done, now);
            return Some((0.97 * trusted).max(sight.rate));
        }
        if let Some(median) = capacity.median()
            && capacity.trains() >= TRAINS_MIN
        {
            self.enter(Stage::Done, now);
            return Some((CAUTIOUS * median).clamp(sight.rate, 2.0 * sight.rate));
        }
        self.enter(Stage::Double, now);
        self.before = 0.0;
        None
    }

    /// Feedback comes, but none about the train: it was lost, or the path reorders so much that no
    /// two packets of it arrived in order.
    fn despair(&mut self, sight: Sight, now: f64) -> Option<f64> {
        if now - self.since < DESPAIR_RTTS * sight.r + DESPAIR_MIN {
            return None;
        }
        self.enter(Stage::Double, now);
        self.next_train = now;
        Some((2.0 * sight.rate).max(sight.advance))
    }

    fn double(&mut self, sight: Sight, capacity: &Capacity, now: f64) -> Option<f64> {
        if let Some(trusted) = capacity.trusted().and(capacity.median()) {
            self.enter(Stage::Test, now);
            return Some((trusted / 2.0).max(sight.rate.min(trusted)));
        }
        if now - self.since < DOUBLE_RTTS * sight.r {
            return None;
        }
        self.since = now;
        if sight.advance < 1.2 * self.before || sight.app_limited {
            self.enter(Stage::Done, now);
            return None;
        }
        self.before = sight.advance;
        Some(2.0 * sight.rate)
    }

    fn enter(&mut self, stage: Stage, now: f64) {
        self.stage = stage;
        self.since = now;
    }
}

/// A hint that is far too high floods the link; one that is far too low takes many round trips to grow.
fn agree(hint: f64, capacity: f64) -> bool {
    capacity >= HINT_AGREES * hint && hint >= HINT_AGREES * capacity
}
