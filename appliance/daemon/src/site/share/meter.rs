//! How fast a flow goes, and what it could use: what its share would give and it did not take, others
//! have (spec: S-196).

use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::shares::Demand;
use std::time::{Duration, Instant};

/// Over so long rates are taken.
const SPAN: Duration = Duration::from_millis(500);
/// One that sends for less time than this may not have found its rate.
const SETTLED: Duration = Duration::from_secs(1);
/// What one is thought to use that used less than its share: it may grow by as much within a division.
const GROWTH: u64 = 2;
/// And this besides, so that one that stood still begins again.
const LEAST: BitRate = BitRate::mbps(1);

/// Watches one flow.
#[derive(Clone, Debug)]
pub(super) struct Meter {
    /// What had left at which moments, the latest last.
    seen: Vec<(Instant, Bytes)>,
    /// Since when it has something to send.
    busy: Option<Instant>,
    rate: BitRate,
    is_slow: bool,
}

impl Meter {
    pub(super) const fn new() -> Self {
        Self { seen: Vec::new(), busy: None, rate: BitRate::ZERO, is_slow: false }
    }

    /// Looks: so much left so far, and there is more or not; it had this share.
    pub(super) fn look(
        &mut self,
        (wire, has_more): (Bytes, bool),
        share: Option<BitRate>,
        now: Instant,
    ) {
        self.busy = has_more.then(|| self.busy.unwrap_or(now));
        self.seen.push((now, wire));
        let old = self.seen.iter().rposition(|(at, _)| now.duration_since(*at) >= SPAN);
        self.seen.drain(..old.unwrap_or(0));
        let Some(&(since, before)) = self.seen.first() else { return };
        let (bytes, took) = (wire.saturating_sub(before).get(), now.duration_since(since));
        let bits = u128::from(bytes) * 8_000_000 / took.as_micros().max(1);
        if !took.is_zero() {
            self.rate = BitRate::bps(u64::try_from(bits).unwrap_or(u64::MAX));
        }
        let is_settled = self.busy.is_some_and(|since| now.duration_since(since) >= SETTLED);
        let used = u128::from(self.rate.get()) * 10;
        self.is_slow = is_settled && share.is_some_and(|it| used < u128::from(it.get()) * 6);
    }

    /// How fast it went of late.
    pub(super) const fn rate(&self) -> BitRate {
        self.rate
    }

    /// Whether it has something to send.
    pub(super) const fn is_busy(&self) -> bool {
        self.busy.is_some()
    }

    /// What it could use.
    pub(super) fn demand(&self) -> Demand {
        match (self.busy, self.is_slow) {
            (None, _) => Demand::Rate(BitRate::ZERO),
            (Some(_), false) => Demand::All,
            (Some(_), true) => {
                Demand::Rate(BitRate::bps(self.rate.get().saturating_mul(GROWTH)) + LEAST)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// spec: S-196
    #[test]
    fn who_uses_less_than_its_share_is_thought_to_use_little_more_and_grows_again() {
        let (mut meter, begun) = (Meter::new(), Instant::now());
        let mut wire = 0_u64;
        let mut look = |meter: &mut Meter, ms: u64, mbps: u64, share| {
            wire += mbps * 100_000 / 8;
            let at = begun + Duration::from_millis(ms);
            meter.look((Bytes::new(wire), true), Some(BitRate::mbps(share)), at);
        };
        for ms in (0..1_000).step_by(100) {
            look(&mut meter, ms, 2, 20);
            assert_eq!(meter.demand(), Demand::All, "it may not have found its rate by {ms} ms");
        }
        look(&mut meter, 1_000, 2, 20);
        assert_eq!(meter.rate(), BitRate::mbps(2));
        assert_eq!(meter.demand(), Demand::Rate(BitRate::mbps(5)));
        // With what it was thought to use it goes on growing, as far as it can.
        for ms in (1_100..2_000).step_by(100) {
            look(&mut meter, ms, 5, 5);
        }
        assert_eq!(meter.demand(), Demand::All);
        meter.look((Bytes::new(wire), false), None, begun + Duration::from_secs(3));
        assert_eq!(meter.demand(), Demand::Rate(BitRate::ZERO));
    }
}
