//! A lab: two sites, the emulated link between them, and what others need to find it.
//!
//! The process that holds a [`Lab`] is the emulator. It describes itself in a file beside its
//! control socket, so that other commands can enter the sites and steer the link. Named labs
//! (root only) publish their namespaces under `/run/netns`; unnamed ones vanish with the process.

use super::control::{self, Answer, LabStatus, Next, Request};
use super::direction::{DirectionHandle, Parts, Stopped};
use super::nat::{self, Nat, NatOrder, NatSettings};
use super::profile::{Change, LabProfile, ProfileError};
use super::site::{self, Site, SiteError, SiteHandle};
use super::status::DirectionStatus;
use crate::netlink::NetlinkError;
use crate::netns::{self, NetnsError};
use farhaul_proto::units::Bytes;
use farhaul_sim::profile::parse_span;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory for packets under way, each direction: 1 s at 4 Gbit/s, or 10 Gbit/s at 400 ms.
const FLIGHT_MAX: Bytes = Bytes::mib(512);

/// The usual [`Parts::quantum`], as an option. At 500 Mbit/s four packets leave together and the
/// emulator takes a quarter of a core; at 50 us it is two packets and 40 % (release build, two
/// busy cores, 500 Mbit/s of UDP).
pub const QUANTUM: &str = "100us";

/// How the sites are joined.
#[derive(Clone, Debug, PartialEq)]
pub enum Wire {
    /// By an emulated link.
    Emulated(Box<LabProfile>),
    /// By a veth pair, as fast as the machine allows.
    Veth,
}

/// Whether the namespaces get names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// `NAME-a` and `NAME-b` under `/run/netns`; they outlive a crash of the emulator.
    Named,
    /// None; they end with the process.
    Anonymous,
}

/// What a lab is to be.
#[derive(Clone, Debug)]
pub struct LabConfig {
    /// Its name.
    pub name: String,
    /// How the sites are joined.
    pub wire: Wire,
    /// MTU of the devices in the sites.
    pub mtu: u16,
    /// All randomness of the link follows from this.
    pub seed: u64,
    /// See [`Parts::quantum`].
    pub quantum: Duration,
    /// Whether the namespaces get names.
    pub naming: Naming,
}

/// A site of a lab, as others find it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteDescription {
    /// Its name: `a` and `b` where there are two, what the profile says in a star.
    pub name: String,
    /// Its network namespace.
    pub namespace: PathBuf,
}

/// What others need to use a lab.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabDescription {
    /// Its name.
    pub name: String,
    /// The process that holds it.
    pub pid: u32,
    /// The user namespace to join first, if it has one of its own.
    pub user_namespace: Option<PathBuf>,
    /// Its sites, in the order of their addresses.
    pub sites: Vec<SiteDescription>,
    /// Control socket.
    pub control: PathBuf,
}

impl LabDescription {
    /// The network namespace of a site, whichever case its name is written in.
    ///
    /// # Errors
    /// [`LabError::NoSite`].
    pub fn site(&self, name: &str) -> Result<&Path, LabError> {
        let found = self.sites.iter().find(|site| site.name.eq_ignore_ascii_case(name));
        found.map(|site| site.namespace.as_path()).ok_or_else(|| {
            let names: Vec<&str> = self.sites.iter().map(|site| site.name.as_str()).collect();
            LabError::NoSite(name.to_owned(), names.join(", "))
        })
    }

    /// Finds the lab called `name` in `directory`.
    ///
    /// # Errors
    /// [`LabError::NotUp`].
    pub fn find(directory: &Path, name: &str) -> Result<Self, LabError> {
        netns::check_name(name)?;
        let text = fs::read(description_path(directory, name))
            .map_err(|_| LabError::NotUp(name.to_owned()))?;
        serde_json::from_slice(&text).map_err(LabError::Description)
    }
}

