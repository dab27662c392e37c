//! What limits the sending side, from one moment to the next.
//!
//! Who waits for a disk or for buffers now and then does so all the time: what comes is sent at
//! once at the rate of the link, and then there is nothing again. So the time in between counts as
//! the wait, unless it is more than ten times as long.

use super::Session;
use crate::congestion::Policy;
use crate::limits::BLOCK_DATA;
use crate::trace::Limit;
use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;

/// A wait explains up to so many times its length afterwards.
const EXPLAINS: u32 = 10;
/// But no longer than this, or than two blocks take.
const EXPLAINS_MAX: Duration = Duration::from_secs(2);
/// Blocks that a peer's disk may lag behind without being what is waited for.
const BACKLOG_USUAL: Bytes = Bytes::new(2 * BLOCK_DATA.get());
/// So near to its cap a rate is at it.
const AT_CAP: f64 = 0.98;
/// So near above its floor it is held there: a rate that is looked for from there upwards is a little
/// more, and pressed back.
const AT_FLOOR: f64 = 1.02;
/// So near where the rate is what a carrier took.
const AT_CAP_MEASURED: f64 = 0.9;

/// Remembers waits; see the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    /// What is waited for now, and since when.
    waiting: Option<(Limit, Timestamp)>,
    /// What was waited for, and until when that explains the rest.
    explains: Option<(Limit, Timestamp)>,
}

impl Waits {
    /// What limits, given what would without memory. `block` is the time that a block takes.
    fn judge(&mut self, seen: Option<Limit>, block: Duration, now: Timestamp) -> Option<Limit> {
        let wait = seen.filter(|&limit| is_wait(limit));
        if let Some((limit, since)) = self.waiting.filter(|&(before, _)| wait != Some(before)) {
            let span = (now.since(since) * EXPLAINS).min(EXPLAINS_MAX.max(block * 2));
            // A short wait does not outdo a long one.
            if self.explains.is_none_or(|(_, until)| until <= now + span) {
                self.explains = Some((limit, now + span));
            }
            self.waiting = None;
        }
        if let Some(limit) = wait {
            self.waiting = self.waiting.or(Some((limit, now)));
            return wait;
        }
        let sends = matches!(
            seen,
            Some(
                Limit::Link
                    | Limit::Cap
                    | Limit::Policy
                    | Limit::StartUp
                    | Limit::Cpu
                    | Limit::Carrier
            )
        );
        let explained = self.explains.filter(|&(_, until)| sends && now < until);
        explained.map(|(limit, _)| limit).or(seen)
    }
}

/// Nothing can be sent, because something has to come first.
const fn is_wait(limit: Limit) -> bool {
    matches!(
        limit,
        Limit::SourceDisk | Limit::DestinationDisk | Limit::Receiver | Limit::Sender | Limit::Share
    )
}

impl Session {
    /// Looks at what limits from now on.
    pub(super) fn note_limit(&mut self, rate: BitRate, now: Timestamp) {
        self.sender.note_flows(now);
        let seen = self.classify(now);
        let limit = self.waits.judge(seen, BLOCK_DATA.time_at(rate), now);
        self.limits.set(limit, now);
    }

