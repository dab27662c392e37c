//! Quantities as people write them: "500Mbit/s", "100ms", "2%", "1MiB". A unit is mandatory.
//!
//! Decimal prefixes mean powers of ten for rates, KiB and its kin powers of two for sizes; KB and
//! its kin powers of ten. Case matters only where it separates units.

use core::fmt;
use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes, Ratio};

/// Why a written quantity was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuantityError {
    /// There is no number at the start.
    NoNumber {
        /// What was written.
        text: String,
    },
    /// The number has no unit, or one that does not fit.
    Unit {
        /// What was written.
        text: String,
        /// The units that would be accepted.
        accepted: &'static str,
    },
    /// The value cannot be represented or lies outside its range.
    Range {
        /// What was written.
        text: String,
        /// The range in words.
        allowed: &'static str,
    },
}

impl fmt::Display for QuantityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNumber { text } => write!(f, "{text:?} does not begin with a number"),
            Self::Unit { text, accepted } => {
                write!(f, "{text:?} needs a unit: one of {accepted}")
            }
            Self::Range { text, allowed } => write!(f, "{text:?} is out of range: {allowed}"),
        }
    }
}

impl core::error::Error for QuantityError {}

const RATE_UNITS: &str = "bit/s, kbit/s, Mbit/s, Gbit/s (or bps, kbps, Mbps, Gbps)";
const SPAN_UNITS: &str = "ns, us, ms, s, min, h";
const RATIO_UNITS: &str = "%";
const SIZE_UNITS: &str = "B, KiB, MiB, GiB, TiB, KB, MB, GB, TB";

/// Reads a rate such as `"500Mbit/s"`.
///
/// # Errors
/// If the number or the unit is missing, or the rate exceeds 64 bits.
pub fn parse_rate(text: &str) -> Result<BitRate, QuantityError> {
    let (number, unit) = split(text)?;
    let factor = match unit.to_ascii_lowercase().as_str() {
        "bit/s" | "bps" => 1.0,
        "kbit/s" | "kbps" => 1e3,
        "mbit/s" | "mbps" => 1e6,
        "gbit/s" | "gbps" => 1e9,
        _ => return Err(unknown(text, RATE_UNITS)),
    };
    Ok(BitRate::bps(whole(text, number * factor)?))
}

/// Reads a span of time such as `"100ms"`.
///
/// # Errors
/// If the number or the unit is missing, or the span exceeds 64 bits of nanoseconds.
pub fn parse_span(text: &str) -> Result<Duration, QuantityError> {
    let (number, unit) = split(text)?;
    let nanos = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "min" => 60e9,
        "h" => 3600e9,
        _ => return Err(unknown(text, SPAN_UNITS)),
    };
    Ok(Duration::from_nanos(whole(text, number * nanos)?))
}

/// Reads a share such as `"2%"`.
///
/// # Errors
/// If the number or the percent sign is missing, or the share exceeds 100 %.
pub fn parse_ratio(text: &str) -> Result<Ratio, QuantityError> {
    let (number, unit) = split(text)?;
    if unit != "%" {
        return Err(unknown(text, RATIO_UNITS));
    }
    if number > 100.0 {
        return Err(QuantityError::Range { text: text.to_owned(), allowed: "0% to 100%" });
    }
    Ok(Ratio::new(number / 100.0))
}

/// Reads a size such as `"1MiB"`.
///
/// # Errors
/// If the number or the unit is missing, or the size exceeds 64 bits.
pub fn parse_size(text: &str) -> Result<Bytes, QuantityError> {
    let (number, unit) = split(text)?;
    let factor = match unit {
        "B" => 1.0,
        "KiB" => 1024.0,
        "MiB" => 1_048_576.0,
        "GiB" => 1_073_741_824.0,
        "TiB" => 1_099_511_627_776.0,
        "kB" | "KB" => 1e3,
        "MB" => 1e6,
        "GB" => 1e9,
        "TB" => 1e12,
        _ => return Err(unknown(text, SIZE_UNITS)),
    };
    Ok(Bytes::new(whole(text, number * factor)?))
}

/// Writes a rate so that [`parse_rate`] gives it back.
pub fn format_rate(rate: BitRate) -> String {
    let units = [(1_000_000_000, "Gbit/s"), (1_000_000, "Mbit/s"), (1_000, "kbit/s")];
    exact(rate.get(), &units, "bit/s")
}

