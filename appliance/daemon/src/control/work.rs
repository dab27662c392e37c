//! What is to be done in a folder, done: asked for, staged, put in place in the commit order; and what
//! neighbours ask for, given.

use super::fetch::{self, Fetch, LocalCopy, Wish};
use super::folder::{Fetching, Folder, FolderError, wall_millis};
use crate::index::Durability;
use crate::scan::identity_of;
use crate::site::{Outbox, Outgoing};
use crate::store::{Prepared, Ready, StoreError};
use farhaul_engine::files::dir::Meta;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::{Index as _, Placed, StateError, Task};
use farhaul_sync::message::Wanted;
use farhaul_sync::version::{Content, ManifestId, Version};
use std::fs::File;
use std::sync::Arc;

/// Paths dealt with at a time.
const TASKS: usize = 1024;
/// Files that are asked for and not here yet.
const FETCHES_MAX: usize = 512;
/// Bytes of them, after which no other is asked for.
const FETCH_BYTES_MAX: u64 = 256 << 20;

/// What is to be done at a path.
struct Todo {
    path: RelPath,
    task: Task,
    placed: Option<Placed>,
}

impl Folder {
    pub(super) fn work(&mut self) -> Result<(), FolderError> {
        loop {
            let before = self.cursor.take();
            let todo = self.index.read().unsettled(before.as_ref(), TASKS)?;
            if todo.len() == TASKS {
                self.cursor = todo.last().cloned();
            }
            let tasks = self.tasks(todo)?;
            let mut prepared = Vec::new();
            let mut wishes = Vec::new();
            // What is above is made first; what goes, goes from beneath.
            let removes = |task: &&Todo| task.task == Task::Remove;
            for todo in tasks.iter().filter(|task| !removes(task)) {
                self.begin(todo, &mut prepared, &mut wishes)?;
            }
            for todo in tasks.iter().rev().filter(removes) {
                self.begin(todo, &mut prepared, &mut wishes)?;
            }
            self.ask(wishes);
            let is_last = prepared.is_empty() && before.is_none() && self.cursor.is_none();
            if !prepared.is_empty() {
                // Where nothing can be changed now, it is tried again with the next event.
                if self.commit(prepared)? == 0 {
                    return Ok(());
                }
            } else if is_last || self.is_full() {
                return Ok(());
            } else if self.cursor.is_none() {
                // All of it was gone through once.
                return Ok(());
            }
        }
    }

    /// What is to be done at each path, as far as it is not under way.
    fn tasks(&mut self, paths: Vec<RelPath>) -> Result<Vec<Todo>, FolderError> {
        let fetching = std::mem::take(&mut self.fetching);
        let tasks = self.change(Durability::Later, |state| {
            let mut tasks = Vec::new();
            for path in paths {
                if !fetching.contains_key(&path) {
                    let task = state.task(&path)?;
                    let placed = state.index().item(&path).map_err(StateError::Index)?.placed;
                    tasks.push(Todo { path, task, placed });
                }
            }
            Ok(tasks)
        });
        self.fetching = fetching;
        tasks
    }

    /// Begins what is to be done at a path, if it can be done now.
    fn begin(
        &mut self,
        todo: &Todo,
        prepared: &mut Vec<Prepared>,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), FolderError> {
        let Todo { path, task, placed } = todo;
        let old = placed.as_ref();
        let begun = match task {
            Task::Settled => return Ok(()),
            Task::SetMeta(version) => {
                let Some(old) = old else { return Ok(()) };
                self.store.prepare_describe(path, version, old)
            }
            Task::Remove => {
                let Some(old) = old else { return Ok(()) };
                self.store.prepare_remove(path, old)
            }
            Task::MakeDir => return self.make_dir(path),
            Task::Place(version) => match &version.content {
                Content::Dir => self.store.ready_dir(&version.meta),
                Content::Symlink { target } => self.store.ready_link(target, &version.meta),
                Content::File { manifest, size } => {
                    if let Some(wish) = self.wish(path, version, (*manifest, *size))? {
                        wishes.push(wish);
                    }
                    return Ok(());
                }
                Content::Gone => return Ok(()),
            }
            .and_then(|ready| {
                let begun = self.store.prepare_put(path, &ready, version, old);
                begun.inspect_err(|_| self.store.drop_ready(&ready))
            }),
        };
        match begun {
            Ok(begun) => prepared.push(begun),
            Err(error) => {
                tracing::debug!(%path, %error, "not now");
                self.health.failed(path, error.to_string());
            }
        }
        Ok(())
    }

