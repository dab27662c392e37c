//! A run of the swarm as data: a TOML file of `[[cell]]`s, each quantity with its unit.

use crate::profile::{parse_rate, parse_ratio, parse_size, parse_span};
use core::time::Duration;
use serde::{Deserialize, Deserializer, de::Error};

/// Cells of a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CellFile {
    /// All of them, in order.
    #[serde(rename = "cell")]
    pub cells: Vec<Cell>,
}

impl CellFile {
    /// Reads a file of cells.
    ///
    /// # Errors
    /// If it is not TOML, has an unknown key or a quantity without unit.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

/// One run.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Cell {
    /// The goal that it is part of.
    pub goal: String,
    /// Its name.
    pub name: String,
    /// Takers.
    pub sites: usize,
    /// Chunks of the manifest.
    pub chunks: u32,
    /// Their mean length; each is between half of it and half as much again.
    #[serde(deserialize_with = "size")]
    pub chunk: u64,
    /// Origins.
    #[serde(default = "one")]
    pub origins: usize,
    /// The uplink of each origin; as that of others if absent.
    #[serde(default, deserialize_with = "maybe_rate")]
    pub origin_up: Option<u64>,
    /// Least and greatest uplink of a WAN link; between them evenly in the logarithm.
    #[serde(deserialize_with = "rates")]
    pub up: (u64, u64),
    /// The same of downlinks.
    #[serde(deserialize_with = "rates")]
    pub down: (u64, u64),
    /// Least and greatest round trip between two sites.
    #[serde(deserialize_with = "spans")]
    pub rtt: (Duration, Duration),
    /// A mesh: each pair has a rate of its own between a fifth of its uplink and all of it.
    #[serde(default)]
    pub mesh: bool,
    /// Lost on a lossy link.
    #[serde(default, deserialize_with = "ratio")]
    pub loss: f64,
    /// So many of the links are lossy.
    #[serde(default, deserialize_with = "ratio")]
    pub lossy: f64,
    /// Appliances behind each WAN link.
    #[serde(default = "one")]
    pub appliances: usize,
    /// What links between appliances of one site carry.
    #[serde(default, deserialize_with = "maybe_rate")]
    pub lan: Option<u64>,
    /// So many of the takers leave each minute, for half a minute.
    #[serde(default, deserialize_with = "ratio")]
    pub churn: f64,
    /// So many of the takers lie.
    #[serde(default, deserialize_with = "ratio")]
    pub liars: f64,
    /// Origins that give only bad bytes: the last ones.
    #[serde(default)]
    pub bad_origins: usize,
    /// So many of the links carry a twentieth of what is said.
    #[serde(default, deserialize_with = "ratio")]
    pub slow: f64,
    /// So many of the links carry nothing for 3 s out of 11.
    #[serde(default, deserialize_with = "ratio")]
    pub flapping: f64,
    /// When the planner dies.
    #[serde(default, deserialize_with = "maybe_span")]
    pub planner_dies: Option<Duration>,
    /// When the last origin dies.
    #[serde(default, deserialize_with = "maybe_span")]
    pub origin_dies: Option<Duration>,
    /// What it must come to.
    #[serde(default)]
    pub bars: Bars,
}

/// What a run must come to; only what is given is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bars {
    /// The last site, in units of the bound, at most.
    pub bound: Option<f64>,
    /// Bytes that left origins, in units of the file, at most.
    pub egress: Option<f64>,
    /// Bytes that came to the worst site over its WAN link, in units of the file, at most.
    pub wan: Option<f64>,
    /// Bytes that came in vain, as part of all, at most.
    pub doubles: Option<f64>,
    /// The speed of the cell of this name is the unit of the next ones.
    pub beside: Option<String>,
    /// Speed in units of that cell's, at least.
    pub speed: Option<f64>,
    /// Seconds longer than that cell, at most; both with the source of the shorter file's bound.
    pub longer: Option<f64>,
    /// p99 of the sites by their p50 at most.
    pub spread: Option<f64>,
    /// Liars are all set aside by the planner.
    #[serde(default)]
    pub named: bool,
}

fn one() -> usize {
    1
}

fn text<'de, D: Deserializer<'de>, T, E: core::fmt::Display>(
    source: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    let text = String::deserialize(source)?;
    parse(&text).map_err(D::Error::custom)
}

fn pair<'de, D: Deserializer<'de>, T, E: core::fmt::Display>(
    source: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<(T, T), D::Error> {
    let [least, most] = <[String; 2]>::deserialize(source)?;
    Ok((parse(&least).map_err(D::Error::custom)?, parse(&most).map_err(D::Error::custom)?))
}

fn size<'de, D: Deserializer<'de>>(source: D) -> Result<u64, D::Error> {
    text(source, |text| parse_size(text).map(farhaul_proto::units::Bytes::get))
}

fn maybe_rate<'de, D: Deserializer<'de>>(source: D) -> Result<Option<u64>, D::Error> {
    text(source, |text| parse_rate(text).map(|rate| Some(rate.get())))
}

fn rates<'de, D: Deserializer<'de>>(source: D) -> Result<(u64, u64), D::Error> {
    pair(source, |text| parse_rate(text).map(farhaul_proto::units::BitRate::get))
}

fn spans<'de, D: Deserializer<'de>>(source: D) -> Result<(Duration, Duration), D::Error> {
    pair(source, parse_span)
}

fn maybe_span<'de, D: Deserializer<'de>>(source: D) -> Result<Option<Duration>, D::Error> {
    text(source, |text| parse_span(text).map(Some))
}

fn ratio<'de, D: Deserializer<'de>>(source: D) -> Result<f64, D::Error> {
    text(source, |text| parse_ratio(text).map(farhaul_proto::units::Ratio::get))
}