/// Why a lab failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// No namespaces.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The sites could not be made.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The state of a device could not be read.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// A change was refused.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// A star or a change of one was refused.
    #[error(transparent)]
    Star(#[from] super::star::profile::StarError),
    /// The emulator ended early.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// There is no link to change or report on: the sites are joined by a veth pair.
    #[error("the lab has no emulator")]
    NoEmulator,
    /// No site of that name is in the lab, but these.
    #[error("no site called {0:?}: there are {1}")]
    NoSite(String, String),
    /// What was asked for is for the other kind of lab.
    #[error("{0}")]
    OtherKind(&'static str),
    /// No lab of that name is up.
    #[error("no lab called {0:?} is up")]
    NotUp(String),
    /// The run directory belongs to somebody else.
    #[error("{} belongs to another user", .0.display())]
    ForeignDirectory(PathBuf),
    /// The description file is not one.
    #[error("unreadable description of the lab")]
    Description(#[source] serde_json::Error),
    /// The system failed.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What it said.
        source: io::Error,
    },
}

/// The machine permits no lab, whatever is asked for; nothing is wrong with the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this machine permits no lab")]
pub struct Unsupported;

impl Unsupported {
    /// What `wanem` exits with then, as test programs do that were skipped.
    pub const EXIT_CODE: u8 = 77;
}

impl LabError {
    /// True when the kernel forbids namespaces to this user, or has no TUN device for a lab. All
    /// other failures are somebody's fault.
    pub fn is_unsupported(&self) -> bool {
        match self {
            Self::Netns(error) | Self::Site(SiteError::Netns(error)) => match error {
                NetnsError::NotPermitted(source) | NetnsError::System { source, .. } => {
                    is_one_of(source, &[libc::EPERM, libc::EACCES, libc::ENOSYS, libc::ENOSPC])
                }
                NetnsError::Name(_) | NetnsError::Exists(_) => false,
            },
            Self::Site(SiteError::Tun(source)) => {
                let absent = [libc::ENOENT, libc::ENODEV, libc::ENXIO, libc::EPERM, libc::EACCES];
                source.kind() == io::ErrorKind::Unsupported || is_one_of(source, &absent)
            }
            _ => false,
        }
    }
}

fn is_one_of(error: &io::Error, errnos: &[i32]) -> bool {
    error.raw_os_error().is_some_and(|errno| errnos.contains(&errno))
}

pub(crate) fn failed(action: &'static str) -> impl Fn(io::Error) -> LabError {
    move |source| LabError::System { action, source }
}

/// Where labs describe themselves: `$WANEM_RUN_DIR`, or `/run/wanem` for root, or below
/// `$XDG_RUNTIME_DIR` or `/tmp` for others. Made if missing, for the owner only.
///
/// # Errors
/// [`LabError::System`].
pub fn run_directory() -> Result<PathBuf, LabError> {
    let uid = rustix::process::geteuid();
    let directory = if let Some(given) = std::env::var_os("WANEM_RUN_DIR") {
        PathBuf::from(given)
    } else if uid.is_root() {
        PathBuf::from("/run/wanem")
    } else if let Some(own) = std::env::var_os("XDG_RUNTIME_DIR") {
        PathBuf::from(own).join("wanem")
    } else {
        PathBuf::from(format!("/tmp/wanem-{}", uid.as_raw()))
    };
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(failed("make the run directory"))?;
    // Below /tmp anyone could have been first.
    let found = fs::metadata(&directory).map_err(failed("look at the run directory"))?;
    if found.uid() != uid.as_raw() {
        return Err(LabError::ForeignDirectory(directory));
    }
    Ok(directory)
}

pub(crate) fn description_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.json"))
}

/// Where the emulator of a detached lab writes its complaints.
pub fn log_path(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}

/// Name of the published namespace of a site.
pub fn namespace_name(lab: &str, site: &str) -> String {
    format!("{lab}-{site}")
}

/// Names of the published namespaces of a lab of two sites.
pub fn namespace_names(name: &str) -> [String; 2] {
    Site::BOTH.map(|site| namespace_name(name, site.letter().encode_utf8(&mut [0; 4])))
}

/// Removes what a lab left behind: names, socket, description. True if there was anything.
///
/// # Errors
/// [`LabError`].
pub fn clear(directory: &Path, name: &str) -> Result<bool, LabError> {
    netns::check_name(name)?;
    let mut found = false;
    let mut namespaces = namespace_names(name).to_vec();
    // One that was killed left its description: without it nobody knows its further sites.
    if let Ok(left) = LabDescription::find(directory, name) {
        let named = left.sites.iter().filter(|site| netns::check_name(&site.name).is_ok());
        namespaces.extend(named.map(|site| namespace_name(name, &site.name)));
    }
    for namespace in namespaces {
        found |= netns::withdraw(&namespace)?;
    }
    for suffix in ["json", "sock", "toml"] {
        match fs::remove_file(directory.join(format!("{name}.{suffix}"))) {
            Ok(()) => found = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("remove a file of the lab")(error)),
        }
    }
    Ok(found)
}

/// The emulated link.
#[derive(Debug)]
struct Emulator {
    profile: LabProfile,
    /// Of site A and of site B.
    nats: [Arc<Nat>; 2],
    forward: DirectionHandle,
    reverse: DirectionHandle,
}

/// A lab that is up as long as this is held.
#[derive(Debug)]
pub struct Lab {
    config: LabConfig,
    sites: [SiteHandle; 2],
    emulator: Option<Emulator>,
    origin: Instant,
    directory: PathBuf,
    description: LabDescription,
}

