//! Changes to a running lab at given times, from a TOML file:
//!
//! ```toml
//! [[step]]
//! at = "5s"
//! set = { rate = "125Mbit/s" }
//! [[step]]
//! at = "10s"
//! set = { down = true }
//! way = "ab"
//! [[step]]
//! at = "12s"
//! nat = { site = "a", idle = "30s", address = "10.77.0.9" }
//! [[step]]
//! at = "15s"
//! rebind = "a"
//! [[step]]
//! at = "20s"
//! readdress = { site = "b", to = "10.77.0.5" }
//! ```
//! A step does one of these: `set` keys of the link, put a `nat` before a site (with `off = true` take
//! it away), make it `rebind`, or `readdress` a site. `repeat = { every = "6s", times = 50 }` takes it
//! that many times.

use super::control::{self, ControlError, Request};
use super::nat::NatOrder;
use super::profile::{Change, LabProfile, ProfileError};
use super::site::Site;
use farhaul_sim::profile::{QuantityError, parse_span};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};
use toml::Table;

/// Most steps of one script.
const STEPS_MAX: usize = 10_000;

/// Which directions a change is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Both.
    #[default]
    Both,
    /// From A to B.
    Ab,
    /// From B to A.
    Ba,
}

impl Way {
    /// A change of these keys in these directions.
    pub fn change(self, keys: Table) -> Change {
        match self {
            Self::Both => Change { both: keys, ..Change::default() },
            Self::Ab => Change { forward: keys, ..Change::default() },
            Self::Ba => Change { reverse: keys, ..Change::default() },
        }
    }
}

/// One change and its time.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Since the start of the script.
    pub at: Duration,
    /// What the lab is asked for.
    pub request: Request,
}

