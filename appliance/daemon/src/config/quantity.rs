//! Quantities as they are written: a number and a unit, always both.
//!
//! Exact, in whole numbers: what is no whole number of the smallest unit is refused, not rounded.

use farhaul_proto::units::{BitRate, Bytes};
use std::time::Duration;

/// Digits behind the point.
const FRACTION_MAX: usize = 9;

/// A unit, and how many of the smallest one it is.
type Unit = (&'static str, u64);

const SPANS: [Unit; 5] =
    [("ms", 1), ("s", 1000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
const SIZES: [Unit; 9] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];
const SHARES: [Unit; 1] = [("%", 1)];
const RATES: [Unit; 4] =
    [("bit/s", 1), ("kbit/s", 1_000), ("Mbit/s", 1_000_000), ("Gbit/s", 1_000_000_000)];

/// Why a text is no quantity; the sentence goes on after the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QuantityError {
    /// It does not begin with digits, or has more than 9 behind the point.
    #[error("does not begin with a number")]
    Number,
    /// A bare number.
    #[error("has no unit")]
    NoUnit,
    /// An unknown one.
    #[error("has no unit that is known here")]
    Unit,
    /// Less than the smallest unit would be lost.
    #[error("is no whole number of {smallest}")]
    Broken {
        /// The smallest unit.
        smallest: &'static str,
    },
    /// Beyond 64 bits.
    #[error("is too large")]
    TooLarge,
}

/// Reads a span of time such as `10 min`; units: ms, s, min, h, d.
pub(super) fn span(text: &str) -> Result<Duration, QuantityError> {
    read(text, &SPANS).map(Duration::from_millis)
}

/// Reads a size such as `160 MiB`; units: B, KiB, MiB, GiB, TiB, kB, MB, GB, TB.
pub(super) fn size(text: &str) -> Result<Bytes, QuantityError> {
    read(text, &SIZES).map(Bytes::new)
}

/// Reads a rate such as `500 Mbit/s`; units: bit/s, kbit/s, Mbit/s, Gbit/s.
pub(super) fn rate(text: &str) -> Result<BitRate, QuantityError> {
    read(text, &RATES).map(BitRate::bps)
}

/// Reads a share such as `25 %`; unit: %.
pub(super) fn percent(text: &str) -> Result<u64, QuantityError> {
    read(text, &SHARES)
}

fn read(text: &str, units: &[Unit]) -> Result<u64, QuantityError> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if whole.is_empty() || fraction.is_empty() || fraction.len() > FRACTION_MAX {
        return Err(QuantityError::Number);
    }
    let unit = unit.trim_start_matches(' ');
    if unit.is_empty() {
        return Err(QuantityError::NoUnit);
    }
    let known = units.iter().find(|(name, _)| *name == unit);
    let factor = u128::from(known.ok_or(QuantityError::Unit)?.1);
    let whole: u64 = whole.parse().map_err(|_| QuantityError::TooLarge)?;
    // A second point is no digit.
    let parts: u64 = fraction.parse().map_err(|_| QuantityError::Number)?;
    let scale = (0..fraction.len()).fold(1, |scale, _| scale * 10);
    let parts = u128::from(parts) * factor;
    if parts % scale != 0 {
        return Err(QuantityError::Broken { smallest: units[0].0 });
    }
    let total = u128::from(whole) * factor + parts / scale;
    u64::try_from(total).map_err(|_| QuantityError::TooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_number_and_a_unit_are_read_with_or_without_a_space() {
        assert_eq!(span("10 min"), Ok(Duration::from_secs(600)));
        assert_eq!(span("1.5h"), Ok(Duration::from_secs(5400)));
        assert_eq!(size("160 MiB"), Ok(Bytes::mib(160)));
        assert_eq!(size("1.5 GB"), Ok(Bytes::new(1_500_000_000)));
        assert_eq!(rate("500 Mbit/s"), Ok(BitRate::mbps(500)));
        assert_eq!(rate("0.000000001 Gbit/s"), Ok(BitRate::bps(1)));
    }

    #[test]
    fn what_is_no_quantity_is_refused_with_its_fault() {
        for (text, fault) in [
            ("", QuantityError::Number),
            ("fast", QuantityError::Number),
            (" 1 s", QuantityError::Number),
            ("-1 s", QuantityError::Number),
            (".5 s", QuantityError::Number),
            ("5. s", QuantityError::Number),
            ("1.2.3 s", QuantityError::Number),
            ("1.0000000001 s", QuantityError::Number),
            ("10", QuantityError::NoUnit),
            ("10 ", QuantityError::NoUnit),
            ("10 minutes", QuantityError::Unit),
            ("10 S", QuantityError::Unit),
            ("10 s ", QuantityError::Unit),
            ("0.5 ms", QuantityError::Broken { smallest: "ms" }),
            ("99999999999999999999 ms", QuantityError::TooLarge),
            ("18446744073709551615 d", QuantityError::TooLarge),
        ] {
            assert_eq!(span(text), Err(fault), "{text:?}");
        }
        assert_eq!(size("0.3 KiB"), Err(QuantityError::Broken { smallest: "B" }));
        assert_eq!((percent("25 %"), percent("100%")), (Ok(25), Ok(100)));
        assert_eq!(percent("2.5 %"), Err(QuantityError::Broken { smallest: "%" }));
        // A byte is no bit.
        assert_eq!(rate("10 MB/s"), Err(QuantityError::Unit));
    }

    proptest! {
        #[test]
        fn every_whole_number_of_every_unit_is_read_exactly(
            n in 0..=u64::MAX / SPANS[4].1, unit in 0..5usize, spaces in 0..3usize,
        ) {
            let (name, factor) = SPANS[unit];
            let text = format!("{n}{}{name}", " ".repeat(spaces));
            prop_assert_eq!(span(&text), Ok(Duration::from_millis(n * factor)));
        }

        #[test]
        fn thousandths_are_read_exactly(n in any::<u32>(), parts in 0..1000u64) {
            let expected = Bytes::new(u64::from(n) * 1_000_000 + parts * 1000);
            prop_assert_eq!(size(&format!("{n}.{parts:03} MB")), Ok(expected));
        }

        #[test]
        fn no_text_makes_a_reader_panic(text in "\\PC*|[0-9.]{0,40} ?[a-zA-Z/]{0,6}") {
            let _ = (span(&text), size(&text), rate(&text));
        }
    }
}
