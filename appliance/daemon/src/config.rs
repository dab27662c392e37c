//! The configuration of a site: one TOML file, read strictly, every fault told at its place.
//!
//! `configs/farhauld.toml` shows every key. What is here has been checked: names and ids are unique,
//! peers of folders exist, no folder lies in another one or in the state. It says nothing of whether
//! directories exist: a disk may be mounted later.

mod calendars;
mod changes;
mod fault;
mod host;
mod places;
mod quantity;
mod raw;
mod resolve;

pub use calendars::{Calendars, Class, ClassAllowed, ClassShare, InForce, Link};
pub use changes::{Change, Changes, Effect};
pub use farhaul_sync::folder::Role;
pub use fault::{ConfigError, Fault};
use host::Host;

use crate::scan::{Rules, ScrubPlan};
use crate::site::PeerPlace;
use crate::store::retention::Retention;
use crate::watch::WatchMode;
use farhaul_engine::engine::SessionOptions;
use farhaul_files::people::NameMap;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::folder::{BrakeLimits, Policy as FolderPolicy, Rights};
use farhaul_sync::job::{ExportName, Grants};
use farhaul_sync::seal::FolderKey;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of a file: 4096 folders with some patterns each fit.
const FILE_MAX: u64 = 1 << 20;

/// What a site is told to be and to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The site itself.
    pub site: Site,
    /// The sites that it knows, by name; nobody else may connect.
    pub peers: Vec<Peer>,
    /// The trees that it keeps, by id.
    pub folders: Vec<Folder>,
    /// What of this host jobs may take and put, by name.
    pub exports: Vec<Export>,
    /// How its data is sent.
    pub transfer: Transfer,
    /// What holds when, by name.
    pub calendars: Calendars,
    /// Over which lines data goes, and how much of it.
    pub links: Vec<Link>,
}

/// Reads a rate such as `200 Mbit/s`, from 10 kbit/s on.
///
/// # Errors
/// What is wrong with it; the sentence goes on after the text.
pub(crate) fn rate_of(text: &str) -> Result<BitRate, String> {
    match quantity::rate(text) {
        Ok(rate) if rate >= BitRate::kbps(10) => Ok(rate),
        Ok(_) => Err("is less than 10 kbit/s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// A directory of this host that jobs may take from or put to: nobody remote can widen it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// What it is called in jobs.
    pub name: ExportName,
    /// Where it stands; absolute.
    pub path: PathBuf,
    /// Who may have what is in it, and put what into it.
    pub grants: Grants,
    /// What runs around what jobs do in it.
    pub hooks: Hooks,
}

/// Programs of this host that run around what jobs do in an export: each a path and its arguments, or
/// nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hooks {
    /// Before a tree is read, and before one becomes visible; it may forbid that.
    pub before: Vec<String>,
    /// After a tree became visible.
    pub after: Vec<String>,
    /// How long one may take.
    pub limit: Duration,
}

impl Hooks {
    /// Whether there is one.
    pub fn are_any(&self) -> bool {
        !self.before.is_empty() || !self.after.is_empty()
    }
}

/// The site itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// What it is called, for people.
    pub name: String,
    /// The directory of its key, its indexes and what else it has to remember; absolute.
    pub state: PathBuf,
    /// Where peers reach it, by UDP and by TCP.
    pub listen: SocketAddr,
    /// Where it is managed.
    pub api: ApiPlace,
    /// Memory for data under way.
    pub buffers: Bytes,
    /// Threads for repair symbols and hashing.
    pub workers: usize,
}

/// Where the management API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiPlace {
    /// At a TCP address.
    Tcp(SocketAddr),
    /// At a socket in the file system; absolute.
    Unix(PathBuf),
}

impl fmt::Display for ApiPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A site that this one knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What it is called here.
    pub name: String,
    /// Who it is.
    pub id: SiteId,
    /// `HOST:PORT`; `None`: it calls us.
    pub address: Option<String>,
}

/// The id of a folder: the same on all of its sites. 1 to 64 of `a-z0-9._-`, the first one a letter
/// or a digit, so it can be a part of a file's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderId(String);

impl FolderId {
    /// Bytes of an id.
    pub const LEN_MAX: usize = 64;

    /// Checks an id; `None` if it is none.
    pub fn new(text: &str) -> Option<Self> {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins = text.bytes().next().is_some_and(is_plain);
        let is_id = begins
            && text.len() <= Self::LEN_MAX
            && text.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte));
        is_id.then(|| Self(text.to_owned()))
    }

    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What the folder is called on the wire. spec: S-058
    pub fn key(&self) -> FolderKey {
        FolderKey::of_id(&self.0)
    }
}

