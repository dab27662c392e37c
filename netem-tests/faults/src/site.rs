//! A site of the product over one directory: the control loop with its index, store and threads, as
//! `farhauld` runs it, and a neighbour by script in place of sessions.

use crate::KitError;
use crate::peer::{Contents, FOLDER, Hears, Memory, Peer};
use farhaul_api::FolderState;
use farhaul_engine::identity::Identity;
use farhauld::control::{Control, FolderFacts, FolderSetup};
use farhauld::index::IndexReader;
use farhauld::scan::{Rules, ScrubPlan};
use farhauld::store::{Store, Unnamed};
use farhauld::watch::{Limits, WatchMode};
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// What the folder is called.
const NAME: &str = "folder";
/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a folder says that halts because it is open already.
const IN_USE: &str = "another process works on the folder";
/// Between two looks at whether something is done.
const GLANCE: Duration = Duration::from_millis(1);

/// Who the site and its neighbour are.
#[derive(Clone, Debug)]
pub struct Identities {
    /// The site.
    pub site: Identity,
    /// Its neighbour.
    pub peer: Identity,
}

impl Identities {
    /// Those kept in a directory; made there the first time.
    ///
    /// # Errors
    /// [`KitError::Failed`].
    pub fn of(home: &Path) -> Result<Self, KitError> {
        let one = |name: &str| {
            let home = home.join(name);
            let made = DirBuilder::new().recursive(true).mode(0o700).create(&home);
            made.map_err(KitError::io("a directory for a key"))?;
            Identity::load_or_create(&home).map_err(|error| KitError::Failed(error.to_string()))
        };
        Ok(Self { site: one("site")?, peer: one("peer")? })
    }
}

/// Where a site keeps its folder: on the disk that is cut.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// Beneath `at`.
    pub fn at(at: &Path) -> Self {
        Self(at.to_path_buf())
    }

    /// The folder.
    pub fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }

    /// What the site knows of it.
    pub fn state(&self) -> PathBuf {
        self.0.join("state")
    }

    /// Where the user writes what he puts into the folder.
    pub fn desk(&self) -> PathBuf {
        self.0.join("desk")
    }

    /// Makes all three.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub fn make(&self) -> Result<(), KitError> {
        for dir in [self.tree(), self.state(), self.desk()] {
            fs::create_dir(dir).map_err(KitError::io("a home"))?;
        }
        Ok(())
    }
}

/// A site that runs.
pub struct Site {
    peer: Option<Peer>,
    control: Control,
    runtime: Arc<Runtime>,
    identities: Identities,
    glance: Duration,
}

impl Site {
    /// Starts it; its neighbour is not there yet. What was half-done is decided when this returns.
    ///
    /// # Errors
    /// [`KitError::Failed`]: it does not start.
    pub fn start(
        home: &Home,
        identities: &Identities,
        runtime: &Arc<Runtime>,
    ) -> Result<Self, KitError> {
        let began = Instant::now();
        loop {
            match Self::open(home, identities, runtime) {
                // A thread of the one that was stopped in this process holds its lock a little longer.
                Err(KitError::Failed(why)) if why.ends_with(IN_USE) => {
                    if began.elapsed() > PATIENCE {
                        return Err(KitError::Late(why));
                    }
                    std::thread::sleep(GLANCE);
                }
                opened => return opened,
            }
        }
    }

    fn open(
        home: &Home,
        identities: &Identities,
        runtime: &Arc<Runtime>,
    ) -> Result<Self, KitError> {
        let setup = FolderSetup {
            name: NAME.to_owned(),
            key: FOLDER,
            path: home.tree(),
            state: home.state(),
            peers: [identities.peer.id()].into(),
            rules: Rules::default(),
            scan_every: Duration::from_secs(24 * 3600),
            watch: WatchMode::Off,
            scrub: ScrubPlan::default(),
            retention: farhauld::store::retention::Retention::default(),
            policy: Arc::default(),
            watch_limits: Limits::default(),
            principals: Arc::new(Unnamed),
        };
        let control = Control::start(&identities.site, vec![setup]);
        let control = control.map_err(|error| KitError::Failed(error.to_string()))?;
        let (runtime, identities) = (Arc::clone(runtime), identities.clone());
        let site = Self { peer: None, control, runtime, identities, glance: GLANCE };
        site.facts().map(|_| site)
    }

