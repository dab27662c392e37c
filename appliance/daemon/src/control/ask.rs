//! Questions and orders for the loop: each is a deed that the loop does between events, so that it
//! stays the only one that changes folders, and an answer that whoever asked waits for.

use super::folder::{Folder, FolderError, FolderSetup};
use super::halt::Halted;
use super::opening::Opening;
use super::{Agreement, Beat, Event, Loop, Revision};
use crate::events::Events;
use crate::index::IndexReader;
use crate::moment::{millis_of, text_of_millis};
use crate::store::Store;
use crate::watch::Watching;
use farhaul_api::{FolderState, KeptStatus, ScrubStatus, Trouble, Why};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{Heard, Listening, Origin, Trip};
use farhaul_sync::version::Dot;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// After so long without any peer a folder waits for one.
const ALONE_AFTER: Duration = if cfg!(test) { Duration::ZERO } else { Duration::from_secs(30) };

/// A deed for the loop.
pub(crate) struct Command(Box<dyn FnOnce(&mut Loop) + Send>);

impl Command {
    /// A deed that nobody waits for.
    pub(super) fn of(act: impl FnOnce(&mut Loop) + Send + 'static) -> Self {
        Self(Box::new(act))
    }

    pub(super) fn act(self, body: &mut Loop) {
        (self.0)(body);
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Command")
    }
}

