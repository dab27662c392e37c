//! One folder in the control loop: its index, its store, its neighbours, and what is under way.

use super::Event;
use super::compare::{Allowances, Checks, Comparison};
use super::contents::{Contents, Refill};
use super::doubts::Doubts;
use super::fetching::Fetching;
use super::health::Health;
use super::holders::observe;
use super::links::{Linking, group_found};
use super::listen::Hearing;
use super::mending::Mending;
use super::naming::Naming;
use super::opening::Progress;
use super::recover::Undecided;
use super::scrub::Scrub;
use super::sift::{links_so, over};
use super::thin::Thinning;
use super::upkeep::Upkeep;
use super::watching::Ears;
use super::work::Going;
use crate::events::Said;
use crate::index::{Durability, Index, Transaction};
use crate::site::{InLine, Outbox};
use crate::store::{Ready, Store};
use crate::watch::Shown;
use farhaul_api::EventKind;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::identity::{Identity, PublicKey, Purpose};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::folder::{Ack, Feed, FolderState, Found, Origin, Publisher};
use farhaul_sync::message::{Followed, Shared};
use farhaul_sync::seal::Statement;
use farhaul_sync::version::{Author, Incarnation, Serial, Version};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// What an author signs when it seals records (S-022).
pub(super) const SEALED: Purpose = Purpose::new(Statement::PURPOSE);
/// How soon it is scanned after something that was found could not be taken in, or was not found.
pub(super) const SCAN_AGAIN: Duration = Duration::from_mins(1);

pub use super::setup::{FolderError, FolderSetup};

/// A neighbour that shares the folder.
pub(super) struct Neighbour {
    pub(super) outbox: Outbox,
    pub(super) feed: Feed,
    /// That it is to be told more, and its session had no room for it.
    pub(super) in_line: Option<InLine>,
    /// What both hold is compared.
    pub(super) comparison: Option<Comparison>,
    /// Its arrival numbers when it came.
    pub(super) head: u64,
    /// What it tells up to this number of its may have been deleted since.
    pub(super) stale_until: u64,
    /// Up to where it called what it was sent durable, in this session.
    pub(super) stored: u64,
    /// It was asked to tell again from where it is followed, and has not yet.
    pub(super) asked_again: bool,
    /// What it tells finds no room before something that is set aside was taken in.
    pub(super) is_held: bool,
}

/// One folder.
pub(crate) struct Folder {
    pub(super) setup: FolderSetup,
    pub(super) index: Index,
    pub(super) store: Store,
    pub(super) publisher: Publisher,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) identity: Identity,
    pub(super) public: PublicKey,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) neighbours: BTreeMap<SiteId, Neighbour>,
    /// When there was one for the last time; before the first, when it was opened.
    pub(super) together: Instant,
    /// What is known of its contents.
    pub(super) contents: Contents,
    /// Files that are on their way in.
    pub(super) fetching: Fetching,
    pub(super) scan: Option<Stop>,
    /// When the next scan is due.
    pub(super) next_scan: Instant,
    /// When the last one ended.
    pub(super) last_scan: Option<Instant>,
    /// Something calls for another one as soon as this one is over.
    pub(super) is_scan_due_again: bool,
    /// Who hears of changes, and how that goes.
    pub(super) ears: Option<Ears>,
    pub(super) shown: Arc<Shown>,
    /// What was found and not taken in yet.
    looks: Vec<(RelPath, Option<Found>)>,
    /// What came and is verified, and not in place yet.
    pub(super) arrived: Vec<(RelPath, Version, Ready)>,
    pub(super) going: Going,
    pub(super) naming: Naming,
    pub(super) mending: Mending,
    pub(super) hearing: Hearing,
    pub(super) upkeep: Upkeep,
    pub(super) undecided: Undecided,
    pub(super) linking: Linking,
    pub(super) scrub: Scrub,
    pub(super) thinning: Thinning,
    pub(super) health: Health,
    pub(super) doubts: Doubts,
    pub(super) allowances: Allowances,
    pub(super) checks: Checks,
    /// The how manyth folder that was opened: whoever held something of another one asks anew.
    pub(super) opened: u64,
    /// Nothing is looked at, fetched or changed.
    pub(super) is_paused: bool,
    /// What waits for a person because it is a mass change, as it was last said.
    pub(super) braked: BTreeSet<Origin>,
    /// The scan that runs was stopped, and another one is to begin when it has ended.
    pub(super) scans_again: bool,
}

