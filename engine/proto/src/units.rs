//! Quantities as types: bytes, rates, points in time, shares of one.
//!
//! Rounding is decided here and nowhere else: budgets round down, waits round up. Arithmetic
//! saturates, so a hostile number cannot wrap. Spans of time are `core::time::Duration`.

use core::fmt;
use core::iter::Sum;
use core::ops::{Add, AddAssign, Sub, SubAssign};
use core::time::Duration;

const NANOS_PER_SEC: u128 = 1_000_000_000;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);
    /// The largest representable amount.
    pub const MAX: Self = Self(u64::MAX);

    /// `n` bytes.
    pub const fn new(n: u64) -> Self {
        Self(n)
    }

    /// `n` KiB.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` MiB.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The length of a slice or buffer.
    pub const fn of_len(n: usize) -> Self {
        Self(n as u64)
    }

    /// The plain number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The plain number as an index; saturates where `usize` is smaller.
    pub fn as_len(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// Difference, never below zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// Product, saturating.
    pub const fn saturating_mul(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }

    /// The time these bytes take at `rate`; rounds up. `Duration::MAX` at rate zero.
    pub fn time_at(self, rate: BitRate) -> Duration {
        if rate.0 == 0 {
            return Duration::MAX;
        }
        let nanos = (u128::from(self.0) * 8 * NANOS_PER_SEC).div_ceil(u128::from(rate.0));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The rate at which these bytes pass in `span`; rounds down. `BitRate::MAX` in no time.
    pub fn rate_over(self, span: Duration) -> BitRate {
        let nanos = span.as_nanos();
        if nanos == 0 {
            return BitRate::MAX;
        }
        let bps = u128::from(self.0) * 8 * NANOS_PER_SEC / nanos;
        BitRate(u64::try_from(bps).unwrap_or(u64::MAX))
    }
}

impl Add for Bytes {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sub for Bytes {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.saturating_sub(other)
    }
}

impl SubAssign for Bytes {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(u64, &str); 4] =
            [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        for (unit, name) in STEPS {
            if self.0 >= unit {
                #[expect(clippy::cast_precision_loss, reason = "display only")]
                let value = self.0 as f64 / unit as f64;
                return write!(f, "{value:.1} {name}");
            }
        }
        write!(f, "{} B", self.0)
    }
}

/// A rate in bits per second, counted at IP level where it concerns a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitRate(u64);

impl BitRate {
    /// Standing still.
    pub const ZERO: Self = Self(0);
    /// No limit.
    pub const MAX: Self = Self(u64::MAX);

    /// `n` bits per second.
    pub const fn bps(n: u64) -> Self {
        Self(n)
    }

    /// `n` kilobits per second.
    pub const fn kbps(n: u64) -> Self {
        Self(n.saturating_mul(1_000))
    }

    /// `n` megabits per second.
    pub const fn mbps(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// Bits per second from a computed value; negative and NaN become zero.
    pub fn from_f64(bps: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "float to integer casts saturate, NaN becomes 0"
        )]
        Self(bps as u64)
    }

    /// The plain number of bits per second.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The rate for floating-point laws.
    #[expect(clippy::cast_precision_loss, reason = "rates carry no 53 significant bits")]
    pub const fn as_f64(self) -> f64 {
        self.0 as f64
    }

    /// The rate times `factor`; rounds down, saturates.
    pub fn mul_f64(self, factor: f64) -> Self {
        Self::from_f64(self.as_f64() * factor)
    }

    /// The bytes that pass in `span`; rounds down (a budget).
    pub fn bytes_in(self, span: Duration) -> Bytes {
        let bytes = u128::from(self.0) * span.as_nanos() / (8 * NANOS_PER_SEC);
        Bytes(u64::try_from(bytes).unwrap_or(u64::MAX))
    }
}

impl Add for BitRate {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const STEPS: [(u64, &str); 3] =
            [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")];
        for (unit, name) in STEPS {
            if self.0 >= unit {
                #[expect(clippy::cast_precision_loss, reason = "display only")]
                let value = self.0 as f64 / unit as f64;
                return write!(f, "{value:.1} {name}");
            }
        }
        write!(f, "{} bit/s", self.0)
    }
}

