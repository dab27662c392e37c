//! A site from its start to its end: the engine, the folders, the API, the wish to stop, and a
//! configuration that is read again.

mod manager;
mod reload;
mod steer;

pub use reload::Reloads;

use crate::config::Config;
use crate::control::{Control, FolderError, FolderSetup, JobsSetup, note_unkept};
use crate::events::{Events, Said};
use crate::http::{Answering, Listening, ServeError, Sources};
use crate::moment::now_millis;
use crate::site::Sites;
use crate::watch::Limits;
use farhaul_api::EventKind;
use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, EngineError, TcpPort};
use farhaul_engine::identity::{Identity, SiteId};
use farhaul_engine::remember::PathStore;
use farhaul_engine::tls::Allow;
use farhaul_files::people::{Directory, NameMap, People};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;
use steer::Steering;
use tokio::sync::Notify;

/// How often it is asked whether the engine still works.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a site that starts waits for its folders before it says that it is ready: whoever asks right
/// after that finds them, and those that take longer go on being opened.
const OPEN_PATIENCE: Duration = Duration::from_secs(3);
/// The file in the state directory that a running site has locked.
const LOCK_FILE: &str = "lock";

/// Why a site does not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The configuration names this site as a peer of itself.
    #[error("peer `{name}` has the id of this site")]
    OwnId {
        /// What the peer is called.
        name: String,
    },
    /// Another process is this site.
    #[error("{}: another process works with this state", state.display())]
    InUse {
        /// The state directory.
        state: PathBuf,
    },
    /// The state directory cannot be used.
    #[error("{}: {source}", path.display())]
    State {
        /// What in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The engine did not start, or broke down.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The API cannot listen.
    #[error(transparent)]
    Api(#[from] ServeError),
    /// A folder cannot be opened.
    #[error("folder: {0}")]
    Folder(#[from] FolderError),
}

impl RunError {
    /// What to do next.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::OwnId { .. } => "remove it: a site is no peer of itself",
            Self::InUse { .. } => "stop the other process, or give this site a state of its own",
            Self::State { .. } => "give this user access to the state directory, and room there",
            Self::Api(ServeError::Bind { .. }) => {
                "stop the program that listens there, or write another place in `api`"
            }
            Self::Api(ServeError::Token { .. }) => "remove the file: the next start makes one",
            Self::Api(ServeError::Public { .. }) => {
                "write an address of loopback or a socket (`unix:/run/farhaul/api`) in `api`, and \
                 reach it from elsewhere through SSH or a proxy that speaks TLS"
            }
            Self::Folder(_) => "see that its disk is mounted and belongs to this user",
            Self::Engine(EngineError::Bind { .. } | EngineError::BindTcp { .. }) => {
                "stop the program that has the port, or write another address in `listen`"
            }
            Self::Engine(EngineError::Buffers { .. }) => {
                "lower `buffers`, or give this process more memory"
            }
            Self::Engine(EngineError::Thread(_) | EngineError::Disk(_)) => {
                "raise the limits of this process (open files, threads, locked memory)"
            }
            Self::Engine(EngineError::Broken) => "please report it with the lines above",
            Self::Engine(_) => "start it again; if it stays so, please report it",
        }
    }

    /// Whether the configuration is at fault, so that another start would end the same way.
    pub const fn is_config(&self) -> bool {
        matches!(self, Self::OwnId { .. } | Self::Api(ServeError::Public { .. }))
    }

    /// Whether the state directory is at fault.
    pub const fn is_state(&self) -> bool {
        matches!(
            self,
            Self::InUse { .. } | Self::State { .. } | Self::Api(ServeError::Token { .. })
        )
    }
}

/// The sites that may connect, as of the last configuration.
#[derive(Clone, Debug)]
struct Allowed(Arc<RwLock<BTreeSet<SiteId>>>);

impl Allowed {
    fn of(config: &Config) -> Self {
        Self(Arc::new(RwLock::new(config.peers.iter().map(|peer| peer.id).collect())))
    }

    fn set(&self, config: &Config) {
        let peers = config.peers.iter().map(|peer| peer.id).collect();
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = peers;
    }

    fn check(&self) -> Allow {
        let allowed = Arc::clone(&self.0);
        Arc::new(move |site: &SiteId| {
            allowed.read().unwrap_or_else(PoisonError::into_inner).contains(site)
        })
    }
}