/// Why there is no answer, or an order was not followed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The loop is over.
    #[error("the site stops")]
    Over,
    /// No folder is called so.
    #[error("there is no folder `{name}`")]
    NoFolder {
        /// How it was called.
        name: String,
    },
    /// The folder is paused.
    #[error("the folder is paused")]
    Paused,
    /// The folder halts.
    #[error("the folder halts: {reason}")]
    Halted {
        /// Why.
        reason: String,
    },
    /// The folder is being opened.
    #[error("the folder is being opened: {stage}")]
    Opening {
        /// What is done just now.
        stage: String,
    },
    /// No conflict copy stands there.
    #[error("no copy of a conflict stands at {path}")]
    NoConflict {
        /// Where.
        path: RelPath,
    },
    /// What is to be brought back is not here.
    #[error("{path}: what is to be brought back is not kept here any more")]
    NotKept {
        /// Where.
        path: RelPath,
    },
    /// No mass change waits there.
    #[error("no mass change of that origin waits for anybody")]
    NotBraked,
    /// No such record is set aside.
    #[error("no record of that name is set aside")]
    NotAside,
    /// There still is no room for a record.
    #[error("{path} has as many versions as a path may have")]
    Crowded {
        /// Where.
        path: RelPath,
    },
    /// The folder's disk or index.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// What is to outlive a restart cannot be written.
    #[error("{}: {source}", path.display())]
    State {
        /// What.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What a folder is at.
#[derive(Clone, Debug)]
pub struct FolderFacts {
    /// What it is called.
    pub name: String,
    /// Where it stands.
    pub path: PathBuf,
    /// Grows whenever a folder is opened: readers of an older one are stale.
    pub opened: u64,
    /// What it is at.
    pub state: FolderState,
    /// Why, where that is not plain.
    pub reason: Option<String>,
    /// Files on their way.
    pub fetching: u64,
    /// Their bytes.
    pub fetching_bytes: u64,
    /// Whether it is being scanned.
    pub is_scanning: bool,
    /// When a scan last ended, in milliseconds since 1970.
    pub scan_ended_millis: Option<u64>,
    /// When the next one is due.
    pub next_scan: Duration,
    /// How changes in it are heard of.
    pub watching: Watching,
    /// How its files are read again.
    pub scrub: ScrubStatus,
    /// What is kept of what was displaced in it.
    pub kept: KeptStatus,
    /// What does not work.
    pub troubles: Vec<Trouble>,
    /// Paths at which something failed when it was last tried.
    pub failing: u64,
    /// Mass changes that wait for a person.
    pub trips: Vec<(Origin, Trip)>,
    /// Neighbours that are to be heard before anything is published.
    pub unheard: Vec<SiteId>,
    /// With whom it is shared.
    pub peers: Vec<PeerFacts>,
}

/// A peer of a folder.
#[derive(Clone, Copy, Debug)]
pub struct PeerFacts {
    /// Who.
    pub id: SiteId,
    /// Records that it has not called durable, if it shares the folder now.
    pub outstanding: Option<u64>,
    /// What came of the last comparison of what both hold, of those that follow each other.
    pub compared: Option<Agreement>,
}

/// A way to look into a folder from another thread.
#[derive(Debug)]
pub struct Reader {
    /// The index.
    pub index: IndexReader,
    /// As in [`FolderFacts`].
    pub opened: u64,
}

/// Where questions are asked and orders given. Cloning it shares it.
#[derive(Clone, Debug)]
pub struct Asker {
    events: mpsc::WeakSender<Event>,
    beat: Arc<Beat>,
    log: Events,
}

impl Asker {
    pub(super) fn new(events: &mpsc::Sender<Event>, log: Events) -> Self {
        // Whoever may still ask does not keep the loop's ticker alive.
        Self { events: events.downgrade(), beat: Arc::default(), log }
    }

    /// When the loop last went round.
    pub const fn beat(&self) -> &Arc<Beat> {
        &self.beat
    }

    /// What happens.
    pub const fn log(&self) -> &Events {
        &self.log
    }

    /// Has the loop do something, and waits for what comes of it.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Loop) -> T + Send + 'static,
    ) -> Result<T, AskError> {
        let events = self.events.upgrade().ok_or(AskError::Over)?;
        let (answer, answered) = oneshot::channel();
        let command = Command(Box::new(move |body: &mut Loop| {
            let _ = answer.send(act(body));
        }));
        events.send(Event::Command(command)).await.map_err(|_| AskError::Over)?;
        answered.await.map_err(|_| AskError::Over)
    }

    /// The same with one folder.
    pub(super) async fn ask_folder<T: Send + 'static>(
        &self,
        name: &str,
        act: impl FnOnce(&mut Folder) -> Result<T, AskError> + Send + 'static,
    ) -> Result<T, AskError> {
        let name = name.to_owned();
        let done = self.ask(move |body| {
            let folder = body.folders.values_mut().find(|folder| folder.setup.name == name);
            if let Some(folder) = folder {
                return act(folder);
            }
            Err(body.why_not(name))
        });
        done.await?
    }

    /// As if all neighbours had been heard.
    #[cfg(test)]
    pub(crate) async fn hear_all(&self) {
        let heard = self.ask(|body| body.folders.values_mut().for_each(Folder::hear_all)).await;
        heard.expect("the loop runs");
    }

    /// What all folders are at.
    ///
    /// # Errors
    /// [`AskError::Over`].
    pub async fn folders(&self) -> Result<Vec<FolderFacts>, AskError> {
        self.ask(|body| {
            let open = body.folders.values().map(Folder::facts);
            let halted = body.halted.values().map(facts_of);
            let opening = body.opening.values().filter_map(facts_of_opening);
            let mut all: Vec<FolderFacts> = open.chain(halted).chain(opening).collect();
            all.sort_by(|a, b| a.name.cmp(&b.name));
            all
        })
        .await
    }

    /// A way to look into a folder.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn reader(&self, name: &str) -> Result<Reader, AskError> {
        let reader = self.ask_folder(name, |folder| {
            let index = folder.index.reader().map_err(FolderError::Index)?;
            Ok(Reader { index, opened: folder.opened })
        });
        reader.await
    }

    /// The disk of a folder.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn store(&self, name: &str) -> Result<Store, AskError> {
        self.ask_folder(name, |folder| Ok(folder.store.clone())).await
    }

    /// Scans a folder now, or all of them.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn scan(&self, name: Option<&str>) -> Result<(), AskError> {
        let scan = |folder: &mut Folder| match folder.is_paused {
            true => Err(AskError::Paused),
            false => {
                folder.scan_anew();
                Ok(())
            }
        };
        match name {
            Some(name) => self.ask_folder(name, scan).await,
            None => self.ask(|body| body.folders.values_mut().for_each(Folder::scan)).await,
        }
    }

    /// Reads all files of a folder again, beginning now.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn scrub(&self, name: &str) -> Result<(), AskError> {
        let scrub = |folder: &mut Folder| match folder.is_paused {
            true => Err(AskError::Paused),
            false => {
                folder.want_scrub();
                Ok(())
            }
        };
        self.ask_folder(name, scrub).await
    }

    /// Pauses a folder, or lets it go on; it stays so over restarts.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn pause(&self, name: &str, is_paused: bool) -> Result<(), AskError> {
        self.ask_folder(name, move |folder| folder.pause(is_paused)).await
    }

    /// Why a path is not in sync.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn why(&self, name: &str, path: RelPath) -> Result<Why, AskError> {
        self.ask_folder(name, move |folder| folder.why(&path)).await
    }

    /// Publishes what is to stand at paths. How many of them were not so already.
    ///
    /// # Errors
    /// [`AskError`]; nothing is published then.
    pub async fn revise(&self, name: &str, wanted: Vec<Revision>) -> Result<u64, AskError> {
        self.ask_folder(name, move |folder| folder.revise(wanted)).await
    }

    /// Lets go mass changes that are held, of one origin or of all. What they were.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn confirm(&self, name: &str, origin: Option<Origin>) -> Result<Vec<Trip>, AskError> {
        self.ask_folder(name, move |folder| folder.confirm(origin)).await
    }

    /// Undoes mass changes that are held, of one origin or of all. What they were.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn refuse(&self, name: &str, origin: Option<Origin>) -> Result<Vec<Trip>, AskError> {
        self.ask_folder(name, move |folder| folder.refuse(origin)).await
    }

    /// Takes back edits that this site may not publish: at a path and beneath it, or all of them. How
    /// many there were.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn revert(&self, name: &str, within: Option<RelPath>) -> Result<u64, AskError> {
        self.ask_folder(name, move |folder| folder.revert(within.as_ref())).await
    }

    /// Takes in a record that was set aside, or deletes that version everywhere. Of which path it is.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn decide_aside(
        &self,
        name: &str,
        dot: Dot,
        accepts: bool,
    ) -> Result<RelPath, AskError> {
        self.ask_folder(name, move |folder| folder.decide_aside(dot, accepts)).await
    }

    /// Ends the conflict whose copy stands at `copy`.
    ///
    /// # Errors
    /// [`AskError`].
    pub async fn resolve(
        &self,
        name: &str,
        copy: RelPath,
        keeps_copy: bool,
    ) -> Result<(), AskError> {
        self.ask_folder(name, move |folder| folder.resolve(&copy, keeps_copy)).await
    }
}