impl Lab {
    /// Brings a lab up. `user_namespace` tells that this process is in one of its own.
    ///
    /// # Errors
    /// [`LabError`]; nothing is left behind then.
    pub fn start(
        config: LabConfig,
        directory: PathBuf,
        user_namespace: Option<PathBuf>,
    ) -> Result<Self, LabError> {
        netns::check_name(&config.name)?;
        let origin = Instant::now();
        let (sites, emulator) = match &config.wire {
            Wire::Veth => (site::make_veth_sites(config.mtu)?, None),
            Wire::Emulated(profile) => {
                let (sites, emulator) = start_emulator(&config, profile, origin)?;
                (sites, Some(emulator))
            }
        };
        let named: Vec<(String, &SiteHandle)> =
            Site::BOTH.iter().map(|site| site.letter().to_string()).zip(&sites).collect();
        let naming = (config.name.as_str(), config.naming);
        let description = describe(naming, &named, &directory, user_namespace)?;
        Ok(Self { config, sites, emulator, origin, directory, description })
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
            Request::Set(change) => self.change(&change).map(|()| Answer::Done),
            Request::Replace(text) => self.replace(&text).map(|()| Answer::Done),
            Request::Nat(site, order) => self.translate(site, &order).map(|()| Answer::Done),
            Request::Readdress(site, to) => self.readdress(site, to).map(|()| Answer::Done),
            Request::Status => self.status().map(|status| Answer::Status(Box::new(status))),
            Request::Star(_) => {
                Err(LabError::OtherKind("this lab is no star: `wanem lab set` changes its link"))
            }
        };
        (result.unwrap_or_else(|error| Answer::Refused(full_text(&error))), Next::GoOn)
    }

    fn change(&mut self, change: &Change) -> Result<(), LabError> {
        let emulator = self.emulator.as_ref().ok_or(LabError::NoEmulator)?;
        let profile = change.apply(&emulator.profile)?;
        self.set(profile)
    }

    fn replace(&mut self, text: &str) -> Result<(), LabError> {
        self.set(LabProfile::from_toml(text)?)
    }

    fn set(&mut self, profile: LabProfile) -> Result<(), LabError> {
        let emulator = self.emulator.as_mut().ok_or(LabError::NoEmulator)?;
        if profile.forward != emulator.profile.forward {
            emulator.forward.set_profile(profile.forward.clone())?;
        }
        if profile.reverse != emulator.profile.reverse {
            emulator.reverse.set_profile(profile.reverse.clone())?;
        }
        emulator.profile = profile;
        Ok(())
    }

    fn translate(&mut self, site: Site, order: &NatOrder) -> Result<(), LabError> {
        let emulator = self.emulator.as_ref().ok_or(LabError::NoEmulator)?;
        let nat = &emulator.nats[site.index()];
        match order {
            NatOrder::On { idle, address } => {
                let idle = idle.as_deref().map(parse_span).transpose();
                let idle = idle.map_err(ProfileError::from)?.unwrap_or(nat::IDLE);
                nat.enable(NatSettings { idle, address: *address });
            }
            NatOrder::Rebind => nat.rebind(),
            NatOrder::Off => nat.disable(),
        }
        Ok(())
    }

    fn readdress(&mut self, site: Site, to: IpAddr) -> Result<(), LabError> {
        Ok(self.sites[site.index()].readdress(to)?)
    }

    fn status(&mut self) -> Result<LabStatus, LabError> {
        let emulator = self.emulator.as_ref().ok_or(LabError::NoEmulator)?;
        let directions = [emulator.forward.status()?, emulator.reverse.status()?];
        let mut with_devices: Vec<DirectionStatus> = Vec::with_capacity(2);
        let towards = emulator.nats.iter().rev();
        for ((mut status, site), nat) in directions.into_iter().zip(&mut self.sites).zip(towards) {
            status.own_drops.device = site.device_drops()?;
            status.dropped.nat = nat.dropped_inward();
            with_devices.push(status);
        }
        let b_to_a = with_devices.pop().ok_or(LabError::NoEmulator)?;
        let a_to_b = with_devices.pop().ok_or(LabError::NoEmulator)?;
        Ok(LabStatus {
            name: self.config.name.clone(),
            seed: self.config.seed,
            up_seconds: self.origin.elapsed().as_secs_f64(),
            a_to_b,
            b_to_a,
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.directory, &self.config.name) {
            eprintln!("wanem: {}", full_text(&error));
        }
    }
}

