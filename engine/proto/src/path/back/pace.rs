//! Whether packets arrive at one pace while the queue on the way back grows and while it falls.
//!
//! ```text
//! pace = packets newly named / time between reports by the receiver's clock
//! torn: pace while b grows > 3 x pace while b falls                       over a window of 500 ms of changes of b
//! lie:  6 points; a torn window gives 4, any other takes 1                           two torn ones of any four
//! ```
//! What waits on the way back has nothing to do with what arrives there. A receiver who tells its own
//! queue as one on the way back moves its clock instead, and squeezes the arrivals while b grows; the
//! packets, whose numbers are proven, are then missing while it falls. Hosts that stand still do the same
//! now and then: so once is chance. Changes below the grain are waited for until they are more, so nobody
//! hides in small steps. spec: W-136

/// Changes of b below this are noise, in microseconds.
const GRAIN_US: i64 = 500;
/// So much change of b tells, in microseconds.
const ENOUGH_US: i64 = 500_000;
/// Fewer packets tell nothing.
const PACKETS_MIN: u64 = 256;
/// Traffic that comes and goes by itself differs less from one half to the other.
const RATIO: u64 = 3;
/// Points for a window that is torn; one that is even takes one off.
const TORN: u8 = 4;
/// So many points are no chance.
const FOUND: u8 = 6;

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
    /// For torn windows, up to `FOUND`.
    points: u8,
}

impl Pace {
    /// A report names so many packets for the first time, and was made `step` microseconds after the
    /// last one; one that was overtaken, before it.
    pub(super) fn on_report(&mut self, packets: u64, step: i64) {
        self.fresh.add(Told { packets, micros: u64::try_from(step).unwrap_or(0) });
    }

    /// It tells b, in microseconds. True when what it told lately cannot be.
    pub(super) fn is_torn(&mut self, back: i64) -> bool {
        let change = back.saturating_sub(self.back);
        if change.saturating_abs() < GRAIN_US {
            return false;
        }
        self.back = back;
        let fresh = core::mem::take(&mut self.fresh);
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
        let is_torn = squeezed > u128::from(RATIO) * even;
        let points = if is_torn { self.points + TORN } else { self.points.saturating_sub(1) };
        *self = Self { back, points: points.min(FOUND), ..Self::default() };
        is_torn && points >= FOUND
    }
}

#[cfg(test)]
mod tests;