impl Folder {
    /// Opens it, which may take minutes: not in the loop.
    pub(super) fn open(
        setup: FolderSetup,
        identity: &Identity,
        events: mpsc::Sender<Event>,
        (health, opened): (Health, u64),
        progress: &Progress,
    ) -> Result<Self, FolderError> {
        let (store, mut index, contents) = setup.open_all(identity.id(), progress)?;
        let next = index.begin(Durability::Now)?.next_serial().unwrap_or(Serial::FIRST);
        // Nothing is published before the neighbours are heard (spec: S-024).
        let publisher = Publisher::new(index.author(), next).silent(true);
        let hearing = Hearing::new(setup.peers.iter().copied());
        let keys = Arc::new(ContentKeys::of(&setup.key));
        let (identity, public) = (identity.clone(), identity.public_key());
        let (folder, stop) = (setup.key, Stop::default());
        let (root, reader) = (store.root().clone(), index.reader()?);
        let refill = Refill::new((root, reader), &keys, &contents, &stop);
        let fetching = Fetching::new((folder, &keys), &store, &contents, &events, stop);
        let (neighbours, scan) = (BTreeMap::new(), None);
        let is_paused = super::revise::is_paused(&setup.state);
        let mut folder = Self {
            setup,
            index,
            store,
            publisher,
            keys,
            identity,
            public,
            events,
            neighbours,
            together: Instant::now(),
            contents,
            fetching,
            scan,
            next_scan: Instant::now(),
            last_scan: None,
            is_scan_due_again: false,
            ears: None,
            shown: Arc::default(),
            looks: Vec::new(),
            arrived: Vec::new(),
            going: Going::default(),
            naming: Naming::default(),
            mending: Mending::default(),
            hearing,
            upkeep: Upkeep::default(),
            undecided: Undecided::default(),
            linking: Linking::default(),
            scrub: Scrub::default(),
            thinning: Thinning::default(),
            health,
            doubts: Doubts::default(),
            allowances: Allowances::default(),
            checks: Checks::default(),
            opened,
            is_paused,
            braked: BTreeSet::new(),
            scans_again: false,
        };
        folder.take_part_in_swarms();
        folder.upkeep.begin(folder.index.was_cut());
        folder.recover()?;
        folder.return_to_service(progress.stop())?;
        folder.open_scrub()?;
        folder.take_up_guards()?;
        refill.start().map_err(FolderError::Thread)?;
        folder.keep_room();
        Ok(folder)
    }

    pub(super) fn close(self) {
        self.stop_jobs();
        self.fetching.end();
        if let Err(error) = self.index.close() {
            tracing::error!(folder = %self.setup.name, %error, "the index was not closed");
        }
    }

    /// Whether something runs in threads of its own.
    #[cfg(test)]
    pub(super) fn is_busy(&self) -> bool {
        self.scan.is_some()
            || self.fetching.is_busy()
            || self.upkeep.is_busy()
            || self.scrub.is_busy()
            || self.thinning.is_busy()
            || self.mending.is_busy()
    }

    /// Ends what runs in threads of its own.
    pub(super) fn stop_jobs(&self) {
        if let Some(scan) = &self.scan {
            scan.set();
        }
        self.fetching.stop();
        self.upkeep.stop();
        self.scrub.stop();
        self.thinning.stop();
        self.mending.stop();
    }

    /// What a peer is offered, if the folder is shared with it.
    pub(super) fn share_with(&self, peer: SiteId) -> Option<Shared> {
        let followed = self.index.read().followed(peer);
        let followed = followed.unwrap_or_else(|error| {
            // Then it tells everything again, which changes nothing.
            tracing::error!(%error, "it is not known how far a peer is followed");
            None
        });
        let (folder, epoch) = (self.setup.key, self.index.author().incarnation.get());
        // Who gives nothing has nothing that anybody could wait for (spec: S-143).
        let head = if self.gives() { self.index.last_seq().get() } else { 0 };
        self.setup.peers.contains(&peer).then_some(Shared { folder, epoch, head, followed })
    }

    /// Starts a scan unless one runs.
    pub(super) fn scan(&mut self) {
        if self.scan.is_some() || self.is_paused {
            return;
        }
        let started = self.start_scan();
        if started.is_ok() {
            self.health.scan_begins();
            self.health.say(Said::that(EventKind::ScanStarted));
        }
        self.note("cannot be scanned", started);
    }

    fn start_scan(&mut self) -> Result<(), FolderError> {
        self.store.check_there()?;
        let stop = Stop::default();
        let job = self.scan_job(stop.clone())?;
        let thread = std::thread::Builder::new().name("farhaul-scan".to_owned());
        thread.spawn(move || job.run()).map_err(FolderError::Thread)?;
        self.scan = Some(stop);
        Ok(())
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.scan.is_some()
    }

