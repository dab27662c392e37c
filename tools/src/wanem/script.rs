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
//! ```

use super::control::{self, ControlError, Request};
use super::profile::{Change, LabProfile, ProfileError};
use farhaul_sim::profile::{QuantityError, parse_span};
use serde::{Deserialize, Serialize};
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
    /// What to change.
    pub change: Change,
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
    /// More steps than one script may have.
    #[error("more than {STEPS_MAX} steps")]
    TooLong,
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
    set: Table,
    #[serde(default)]
    way: Way,
}

/// Reads a script; steps come out in order of time.
///
/// # Errors
/// [`ScriptError`]; each step is tried on a perfect link first, so that typing errors show before
/// the first step is taken.
pub fn parse(text: &str) -> Result<Vec<Step>, ScriptError> {
    let written: Written = toml::from_str(text)?;
    if written.step.len() > STEPS_MAX {
        return Err(ScriptError::TooLong);
    }
    let mut steps = Vec::with_capacity(written.step.len());
    for (index, step) in written.step.into_iter().enumerate() {
        let change = step.way.change(step.set);
        change
            .apply(&LabProfile::default())
            .map_err(|source| ScriptError::Step { number: index + 1, source })?;
        steps.push(Step { at: parse_span(&step.at)?, change });
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
        control::ask(socket, &Request::Set(step.change.clone()))?;
        taken(step);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_come_in_order_of_time() {
        let steps = parse(
            "[[step]]\nat = '10s'\nset = { down = true }\nway = 'ba'\n\
             [[step]]\nat = '500ms'\nset = { rate = '1Mbit/s' }",
        )
        .expect("well-formed");
        assert_eq!(steps[0].at, Duration::from_millis(500));
        assert_eq!(steps[1].change.reverse.get("down").and_then(toml::Value::as_bool), Some(true));
        assert!(steps[1].change.both.is_empty());
    }

    #[test]
    fn a_step_that_no_link_takes_is_named_before_anything_runs() {
        let error = parse("[[step]]\nat = '1s'\nset = { loss = 'much' }").expect_err("refused");
        assert!(matches!(error, ScriptError::Step { number: 1, .. }), "{error}");
    }
}
