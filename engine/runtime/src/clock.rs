//! The door to time: the only place of the engine that reads clocks.

use farhaul_proto::units::Timestamp;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Arrival stamps older than this are not believed: the wall clock was set meanwhile.
const STAMP_AGE_MAX: Duration = Duration::from_millis(200);

/// Maps the monotonic clock to the timestamps of the core.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin lies a moment ago, so that no span of the core underflows.
    pub fn start() -> Self {
        let now = Instant::now();
        Self { origin: now.checked_sub(Duration::from_secs(3600)).unwrap_or(now) }
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        let nanos = self.origin.elapsed().as_nanos();
        Timestamp::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// Nanoseconds of the wall clock, for comparison with kernel stamps only.
    pub fn wall_nanos(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// When a packet arrived: `now`, less the age of its kernel stamp where that is plausible.
pub fn arrival(now: Timestamp, wall_now_ns: u64, stamp_ns: Option<u64>) -> Timestamp {
    let age = stamp_ns.and_then(|stamp| wall_now_ns.checked_sub(stamp)).map(Duration::from_nanos);
    match age {
        Some(age) if age <= STAMP_AGE_MAX => now - age,
        _ => now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implausible_stamps_are_ignored() {
        let now = Timestamp::from_millis(10_000);
        let second = 1_000_000_000;
        assert_eq!(arrival(now, 5 * second, None), now);
        assert_eq!(arrival(now, 5 * second, Some(6 * second)), now);
        assert_eq!(arrival(now, 5 * second, Some(second)), now);
        let stamp = Some(5 * second - 3_000_000);
        assert_eq!(arrival(now, 5 * second, stamp), Timestamp::from_millis(9_997));
    }
}
