//! Moments as people write them, and as the API does.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp, Zoned};
use std::str::FromStr;

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment(Timestamp);

impl Moment {
    /// RFC 3339 in UTC.
    pub(super) fn text(self) -> String {
        self.0.to_string()
    }

    /// This one.
    pub(super) fn now() -> Self {
        Self(Timestamp::now())
    }

    /// So many days of 24 hours later; the last moment of all if there is none.
    pub(super) fn days_later(self, days: u16) -> Self {
        let later = self.0.checked_add(SignedDuration::from_hours(24 * i64::from(days)));
        Self(later.unwrap_or(Timestamp::MAX))
    }

    fn parse(text: &str, now: &Zoned) -> Option<Self> {
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(Self(moment));
        }
        if let Ok(civil) = text.parse::<DateTime>() {
            return civil
                .to_zoned(now.time_zone().clone())
                .ok()
                .map(|zoned| Self(zoned.timestamp()));
        }
        let span: Span = text.parse().ok().filter(|_| text.trim_end().ends_with("ago"))?;
        now.checked_add(span).ok().map(|zoned| Self(zoned.timestamp()))
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let now = Timestamp::now().to_zoned(TimeZone::system());
        Self::parse(text, &now).ok_or_else(|| {
            "write it as `2026-11-22 14:30`, `2026-11-22T14:30:00Z` or `2 h ago`".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Option<String> {
        let now: Timestamp = "2026-11-22T14:30:00Z".parse().expect("a moment");
        let now = now.to_zoned(TimeZone::fixed(jiff::tz::offset(2)));
        Moment::parse(text, &now).map(Moment::text)
    }

    #[test]
    fn people_write_moments_in_several_ways() {
        for (text, moment) in [
            ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
            ("2026-11-20T10:00:00+01:00", "2026-11-20T09:00:00Z"),
            ("2026-11-20 10:00", "2026-11-20T08:00:00Z"),
            ("2026-11-20", "2026-11-19T22:00:00Z"),
            ("2 h ago", "2026-11-22T12:30:00Z"),
            ("1 day ago", "2026-11-21T14:30:00Z"),
        ] {
            assert_eq!(parsed(text).as_deref(), Some(moment), "{text}");
        }
        for text in ["", "yesterday", "2 h", "10:00", "2026-13-01"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
