//! Links that change while something crosses them: a profile, and the steps of a script.

use crate::lab::Lab;
use farhaul_tools::wanem::profile::LabProfile;
use farhaul_tools::wanem::script::{self, Step};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Instant;

/// What a link is like and what happens to it.
#[derive(Clone, Debug)]
pub struct Weather {
    /// Its name.
    pub name: &'static str,
    /// Which shows what, for people.
    pub about: &'static str,
    /// The link at the start.
    pub profile: LabProfile,
    /// Changes, by their times after the start; those at zero come before it.
    pub steps: Vec<Step>,
}

/// Name, what it shows, profile, script.
const ALL: [(&str, &str, &str, &str); 6] = [
    (
        "policer",
        "20 of 200 Mbit/s, bucket of 50 ms",
        include_str!("../profiles/policer.toml"),
        STEADY,
    ),
    (
        "reverse",
        "a tenth of what comes back is lost",
        include_str!("../profiles/reverse.toml"),
        STEADY,
    ),
    ("bursts", "2 % lost, ten at a time", include_str!("../profiles/bursts.toml"), STEADY),
    ("jitter", "delay varies by 50 ms, in order", include_str!("../profiles/jitter.toml"), STEADY),
    (
        "flaps",
        "down for 1 s of each 6 s",
        include_str!("../profiles/plain.toml"),
        include_str!("../profiles/flaps.script.toml"),
    ),
    (
        "nat",
        "the sender's translator forgets it after 3 s and again after 8 s",
        include_str!("../profiles/plain.toml"),
        include_str!("../profiles/nat.script.toml"),
    ),
];

/// Nothing happens.
const STEADY: &str = "step = []";

impl Weather {
    /// The names that [`Weather::named`] knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ALL.iter().map(|(name, ..)| *name)
    }

    /// By name.
    ///
    /// # Panics
    /// If a file of `profiles/` is wrong, which a test rules out.
    pub fn named(wanted: &str) -> Option<Self> {
        let (name, about, profile, steps) = *ALL.iter().find(|(name, ..)| *name == wanted)?;
        let profile = LabProfile::from_toml(profile).expect("profiles are checked by a test");
        let steps = script::parse(steps).expect("scripts are checked by a test");
        Some(Self { name, about, profile, steps })
    }
}

/// Does `work` while the steps are taken on `lab`; steps at zero are taken before. What the lab
/// refuses is told on standard error, and no later step is taken.
pub fn during<T>(lab: &Lab, steps: &[Step], work: impl FnOnce() -> T) -> T {
    let first = steps.partition_point(|step| step.at.is_zero());
    let (before, later) = steps.split_at(first);
    for step in before {
        take(lab, step);
    }
    let (done, over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let start = Instant::now();
        scope.spawn(move || {
            for step in later {
                let wait = step.at.saturating_sub(start.elapsed());
                if over.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) || !take(lab, step) {
                    return;
                }
            }
        });
        let result = work();
        drop(done);
        result
    })
}

fn take(lab: &Lab, step: &Step) -> bool {
    match lab.process().order(&step.request) {
        Ok(()) => true,
        Err(error) => {
            eprintln!("the lab refuses the step at {:?}: {error}", step.at);
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_weather_can_be_read_and_has_its_own_name() {
        let mut names: Vec<_> = Weather::names().collect();
        for name in &names {
            let weather = Weather::named(name).expect("it was just named");
            assert!(weather.profile.forward.rate.is_some(), "{name} has no rate");
            assert_eq!(weather.name, *name);
        }
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ALL.len());
        assert!(Weather::named("sunshine").is_none());
    }
}