    pub(super) fn end_scan(&mut self) {
        self.scan = None;
    }

    /// Somebody looked at paths. Meanwhile this site may have put something there itself: what was
    /// seen counts only if it is what stands there now.
    pub(super) fn looked(&mut self, path: RelPath, found: Option<Found>) {
        self.health.is_read(&path);
        self.fetching.changed(&path);
        self.looks.push((path, found));
    }

    fn take_looks(&mut self) -> Result<(), FolderError> {
        // What is not taken in is found again.
        self.take_all_looks().inspect_err(|_| {
            self.next_scan = self.next_scan.min(Instant::now() + SCAN_AGAIN);
        })
    }

    fn take_all_looks(&mut self) -> Result<(), FolderError> {
        let mut looks = std::mem::take(&mut self.looks);
        // Whoever looked may have begun under other patterns (spec: S-157).
        looks.retain(|(path, found)| {
            !self.is_left_out(path, found.as_ref()) && !self.undecided.has(path)
        });
        // Of another disk, or none, in its place nothing is to be published (spec: S-040). A scan
        // comes by once the folder is there again.
        if !looks.is_empty() {
            self.store.check_there().inspect_err(|_| self.next_scan = Instant::now())?;
        }
        let root = self.store.root();
        // What is announced outlives a power cut: a user's file is on disk before its version is, and
        // gone from it before its tombstone is. A disk that fails at that may have dropped anything.
        if !looks.is_empty() {
            self.store.sync_all()?;
        }
        let (mut outdated, mut named) = (Vec::new(), BTreeMap::new());
        looks.retain(|(path, found)| {
            let links = links_so(root, path, found.as_ref());
            match links {
                Some(links) if links > 1 => _ = named.insert(path.clone(), links),
                Some(_) => {}
                None => outdated.push(over(&mut self.upkeep, path, found.as_ref())),
            }
            links.is_some()
        });
        let damaged = self.sift(&mut looks)?;
        let (identity, public) = (self.identity.clone(), self.public);
        if looks.is_empty() && outdated.is_empty() && damaged.is_empty() {
            return self.end_cut();
        }
        let names = (self.setup.key, self.identity.id());
        let gone = super::contents::gone(&looks);
        let linked = self.change(Durability::Now, |state| {
            let mut linked = Vec::new();
            for (path, found) in &mut looks {
                let Some(found) = found else { continue };
                let links = named.get(path).copied().unwrap_or(1);
                found.meta.link = group_found(&state.index().read(), names, path, (found, links))?;
                if links > 1 {
                    linked.push((path.clone(), found.clone()));
                }
            }
            state.weigh_looks(&looks, wall_millis())?;
            for path in outdated {
                state.forget_look(&path)?;
            }
            for (path, mut found) in damaged {
                let known = state.index().read().name_at(&path)?;
                found.meta.link = known.and_then(|known| known.meta.link);
                state.damaged(&path, found)?;
            }
            for (path, found) in looks {
                observe(state, &path, found)?;
                if state.is_run_full() {
                    seal(state, &identity, public)?;
                }
            }
            Ok(linked)
        })?;
        self.contents.forget_gone(gone);
        self.end_cut()?;
        self.note_brake()?;
        self.look_at_names(&linked)
    }

