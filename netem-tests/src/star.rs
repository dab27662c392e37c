//! A star for one test or measurement: many sites by their names, brought up by the `wanem` binary of
//! this build, gone when dropped.

use crate::require::{Unavailable, binary};
use crate::run::{Finished, Running, TIME_LIMIT};
use farhaul_tools::wanem::client::{ClientError, LabProcess, Settings};
use farhaul_tools::wanem::control::Request;
use farhaul_tools::wanem::lab::full_text;
use farhaul_tools::wanem::profile::ProfileError;
use farhaul_tools::wanem::site::nth_ipv4;
use farhaul_tools::wanem::star::profile::{StarChange, StarError, StarProfile};
use farhaul_tools::wanem::star::status::StarStatus;
use std::io;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

/// A source and eight sites around one core: `profiles/star8.toml`.
///
/// # Panics
/// If the profile is none; a test sees to that.
pub fn star8() -> StarProfile {
    StarProfile::from_toml(include_str!("../profiles/star8.toml")).expect("checked by a test")
}

/// The same number of sites on three continents: `profiles/mesh8.toml`.
///
/// # Panics
/// If the profile is none; a test sees to that.
pub fn mesh8() -> StarProfile {
    StarProfile::from_toml(include_str!("../profiles/mesh8.toml")).expect("checked by a test")
}

/// Sites behind access links of their own.
#[derive(Debug)]
pub struct Star {
    process: LabProcess,
    profile: StarProfile,
}

impl Star {
    /// Brings a star up.
    ///
    /// # Errors
    /// [`Unavailable`] where the machine does not permit it.
    ///
    /// # Panics
    /// If the machine permits it and it fails all the same.
    pub fn start(profile: &StarProfile, seed: u64) -> Result<Self, Unavailable> {
        let settings = Settings { seed, ..Settings::default() };
        match LabProcess::start_star(&binary("wanem"), profile, settings) {
            Ok(process) => Ok(Self { process, profile: profile.clone() }),
            Err(ClientError::Unsupported(why)) => Err(Unavailable::Lab(why)),
            Err(error) => panic!("the star does not come up: {}", full_text(&error)),
        }
    }

    /// The names of its sites, in their order.
    pub fn names(&self) -> Vec<String> {
        self.profile.sites.iter().map(|site| site.name.clone()).collect()
    }

    /// The address of a site.
    ///
    /// # Errors
    /// [`StarError::NoSite`].
    pub fn address(&self, site: &str) -> Result<Ipv4Addr, StarError> {
        let number = self.profile.number(site)?;
        let nth = u8::try_from(number).map_err(|_| StarError::Sites(number))?;
        Ok(nth_ipv4(nth))
    }

    /// Runs a command inside a site to its end, within [`TIME_LIMIT`].
    ///
    /// # Errors
    /// If it cannot be started; `TimedOut` if it does not end (it is killed then).
    pub fn run(&self, site: &str, command: &Command) -> io::Result<Finished> {
        self.spawn(site, command)?.finish(TIME_LIMIT)
    }

    /// Starts a command inside a site; it is killed when the result is dropped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, site: &str, command: &Command) -> io::Result<Running> {
        Running::spawn(&mut self.inside(site, command))
    }

    /// Starts a command inside a site that starts others; all are killed when the result is dropped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_group(&self, site: &str, command: &Command) -> io::Result<Running> {
        Running::spawn_group(&mut self.inside(site, command))
    }

    fn inside(&self, site: &str, command: &Command) -> Command {
        let mut inside = self.process.command_at(site, command.get_program());
        inside.args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(key, value),
                None => inside.env_remove(key),
            };
        }
        if let Some(directory) = command.get_current_dir() {
            inside.current_dir(directory);
        }
        inside
    }

    /// Changes keys of a site's uplink and of its downlink, as TOML: `change("c", "down = true", "")`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn change(&self, site: &str, up: &str, down: &str) -> Result<(), ClientError> {
        let keys = |text: &str| text.parse().map_err(ProfileError::Text);
        let (up, down) = (keys(up)?, keys(down)?);
        let change = StarChange::Access { site: site.to_owned(), up, down };
        self.process.order(&Request::Star(change))
    }

    /// Takes a site's access link down for `span`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn interrupt(&self, site: &str, span: Duration) -> Result<(), ClientError> {
        self.change(site, "down = true", "down = true")?;
        std::thread::sleep(span);
        self.change(site, "down = false", "down = false")
    }

    /// What the emulator did so far.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<StarStatus, ClientError> {
        self.process.star_status()
    }

    /// The lab itself, for wanem's own traffic tools.
    pub fn process(&self) -> &LabProcess {
        &self.process
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profiles_have_a_source_and_eight_sites() {
        for profile in [star8(), mesh8()] {
            assert_eq!(profile.sites.len(), 9);
        }
        // Each of three continents has three sites, and a way to each of six others.
        assert_eq!((star8().ways.len(), mesh8().ways.len()), (0, 9 * 6));
    }
}