    /// Whether as much is asked for as may be.
    pub(super) fn is_full(&self) -> bool {
        let bytes = self.fetching.values().map(|fetch| fetch.size).fold(0, u64::saturating_add);
        self.fetching.len() >= FETCHES_MAX || bytes > FETCH_BYTES_MAX
    }

    /// Makes a directory that something beneath needs; the next scan publishes it.
    fn make_dir(&self, path: &RelPath) -> Result<(), FolderError> {
        if let Err(error) = self.store.root().make_dirs(path, 0o755) {
            tracing::debug!(%path, %error, "not now");
        }
        Ok(())
    }

    fn wish(
        &mut self,
        path: &RelPath,
        version: &Version,
        (manifest, size): (ManifestId, Bytes),
    ) -> Result<Option<Wish>, FolderError> {
        if self.is_full() {
            return Ok(None);
        }
        match self.store.stage(path, manifest, size, &[]) {
            Ok(staged) => {
                let here = self.find(manifest);
                let fetching = Fetching { size: size.get(), from: None };
                self.fetching.insert(path.clone(), fetching);
                let (path, version, size) = (path.clone(), version.clone(), size.get());
                let wish = Wish { path, version, staged, size };
                let Some((file, _)) = here else { return Ok(Some(wish)) };
                let (folder, keys, events) =
                    (self.setup.key, Arc::clone(&self.keys), self.events.clone());
                let copy = LocalCopy { folder, keys, wish, file, events };
                let thread = std::thread::Builder::new().name("farhaul-copy".to_owned());
                thread.spawn(move || copy.run()).map_err(FolderError::Thread)?;
                Ok(None)
            }
            Err(error) => {
                tracing::warn!(%path, %error, "cannot be staged");
                self.health.failed(path, format!("cannot be staged: {error}"));
                Ok(None)
            }
        }
    }

    /// Asks a neighbour. Which one goes by turns, so that one that lacks something is not asked for
    /// it for ever.
    fn ask(&mut self, wishes: Vec<Wish>) {
        if wishes.is_empty() {
            return;
        }
        if self.neighbours.is_empty() {
            for wish in &wishes {
                self.fetching.remove(&wish.path);
            }
            return;
        }
        let turn = usize::try_from(wall_millis() % 1009).unwrap_or(0);
        let count = self.neighbours.len().max(1);
        let Some(neighbour) = self.neighbours.values().nth(turn % count) else { return };
        let wanted = wishes.iter().filter_map(|wish| match wish.version.content {
            Content::File { manifest, .. } => Some(Wanted::Whole { manifest }),
            _ => None,
        });
        let wanted = wanted.collect();
        for wish in &wishes {
            if let Some(fetching) = self.fetching.get_mut(&wish.path) {
                fetching.from = Some(neighbour.outbox.peer());
            }
        }
        let (folder, keys, events) = (self.setup.key, Arc::clone(&self.keys), self.events.clone());
        let intake = Box::new(Fetch { folder, keys, wishes, given: Vec::new(), events });
        if let Err(Outgoing::Ask { intake, .. }) =
            neighbour.outbox.send(Outgoing::Ask { folder, wanted, intake })
        {
            intake.end(Err("the session is over".to_owned()));
        }
    }

    /// A content came, or did not.
    pub(super) fn fetched(
        &mut self,
        path: RelPath,
        version: Version,
        ready: Result<Ready, String>,
    ) {
        self.fetching.remove(&path);
        match ready {
            Ok(ready) => self.arrived.push((path, version, ready)),
            // It is asked for again; nothing is lost meanwhile.
            Err(why) => {
                tracing::warn!(%path, why, "did not come");
                self.health.failed(&path, format!("did not come: {why}"));
            }
        }
    }