/// A point in time: nanoseconds since an origin that the body (or the simulator) chose once.
///
/// Timestamps of two hosts are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The origin.
    pub const ZERO: Self = Self(0);

    /// `n` nanoseconds after the origin.
    pub const fn from_nanos(n: u64) -> Self {
        Self(n)
    }

    /// `n` milliseconds after the origin.
    pub const fn from_millis(n: u64) -> Self {
        Self(n.saturating_mul(1_000_000))
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// Seconds since the origin.
    #[expect(clippy::cast_precision_loss, reason = "for laws and display")]
    pub const fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// Microseconds since the origin as they stand on the wire, where they wrap after 71 minutes.
    #[expect(clippy::cast_possible_truncation, reason = "it is meant to wrap")]
    pub const fn wrapped(self) -> Micros {
        Micros((self.0 / 1_000) as u32)
    }

    /// The time since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The signed distance `self - other` in nanoseconds, saturating.
    pub fn signed_nanos_since(self, other: Self) -> i64 {
        let difference = i128::from(self.0) - i128::from(other.0);
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

impl AddAssign<Duration> for Timestamp {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }
}

/// A span in whole microseconds, as it stands on the wire; at most about 71 minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(u32);

impl Micros {
    /// `n` microseconds.
    pub const fn new(n: u32) -> Self {
        Self(n)
    }

    /// The plain number.
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl From<Duration> for Micros {
    /// Rounds down, saturates.
    fn from(span: Duration) -> Self {
        Self(u32::try_from(span.as_micros()).unwrap_or(u32::MAX))
    }
}

impl From<Micros> for Duration {
    fn from(span: Micros) -> Self {
        Self::from_micros(u64::from(span.0))
    }
}

/// A share of one, between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Ratio(f64);

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// Everything.
    pub const ONE: Self = Self(1.0);

    /// A share, clamped to `0 ..= 1`; NaN becomes 0.
    pub const fn new(share: f64) -> Self {
        if share > 0.0 { Self(if share < 1.0 { share } else { 1.0 }) } else { Self(0.0) }
    }

    /// `part / whole`; zero when `whole` is zero.
    #[expect(clippy::cast_precision_loss, reason = "counts of packets and bytes")]
    pub const fn of(part: u64, whole: u64) -> Self {
        if whole == 0 { Self::ZERO } else { Self::new(part as f64 / whole as f64) }
    }

    /// The plain number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

/// A time of a file: seconds since 1970 (negative before) and nanoseconds within the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileTime {
    /// Whole seconds, rounded down.
    pub secs: i64,
    /// `0 .. 1_000_000_000`.
    pub nanos: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_round_up_and_budgets_round_down() {
        let rate = BitRate::bps(3);
        assert_eq!(Bytes::new(1).time_at(rate), Duration::from_nanos(2_666_666_667));
        assert_eq!(rate.bytes_in(Duration::from_nanos(2_666_666_666)), Bytes::ZERO);
    }

    #[test]
    fn a_zero_rate_waits_for_ever() {
        assert_eq!(Bytes::new(1).time_at(BitRate::ZERO), Duration::MAX);
    }

    #[test]
    fn ratio_refuses_nonsense() {
        assert_eq!(Ratio::new(f64::NAN), Ratio::ZERO);
        assert_eq!(Ratio::new(7.0), Ratio::ONE);
        assert_eq!(Ratio::of(1, 0), Ratio::ZERO);
    }

    proptest! {
        #[test]
        fn bytes_survive_the_round_trip_through_time(bytes in 1u64..1 << 40, bps in 1_000u64..1 << 37) {
            let rate = BitRate::bps(bps);
            let back = rate.bytes_in(Bytes::new(bytes).time_at(rate));
            prop_assert!(back >= Bytes::new(bytes));
            prop_assert!(back <= Bytes::new(bytes + 1 + bps / 8_000_000_000));
        }

        #[test]
        fn time_arithmetic_never_wraps(at in any::<u64>(), span in any::<u64>()) {
            let t = Timestamp::from_nanos(at);
            let d = Duration::from_nanos(span);
            prop_assert!(t + d >= t);
            prop_assert!(t - d <= t);
        }
    }
}