impl Loop {
    /// Why nothing can be asked of a folder that does not run.
    fn why_not(&self, name: String) -> AskError {
        let is_it = |setup: &FolderSetup| setup.name == name;
        let of = |halted: &Halted| AskError::Halted { reason: halted.halt.reason.clone() };
        if let Some(halted) = self.halted.values().find(|halted| is_it(&halted.setup)) {
            return of(halted);
        }
        match self.opening.values().find(|opening| opening.wanted().is_some_and(is_it)) {
            Some(opening) => match opening.still_halts() {
                Some(halted) => of(halted),
                None => AskError::Opening { stage: opening.stage().to_string() },
            },
            None => AskError::NoFolder { name },
        }
    }
}

/// What a folder that is being opened is at; none if nobody wants it any more.
fn facts_of_opening(opening: &Opening) -> Option<FolderFacts> {
    let setup = opening.wanted()?;
    if let Some(halted) = opening.still_halts() {
        return Some(facts_of(halted));
    }
    let reason = Some(opening.stage().to_string());
    Some(facts_of_closed(setup, FolderState::Opening, reason, Vec::new()))
}

/// What a folder that halts is at.
fn facts_of(halted: &Halted) -> FolderFacts {
    let Halted { setup, halt, next, .. } = halted;
    let trouble = Trouble {
        what: format!("halts ({})", halt.kind),
        why: format!("{}; {}", halt.reason, halt.kind.advice()),
        since: text_of_millis(millis_of(halt.since)),
    };
    let reason = Some(halt.reason.clone());
    let next_scan = next.saturating_duration_since(Instant::now());
    let facts = facts_of_closed(setup, FolderState::Halted, reason, vec![trouble]);
    FolderFacts { next_scan, ..facts }
}