impl fmt::Display for FolderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a folder leaves out: patterns, and the rules that they make.
#[derive(Clone, Debug, Default)]
pub struct Ignore {
    patterns: Vec<String>,
    rules: Rules,
}

impl Ignore {
    /// As written.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Ready to match.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }
}

impl PartialEq for Ignore {
    fn eq(&self, other: &Self) -> bool {
        self.patterns == other.patterns
    }
}

/// A tree that is kept identical.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// Which.
    pub id: FolderId,
    /// Where it stands here; absolute.
    pub path: PathBuf,
    /// With whom, and what each of them does in it.
    pub peers: BTreeMap<SiteId, Role>,
    /// What this site does in it.
    pub role: Role,
    /// Whether what others delete stays here.
    pub keeps_deleted: bool,
    /// When a mass change waits for a person; `None`: never.
    pub brake: Option<BrakeLimits>,
    /// What of it is left out.
    pub ignore: Ignore,
    /// How often the whole tree is looked through, a quarter more or less.
    pub scan_every: Duration,
    /// How changes are heard of in between.
    pub watch: WatchMode,
    /// How its files are read again.
    pub scrub: ScrubPlan,
    /// What is kept of what was displaced in it.
    pub retention: Retention,
    /// Whether what others publish may become root's.
    pub root_owned: bool,
    /// Which users of versions are which users here.
    pub map_users: NameMap,
    /// Which groups of versions are which groups here.
    pub map_groups: NameMap,
}

impl Folder {
    /// What is decided beforehand about it.
    pub fn policy(&self) -> FolderPolicy {
        let peers = self.peers.iter().map(|(site, role)| (*site, *role));
        FolderPolicy {
            rights: Rights::new(self.role, peers),
            brake: self.brake,
            keeps_deleted: self.keeps_deleted,
        }
    }
}

/// How data is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// How a path is shared.
    pub policy: Policy,
    /// How slow and how fast.
    pub bounds: Bounds,
}

impl Default for Transfer {
    fn default() -> Self {
        Self { policy: Policy::default(), bounds: Bounds::FREE }
    }
}

impl Transfer {
    /// What sessions are set up with.
    pub fn options(&self) -> SessionOptions {
        let (fec, pack) = (FecPolicy::default(), PackPolicy::default());
        SessionOptions { policy: self.policy, bounds: self.bounds, fec, pack }
    }
}

impl Config {
    /// Reads a file. Links are followed to find folders that lie in each other.
    ///
    /// # Errors
    /// [`ConfigError`]; of what the file says, every fault.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, Host::FOLLOWED)
    }

    /// Reads a file as [`Config::load`] does, and looks whether what it names is there on this host:
    /// folders, a token that can be used, peers that are somebody.
    ///
    /// # Errors
    /// As there.
    pub fn check(path: &Path) -> Result<Self, ConfigError> {
        Self::read(path, Host::CHECKED)
    }

    fn read(path: &Path, host: Host) -> Result<Self, ConfigError> {
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        let file = std::fs::File::open(path).map_err(read)?;
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(read)?;
        if bytes.len() as u64 > FILE_MAX {
            return Err(ConfigError::TooLong { path: path.to_owned(), max: FILE_MAX });
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to();
            ConfigError::NotText { path: path.to_owned(), at }
        })?;
        resolve::resolve(&text, host)
            .map_err(|faults| ConfigError::Faults { path: path.to_owned(), faults })
    }

    /// Reads the text of a file, without a look at the disk.
    ///
    /// # Errors
    /// Every fault, by position; at most 100.
    pub fn parse(text: &str) -> Result<Self, Vec<Fault>> {
        resolve::resolve(text, Host::UNSEEN)
    }

    /// Where the peers are.
    pub fn places(&self) -> Vec<PeerPlace> {
        let place = |peer: &Peer| PeerPlace {
            name: peer.name.clone(),
            id: peer.id,
            address: peer.address.clone(),
        };
        self.peers.iter().map(place).collect()
    }

    /// The link over which a peer is reached, if one is known.
    pub fn link_of(&self, peer: SiteId) -> Option<&Link> {
        let is_named = |link: &&Link| link.peers.as_ref().is_some_and(|all| all.contains(&peer));
        let rest = || self.links.iter().find(|link| link.peers.is_none());
        self.links.iter().find(is_named).or_else(rest)
    }

    /// What a peer is called here, if it is one.
    pub fn peer_name(&self, id: SiteId) -> Option<&str> {
        self.peers.iter().find(|peer| peer.id == id).map(|peer| peer.name.as_str())
    }
}

#[cfg(test)]
mod tests;
