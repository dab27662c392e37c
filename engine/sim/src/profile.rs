//! What a link is like: the text a person writes and the values the model runs on.
//!
//! A profile is one direction of one link. Values are strings with units, unknown keys are
//! errors. It holds no state; [`crate::link::Link`] does.

mod quantity;

pub use quantity::{
    QuantityError, format_rate, format_ratio, format_size, format_span, parse_rate, parse_ratio,
    parse_size, parse_span,
};

use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes, Ratio};
use serde::{Deserialize, Serialize};

/// How much a queue in front of the bottleneck holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueLimit {
    /// So many bytes at IP level.
    Bytes(Bytes),
    /// As many bytes as the link sends in this time.
    Time(Duration),
}

/// Loss that has nothing to do with load, placed behind the bottleneck.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each packet alone with this probability.
    Bernoulli(Ratio),
    /// Runs: a good state that loses nothing and a bad state that loses everything.
    GilbertElliott {
        /// Share of packets lost in the long run.
        mean: Ratio,
        /// Mean length of a run of lost packets, at least 1.
        burst: f64,
    },
}

/// Delay that varies. On average a packet is `amplitude` later than without, at most twice that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Jitter {
    /// Half the width of the range of extra delay, and its mean.
    pub amplitude: Duration,
    /// True: drawn for each packet alone, so packets overtake each other. False: piecewise linear
    /// over 40 ms, and never out of order.
    pub reorder: bool,
}

/// A token bucket that drops what exceeds it, in front of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policer {
    /// The rate that passes in the long run.
    pub rate: BitRate,
    /// The depth of the bucket, as time at that rate.
    pub bucket: Duration,
}

/// Early drop: none below `min` of queue delay, `ceiling` at `max`, everything at twice `max`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Red {
    /// Queue delay at which dropping begins.
    pub min: Duration,
    /// Queue delay at which the probability is `ceiling`.
    pub max: Duration,
    /// Drop probability at `max`.
    pub ceiling: Ratio,
}

/// One direction of a link. The default is perfect: no limit, no delay, no loss.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct LinkProfile {
    /// Bottleneck rate at IP level; `None` is unlimited and has no queue.
    pub rate: Option<BitRate>,
    /// Propagation delay, one way.
    pub delay: Duration,
    /// Size of the queue in front of the bottleneck (drop tail).
    pub queue: QueueLimit,
    /// Random loss.
    pub loss: Loss,
    /// Varying delay.
    pub jitter: Option<Jitter>,
    /// Share of packets that are held back by up to `reorder_by` and so overtaken.
    pub reorder: Ratio,
    /// Longest time that a packet chosen by `reorder` is held back.
    pub reorder_by: Duration,
    /// Share of packets that arrive twice.
    pub duplicate: Ratio,
    /// Share of packets that arrive damaged.
    pub corrupt: Ratio,
    /// Token bucket in front of the queue.
    pub policer: Option<Policer>,
    /// True: what is offered as TCP passes the token bucket unseen.
    pub policer_spares_tcp: bool,
    /// Early drop in front of the queue.
    pub red: Option<Red>,
    /// Largest packet at IP level that passes; larger ones vanish silently.
    pub mtu: Option<u16>,
    /// True: they do not vanish silently, but their sender is told (by ICMP, in the emulator).
    pub mtu_told: bool,
    /// True: nothing passes.
    pub down: bool,
}

impl Default for LinkProfile {
    fn default() -> Self {
        Self {
            rate: None,
            delay: Duration::ZERO,
            queue: QueueLimit::Time(Duration::from_millis(100)),
            loss: Loss::None,
            jitter: None,
            reorder: Ratio::ZERO,
            reorder_by: Duration::from_millis(5),
            duplicate: Ratio::ZERO,
            corrupt: Ratio::ZERO,
            policer: None,
            policer_spares_tcp: false,
            red: None,
            mtu: None,
            mtu_told: false,
            down: false,
        }
    }
}

impl LinkProfile {
    /// Reads a profile from TOML.
    ///
    /// # Errors
    /// If the text is not TOML, has an unknown key, a quantity without unit or a value out of
    /// range; the message names the place.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Writes the profile as TOML; only what differs from the default.
    ///
    /// # Errors
    /// Never for a profile that was read; an `mtu` or number outside TOML's range otherwise.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string(self)
    }
}