    fn classify(&self, now: Timestamp) -> Option<Limit> {
        if self.sender.is_idle() || self.sender.is_resting() {
            return None;
        }
        let (view, bounds) = (self.controller.view(), self.config.bounds);
        if self.silence.is_stopped(self.patience(), now) {
            return Some(Limit::Peer);
        }
        if !self.sender.has_symbol() {
            return Some(self.classify_starved());
        }
        if self.allowance.is_spent() {
            return Some(Limit::Cap);
        }
        if self.config.carrier.is_reliable() {
            // Its rate is measured, not chosen: a little below the cap is the cap.
            let capped = bounds.cap().is_some_and(|cap| view.rate >= cap.mul_f64(AT_CAP_MEASURED));
            return Some(if capped { Limit::Cap } else { Limit::Carrier });
        }
        if self.lateness.is_late() {
            return Some(Limit::Cpu);
        }
        if view.starting {
            return Some(Limit::StartUp);
        }
        let capped = bounds.cap().is_some_and(|cap| view.rate >= cap.mul_f64(AT_CAP));
        let floored = bounds.floor().is_some_and(|floor| view.rate <= floor.mul_f64(AT_FLOOR));
        // Only what a receiver takes goes above a rate that is held. spec: W-133
        let spared = match self.config.policy {
            Policy::Fixed => view.ceiling.is_some(),
            _ => bounds.floor().is_some_and(|floor| view.rate < floor),
        };
        Some(match self.config.policy {
            _ if spared => Limit::Receiver,
            Policy::Fixed => Limit::Policy,
            _ if capped => Limit::Cap,
            _ if floored => Limit::Policy,
            _ => Limit::Link,
        })
    }

    fn classify_starved(&self) -> Limit {
        let disk_lags = self.peer_backlog > BACKLOG_USUAL;
        if self.sender.wants_symbol_size() {
            Limit::StartUp
        } else if self.sender.opens_at().is_some() {
            Limit::Cap
        } else if self.sender.waits_for_source() {
            Limit::SourceDisk
        } else if self.sender.blocked_by_peer() {
            if disk_lags { Limit::DestinationDisk } else { Limit::Receiver }
        } else if self.sender.blocked_by_buffers() {
            let shared = self.send_share < self.config.send_blocks;
            if shared { Limit::Share } else { Limit::Sender }
        } else if disk_lags {
            // Everything was sent, and lies before the peer's disk.
            Limit::DestinationDisk
        } else {
            Limit::Tail
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: Duration = Duration::from_millis(100);

    #[test]
    fn waits_now_and_then_explain_the_time_in_between() {
        let mut waits = Waits::default();
        let at = Timestamp::from_millis;
        assert_eq!(waits.judge(Some(Limit::Link), BLOCK, at(0)), Some(Limit::Link));
        for block in 1..5 {
            let read = waits.judge(Some(Limit::SourceDisk), BLOCK, at(100 * block));
            assert_eq!(read, Some(Limit::SourceDisk));
            let sent = waits.judge(Some(Limit::Link), BLOCK, at(100 * block + 20));
            assert_eq!(sent, Some(Limit::SourceDisk));
        }
        assert_eq!(waits.judge(Some(Limit::Link), BLOCK, at(900)), Some(Limit::Link));
    }

    /// A block that had to be read once there was room for it was all that was seen.
    #[test]
    fn a_short_wait_does_not_outdo_a_long_one() {
        let mut waits = Waits::default();
        let at = Timestamp::from_millis;
        waits.judge(Some(Limit::DestinationDisk), BLOCK, at(0));
        waits.judge(Some(Limit::SourceDisk), BLOCK, at(500));
        assert_eq!(waits.judge(Some(Limit::Link), BLOCK, at(501)), Some(Limit::DestinationDisk));
        assert_eq!(waits.judge(Some(Limit::Link), BLOCK, at(1_500)), Some(Limit::DestinationDisk));
    }

    #[test]
    fn one_long_wait_explains_no_more_than_two_seconds_and_no_end() {
        let mut waits = Waits::default();
        let at = Timestamp::from_millis;
        waits.judge(Some(Limit::Receiver), BLOCK, at(0));
        assert_eq!(waits.judge(Some(Limit::Link), BLOCK, at(60_000)), Some(Limit::Receiver));
        assert_eq!(waits.judge(Some(Limit::Tail), BLOCK, at(60_001)), Some(Limit::Tail));
        assert_eq!(waits.judge(Some(Limit::Peer), BLOCK, at(60_002)), Some(Limit::Peer));
        assert_eq!(waits.judge(Some(Limit::Link), BLOCK, at(62_001)), Some(Limit::Link));
        assert_eq!(waits.judge(None, BLOCK, at(62_002)), None);
    }
}
