//! Which of the kept versions of a path go: the older, the fewer.
//!
//! One every 30 seconds for an hour, every hour for a day, every day for 30 days, every week after
//! that, up to an age. Pure: whoever calls it says what time it is, and what is pinned.

use farhaul_proto::units::Bytes;
use std::time::Duration;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;
/// Up to which age (in seconds) versions stay how far apart.
const STEPS: [(u64, u64); 4] = [(HOUR, 30), (DAY, HOUR), (30 * DAY, DAY), (u64::MAX, 7 * DAY)];

/// What is kept of what was displaced, at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// For how long; `None`: for ever.
    pub age: Option<Duration>,
    /// How much of a folder; `None`: as much as there is.
    pub room: Option<Bytes>,
}

impl Default for Retention {
    fn default() -> Self {
        Self { age: Some(Duration::from_hours(365 * 24)), room: None }
    }
}

/// A kept version of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeptAt {
    /// When it was displaced, in seconds since 1970.
    pub secs: u64,
    /// Whether it stays in any case: it is somebody's current content, or one that no version says
    /// anything of yet, or it is being restored (F-40).
    pub is_pinned: bool,
}

/// The positions in `kept` (ascending by time) of those that go at `now`, in seconds since 1970,
/// because they are older than `age` or too close to others.
///
/// Of versions closer together than the step of their age, the first stays: its successor replaced
/// it after the least time, and who looks for what was there on a day finds it. A clock that was
/// set back makes everything look new, and only what is seconds apart goes.
pub fn expired(now_secs: u64, age: Option<Duration>, kept: &[KeptAt]) -> Vec<usize> {
    let mut last_kept: Option<u64> = None;
    let mut expired = Vec::new();
    let longest = age.map_or(u64::MAX, |age| age.as_secs());
    for (at, version) in kept.iter().enumerate() {
        let age = now_secs.saturating_sub(version.secs);
        let step = STEPS.iter().find(|(until, _)| age <= *until).map_or(0, |&(_, step)| step);
        let is_close = last_kept.is_some_and(|last| version.secs.saturating_sub(last) < step);
        if (is_close || age > longest) && !version.is_pinned {
            expired.push(at);
        } else if !version.is_pinned || last_kept.is_none() {
            last_kept = Some(version.secs);
        }
    }
    expired
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NOW: u64 = 1_800_000_000;

    fn aged(ages: &[u64]) -> Vec<KeptAt> {
        ages.iter().map(|age| KeptAt { secs: NOW - age, is_pinned: false }).collect()
    }

    #[test]
    fn versions_of_the_last_hour_stay_30_seconds_apart() {
        assert_eq!(expired(NOW, None, &aged(&[100, 80, 70, 69, 30, 0])), [1, 3]);
    }

    #[test]
    fn versions_of_the_last_day_stay_an_hour_apart() {
        assert_eq!(expired(NOW, None, &aged(&[9 * HOUR, 8 * HOUR + 1, 8 * HOUR, 7 * HOUR])), [1]);
    }

    #[test]
    fn older_ones_stay_a_day_and_then_a_week_apart() {
        assert_eq!(expired(NOW, None, &aged(&[9 * DAY, 9 * DAY - HOUR, 8 * DAY])), [1]);
        assert_eq!(expired(NOW, None, &aged(&[90 * DAY, 84 * DAY, 83 * DAY])), [1]);
    }

    #[test]
    fn a_clock_that_was_set_back_removes_only_what_is_seconds_apart() {
        let kept =
            [KeptAt { secs: NOW, is_pinned: false }, KeptAt { secs: NOW + HOUR, is_pinned: false }];
        assert_eq!(expired(5, Some(Duration::from_secs(1)), &kept), [0; 0]);
    }

    #[test]
    fn what_is_older_than_the_age_goes_unless_it_is_pinned() {
        let mut kept = aged(&[30 * DAY, 20 * DAY, 12 * DAY, 10 * DAY]);
        kept[1].is_pinned = true;
        assert_eq!(expired(NOW, Some(Duration::from_secs(10 * DAY)), &kept), [0, 2]);
        assert_eq!(expired(NOW, None, &kept), [0; 0]);
    }

    proptest! {
        #[test]
        fn pinned_ones_and_the_oldest_stay_and_what_stays_once_stays_at_that_time(
            mut ages in proptest::collection::vec((0..400 * DAY, any::<bool>()), 1..60),
        ) {
            ages.sort_unstable_by_key(|&(age, _)| core::cmp::Reverse(age));
            let kept: Vec<KeptAt> = ages
                .iter()
                .map(|&(age, is_pinned)| KeptAt { secs: NOW - age, is_pinned })
                .collect();
            let gone = expired(NOW, None, &kept);
            prop_assert!(!gone.contains(&0));
            prop_assert!(gone.iter().all(|&at| !kept[at].is_pinned));
            let left = kept.iter().enumerate().filter(|(at, _)| !gone.contains(at));
            let left: Vec<KeptAt> = left.map(|(_, kept)| *kept).collect();
            prop_assert_eq!(expired(NOW, None, &left), Vec::<usize>::new());
        }
    }
}