/// Writes a span so that [`parse_span`] gives it back.
pub fn format_span(span: Duration) -> String {
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    exact(nanos, &[(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "us")], "ns")
}

/// Writes a share so that [`parse_ratio`] gives it back, to within rounding.
pub fn format_ratio(ratio: Ratio) -> String {
    format!("{}%", ratio.get() * 100.0)
}

/// Writes a size so that [`parse_size`] gives it back.
pub fn format_size(size: Bytes) -> String {
    exact(
        size.get(),
        &[(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")],
        "B",
    )
}

fn exact(value: u64, units: &[(u64, &str)], smallest: &str) -> String {
    let fits = |unit: &&(u64, &str)| value >= unit.0 && value.is_multiple_of(unit.0);
    match units.iter().find(fits) {
        Some((unit, name)) => format!("{}{name}", value / unit),
        None => format!("{value}{smallest}"),
    }
}

/// Splits into a finite, non-negative number and the unit behind it.
fn split(text: &str) -> Result<(f64, &str), QuantityError> {
    let trimmed = text.trim();
    let end = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(end);
    match number.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok((value, unit.trim_start())),
        _ => Err(QuantityError::NoNumber { text: text.to_owned() }),
    }
}

fn unknown(text: &str, accepted: &'static str) -> QuantityError {
    QuantityError::Unit { text: text.to_owned(), accepted }
}

fn whole(text: &str, value: f64) -> Result<u64, QuantityError> {
    if value >= 18_446_744_073_709_551_615.0 {
        return Err(QuantityError::Range { text: text.to_owned(), allowed: "at most 64 bits" });
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked above")]
    Ok(value.round() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_understood() {
        assert_eq!(parse_rate("500Mbit/s"), Ok(BitRate::mbps(500)));
        assert_eq!(parse_rate(" 1.5 Gbps "), Ok(BitRate::mbps(1_500)));
        assert_eq!(parse_span("100ms"), Ok(Duration::from_millis(100)));
        assert_eq!(parse_span("0.5us"), Ok(Duration::from_nanos(500)));
        assert_eq!(parse_ratio("2%"), Ok(Ratio::new(0.02)));
        assert_eq!(parse_size("1MiB"), Ok(Bytes::mib(1)));
        assert_eq!(parse_size("1MB"), Ok(Bytes::new(1_000_000)));
    }

    #[test]
    fn a_bare_number_is_refused_with_the_units_named() {
        let error = parse_rate("500").unwrap_err();
        assert!(error.to_string().contains("Mbit/s"), "{error}");
        assert!(matches!(parse_span("100"), Err(QuantityError::Unit { .. })));
        assert!(matches!(parse_ratio("0.02"), Err(QuantityError::Unit { .. })));
        assert!(matches!(parse_size("10m"), Err(QuantityError::Unit { .. })));
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(matches!(parse_rate("fast"), Err(QuantityError::NoNumber { .. })));
        assert!(matches!(parse_rate("-1Mbit/s"), Err(QuantityError::NoNumber { .. })));
        assert!(matches!(parse_ratio("101%"), Err(QuantityError::Range { .. })));
        assert!(matches!(parse_span("1e30"), Err(QuantityError::Unit { .. })));
        assert!(matches!(parse_size("99999999999TiB"), Err(QuantityError::Range { .. })));
        assert!(matches!(parse_span(""), Err(QuantityError::NoNumber { .. })));
    }

    proptest! {
        #[test]
        fn written_quantities_are_read_back(n in 0u64..1 << 53) {
            prop_assert_eq!(parse_rate(&format_rate(BitRate::bps(n))), Ok(BitRate::bps(n)));
            let span = Duration::from_nanos(n);
            prop_assert_eq!(parse_span(&format_span(span)), Ok(span));
            prop_assert_eq!(parse_size(&format_size(Bytes::new(n))), Ok(Bytes::new(n)));
        }

        #[test]
        fn written_shares_are_read_back(share in 0.0f64..=1.0) {
            let back = parse_ratio(&format_ratio(Ratio::new(share))).unwrap();
            prop_assert!((back.get() - share).abs() < 1e-12);
        }

        #[test]
        fn any_text_is_answered_without_panic(text in ".{0,40}") {
            let _ = (parse_rate(&text), parse_span(&text), parse_ratio(&text), parse_size(&text));
        }
    }
}
