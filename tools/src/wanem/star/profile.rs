//! What a star is like, as a file, and changes to it while it runs.
//!
//! ```toml
//! [access]                 # what every site has that does not say otherwise
//! up = { rate = "20Mbit/s", delay = "50ms", queue = "100ms" }
//! down = { rate = "40Mbit/s", delay = "50ms", queue = "100ms" }
//!
//! [[site]]                 # named a, b, c .. where they do not say it
//! [[site]]
//! name = "tokyo"
//! down = { loss = "1%" }   # the other keys stay those of [access]
//!
//! [[way]]                  # between two sites, on top of their access links
//! between = ["a", "tokyo"] # or from = "a", to = "tokyo" for one direction
//! delay = "80ms"
//! ```
//! The keys of links are those of [`LinkProfile`]; `none` takes one away. The delay from one site to
//! another is that of the uplink, of the way and of the downlink. A star tells nobody of a packet that
//! is too long for a link (`mtu_told`): it vanishes.

use crate::netns::check_name;
use crate::wanem::profile::{ProfileError, merge, table_of};
use farhaul_sim::profile::LinkProfile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use toml::{Table, Value};

/// Most sites of a star.
pub const SITES_MAX: usize = 9;

/// A site's access link.
#[derive(Clone, Debug, PartialEq)]
pub struct Access {
    /// Its name.
    pub name: String,
    /// From the site to the core.
    pub up: LinkProfile,
    /// From the core to the site.
    pub down: LinkProfile,
}

/// A whole star.
#[derive(Clone, Debug, PartialEq)]
pub struct StarProfile {
    /// Its sites, in the order of their addresses.
    pub sites: Vec<Access>,
    /// What is between two sites besides their access links; by their numbers, from and to.
    pub ways: BTreeMap<(usize, usize), LinkProfile>,
}

/// Keys to change in a running star; all others stay.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum StarChange {
    /// Of a site's access link.
    Access {
        /// Which site.
        site: String,
        /// Keys of its uplink.
        up: Table,
        /// Keys of its downlink.
        down: Table,
    },
    /// Of the way from one site to another; made if there is none.
    Way {
        /// From which site.
        from: String,
        /// To which.
        to: String,
        /// The keys.
        keys: Table,
    },
}