/// Loss as written: a share, or a table.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum WrittenLoss {
    Share(String),
    Runs(WrittenRuns),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRuns {
    mean: String,
    burst: f64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenJitter {
    amplitude: String,
    #[serde(default)]
    reorder: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPolicer {
    rate: String,
    bucket: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRed {
    min: String,
    max: String,
    ceiling: String,
}

/// The profile as written; resolved once, by `TryFrom`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reorder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reorder_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    corrupt: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mtu: Option<u16>,
    #[serde(skip_serializing_if = "is_false")]
    mtu_told: bool,
    #[serde(skip_serializing_if = "is_false")]
    down: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    loss: Option<WrittenLoss>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<WrittenJitter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policer: Option<WrittenPolicer>,
    #[serde(skip_serializing_if = "is_false")]
    policer_spares_tcp: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    red: Option<WrittenRed>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl TryFrom<Written> for LinkProfile {
    type Error = QuantityError;

    fn try_from(w: Written) -> Result<Self, QuantityError> {
        let default = Self::default();
        let or =
            |text: &Option<String>, otherwise| text.as_deref().map_or(Ok(otherwise), parse_span);
        let share = |text: &Option<String>| text.as_deref().map_or(Ok(Ratio::ZERO), parse_ratio);
        Ok(Self {
            rate: w.rate.as_deref().map(rate_above_zero).transpose()?,
            delay: or(&w.delay, default.delay)?,
            queue: w.queue.as_deref().map_or(Ok(default.queue), parse_queue)?,
            loss: w.loss.map_or(Ok(Loss::None), read_loss)?,
            jitter: w.jitter.map(read_jitter).transpose()?,
            reorder: share(&w.reorder)?,
            reorder_by: or(&w.reorder_by, default.reorder_by)?,
            duplicate: share(&w.duplicate)?,
            corrupt: share(&w.corrupt)?,
            policer: w.policer.map(|p| read_policer(&p)).transpose()?,
            policer_spares_tcp: w.policer_spares_tcp,
            red: w.red.map(|r| read_red(&r)).transpose()?,
            mtu: w.mtu,
            mtu_told: w.mtu_told,
            down: w.down,
        })
    }
}

impl From<LinkProfile> for Written {
    fn from(p: LinkProfile) -> Self {
        let default = LinkProfile::default();
        let share = |r: Ratio| (r != Ratio::ZERO).then(|| format_ratio(r));
        let span = |s, d| (s != d).then(|| format_span(s));
        Self {
            rate: p.rate.map(format_rate),
            delay: span(p.delay, default.delay),
            queue: (p.queue != default.queue).then(|| match p.queue {
                QueueLimit::Bytes(bytes) => format_size(bytes),
                QueueLimit::Time(span) => format_span(span),
            }),
            reorder: share(p.reorder),
            reorder_by: span(p.reorder_by, default.reorder_by),
            duplicate: share(p.duplicate),
            corrupt: share(p.corrupt),
            mtu: p.mtu,
            mtu_told: p.mtu_told,
            down: p.down,
            loss: match p.loss {
                Loss::None => None,
                Loss::Bernoulli(share) => Some(WrittenLoss::Share(format_ratio(share))),
                Loss::GilbertElliott { mean, burst } => {
                    Some(WrittenLoss::Runs(WrittenRuns { mean: format_ratio(mean), burst }))
                }
            },
            jitter: p
                .jitter
                .map(|j| WrittenJitter { amplitude: format_span(j.amplitude), reorder: j.reorder }),
            policer: p.policer.map(|p| WrittenPolicer {
                rate: format_rate(p.rate),
                bucket: format_span(p.bucket),
            }),
            policer_spares_tcp: p.policer_spares_tcp,
            red: p.red.map(|r| WrittenRed {
                min: format_span(r.min),
                max: format_span(r.max),
                ceiling: format_ratio(r.ceiling),
            }),
        }
    }
}

/// A queue is a time ("50ms") or a size ("1MiB"): the unit tells which.
fn parse_queue(text: &str) -> Result<QueueLimit, QuantityError> {
    parse_size(text)
        .map(QueueLimit::Bytes)
        .or_else(|_| parse_span(text).map(QueueLimit::Time))
        .map_err(|error| match error {
            QuantityError::Unit { text, .. } => QuantityError::Unit {
                text,
                accepted: "ns, us, ms, s (queue as time) or B, KiB, MiB, GiB (queue as size)",
            },
            other => other,
        })
}

fn rate_above_zero(text: &str) -> Result<BitRate, QuantityError> {
    match parse_rate(text)? {
        BitRate::ZERO => Err(QuantityError::Range {
            text: text.to_owned(),
            allowed: "above zero (down = true stops a link)",
        }),
        rate => Ok(rate),
    }
}

fn read_loss(written: WrittenLoss) -> Result<Loss, QuantityError> {
    match written {
        WrittenLoss::Share(text) => Ok(match parse_ratio(&text)? {
            Ratio::ZERO => Loss::None,
            share => Loss::Bernoulli(share),
        }),
        WrittenLoss::Runs(runs) if runs.burst.is_finite() && runs.burst >= 1.0 => {
            Ok(Loss::GilbertElliott { mean: parse_ratio(&runs.mean)?, burst: runs.burst })
        }
        WrittenLoss::Runs(runs) => Err(QuantityError::Range {
            text: runs.burst.to_string(),
            allowed: "burst of 1 or more",
        }),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that Option::map asks for")]
fn read_jitter(written: WrittenJitter) -> Result<Jitter, QuantityError> {
    Ok(Jitter { amplitude: parse_span(&written.amplitude)?, reorder: written.reorder })
}

fn read_policer(written: &WrittenPolicer) -> Result<Policer, QuantityError> {
    Ok(Policer { rate: rate_above_zero(&written.rate)?, bucket: parse_span(&written.bucket)? })
}

fn read_red(written: &WrittenRed) -> Result<Red, QuantityError> {
    let red = Red {
        min: parse_span(&written.min)?,
        max: parse_span(&written.max)?,
        ceiling: parse_ratio(&written.ceiling)?,
    };
    if red.max <= red.min {
        let text = written.max.clone();
        return Err(QuantityError::Range { text, allowed: "red.max above red.min" });
    }
    Ok(red)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"
        rate = "500Mbit/s"
        delay = "100ms"
        queue = "50ms"
        loss = { mean = "2%", burst = 10.0 }
        jitter = { amplitude = "5ms", reorder = true }
        reorder = "0.5%"
        reorder_by = "8ms"
        duplicate = "0.25%"
        corrupt = "0.125%"
        policer = { rate = "20Mbit/s", bucket = "50ms" }
        red = { min = "3ms", max = "20ms", ceiling = "10%" }
        mtu = 1400
        mtu_told = true
        down = true
    "#;

    #[test]
    fn a_full_profile_is_read_and_written_back() {
        let profile = LinkProfile::from_toml(FULL).unwrap();
        assert_eq!(profile.rate, Some(BitRate::mbps(500)));
        assert_eq!(profile.queue, QueueLimit::Time(Duration::from_millis(50)));
        assert_eq!(profile.loss, Loss::GilbertElliott { mean: Ratio::new(0.02), burst: 10.0 });
        let again = LinkProfile::from_toml(&profile.to_toml().unwrap()).unwrap();
        assert_eq!(again, profile);
    }

    #[test]
    fn an_empty_text_is_the_perfect_link() {
        assert_eq!(LinkProfile::from_toml("").unwrap(), LinkProfile::default());
        assert_eq!(LinkProfile::default().to_toml().unwrap(), "");
    }

    #[test]
    fn unknown_keys_and_missing_units_are_refused() {
        for bad in [
            "speed = \"1Mbit/s\"",
            "rate = 500",
            "rate = \"500\"",
            "loss = \"0.02\"",
            "queue = \"50\"",
            "jitter = { width = \"5ms\" }",
            "rate = \"0bit/s\"",
            "loss = { mean = \"2%\", burst = 0.5 }",
        ] {
            assert!(LinkProfile::from_toml(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_refused_quantity_says_what_would_do() {
        let message = LinkProfile::from_toml("queue = \"50\"").unwrap_err().to_string();
        assert!(message.contains("MiB") && message.contains("ms"), "{message}");
    }
}