/// Why a script does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// Not TOML or not of this form.
    #[error("{}", .0.message())]
    Text(toml::de::Error),
    /// A wrong time.
    #[error(transparent)]
    Time(#[from] QuantityError),
    /// A change that no link takes.
    #[error("step {number}")]
    Step {
        /// Counted from 1.
        number: usize,
        /// What is wrong with it.
        source: ProfileError,
    },
    /// A step that asks for nothing, or for more than one thing.
    #[error("step {0} must have one of set, nat, rebind and readdress")]
    Ask(usize),
    /// More steps than one script may have.
    #[error("more than {STEPS_MAX} steps")]
    TooLong,
    /// A time that does not fit a clock.
    #[error("a step is too late")]
    TooLate,
    /// The lab did not take a step.
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<toml::de::Error> for ScriptError {
    fn from(error: toml::de::Error) -> Self {
        Self::Text(error)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    step: Vec<WrittenStep>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    at: String,
    set: Option<Table>,
    #[serde(default)]
    way: Way,
    repeat: Option<WrittenRepeat>,
    nat: Option<WrittenNat>,
    rebind: Option<Site>,
    readdress: Option<WrittenMove>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRepeat {
    every: String,
    times: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenNat {
    site: Site,
    idle: Option<String>,
    address: Option<IpAddr>,
    #[serde(default)]
    off: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenMove {
    site: Site,
    to: IpAddr,
}

impl WrittenStep {
    /// What the step asks for; `number` counts from 1.
    fn request(self, number: usize) -> Result<Request, ScriptError> {
        match (self.set, self.nat, self.rebind, self.readdress) {
            (Some(keys), None, None, None) => {
                let change = self.way.change(keys);
                let tried = change.apply(&LabProfile::default());
                tried.map_err(|source| ScriptError::Step { number, source })?;
                Ok(Request::Set(change))
            }
            (None, Some(nat), None, None) => {
                if let Some(idle) = &nat.idle {
                    parse_span(idle)?;
                }
                let order = match nat.off {
                    true => NatOrder::Off,
                    false => NatOrder::On { idle: nat.idle, address: nat.address },
                };
                Ok(Request::Nat(nat.site, order))
            }
            (None, None, Some(site), None) => Ok(Request::Nat(site, NatOrder::Rebind)),
            (None, None, None, Some(WrittenMove { site, to })) => Ok(Request::Readdress(site, to)),
            _ => Err(ScriptError::Ask(number)),
        }
    }
}

/// Reads a script; steps come out in order of time.
///
/// # Errors
/// [`ScriptError`]; each step is tried on a perfect link first, so that typing errors show before
/// the first step is taken.
pub fn parse(text: &str) -> Result<Vec<Step>, ScriptError> {
    let written: Written = toml::from_str(text)?;
    let mut steps = Vec::new();
    for (index, step) in written.step.into_iter().enumerate() {
        let first = parse_span(&step.at)?;
        let (every, times) = match &step.repeat {
            None => (Duration::ZERO, 1),
            Some(repeat) => (parse_span(&repeat.every)?, repeat.times),
        };
        let request = step.request(index + 1)?;
        for time in 0..times {
            if steps.len() == STEPS_MAX {
                return Err(ScriptError::TooLong);
            }
            let at = every.checked_mul(time).and_then(|later| first.checked_add(later));
            steps.push(Step { at: at.ok_or(ScriptError::TooLate)?, request: request.clone() });
        }
    }
    steps.sort_by_key(|step| step.at);
    Ok(steps)
}

/// Takes the steps at their times on the lab at `socket`; tells each to `taken`.
///
/// # Errors
/// [`ScriptError::Control`]; later steps are not taken then.
pub fn run(socket: &Path, steps: &[Step], mut taken: impl FnMut(&Step)) -> Result<(), ScriptError> {
    let start = Instant::now();
    for step in steps {
        thread::sleep(step.at.saturating_sub(start.elapsed()));
        control::ask(socket, &step.request)?;
        taken(step);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_step_comes_again_at_its_distance() {
        let text = r#"
            [[step]]
            at = "3s"
            set = { down = true }
            repeat = { every = "6s", times = 3 }
            [[step]]
            at = "4s"
            set = { down = false }
            repeat = { every = "6s", times = 2 }
        "#;
        let at: Vec<u64> =
            parse(text).expect("well-formed").iter().map(|step| step.at.as_secs()).collect();
        assert_eq!(at, [3, 4, 9, 10, 15]);
        let endless = "[[step]]\nat = '1s'\nrebind = 'a'\nrepeat = { every = '1s', times = 10001 }";
        assert!(matches!(parse(endless), Err(ScriptError::TooLong)));
    }

    #[test]
    fn steps_come_in_order_of_time() {
        let steps = parse(
            "[[step]]\nat = '10s'\nset = { down = true }\nway = 'ba'\n\
             [[step]]\nat = '500ms'\nset = { rate = '1Mbit/s' }",
        )
        .expect("well-formed");
        assert_eq!(steps[0].at, Duration::from_millis(500));
        let Request::Set(change) = &steps[1].request else { panic!("{:?}", steps[1]) };
        assert_eq!(change.reverse.get("down").and_then(toml::Value::as_bool), Some(true));
        assert!(change.both.is_empty());
    }

    #[test]
    fn translators_and_addresses_change_in_steps() {
        let steps = parse(
            "[[step]]\nat = '1s'\nnat = { site = 'a', idle = '20s', address = '10.77.0.9' }\n\
             [[step]]\nat = '2s'\nrebind = 'a'\n\
             [[step]]\nat = '3s'\nreaddress = { site = 'b', to = '10.77.0.5' }\n\
             [[step]]\nat = '4s'\nnat = { site = 'a', off = true }",
        )
        .expect("well-formed");
        let requests: Vec<_> = steps.into_iter().map(|step| step.request).collect();
        let address = "10.77.0.9".parse().ok();
        let on = NatOrder::On { idle: Some("20s".to_owned()), address };
        let moved = Request::Readdress(Site::B, "10.77.0.5".parse().expect("an address"));
        let nat = |order| Request::Nat(Site::A, order);
        assert_eq!(requests, [nat(on), nat(NatOrder::Rebind), moved, nat(NatOrder::Off)]);
        for bad in ["", "rebind = 'a'\nset = { down = true }", "nat = { site = 'a', idle = '5' }"] {
            assert!(parse(&format!("[[step]]\nat = '1s'\n{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_step_that_no_link_takes_is_named_before_anything_runs() {
        let error = parse("[[step]]\nat = '1s'\nset = { loss = 'much' }").expect_err("refused");
        assert!(matches!(error, ScriptError::Step { number: 1, .. }), "{error}");
    }
}