    /// Does something to the state in one transaction, and signs what it publishes.
    pub(super) fn change<T>(
        &mut self,
        durability: Durability,
        act: impl FnOnce(&mut FolderState<Transaction<'_>>) -> Result<T, FolderError>,
    ) -> Result<T, FolderError> {
        let begun = self.index.begin(durability)?;
        let state = FolderState::new(begun, self.setup.key, self.publisher.clone());
        let mut state = state.under(&self.setup.policy);
        let done = act(&mut state)?;
        seal(&mut state, &self.identity, self.public)?;
        let (transaction, publisher) = state.into_parts();
        transaction.commit()?;
        self.publisher = publisher;
        Ok(done)
    }

    /// Says what failed, and halts where that is all that can be done.
    pub(super) fn note(&mut self, what: &str, outcome: Result<(), FolderError>) {
        self.health.went(what, outcome.as_ref().err().map(ToString::to_string));
        if let Err(error) = outcome {
            tracing::error!(folder = %self.setup.name, %error, "{what}");
            self.upkeep.halt_for(&error);
            if error.is_full() && !self.upkeep.is_full() {
                self.pause_for_room(&error);
            }
        }
    }

    /// A peer shares the folder: it is told what it has not.
    pub(super) fn shared(&mut self, peer: SiteId, theirs: &Shared, outbox: Outbox) {
        if !self.setup.peers.contains(&peer) {
            tracing::warn!(folder = %self.setup.name, %peer, "offers a folder that is not for it");
            return;
        }
        let incarnation = self.index.author().incarnation;
        let start = Followed::start(theirs.followed, incarnation);
        let is_ahead = start > self.index.last_seq().get();
        let last = if self.gives() { self.index.last_seq().get() } else { 0 };
        let outbox_too = outbox.clone();
        let hearer = Author { site: peer, incarnation: Incarnation::new(theirs.epoch) };
        let feed = Feed::greeting(start.min(last), hearer);
        let is_stale =
            self.index.read().floor().map(|floor| Ack::of(theirs).is_stale(incarnation, floor));
        let stale_until = if is_stale.unwrap_or(true) { theirs.head } else { 0 };
        if stale_until > 0 {
            let anew = self.follow_anew(peer, theirs.epoch);
            self.note_once("a neighbour is not followed anew", anew);
        }
        let stored = feed.sent();
        let (head, comparison, asked_again, is_held) = (theirs.head, None, false, false);
        let in_line = None;
        let neighbour = Neighbour {
            outbox,
            feed,
            in_line,
            comparison,
            head,
            stale_until,
            stored,
            asked_again,
            is_held,
        };
        self.neighbours.insert(peer, neighbour);
        self.fetching.givers().join(outbox_too.clone());
        self.fetching.shared().swarms.meet(outbox_too);
        let came = self.came(peer, theirs);
        self.note_once("what a neighbour has cannot be kept", came);
        if stale_until > 0 {
            self.ask_again(peer);
        }
        if is_ahead {
            let renewed = self.renew();
            self.note_once("no new incarnation", renewed);
        }
        self.begin_to_compare(peer, theirs);
    }

    pub(super) fn lost(&mut self, peer: SiteId) {
        self.neighbours.remove(&peer);
        self.together = Instant::now();
        self.left(peer);
        self.fetching.givers().leave(peer);
        self.fetching.shared().swarms.lose(peer);
    }

    pub(super) fn stored(&mut self, peer: SiteId, epoch: u64, up_to: u64) {
        let ours = self.index.author().incarnation.get();
        if let Some(neighbour) = self.neighbours.get_mut(&peer).filter(|_| epoch == ours) {
            neighbour.feed.stored(up_to);
            neighbour.stored = neighbour.stored.max(up_to.min(neighbour.feed.sent()));
        }
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        if !self.is_where_it_was() {
            return;
        }
        self.look_for_room();
        self.health.let_pass(Instant::now());
        if Instant::now() >= self.next_scan {
            self.scan();
        }
        let kept_up = self.keep_hearing();
        self.note("what waits cannot be tried again", kept_up);
        self.keep_deciding();
        self.give_up_comparing();
        self.keep_checking();
        self.say_doubts();
        self.keep_scrubbing();
        self.keep_thinning();
        let reweighed = self.reweigh();
        self.note("what is held cannot be weighed again", reweighed);
        if self.fetching.look_after(self.index.read()) {
            self.going.is_due();
        }
    }

    /// Everything that can be done now: neighbours are told, paths are dealt with.
    pub(super) fn go_on(&mut self) {
        type Step = fn(&mut Folder) -> Result<(), FolderError>;
        let steps: [(&str, Step, bool); 7] = [
            ("it is not known whether all neighbours were heard", Self::end_listening, false),
            ("what waits cannot be looked at again", Self::look_again, false),
            ("what was found cannot be taken in", Self::take_looks, false),
            ("what came cannot be put in place", Self::put_arrived, true),
            ("what is to be done cannot be done", Self::work, true),
            ("neighbours cannot be told", Self::tell_neighbours, false),
            ("what was displaced cannot be looked at", Self::keep_up, true),
        ];
        for (what, step, changes) in steps {
            if self.upkeep.is_halted() {
                return;
            }
            // Nothing is put in place meanwhile.
            if self.is_paused && changes {
                continue;
            }
            let done = step(self);
            self.note(what, done);
        }
        let state = self.state();
        self.health.is_at(state);
    }
}

/// Signs what was published since the last signature.
pub(super) fn seal(
    state: &mut FolderState<Transaction<'_>>,
    identity: &Identity,
    public: PublicKey,
) -> Result<(), FolderError> {
    if let Some(statement) = state.to_seal() {
        let signature = identity.sign(SEALED, &statement.to_bytes())?;
        state.sealed(public.0, signature)?;
    }
    Ok(())
}

/// Milliseconds since 1970 by this machine's clock: it dates versions and decides nothing else.
pub(super) fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
