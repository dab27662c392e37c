//! A lab for one test: brought up by the `wanem` binary of this build, gone when dropped.

use crate::require::{Unavailable, binary};
use crate::run::{Finished, Running, TIME_LIMIT};
use farhaul_tools::wanem::client::{ClientError, LabProcess, Settings};
use farhaul_tools::wanem::control::LabStatus;
use farhaul_tools::wanem::lab::{Wire, full_text};
use farhaul_tools::wanem::profile::{LabProfile, ProfileError};
use farhaul_tools::wanem::script::Way;
use farhaul_tools::wanem::site::Site;
use std::io;
use std::process::Command;
use std::time::Duration;

/// Two sites and the link between them.
#[derive(Debug)]
pub struct Lab(LabProcess);

impl Lab {
    /// Two sites joined by an emulated link.
    ///
    /// # Errors
    /// [`Unavailable`] where the machine does not permit it.
    ///
    /// # Panics
    /// As [`Lab::start_with`].
    pub fn start(profile: &LabProfile) -> Result<Self, Unavailable> {
        Self::start_with(&Wire::Emulated(Box::new(profile.clone())), Settings::default())
    }

    /// Two sites joined by a veth pair, as fast as the machine allows.
    ///
    /// # Errors
    /// [`Unavailable`] where the machine does not permit it.
    ///
    /// # Panics
    /// As [`Lab::start_with`].
    pub fn start_veth() -> Result<Self, Unavailable> {
        Self::start_with(&Wire::Veth, Settings::default())
    }

    /// Two sites as told.
    ///
    /// # Errors
    /// [`Unavailable`] where the machine does not permit it.
    ///
    /// # Panics
    /// If the machine permits it and it fails all the same.
    pub fn start_with(wire: &Wire, settings: Settings) -> Result<Self, Unavailable> {
        match LabProcess::start(&binary("wanem"), wire, settings) {
            Ok(process) => Ok(Self(process)),
            Err(ClientError::Unsupported(why)) => Err(Unavailable::Lab(why)),
            Err(error) => panic!("the lab does not come up: {}", full_text(&error)),
        }
    }

    /// Runs a command inside a site to its end, within [`TIME_LIMIT`].
    ///
    /// # Errors
    /// If it cannot be started; `TimedOut` if it does not end (it is killed then).
    pub fn run(&self, site: Site, command: &Command) -> io::Result<Finished> {
        self.run_within(site, command, TIME_LIMIT)
    }

    /// Runs a command inside a site to its end, within `limit`.
    ///
    /// # Errors
    /// As [`Lab::run`].
    pub fn run_within(
        &self,
        site: Site,
        command: &Command,
        limit: Duration,
    ) -> io::Result<Finished> {
        self.spawn(site, command)?.finish(limit)
    }

    /// Starts a command inside a site; it is killed when the result is dropped.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&self, site: Site, command: &Command) -> io::Result<Running> {
        Running::spawn(&mut self.inside(site, command))
    }

    /// Starts a command inside a site that starts others; all are killed when the result is
    /// dropped. See [`Running::spawn_group`].
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_group(&self, site: Site, command: &Command) -> io::Result<Running> {
        Running::spawn_group(&mut self.inside(site, command))
    }

    fn inside(&self, site: Site, command: &Command) -> Command {
        let mut inside = self.0.command(site, command.get_program());
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

    /// Makes the link another one, while it runs.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn set(&self, profile: &LabProfile) -> Result<(), ClientError> {
        self.0.set(profile)
    }

    /// Changes some properties of the link, as TOML: `lab.change(Way::Both, "down = true")`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn change(&self, way: Way, keys: &str) -> Result<(), ClientError> {
        let keys = keys.parse().map_err(ProfileError::Text)?;
        self.0.change(way.change(keys))
    }

    /// What the emulator did so far.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn status(&self) -> Result<LabStatus, ClientError> {
        self.0.status()
    }

    /// The lab itself, for wanem's own traffic tools.
    pub fn process(&self) -> &LabProcess {
        &self.0
    }
}