/// Why a star or a change was refused; the person who wrote it is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StarError {
    /// Not TOML, or an unknown key.
    #[error("{}", .0.message())]
    Text(#[from] toml::de::Error),
    /// A link is wrong.
    #[error("{place}: {source}")]
    Link {
        /// Which one.
        place: String,
        /// Why.
        source: ProfileError,
    },
    /// Too few or too many sites.
    #[error("a star has 2 to {SITES_MAX} sites, not {0}")]
    Sites(usize),
    /// A name that no site can have, or that two have.
    #[error(
        "{0:?} is no name of a site, or two have it: letters, digits, '-' or '_', each name once"
    )]
    Name(String),
    /// No such site.
    #[error("no site called {0:?}")]
    NoSite(String),
    /// A way says neither `between` nor `from` and `to`, or leads from a site to itself.
    #[error("a [[way]] needs two different sites: between = [\"a\", \"b\"], or from and to")]
    Ends,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    access: WrittenAccess,
    #[serde(default)]
    site: Vec<WrittenSite>,
    #[serde(default)]
    way: Vec<WrittenWay>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenAccess {
    up: Table,
    down: Table,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct WrittenSite {
    name: Option<String>,
    up: Table,
    down: Table,
}

#[derive(Deserialize)]
struct WrittenWay {
    between: Option<[String; 2]>,
    from: Option<String>,
    to: Option<String>,
    /// Whatever is no key of a link is refused with the link.
    #[serde(flatten)]
    link: Table,
}

impl StarProfile {
    /// Reads a profile file; see the head of this module.
    ///
    /// # Errors
    /// [`StarError`].
    pub fn from_toml(text: &str) -> Result<Self, StarError> {
        let written: Written = toml::from_str(text)?;
        let count = written.site.len();
        if !(2..=SITES_MAX).contains(&count) {
            return Err(StarError::Sites(count));
        }
        let mut star = Self { sites: Vec::new(), ways: BTreeMap::new() };
        for (site, letter) in written.site.into_iter().zip('a'..) {
            let name = site.name.unwrap_or_else(|| letter.to_string());
            if check_name(&name).is_err() || star.number(&name).is_ok() {
                return Err(StarError::Name(name));
            }
            let up = link(&format!("up of {name}"), [written.access.up.clone(), site.up])?;
            let down = link(&format!("down of {name}"), [written.access.down.clone(), site.down])?;
            star.sites.push(Access { name, up, down });
        }
        for way in written.way {
            star.add_way(way)?;
        }
        Ok(star)
    }

    fn add_way(&mut self, way: WrittenWay) -> Result<(), StarError> {
        let (ends, is_both) = match (way.between, way.from, way.to) {
            (Some(between), None, None) => (between, true),
            (None, Some(from), Some(to)) => ([from, to], false),
            _ => return Err(StarError::Ends),
        };
        let [from, to] = [self.number(&ends[0])?, self.number(&ends[1])?];
        if from == to {
            return Err(StarError::Ends);
        }
        let link = link(&format!("way {} - {}", ends[0], ends[1]), [way.link])?;
        if is_both {
            self.ways.insert((to, from), link.clone());
        }
        self.ways.insert((from, to), link);
        Ok(())
    }

    /// Writes it as a file that [`StarProfile::from_toml`] reads.
    ///
    /// # Errors
    /// [`ProfileError::Write`].
    pub fn to_toml(&self) -> Result<String, ProfileError> {
        let mut sites = Vec::new();
        for site in &self.sites {
            let mut table = Table::from_iter([("name".to_owned(), Value::from(site.name.clone()))]);
            table.insert("up".to_owned(), Value::Table(table_of(&site.up)?));
            table.insert("down".to_owned(), Value::Table(table_of(&site.down)?));
            sites.push(Value::Table(table));
        }
        let mut ways = Vec::new();
        for ((from, to), link) in &self.ways {
            let mut table = table_of(link)?;
            for (key, end) in [("from", *from), ("to", *to)] {
                table.insert(key.to_owned(), Value::from(self.sites[end].name.clone()));
            }
            ways.push(Value::Table(table));
        }
        let mut star = Table::from_iter([("site".to_owned(), Value::Array(sites))]);
        if !ways.is_empty() {
            star.insert("way".to_owned(), Value::Array(ways));
        }
        Ok(toml::to_string(&star)?)
    }

    /// The star of its first sites alone, with the ways between those.
    ///
    /// # Errors
    /// [`StarError::Sites`] if it has fewer, or that would be no star.
    pub fn first(mut self, count: usize) -> Result<Self, StarError> {
        if count < 2 || count > self.sites.len() {
            return Err(StarError::Sites(count));
        }
        self.sites.truncate(count);
        self.ways.retain(|(from, to), _| *from < count && *to < count);
        Ok(self)
    }

    /// The number of a site by its name, in whichever case.
    ///
    /// # Errors
    /// [`StarError::NoSite`].
    pub fn number(&self, name: &str) -> Result<usize, StarError> {
        let found = self.sites.iter().position(|site| site.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| StarError::NoSite(name.to_owned()))
    }

    /// The star that results from a change.
    ///
    /// # Errors
    /// [`StarError`]; nothing changes then.
    pub fn changed(&self, change: &StarChange) -> Result<Self, StarError> {
        let mut star = self.clone();
        match change {
            StarChange::Access { site, up, down } => {
                let access = &mut star.sites[self.number(site)?];
                access.up = changed(&format!("up of {site}"), &access.up, up)?;
                access.down = changed(&format!("down of {site}"), &access.down, down)?;
            }
            StarChange::Way { from, to, keys } => {
                let ends = (self.number(from)?, self.number(to)?);
                if ends.0 == ends.1 {
                    return Err(StarError::Ends);
                }
                let way = star.ways.entry(ends).or_default();
                *way = changed(&format!("way {from} - {to}"), way, keys)?;
            }
        }
        Ok(star)
    }
}

fn changed(place: &str, link: &LinkProfile, keys: &Table) -> Result<LinkProfile, StarError> {
    merge(link, [keys.clone()])
        .map_err(|source| StarError::Link { place: place.to_owned(), source })
}

fn link<const N: usize>(place: &str, tables: [Table; N]) -> Result<LinkProfile, StarError> {
    merge(&LinkProfile::default(), tables)
        .map_err(|source| StarError::Link { place: place.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::units::{BitRate, Ratio};
    use farhaul_sim::profile::Loss;
    use std::time::Duration;

    const THREE: &str = "
        [access]
        up = { rate = '20Mbit/s', delay = '50ms', loss = '1%' }
        down = { rate = '40Mbit/s' }
        [[site]]
        [[site]]
        name = 'Tokyo'
        up = { rate = '5Mbit/s', loss = 'none' }
        [[site]]
        [[way]]
        between = ['a', 'tokyo']
        delay = '80ms'
        [[way]]
        from = 'c'
        to = 'a'
        loss = '5%'
    ";

    #[test]
    fn a_site_has_what_all_have_unless_it_says_otherwise() {
        let star = StarProfile::from_toml(THREE).expect("well-formed");
        let names: Vec<&str> = star.sites.iter().map(|site| site.name.as_str()).collect();
        assert_eq!(names, ["a", "Tokyo", "c"]);
        assert_eq!(star.sites[0].up.loss, Loss::Bernoulli(Ratio::new(0.01)));
        assert_eq!(star.sites[1].up.rate, Some(BitRate::mbps(5)));
        assert_eq!(star.sites[1].up.loss, Loss::None);
        assert_eq!(star.sites[1].up.delay, Duration::from_millis(50));
        assert_eq!(star.sites[1].down.rate, Some(BitRate::mbps(40)));
        assert_eq!(star.ways[&(0, 1)], star.ways[&(1, 0)]);
        assert!(star.ways.contains_key(&(2, 0)) && !star.ways.contains_key(&(0, 2)));
    }

    #[test]
    fn a_star_survives_being_written_and_can_be_cut_to_its_first_sites() {
        let star = StarProfile::from_toml(THREE).expect("well-formed");
        let text = star.to_toml().expect("writable");
        assert_eq!(StarProfile::from_toml(&text).expect("our own text"), star, "{text}");
        let two = star.clone().first(2).expect("it has two");
        assert_eq!((two.sites.len(), two.ways.len()), (2, 2));
        assert!(star.first(4).is_err());
    }

    #[test]
    fn a_change_is_of_one_link_and_leaves_its_other_keys_alone() {
        let star = StarProfile::from_toml(THREE).expect("well-formed");
        let keys: Table = "down = true".parse().expect("TOML");
        let change =
            StarChange::Access { site: "c".to_owned(), up: keys.clone(), down: Table::new() };
        let after = star.changed(&change).expect("allowed");
        assert!(after.sites[2].up.down && !after.sites[2].down.down);
        assert_eq!(after.sites[2].up.rate, star.sites[2].up.rate);
        assert_eq!(after.sites[..2], star.sites[..2]);
        let change = StarChange::Way { from: "a".to_owned(), to: "c".to_owned(), keys };
        assert!(star.changed(&change).expect("allowed").ways[&(0, 2)].down);
    }

    #[test]
    fn nonsense_is_refused_with_its_place() {
        let two = "[[site]]\n[[site]]\n";
        for (rest, place) in [
            ("[access]\nup = { speed = '1Mbit/s' }", "up of a"),
            ("[[way]]\nbetween = ['a', 'b']\nspeed = 1", "way a - b"),
            ("[[way]]\nbetween = ['a', 'z']", "\"z\""),
            ("[[way]]\nbetween = ['a', 'a']", "two different"),
            ("[[way]]\nfrom = 'a'", "two different"),
            ("[[site]]\nname = 'A'", "two have it"),
            ("[[site]]\nname = 'x/y'", "no name"),
            ("rate = '1Mbit/s'", "unknown field"),
        ] {
            let text = if rest.starts_with("rate") {
                format!("{rest}\n{two}")
            } else {
                format!("{two}{rest}")
            };
            let error = StarProfile::from_toml(&text).expect_err(rest).to_string();
            assert!(error.contains(place), "{rest}: {error}");
        }
        assert!(matches!(StarProfile::from_toml("[[site]]"), Err(StarError::Sites(1))));
        let ten = "[[site]]\n".repeat(10);
        assert!(matches!(StarProfile::from_toml(&ten), Err(StarError::Sites(10))));
    }
}
