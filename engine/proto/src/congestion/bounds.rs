//! The bounds of a rate: what it never exceeds, and what it does not fall below.
//!
//! The floor is what the user takes from the link whatever happens there: neither delay nor loss nor
//! other senders press the rate below it, by any policy. A floor above what the link carries fills
//! its queue and loses the rest, of everybody's packets. What guards others stays above it: silence
//! halves and stops, addresses are validated, receivers and disks hold back. spec: W-133

use crate::units::BitRate;

/// See the module. At IP level; the floor is above zero and not above the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    floor: Option<BitRate>,
    cap: Option<BitRate>,
}

/// Bounds that no rate is within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BoundsError {
    /// A floor of nothing is none.
    #[error("a minimum rate must be above zero")]
    NoFloor,
    /// There is no rate between them.
    #[error("the minimum rate {floor} is above the maximum rate {cap}")]
    Crossed {
        /// What was to be the least.
        floor: BitRate,
        /// What was to be the most.
        cap: BitRate,
    },
}

impl Bounds {
    /// Any rate.
    pub const FREE: Self = Self { floor: None, cap: None };

    /// Bounds as they were asked for.
    ///
    /// # Errors
    /// [`BoundsError`]: the floor is zero, or above the cap.
    pub fn new(floor: Option<BitRate>, cap: Option<BitRate>) -> Result<Self, BoundsError> {
        match (floor, cap) {
            (Some(BitRate::ZERO), _) => Err(BoundsError::NoFloor),
            (Some(floor), Some(cap)) if floor > cap => Err(BoundsError::Crossed { floor, cap }),
            _ => Ok(Self { floor, cap }),
        }
    }

    /// Never faster than `cap`, if there is one.
    pub const fn capped(cap: Option<BitRate>) -> Self {
        Self { floor: None, cap }
    }

    /// Asked for by somebody who need not make sense: a floor above the cap is the cap, one of zero
    /// is none.
    #[must_use]
    pub fn of_wishes(floor: Option<BitRate>, cap: Option<BitRate>) -> Self {
        let floor = floor.map(|floor| cap.map_or(floor, |cap| floor.min(cap)));
        Self { floor: floor.filter(|&floor| floor > BitRate::ZERO), cap }
    }

    /// What the rate does not fall below.
    pub const fn floor(self) -> Option<BitRate> {
        self.floor
    }

    /// What it never exceeds.
    pub const fn cap(self) -> Option<BitRate> {
        self.cap
    }

    /// The nearest rate within.
    #[must_use]
    pub fn hold(self, rate: BitRate) -> BitRate {
        rate.max(self.floor.unwrap_or(BitRate::ZERO)).min(self.cap.unwrap_or(BitRate::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SLOW: BitRate = BitRate::mbps(5);
    const FAST: BitRate = BitRate::mbps(50);

    #[test]
    fn a_floor_is_above_zero_and_not_above_the_cap() {
        let bounds = Bounds::new(Some(SLOW), Some(FAST)).unwrap();
        assert_eq!((bounds.floor(), bounds.cap()), (Some(SLOW), Some(FAST)));
        assert!(Bounds::new(Some(SLOW), Some(SLOW)).is_ok());
        assert!(Bounds::new(Some(FAST), None).is_ok());
        assert_eq!(Bounds::new(None, Some(SLOW)), Ok(Bounds::capped(Some(SLOW))));
        assert_eq!(Bounds::new(None, None), Ok(Bounds::FREE));
        assert_eq!(Bounds::new(Some(BitRate::ZERO), Some(FAST)), Err(BoundsError::NoFloor));
        let crossed = Bounds::new(Some(FAST), Some(SLOW)).unwrap_err();
        assert_eq!(crossed, BoundsError::Crossed { floor: FAST, cap: SLOW });
    }

    #[test]
    fn the_rate_is_moved_to_the_nearer_bound() {
        let bounds = Bounds::new(Some(SLOW), Some(FAST)).unwrap();
        assert_eq!(bounds.hold(BitRate::kbps(8)), SLOW);
        assert_eq!(bounds.hold(BitRate::mbps(20)), BitRate::mbps(20));
        assert_eq!(bounds.hold(BitRate::MAX), FAST);
        assert_eq!(Bounds::FREE.hold(BitRate::MAX), BitRate::MAX);
        assert_eq!(Bounds::FREE.hold(BitRate::ZERO), BitRate::ZERO);
    }

    proptest! {
        #[test]
        fn whatever_is_wished_makes_bounds(
            floor in prop::option::of(any::<u64>()),
            cap in prop::option::of(1u64..),
            rate in any::<u64>(),
        ) {
            let bounds = Bounds::of_wishes(floor.map(BitRate::bps), cap.map(BitRate::bps));
            prop_assert_eq!(Bounds::new(bounds.floor(), bounds.cap()), Ok(bounds));
            prop_assert_eq!(bounds.cap(), cap.map(BitRate::bps));
            let held = bounds.hold(BitRate::bps(rate));
            prop_assert!(bounds.floor().is_none_or(|floor| held >= floor));
            prop_assert!(bounds.cap().is_none_or(|cap| held <= cap));
        }
    }
}