/// An error with its causes, on one line.
pub fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn start_emulator(
    config: &LabConfig,
    profile: &LabProfile,
    origin: Instant,
) -> Result<([SiteHandle; 2], Emulator), LabError> {
    let (site_a, tun_a) = site::make_tun_site(Site::A, config.mtu)?;
    let (site_b, tun_b) = site::make_tun_site(Site::B, config.mtu)?;
    let (tun_a, tun_b) = (Arc::new(tun_a), Arc::new(tun_b));
    let nats = [Arc::<Nat>::default(), Arc::<Nat>::default()];
    let start = |name: &str, [from, to]: [usize; 2], link, seed| {
        let tuns = [&tun_a, &tun_b];
        DirectionHandle::start(Parts {
            name: name.to_owned(),
            input: Arc::clone(tuns[from]),
            output: Arc::clone(tuns[to]),
            nats: [Arc::clone(&nats[from]), Arc::clone(&nats[to])],
            profile: link,
            seed,
            origin,
            quantum: config.quantum,
            flight_max: FLIGHT_MAX,
        })
        .map_err(failed("start an emulator thread"))
    };
    let forward = start("wanem-ab", [0, 1], profile.forward.clone(), config.seed)?;
    // The two directions must not draw the same losses.
    let seed = config.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let reverse = start("wanem-ba", [1, 0], profile.reverse.clone(), seed)?;
    Ok(([site_a, site_b], Emulator { profile: profile.clone(), nats, forward, reverse }))
}

/// Publishes the namespaces of a lab's sites, if they are to have names, and tells where they are.
pub(crate) fn describe(
    (name, naming): (&str, Naming),
    sites: &[(String, &SiteHandle)],
    directory: &Path,
    user_namespace: Option<PathBuf>,
) -> Result<LabDescription, LabError> {
    let pid = std::process::id();
    let mut described = Vec::with_capacity(sites.len());
    for (site, handle) in sites {
        let namespace = match naming {
            Naming::Named => handle.netns.publish(&namespace_name(name, site))?,
            Naming::Anonymous => {
                PathBuf::from(format!("/proc/{pid}/fd/{}", handle.netns.as_fd().as_raw_fd()))
            }
        };
        described.push(SiteDescription { name: site.clone(), namespace });
    }
    let control = directory.join(format!("{name}.sock"));
    Ok(LabDescription { name: name.to_owned(), pid, user_namespace, sites: described, control })
}

/// Listens for control, and writes the description for those who look for the lab.
pub(crate) fn open_control(
    directory: &Path,
    description: &LabDescription,
) -> Result<UnixListener, LabError> {
    let listener =
        UnixListener::bind(&description.control).map_err(failed("listen for control"))?;
    let text = serde_json::to_vec(description).map_err(LabError::Description)?;
    fs::write(description_path(directory, &description.name), text)
        .map_err(failed("write the description"))?;
    Ok(listener)
}

/// Publishes the two sites of a plain veth lab and lets go of them: no process stays.
///
/// # Errors
/// [`LabError`].
pub fn leave_veth(name: &str, mtu: u16) -> Result<[PathBuf; 2], LabError> {
    netns::check_name(name)?;
    let [a, b] = site::make_veth_sites(mtu)?;
    let [name_a, name_b] = namespace_names(name);
    let path_a = a.netns.publish(&name_a)?;
    match b.netns.publish(&name_b) {
        Ok(path_b) => Ok([path_a, path_b]),
        Err(error) => {
            netns::withdraw(&name_a)?;
            Err(error.into())
        }
    }
}

/// Moves the calling, single-threaded process into a site.
///
/// # Errors
/// [`LabError::Netns`], [`LabError::NoSite`].
pub fn enter(description: &LabDescription, site: &str) -> Result<(), LabError> {
    // Opened first: the path may go through the process file system of another user namespace.
    let netns = netns::Netns::open(description.site(site)?)?;
    if let Some(user) = &description.user_namespace {
        netns::join_user_namespace(user)?;
    }
    Ok(netns.enter()?)
}

/// Opens the log of a detached lab for writing.
///
/// # Errors
/// [`LabError::System`].
pub fn create_log(directory: &Path, name: &str) -> Result<File, LabError> {
    File::create(log_path(directory, name)).map_err(failed("make the log file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_machine_forbids_counts_as_unsupported() {
        let tun = |errno| LabError::Site(SiteError::Tun(io::Error::from_raw_os_error(errno)));
        let netns =
            |errno| LabError::Netns(NetnsError::NotPermitted(io::Error::from_raw_os_error(errno)));
        assert!(
            [libc::ENOENT, libc::ENODEV, libc::EPERM].map(tun).iter().all(LabError::is_unsupported)
        );
        assert!(
            [libc::EPERM, libc::ENOSYS, libc::ENOSPC]
                .map(netns)
                .iter()
                .all(LabError::is_unsupported)
        );
        for bug in [tun(libc::EBUSY), tun(libc::EINVAL), netns(libc::EINVAL), LabError::NoEmulator]
        {
            assert!(!bug.is_unsupported(), "{bug:?}");
        }
    }
}
