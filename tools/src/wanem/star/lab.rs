//! A star that is up: its sites, its core, and the answers on its control socket.

use super::hub::{HubHandle, Parts};
use super::profile::{StarChange, StarProfile};
use super::status::StarStatus;
use crate::netns;
use crate::wanem::control::{self, Answer, Next, Request};
use crate::wanem::lab::{
    LabDescription, LabError, Naming, clear, describe, failed, full_text, open_control,
};
use crate::wanem::site::{self, SiteHandle};
use farhaul_proto::units::Bytes;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Memory for packets under way: a second of nine sites at 400 Mbit/s each.
const FLIGHT_MAX: Bytes = Bytes::mib(512);

/// What a star is to be.
#[derive(Clone, Debug)]
pub struct StarConfig {
    /// Its name.
    pub name: String,
    /// Its sites and links.
    pub profile: StarProfile,
    /// MTU of the devices in the sites.
    pub mtu: u16,
    /// All randomness of the links follows from this.
    pub seed: u64,
    /// Packets due within this span leave together.
    pub quantum: Duration,
    /// Whether the namespaces get names.
    pub naming: Naming,
}

/// A star that is up as long as this is held.
#[derive(Debug)]
pub struct StarLab {
    config: StarConfig,
    // Before the sites: their devices go once nobody writes to them.
    hub: HubHandle,
    sites: Vec<SiteHandle>,
    origin: Instant,
    directory: PathBuf,
    description: LabDescription,
}

impl StarLab {
    /// Brings a star up. `user_namespace` tells that this process is in one of its own.
    ///
    /// # Errors
    /// [`LabError`]; nothing is left behind then.
    pub fn start(
        config: StarConfig,
        directory: PathBuf,
        user_namespace: Option<PathBuf>,
    ) -> Result<Self, LabError> {
        netns::check_name(&config.name)?;
        let origin = Instant::now();
        let (mut sites, mut tuns) = (Vec::new(), Vec::new());
        for nth in (0..).take(config.profile.sites.len()) {
            let (site, tun) = site::make_nth_tun_site(nth, config.mtu)?;
            sites.push(site);
            tuns.push(tun);
        }
        let parts = Parts {
            tuns,
            profile: config.profile.clone(),
            seed: config.seed,
            origin,
            quantum: config.quantum,
            flight_max: FLIGHT_MAX,
        };
        let hub = HubHandle::start(parts).map_err(failed("start the emulator thread"))?;
        let named: Vec<(String, &SiteHandle)> =
            config.profile.sites.iter().map(|site| site.name.clone()).zip(&sites).collect();
        let naming = (config.name.as_str(), config.naming);
        let description =
            describe(naming, &named, &directory, user_namespace).inspect_err(|_| {
                // Those that have their names already; the error that counts is the first one.
                for (site, _) in &named {
                    let name = crate::wanem::lab::namespace_name(&config.name, site);
                    drop(netns::withdraw(&name));
                }
            })?;
        Ok(Self { config, hub, sites, origin, directory, description })
    }

    /// What others need to use it.
    pub fn description(&self) -> &LabDescription {
        &self.description
    }

    /// Answers on the control socket until asked to stop, and calls `ready` once it listens.
    ///
    /// # Errors
    /// [`LabError::System`] if the socket or the description file fails.
    pub fn serve(&mut self, ready: impl FnOnce(&LabDescription)) -> Result<(), LabError> {
        let listener = open_control(&self.directory, &self.description)?;
        ready(&self.description);
        control::serve(&listener, |request| self.respond(request))
            .map_err(failed("serve the control socket"))
    }

    fn respond(&mut self, request: Request) -> (Answer, Next) {
        let result = match request {
            Request::Stop => return (Answer::Done, Next::Stop),
            Request::Star(change) => self.change(&change).map(|()| Answer::Done),
            Request::Status => self.status().map(|status| Answer::Star(Box::new(status))),
            Request::Set(_) | Request::Replace(_) | Request::Nat(..) | Request::Readdress(..) => {
                Err(LabError::OtherKind("this lab is a star: `wanem star set` changes its links"))
            }
        };
        (result.unwrap_or_else(|error| Answer::Refused(full_text(&error))), Next::GoOn)
    }

    fn change(&mut self, change: &StarChange) -> Result<(), LabError> {
        let profile = self.config.profile.changed(change)?;
        self.hub.set_profile(profile.clone())?;
        self.config.profile = profile;
        Ok(())
    }

    fn status(&mut self) -> Result<StarStatus, LabError> {
        let mut status = self.hub.status()?;
        for site in &mut self.sites {
            status.hub.own_drops.device += site.device_drops()?;
        }
        status.name.clone_from(&self.config.name);
        status.seed = self.config.seed;
        status.up_seconds = self.origin.elapsed().as_secs_f64();
        Ok(status)
    }
}

impl Drop for StarLab {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.directory, &self.config.name) {
            eprintln!("wanem: {}", full_text(&error));
        }
    }
}