/// Runs a site until `stop` ends; within a tokio runtime. The state directory exists: the identity
/// was read from it. Whenever `reloads` says so, the configuration is read again.
///
/// # Errors
/// [`RunError`]: it could not start, or the engine broke down.
pub async fn run(
    config: Config,
    identity: Identity,
    stop: impl Future<Output = ()>,
    mut reloads: Reloads,
) -> Result<(), RunError> {
    let me = identity.id();
    if let Some(name) = config.peer_name(me) {
        return Err(RunError::OwnId { name: name.to_owned() });
    }
    let _lock = lock(&config.site.state)?;
    let listening = Listening::at(&config.site.api, &config.site.state).await?;
    let allowed = Allowed::of(&config);
    let engine = engine_config(&config, identity.clone(), allowed.check());
    let engine = Arc::new(Engine::start(engine)?);
    let (udp, tcp) = (engine.local_addr(), engine.tcp_addr());
    let api = listening.place();
    let tcp = tcp.map_or("off".to_owned(), |tcp| tcp.to_string());
    tracing::info!(site = %config.site.name, id = %me, %udp, %tcp, %api, "listening");
    let (mut sites, control) = start_folders(&config, &identity, &engine).await?;
    let sources = Arc::new(Sources {
        control: control.asker().clone(),
        sites: sites.view(),
        engine: Arc::downgrade(&engine),
        me,
        listen: udp,
        since_millis: now_millis(),
        config: RwLock::new(Arc::new(config)),
        reconfigured: Notify::new(),
    });
    let steering = Steering::start(Arc::clone(&sources));
    let answering = Answering::start(listening, Arc::clone(&sources));
    if let Err(source) = manager::feed_watchdog(control.asker().beat()) {
        return Err(EngineError::Thread(source).into());
    }
    manager::is_ready();
    let ended = {
        let stop = std::pin::pin!(stop);
        let mut over = std::pin::pin!(async {
            tokio::select! {
                error = broken(&engine) => Err(RunError::from(error)),
                () = stop => Ok(()),
            }
        });
        loop {
            tokio::select! {
                ended = &mut over => break ended,
                () = reloads.asked() => reloads.reload(&sources, &mut sites, &allowed).await,
            }
        }
    };
    tracing::info!("stopping");
    manager::stops();
    drop(steering);
    answering.stop().await;
    sites.stop().await;
    engine.close().await;
    // It ends what it is doing at a disk first.
    let stopped = tokio::task::spawn_blocking(move || drop(control)).await;
    stopped.map_err(|_| EngineError::Broken)?;
    ended
}

/// Opens the folders, and begins to call and to answer their peers.
async fn start_folders(
    config: &Config,
    identity: &Identity,
    engine: &Arc<Engine>,
) -> Result<(Sites, Control), RunError> {
    let log = Events::default();
    log.say(Said::that(EventKind::Started));
    let control = Control::start_telling(identity, setups(config)?, log)?;
    if !control.is_open_within(OPEN_PATIENCE) {
        tracing::warn!("not all folders are open yet: `farhaul status` says how far they are");
    }
    for folder in &config.folders {
        let (path, role) = (folder.path.display(), folder.role.name());
        tracing::info!(folder = %folder.id, %path, role, peers = folder.peers.len(), "kept");
    }
    // Before any session says something of jobs: what is known of them is older. A loop that is over
    // already ends the site.
    let _ = control.asker().configure_jobs(jobs_setup(config)).await;
    let (places, options) = (config.places(), config.transfer.options());
    let heard = control.hears_sessions();
    let sites = Sites::start(Arc::clone(engine), identity.id(), options, places, heard);
    sites.view().heed(control.job_shares());
    Ok((sites, control))
}

/// The folders as the control loop takes them; their state directories are made, and those of other
/// folders say that these are not kept.
fn setups(config: &Config) -> Result<Vec<FolderSetup>, RunError> {
    let directory = Directory::of_this_machine();
    let (mut folders, states) = (Vec::new(), states(config));
    for folder in &config.folders {
        let state = states.join(folder.id.as_str());
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&state);
        made.map_err(|source| RunError::State { path: state.clone(), source })?;
        folders.push(FolderSetup {
            name: folder.id.to_string(),
            key: folder.id.key(),
            path: folder.path.clone(),
            state,
            peers: folder.peers.keys().copied().collect(),
            policy: Arc::new(folder.policy()),
            rules: folder.ignore.rules().clone(),
            scan_every: folder.scan_every,
            watch: folder.watch,
            scrub: folder.scrub,
            retention: folder.retention,
            watch_limits: Limits::default(),
            principals: Arc::new(People::new(
                Arc::clone(&directory),
                (folder.map_users.clone(), folder.map_groups.clone()),
                folder.root_owned,
            )),
        });
    }
    note_others(config)?;
    Ok(folders)
}

/// What jobs need to know of this site.
fn jobs_setup(config: &Config) -> JobsSetup {
    let directory = Directory::of_this_machine();
    JobsSetup {
        state: config.site.state.join("jobs"),
        exports: config.exports.clone(),
        folders: config.folders.iter().map(|folder| folder.path.clone()).collect(),
        principals: Arc::new(People::new(directory, <(NameMap, NameMap)>::default(), false)),
        peers: config.peers.iter().map(|peer| peer.id).collect(),
        calendars: config.calendars.keys().cloned().collect(),
    }
}

/// Where what this site knows of its folders is.
fn states(config: &Config) -> PathBuf {
    config.site.state.join("folders")
}

/// Notes that a site runs that keeps these folders and no other.
fn note_others(config: &Config) -> Result<(), RunError> {
    let (states, folders) = (states(config), config.folders.iter());
    let kept = folders.map(|folder| OsStr::new(folder.id.as_str())).collect();
    note_unkept(&states, &kept).map_err(|source| RunError::State { path: states, source })
}

fn engine_config(config: &Config, identity: Identity, allow: Allow) -> EngineConfig {
    EngineConfig {
        listen: config.site.listen,
        tcp: TcpPort::Same,
        identity,
        allow: Some(allow),
        paths: Some(Arc::new(PathStore::open(&config.site.state))),
        disk: DiskKind::Auto,
        buffers: config.site.buffers,
        workers: config.site.workers,
    }
}

/// Ends when the engine has ended by itself.
async fn broken(engine: &Engine) -> EngineError {
    loop {
        if let Some(error) = engine.failure() {
            return error;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// Two processes of one site would speak with one voice and not know of each other.
fn lock(state: &Path) -> Result<File, RunError> {
    let path = state.join(LOCK_FILE);
    let at = |source| RunError::State { path: path.clone(), source };
    let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(at)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RunError::InUse { state: state.to_owned() }),
        Err(TryLockError::Error(source)) => Err(at(source)),
    }
}