/// What a folder is at of which nothing is open.
fn facts_of_closed(
    setup: &FolderSetup,
    state: FolderState,
    reason: Option<String>,
    troubles: Vec<Trouble>,
) -> FolderFacts {
    FolderFacts {
        name: setup.name.clone(),
        path: setup.path.clone(),
        opened: 0,
        state,
        reason,
        fetching: 0,
        fetching_bytes: 0,
        is_scanning: false,
        scan_ended_millis: None,
        next_scan: Duration::ZERO,
        watching: Watching::default(),
        scrub: ScrubStatus::default(),
        kept: KeptStatus::default(),
        troubles,
        failing: 0,
        trips: Vec::new(),
        unheard: Vec::new(),
        peers: setup
            .peers
            .iter()
            .map(|&id| PeerFacts { id, outstanding: None, compared: None })
            .collect(),
    }
}

impl Folder {
    /// What it is at.
    pub(super) fn state(&self) -> FolderState {
        let is_busy = || {
            let todo = self.index.read().unsettled(None, 1);
            self.fetching.under_way().0 > 0 || todo.is_ok_and(|todo| !todo.is_empty())
        };
        if self.is_paused {
            FolderState::Paused
        } else if self.scan.is_some() {
            FolderState::Scanning
        } else if !self.braked.is_empty() || self.upkeep.is_full() {
            FolderState::Waiting
        } else if is_busy() {
            FolderState::Syncing
        } else if self.has_something_waiting() {
            FolderState::Waiting
        } else {
            FolderState::InSync
        }
    }

    /// Whether something is left alone that is known of: what is not published, what was set aside,
    /// what does not work.
    fn has_something_waiting(&self) -> bool {
        let reading = self.index.read();
        self.listening().is_some()
            || self.is_alone_for_long()
            || self.health.has_troubles()
            || self.health.has_unread()
            || !self.undecided.is_empty()
            || reading.looks(None, 1).map_or(true, |looks| !looks.is_empty())
            || reading.asides(None, 1).map_or(true, |asides| !asides.is_empty())
    }

    /// What all of it waits for.
    pub(super) fn waits_for(&self) -> Option<String> {
        if self.upkeep.is_full() {
            return Some("its disk is full: nothing is fetched until there is room".to_owned());
        }
        if self.listening().is_some() {
            return Some("what changes here waits until its peers were heard".to_owned());
        }
        self.is_alone().then(|| "no peer that shares it is connected".to_owned())
    }

    /// Whether nobody can be told or asked of those who share it: whether it is the same elsewhere
    /// is not known then.
    pub(super) fn is_alone(&self) -> bool {
        self.neighbours.is_empty() && !self.setup.peers.is_empty()
    }

    /// The same, and no link that only comes and goes: each change of a state is told.
    fn is_alone_for_long(&self) -> bool {
        self.is_alone() && self.together.elapsed() >= ALONE_AFTER
    }

    fn facts(&self) -> FolderFacts {
        let state = self.state();
        // An index that cannot be read is a trouble of its own.
        let trips = self.trips().unwrap_or_default();
        let reason = match state {
            FolderState::Paused => Some("somebody paused it".to_owned()),
            _ => self.waits_for(),
        };
        let last = self.index.last_seq().get();
        let peer = |&id: &SiteId| PeerFacts {
            id,
            outstanding: self.neighbours.get(&id).map(|peer| last.saturating_sub(peer.stored)),
            compared: self.checks.last(id),
        };
        let (fetching, fetching_bytes) = self.fetching.under_way();
        let heard = self.listening().into_iter().flat_map(Listening::neighbours);
        let unheard = heard.filter(|(_, heard)| *heard != Heard::All).map(|(site, _)| site);
        FolderFacts {
            name: self.setup.name.clone(),
            path: self.setup.path.clone(),
            opened: self.opened,
            state,
            reason,
            fetching,
            fetching_bytes,
            is_scanning: self.scan.is_some(),
            scan_ended_millis: self.health.scan_ended_millis(),
            next_scan: self.next_scan.saturating_duration_since(Instant::now()),
            watching: self.shown.get(),
            scrub: self.scrub.status(self.setup.scrub),
            kept: self.thinning.status(),
            troubles: self.health.troubles(),
            failing: self.health.failing(),
            trips,
            unheard: unheard.collect(),
            peers: self.setup.peers.iter().map(peer).collect(),
        }
    }
}
