//! Whether packets arrive at one pace while the queue on the way back grows and while it falls.
//!
//! ```text
//! pace = packets newly named / time between reports by the receiver's clock
//! lie:  pace while b grows > 3 x pace while b falls               over 500 ms of changes of b, twice in a row
//! ```
//! What waits on the way back has nothing to do with what arrives there. A receiver who tells its own
//! queue as one on the way back moves its clock instead, and squeezes the arrivals while b grows; the
//! packets, whose numbers are proven, are then missing while it falls. Hosts that stand still do the same
//! now and then: so once is chance. spec: W-136

/// Changes of b below this are noise, in microseconds.
const GRAIN_US: i64 = 500;
/// So much change of b tells, in microseconds.
const ENOUGH_US: i64 = 500_000;
/// Fewer packets tell nothing.
const PACKETS_MIN: u64 = 256;
/// Traffic that comes and goes by itself differs less from one half to the other.
const RATIO: u64 = 3;

/// Packets, and the microseconds in which they arrived.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    packets: u64,
    micros: u64,
}

impl Told {
    fn add(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.micros = self.micros.saturating_add(other.micros);
    }
}

/// See the module.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    /// Since b was last told.
    fresh: Told,
    grows: Told,
    falls: Told,
    moved: i64,
    back: i64,
    /// So it was the last time.
    torn: bool,
}

impl Pace {
    /// A report names so many packets for the first time, and was made `step` microseconds after the
    /// last one; one that was overtaken, before it.
    pub(super) fn on_report(&mut self, packets: u64, step: i64) {
        self.fresh.add(Told { packets, micros: u64::try_from(step).unwrap_or(0) });
    }

    /// It tells b, in microseconds. True when what it told since lately cannot be.
    pub(super) fn is_torn(&mut self, back: i64) -> bool {
        let change = back.saturating_sub(self.back);
        self.back = back;
        let fresh = core::mem::take(&mut self.fresh);
        if change.saturating_abs() < GRAIN_US {
            return false;
        }
        let side = if change > 0 { &mut self.grows } else { &mut self.falls };
        side.add(fresh);
        self.moved = self.moved.saturating_add(change.saturating_abs());
        let packets = self.grows.packets.saturating_add(self.falls.packets);
        if self.moved < ENOUGH_US || packets < PACKETS_MIN {
            return false;
        }
        let (grows, falls) = (self.grows, self.falls);
        let squeezed = u128::from(grows.packets) * u128::from(falls.micros);
        let even = u128::from(falls.packets) * u128::from(grows.micros);
        let torn = squeezed > u128::from(RATIO) * even;
        let again = torn && self.torn;
        *self = Self { back, torn, ..Self::default() };
        again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reports each 12 ms of 100 packets, whose clock takes `share` percent of the time out while b
    /// grows, up to 100 ms, and gives it back in `falls` reports: how many were torn.
    fn torn(share: i64, falls: i64) -> usize {
        let (mut pace, mut back, mut falling) = (Pace::default(), 0, false);
        let reports = (0..2_000).map(|_| {
            let change = if falling { -100_000 / falls } else { 120 * share };
            falling = if falling { back + change > 0 } else { back + change >= 100_000 };
            let change = change.max(-back);
            back += change;
            pace.on_report(100, 12_000 - change);
            pace.is_torn(back)
        });
        reports.filter(|&torn| torn).count()
    }

    #[test]
    fn a_clock_that_squeezes_arrivals_is_found_out_however_it_goes_back() {
        for share in [50, 75, 90] {
            for falls in [1, 2, 4, 8] {
                assert!(torn(share, falls) > 0, "{share} % {falls}");
            }
        }
    }

    #[test]
    fn a_queue_that_is_on_the_way_back_changes_no_pace() {
        let mut pace = Pace::default();
        for n in 0_i64..4_000 {
            // Reports are made each 12 ms, some are lost, and b swings by 60 ms.
            let lost = n % 7 == 0;
            pace.on_report(if lost { 200 } else { 100 }, if lost { 24_000 } else { 12_000 });
            assert!(!pace.is_torn((n % 20 - 10).abs() * 6_000), "{n}");
        }
    }

    #[test]
    fn few_packets_and_small_changes_tell_nothing() {
        let (mut few, mut small) = (Pace::default(), Pace::default());
        for n in 0_i64..200 {
            few.on_report(1, 1_000);
            assert!(!few.is_torn(n % 2 * 90_000));
            small.on_report(1_000, 100);
            assert!(!small.is_torn(n % 2 * 400));
        }
    }
}
