//! What a lab's link is like in both directions, as a file, and changes to it while it runs.
//!
//! The keys are those of [`LinkProfile`]; on top come `rtt` (half of it is the delay of each
//! direction) and the table `reverse`, whose keys override the others for the way from B to A:
//!
//! ```toml
//! rate = "500Mbit/s"
//! rtt = "200ms"
//! loss = "2%"
//! queue = "50ms"
//! [reverse]
//! rate = "50Mbit/s"
//! ```

use farhaul_sim::profile::{LinkProfile, QuantityError, format_span, parse_span};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// Both directions of a lab's link.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LabProfile {
    /// From A to B.
    pub forward: LinkProfile,
    /// From B to A.
    pub reverse: LinkProfile,
}

/// Why a profile or a change was refused; the person who wrote it is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    /// Not TOML, an unknown key, or a value out of range.
    #[error("{}", .0.message())]
    Text(toml::de::Error),
    /// A quantity of our own keys is wrong.
    #[error(transparent)]
    Quantity(#[from] QuantityError),
    /// A value that should be text or a table is not.
    #[error("{0} must be {1}")]
    Kind(&'static str, &'static str),
    /// A number that TOML cannot write.
    #[error("cannot write the profile")]
    Write(#[from] toml::ser::Error),
}

impl From<toml::de::Error> for ProfileError {
    fn from(error: toml::de::Error) -> Self {
        Self::Text(error)
    }
}

impl LabProfile {
    /// The same in both directions.
    pub fn symmetric(link: LinkProfile) -> Self {
        Self { forward: link.clone(), reverse: link }
    }

    /// Reads a profile file; see the head of this module.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn from_toml(text: &str) -> Result<Self, ProfileError> {
        let change = Change { both: text.parse()?, ..Change::default() };
        change.split_reverse()?.apply(&Self::default())
    }

    /// Writes it as a file that [`LabProfile::from_toml`] reads.
    ///
    /// # Errors
    /// [`ProfileError::Write`].
    pub fn to_toml(&self) -> Result<String, ProfileError> {
        let forward = table_of(&self.forward)?;
        let mut reverse = table_of(&self.reverse)?;
        for key in forward.keys() {
            if !reverse.contains_key(key) {
                reverse.insert(key.clone(), Value::from(ABSENT));
            }
        }
        reverse.retain(|key, value| forward.get(key) != Some(value));
        let mut table = forward;
        if !reverse.is_empty() {
            table.insert("reverse".to_owned(), Value::Table(reverse));
        }
        Ok(toml::to_string(&table)?)
    }
}

/// The value that takes a key away again: `rate = "none"`.
const ABSENT: &str = "none";

/// Keys to change, in a running lab or in a profile; all others stay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    /// For both directions.
    pub both: Table,
    /// For A to B alone; comes after `both`.
    pub forward: Table,
    /// For B to A alone; comes after `both`.
    pub reverse: Table,
}

impl Change {
    /// Moves the table `reverse` inside `both` to its place.
    ///
    /// # Errors
    /// [`ProfileError::Kind`] if it is not a table.
    pub fn split_reverse(mut self) -> Result<Self, ProfileError> {
        match self.both.remove("reverse") {
            None => {}
            Some(Value::Table(table)) => self.reverse.extend(table),
            Some(_) => return Err(ProfileError::Kind("reverse", "a table")),
        }
        Ok(self)
    }

    /// The profile that results.
    ///
    /// # Errors
    /// [`ProfileError`]; nothing changes then.
    pub fn apply(&self, to: &LabProfile) -> Result<LabProfile, ProfileError> {
        let both = resolve_rtt(self.both.clone())?;
        Ok(LabProfile {
            forward: merge(&to.forward, [both.clone(), resolve_rtt(self.forward.clone())?])?,
            reverse: merge(&to.reverse, [both, resolve_rtt(self.reverse.clone())?])?,
        })
    }
}

pub(crate) fn table_of(link: &LinkProfile) -> Result<Table, ProfileError> {
    Ok(link.to_toml()?.parse()?)
}

fn resolve_rtt(mut table: Table) -> Result<Table, ProfileError> {
    match table.remove("rtt") {
        None => {}
        Some(Value::String(text)) if text == ABSENT => {
            table.insert("delay".to_owned(), Value::from(ABSENT));
        }
        Some(Value::String(text)) => {
            let delay = format_span(parse_span(&text)? / 2);
            table.insert("delay".to_owned(), Value::from(delay));
        }
        Some(_) => return Err(ProfileError::Kind("rtt", "a text such as \"200ms\"")),
    }
    Ok(table)
}

/// The link with some of its keys changed, later tables before earlier ones; `none` takes a key away.
pub(crate) fn merge<const N: usize>(
    link: &LinkProfile,
    changes: [Table; N],
) -> Result<LinkProfile, ProfileError> {
    let mut table = table_of(link)?;
    for (key, value) in changes.into_iter().flatten() {
        if value.as_str() == Some(ABSENT) {
            table.remove(&key);
        } else {
            table.insert(key, value);
        }
    }
    Ok(LinkProfile::from_toml(&toml::to_string(&table)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::units::{BitRate, Ratio};
    use farhaul_sim::profile::Loss;
    use std::time::Duration;

    const UNEQUAL: &str = "
        rate = '500Mbit/s'
        rtt = '200ms'
        loss = '2%'
        [reverse]
        rate = '50Mbit/s'
        loss = 'none'
    ";

    #[test]
    fn half_the_rtt_is_the_delay_of_each_direction_and_reverse_overrides() {
        let profile = LabProfile::from_toml(UNEQUAL).expect("well-formed");
        assert_eq!(profile.forward.delay, Duration::from_millis(100));
        assert_eq!(profile.reverse.delay, Duration::from_millis(100));
        assert_eq!(profile.forward.loss, Loss::Bernoulli(Ratio::new(0.02)));
        assert_eq!(profile.reverse.loss, Loss::None);
        assert_eq!(profile.reverse.rate, Some(BitRate::mbps(50)));
    }

    #[test]
    fn a_profile_survives_being_written() {
        let profile = LabProfile::from_toml(UNEQUAL).expect("well-formed");
        let text = profile.to_toml().expect("writable");
        assert_eq!(LabProfile::from_toml(&text).expect("our own text"), profile, "{text}");
    }

    #[test]
    fn a_change_leaves_other_keys_alone_and_none_takes_a_key_away() {
        let before = LabProfile::from_toml(UNEQUAL).expect("well-formed");
        let change = Change {
            both: "rate = 'none'".parse().expect("TOML"),
            reverse: "down = true".parse().expect("TOML"),
            ..Change::default()
        };
        let after = change.apply(&before).expect("allowed");
        assert_eq!(after.forward.rate, None);
        assert_eq!(after.forward.delay, before.forward.delay);
        assert!(after.reverse.down && !after.forward.down);
    }

    #[test]
    fn unknown_keys_and_values_without_unit_are_refused() {
        for bad in ["speed = '1Mbit/s'", "rtt = 200", "rtt = '200'", "reverse = 1"] {
            assert!(LabProfile::from_toml(bad).is_err(), "{bad} was accepted");
        }
    }
}