    /// The same with other pauses between two looks at whether something is done.
    #[must_use]
    pub fn looking_every(self, glance: Duration) -> Self {
        Self { glance, ..self }
    }

    /// What the folder is at.
    ///
    /// # Errors
    /// [`KitError::Failed`]: it halts, or the loop is over.
    pub fn facts(&self) -> Result<FolderFacts, KitError> {
        let facts = self.runtime.block_on(self.control.asker().folders());
        let facts = facts.map_err(|error| KitError::Failed(error.to_string()))?;
        let facts = facts.into_iter().next();
        let facts = facts.ok_or_else(|| KitError::Failed("there is no folder".to_owned()))?;
        match facts.state {
            FolderState::Halted => {
                let why = facts.reason.unwrap_or_default();
                Err(KitError::Failed(format!("the folder halts: {why}")))
            }
            _ => Ok(facts),
        }
    }

    /// A way to look into the folder's index.
    ///
    /// # Errors
    /// [`KitError::Failed`].
    pub fn reader(&self) -> Result<IndexReader, KitError> {
        let reader = self.runtime.block_on(self.control.asker().reader(NAME));
        Ok(reader.map_err(|error| KitError::Failed(error.to_string()))?.index)
    }

    /// The folder's disk.
    ///
    /// # Errors
    /// [`KitError::Failed`].
    pub fn store(&self) -> Result<Store, KitError> {
        let store = self.runtime.block_on(self.control.asker().store(NAME));
        store.map_err(|error| KitError::Failed(error.to_string()))
    }

    /// Connects the neighbour.
    ///
    /// # Errors
    /// As [`Peer::connect`].
    pub fn connect(
        &mut self,
        contents: &Arc<Contents>,
        memory: &Arc<Memory>,
        hears: Hears,
    ) -> Result<(), KitError> {
        let says = {
            let _within = self.runtime.enter();
            self.control.hears_sessions()
        };
        let who = (&self.identities.peer, self.identities.site.id());
        let what = (Arc::clone(contents), Arc::clone(memory));
        self.peer = Some(Peer::connect(who, what, says, hears)?);
        Ok(())
    }

    /// The neighbour, where it is connected.
    pub fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }

    /// Has the folder scanned, and waits for the end of that and of what follows.
    ///
    /// # Errors
    /// [`KitError`].
    pub fn scan(&self) -> Result<(), KitError> {
        let asked = self.runtime.block_on(self.control.asker().scan(None));
        asked.map_err(|error| KitError::Failed(error.to_string()))?;
        self.settle()
    }

    /// Waits until no scan runs and, where the neighbour is connected, nothing is left to be done,
    /// told or heard.
    ///
    /// # Errors
    /// [`KitError::Late`] says what it is at; and as [`Site::facts`].
    pub fn settle(&self) -> Result<(), KitError> {
        let began = Instant::now();
        let mut calm = 0;
        loop {
            let facts = self.facts()?;
            let is_done = match &self.peer {
                None => !facts.is_scanning,
                Some(peer) => {
                    let is_told = facts.peers.iter().all(|peer| peer.outstanding == Some(0));
                    facts.state == FolderState::InSync
                        && facts.reason.is_none()
                        && is_told
                        && peer.is_stored()
                }
            };
            // What was begun by the last event is seen with the next look.
            calm = if is_done { calm + 1 } else { 0 };
            if calm > 1 {
                return Ok(());
            }
            if began.elapsed() > PATIENCE {
                return Err(KitError::Late(format!("the site does not come to rest: {facts:?}")));
            }
            std::thread::sleep(self.glance);
        }
    }

    /// Stops it in order.
    pub fn stop(self) {
        let Self { peer, control, .. } = self;
        drop(peer);
        drop(control);
    }
}

/// A runtime for what the product does beside its loop.
///
/// # Errors
/// [`KitError::Io`].
pub fn runtime() -> Result<Arc<Runtime>, KitError> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    Ok(Arc::new(runtime.map_err(KitError::io("a runtime"))?))
}
