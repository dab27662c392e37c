//! When a job may begin, and when it is to be done by (spec: S-240, S-241). Both are moments of a
//! clock that people read; each site goes by its own.

use super::spec::SpecError;
use farhaul_proto::units::{BitRate, Bytes};

/// The moments that a job keeps to, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Nothing is read or sent for it before.
    pub start_millis: Option<u64>,
    /// When all targets are to have it. Nothing is given up then: it is said early that it will not be
    /// so, and goes on.
    pub deadline_millis: Option<u64>,
}

/// Whether what is left comes before the deadline, if it goes on as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// It has no deadline, or nothing is known of how fast it goes.
    Unknown,
    /// It is there before.
    InTime,
    /// It is there after it, at this moment.
    Late(u64),
    /// The deadline is over, and something is left.
    Missed,
}

impl Times {
    pub(super) const fn check(self) -> Result<(), SpecError> {
        match (self.start_millis, self.deadline_millis) {
            (Some(start), Some(deadline)) if deadline <= start => Err(SpecError::Deadline),
            _ => Ok(()),
        }
    }

    /// Until when it waits, if it does at `now`.
    pub fn waits_until(self, now_millis: u64) -> Option<u64> {
        self.start_millis.filter(|start| *start > now_millis)
    }

    /// What is to be expected at `now` of a part of which `left` is to come at `rate`.
    pub fn outlook(self, now_millis: u64, left: Bytes, rate: BitRate) -> Outlook {
        let Some(deadline) = self.deadline_millis else { return Outlook::Unknown };
        if now_millis >= deadline {
            return Outlook::Missed;
        }
        if left.get() == 0 {
            return Outlook::InTime;
        }
        if rate.get() == 0 {
            return Outlook::Unknown;
        }
        let takes = (u128::from(left.get()) * 8_000).div_ceil(u128::from(rate.get()));
        let takes = u64::try_from(takes).unwrap_or(u64::MAX);
        match now_millis.saturating_add(takes) {
            expected if expected > deadline => Outlook::Late(expected),
            _ => Outlook::InTime,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times { start_millis: Some(1_000), deadline_millis: Some(11_000) };

    #[test]
    fn a_job_waits_until_its_start_and_not_longer() {
        assert_eq!(TIMES.waits_until(999), Some(1_000));
        assert_eq!(TIMES.waits_until(1_000), None);
        assert_eq!(Times::default().waits_until(0), None);
    }

    #[test]
    fn a_deadline_that_is_not_behind_the_start_is_refused() {
        assert_eq!(TIMES.check(), Ok(()));
        let none = Times { deadline_millis: Some(1_000), ..TIMES };
        assert_eq!(none.check(), Err(SpecError::Deadline));
    }

    #[test]
    fn what_is_left_at_its_rate_comes_before_the_deadline_or_after_it() {
        let look = |now, left, rate| TIMES.outlook(now, Bytes::new(left), BitRate::bps(rate));
        // 10 s for 10,000 bytes at 8 kbit/s.
        assert_eq!(look(1_000, 10_000, 8_000), Outlook::InTime);
        assert_eq!(look(1_001, 10_000, 8_000), Outlook::Late(11_001));
        assert_eq!(look(1_000, 10_000, 0), Outlook::Unknown);
        assert_eq!(look(10_999, 0, 0), Outlook::InTime);
        assert_eq!(look(11_000, 1, 8_000), Outlook::Missed);
        assert_eq!(look(1_000, u64::MAX, 1), Outlook::Late(u64::MAX));
        let none = Times::default().outlook(5, Bytes::new(9), BitRate::bps(1));
        assert_eq!(none, Outlook::Unknown);
    }
}
