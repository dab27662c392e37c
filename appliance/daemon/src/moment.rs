//! Moments by this machine's clock, as people and the API write them: they decide nothing.

use farhaul_proto::units::FileTime;
use jiff::Timestamp;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub(crate) fn now_millis() -> u64 {
    millis_of(SystemTime::now())
}

/// Milliseconds since 1970.
pub(crate) fn millis_of(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// RFC 3339 in UTC. What lies beyond the year 9999 is the last moment of that.
pub(crate) fn text_of_millis(millis: u64) -> String {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string()
}

/// RFC 3339 in UTC.
pub(crate) fn text_of_secs(secs: u64) -> String {
    text_of_millis(secs.saturating_mul(1000))
}

/// RFC 3339 in UTC, to the nanosecond.
pub(crate) fn text_of_file(time: FileTime) -> String {
    let nanos = i32::try_from(time.nanos).unwrap_or(0);
    let edge = if time.secs < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::new(time.secs, nanos).unwrap_or(edge).to_string()
}

/// Seconds since 1970 of an RFC 3339 moment; none before 1970.
pub(crate) fn secs_of(text: &str) -> Option<u64> {
    let moment: Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_second()).ok()
}

/// Milliseconds since 1970 of a moment that a person writes: with an offset (RFC 3339, seconds may be left
/// out) or with a zone (`2026-11-25T22:00[Europe/Berlin]`); none before 1970.
pub(crate) fn millis_of_text(text: &str) -> Option<u64> {
    let zoned = || text.parse::<jiff::Zoned>().map(|zoned| zoned.timestamp());
    let moment = text.parse::<Timestamp>().or_else(|_| zoned()).ok()?;
    u64::try_from(moment.as_millisecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_in_utc_and_read_with_any_offset() {
        assert_eq!(text_of_secs(1_800_000_000), "2027-01-15T08:00:00Z");
        assert_eq!(secs_of("2027-01-15T09:00:00+01:00"), Some(1_800_000_000));
        assert_eq!(secs_of("yesterday"), None);
        assert_eq!(secs_of("1969-12-31T23:59:59Z"), None);
    }

    #[test]
    fn moments_of_people_have_an_offset_or_a_zone() {
        let at = Some(1_800_000_000_000);
        for text in [
            "2027-01-15T08:00Z",
            "2027-01-15T09:00:00+01:00",
            "2027-01-15 09:00+01:00",
            "2027-01-15T09:00[Europe/Berlin]",
        ] {
            assert_eq!(millis_of_text(text), at, "{text}");
        }
        for text in ["2027-01-15T09:00", "09:00", "tomorrow", "", "1969-12-31T23:59Z"] {
            assert_eq!(millis_of_text(text), None, "{text}");
        }
    }

    #[test]
    fn no_number_is_too_large() {
        assert!(text_of_millis(u64::MAX).starts_with("9999-12-"));
        assert!(text_of_file(FileTime { secs: i64::MIN, nanos: 0 }).starts_with("-009999-"));
    }
}