    /// Puts what came in place, if it is still wanted there.
    pub(super) fn put_arrived(&mut self) -> Result<(), FolderError> {
        let arrived = std::mem::take(&mut self.arrived);
        if arrived.is_empty() {
            return Ok(());
        }
        let tasks = self.tasks(arrived.iter().map(|(path, ..)| path.clone()).collect())?;
        let mut prepared = Vec::new();
        for (Todo { path, task, placed }, (_, version, ready)) in tasks.iter().zip(&arrived) {
            let begun = match task {
                Task::Place(now) if now.content == version.content => {
                    self.store.prepare_put(path, ready, now, placed.as_ref()).map(Some)
                }
                _ => Ok(None),
            };
            match begun {
                Ok(Some(begun)) => {
                    prepared.push(begun);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::info!(%path, %error, "is looked at again before it is replaced");
                }
            }
            self.store.drop_ready(ready);
        }
        self.commit(prepared).map(drop)
    }

    /// The commit order: intents durable, renames, names durable, index durable.
    /// Returns how many changes were made.
    fn commit(&mut self, prepared: Vec<Prepared>) -> Result<usize, FolderError> {
        if prepared.is_empty() {
            return Ok(0);
        }
        self.store.check_there()?;
        let intents: Vec<_> = prepared.iter().map(Prepared::intent).collect();
        let recorded = self.index.record(&intents)?;
        let mut swapped = Vec::new();
        let mut is_half_done = false;
        for (prepared, recorded) in prepared.into_iter().zip(&recorded) {
            let path = prepared.intent().path.clone();
            match prepared.swap(recorded) {
                Ok(done) => swapped.push(done),
                // Its intent says what it was to be.
                Err(error @ StoreError::HalfDone { .. }) => {
                    tracing::error!(%path, %error, "is decided as after a stop");
                    is_half_done = true;
                }
                Err(error) => {
                    tracing::info!(%path, %error, "is looked at again before it is changed");
                    self.health.failed(&path, error.to_string());
                    let mut forgetting = self.index.begin(Durability::Now)?;
                    forgetting.forget_intent(recorded.id())?;
                    forgetting.commit()?;
                }
            }
        }
        let made = swapped.len();
        let committed = self.store.settle(swapped)?;
        let now = wall_millis() / 1000;
        self.change(Durability::Now, |state| {
            for done in &committed {
                state.index_mut().settle(done, now)?;
                for (path, placed) in &done.placed {
                    state.placed(path, placed.as_ref())?;
                }
            }
            Ok(())
        })?;
        for (path, _) in committed.iter().flat_map(|done| &done.placed) {
            self.health.worked(path);
        }
        if is_half_done {
            self.decide_intents()?;
        }
        Ok(made)
    }

    /// A neighbour asks for contents.
    pub(super) fn asked(&mut self, peer: SiteId, id: u64, wanted: &[Wanted], outbox: &Outbox) {
        if !self.setup.peers.contains(&peer) {
            return fetch::give_nothing(id, wanted.len(), outbox);
        }
        let files = wanted.iter().map(|wanted| match wanted {
            Wanted::Whole { manifest } => self.find(*manifest),
            Wanted::Manifest { .. } | Wanted::Chunks { .. } => None,
        });
        fetch::give(id, files.collect(), outbox);
    }

    /// A file of that content that is still as the index knows it.
    fn find(&self, manifest: ManifestId) -> Option<(File, u64)> {
        let mut after = None;
        while let Ok(Some(path)) = self.index.read().path_of_content(manifest, after.as_ref()) {
            let placed = self.index.read().item(&path).ok().and_then(|item| item.placed);
            if let (Some(placed), Ok(file)) = (placed, self.store.root().open_file(&path)) {
                let now = Meta::of(&file).ok();
                if now.is_some_and(|now| identity_of(&now) == placed.identity) {
                    return Some((file, placed.identity.size));
                }
            }
            after = Some(path);
        }
        // What lost its place may be what others lack.
        let kept = self.index.read().kept_with(manifest).ok().flatten()?;
        let file = self.store.open_kept(&kept.name).ok()?;
        Some((file, kept.size))
    }
}
