//! What is to be done in a folder, done: asked for, and put in place in the commit order.

use super::Event;
use super::alarm::again_at;
use super::fetch::Wish;
use super::fetching::note_places;
use super::folder::{Folder, FolderError, wall_millis};
use super::guards::is_left_out;
use super::links::{Beside, file_of, is_alike_but_for_group};
use crate::index::Durability;
use crate::store::{Prepared, Ready, Recorded, StoreError, Swapped};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::{Index as _, Placed, StateError, Task};
use farhaul_sync::version::{Content, ManifestId, Version};
use std::time::Instant;

/// Paths dealt with at a time.
const TASKS: usize = 1024;
/// How many times as many, before other things are done.
const ROUNDS_MAX: usize = 16;

/// What is to be done at a path.
struct Todo {
    path: RelPath,
    task: Task,
    placed: Option<Placed>,
}

/// How far what is to be done was gone through.
#[derive(Debug, Default)]
pub(super) struct Going {
    /// Up to where; from there on it goes next.
    cursor: Option<RelPath>,
    /// Something happened since that may have made more of it possible.
    is_due: bool,
    /// When it is gone through once more, though nothing happens.
    again: Option<Instant>,
    /// Paths that were weighed so far.
    #[cfg(test)]
    pub(super) weighed: usize,
}

impl Going {
    /// Something happened: all of it is gone through with the next round.
    pub(super) const fn is_due(&mut self) {
        self.is_due = true;
    }
}

impl Folder {
    /// What can be begun now: for files that came, those that waited for it; all of it where something
    /// else happened.
    pub(super) fn work(&mut self) -> Result<(), FolderError> {
        for _ in 0..ROUNDS_MAX {
            let (next, is_all) = self.fetching.next_turns();
            self.going.is_due |= !is_all || self.naming.is_due();
            if next.is_empty() {
                break;
            }
            self.round(next)?;
        }
        if std::mem::take(&mut self.going.is_due) {
            let began = Instant::now();
            self.go_through()?;
            let (again, now) = (self.fetching.take_again(), Instant::now());
            self.going.again = again.map(|at| again_at(at, now, now - began));
        }
        Ok(())
    }

    /// When to go round although nothing happens; said once.
    pub(super) const fn take_again(&mut self) -> Option<Instant> {
        self.going.again.take()
    }

    /// Goes through all that is to be done, some of it at a time.
    fn go_through(&mut self) -> Result<(), FolderError> {
        let (mut is_changed, mut is_any) = (false, false);
        for _ in 0..ROUNDS_MAX {
            let before = self.going.cursor.take();
            let mut todo = self.index.read().unsettled(before.as_ref(), TASKS)?;
            if todo.len() == TASKS {
                self.going.cursor = todo.last().cloned();
            }
            todo.retain(|path| !self.fetching.is_waiting(path));
            let made = self.round(todo)?;
            is_changed |= made.is_some();
            is_any |= made.is_some();
            match made {
                // Where nothing can be changed now, it is tried again with the next event.
                Some(0) => return Ok(()),
                Some(_) => {}
                // What there is no room to remember is found once those before it are done.
                None if self.fetching.is_overrun() => return Ok(()),
                // All of it was gone through, and nothing became possible by what was done.
                None if self.going.cursor.is_none() && !is_changed => return Ok(()),
                None => {}
            }
            is_changed &= self.going.cursor.is_some();
        }
        if is_any {
            self.going.is_due = true;
            // A loop that has other things to do needs no reminder.
            let _ = self.events.try_send(Event::More);
        }
        Ok(())
    }

    /// Begins what is to be done at some paths, in order. Returns how many changes were made, if any
    /// was to be.
    fn round(&mut self, paths: Vec<RelPath>) -> Result<Option<usize>, FolderError> {
        if paths.is_empty() {
            return Ok(None);
        }
        let tasks = self.tasks(paths)?;
        let mut prepared = Vec::new();
        let mut wishes = Vec::new();
        self.begin_round();
        // What is above is made first; what goes, goes from beneath.
        let removes = |task: &&Todo| task.task == Task::Remove;
        for todo in tasks.iter().filter(|task| !removes(task)) {
            self.begin(todo, &mut prepared, &mut wishes)?;
        }
        for todo in tasks.iter().rev().filter(removes) {
            self.begin(todo, &mut prepared, &mut wishes)?;
        }
        self.fetching.ask(wishes);
        if prepared.is_empty() {
            return Ok(None);
        }
        self.commit(prepared).map(Some)
    }

    /// What is to be done at each path, as far as it is not under way.
    fn tasks(&mut self, paths: Vec<RelPath>) -> Result<Vec<Todo>, FolderError> {
        let fetching = &self.fetching;
        let paths: Vec<_> = paths.into_iter().filter(|path| !fetching.has(path)).collect();
        #[cfg(test)]
        {
            self.going.weighed += paths.len();
        }
        let rules = self.setup.rules.clone();
        self.change(Durability::Later, |state| {
            let mut tasks = Vec::new();
            for path in paths {
                // What was found there may turn out to be published. The rest comes with the next round.
                if state.is_run_full() {
                    break;
                }
                let item = state.index().item(&path).map_err(StateError::Index)?;
                if is_left_out(&rules, &path, &item) {
                    // Neither put there nor taken away (spec: S-157).
                    state.index_mut().set_unsettled(&path, false)?;
                    tasks.push(Todo { path, task: Task::Settled, placed: None });
                    continue;
                }
                let task = state.task(&path)?;
                let placed = state.index().item(&path).map_err(StateError::Index)?.placed;
                tasks.push(Todo { path, task, placed });
            }
            Ok(tasks)
        })
    }

    /// What is to be done at one path, and what stands there; `None`: that is for later.
    pub(super) fn task_at(
        &mut self,
        path: &RelPath,
    ) -> Result<Option<(Task, Option<Placed>)>, FolderError> {
        let todo = self.tasks(vec![path.clone()])?.pop();
        Ok(todo.map(|todo| (todo.task, todo.placed)))
    }

    /// Begins what is to be done at a path, if it can be done now.
    fn begin(
        &mut self,
        todo: &Todo,
        prepared: &mut Vec<Prepared>,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), FolderError> {
        let Todo { path, task, placed } = todo;
        if self.upkeep.is_held(path) || self.undecided.has(path) {
            return Ok(());
        }
        if let Task::SetMeta(version) | Task::Place(version) = task
            && !self.is_named(version)
        {
            return Ok(());
        }
        let old = placed.as_ref();
        let begun = match task {
            Task::Settled => {
                self.health.is_settled(path);
                return Ok(());
            }
            Task::SetMeta(version) => {
                let Some(old) = old else { return Ok(()) };
                match self.begin_meta(path, version, old, wishes)? {
                    Some(begun) => begun,
                    None => return Ok(()),
                }
            }
            Task::Remove => {
                // A directory with something in it stays, and says what (spec: S-158).
                let Some(old) = old else { return Ok(()) };
                self.store.prepare_remove(path, old)
            }
            Task::MakeDir => self.store.prepare_make_dir(path, old),
            Task::Place(version) => {
                let ready = match &version.content {
                    Content::Dir => self.store.ready_dir(&version.meta),
                    Content::Symlink { target } => self.store.ready_link(target, &version.meta),
                    Content::File { .. } => match self.beside(path, version, old)? {
                        Beside::Link(ready) => Ok(ready),
                        Beside::Wait => return Ok(()),
                        Beside::Same | Beside::Alone => return self.bring(path, version, wishes),
                    },
                    Content::Gone => return Ok(()),
                };
                ready.and_then(|ready| self.put_or_drop(path, &ready, version, old))
            }
        };
        if *task == Task::MakeDir || matches!(begun, Err(StoreError::Changed { .. })) {
            self.upkeep.look_again(path);
        }
        let folded = matches!(begun, Err(StoreError::Folded { .. }));
        let why = begun.as_ref().err().filter(|_| folded).map(ToString::to_string);
        self.upkeep.set_unplaced(path, why);
        match begun {
            Ok(begun) => prepared.push(begun),
            Err(error) if error.is_full() => self.pause_for_room(&error),
            Err(error) => {
                tracing::debug!(%path, %error, "not now");
                self.health.failed(path, error.to_string());
            }
        }
        Ok(())
    }

    /// Prepares to put something in place, or drops it.
    fn put_or_drop(
        &mut self,
        path: &RelPath,
        ready: &Ready,
        version: &Version,
        old: Option<&Placed>,
    ) -> Result<Prepared, StoreError> {
        let begun = self.store.prepare_put(path, ready, version, old);
        let begun = begun.inspect_err(|_| self.store.drop_ready(ready))?;
        self.comes(version);
        Ok(begun)
    }

    /// Begins to give what stands at a path, `old`, the metadata of a version. Where it is a name of
    /// a file whose other names are to be otherwise, it becomes a file of its own, or a name of
    /// another one.
    fn begin_meta(
        &mut self,
        path: &RelPath,
        version: &Version,
        old: &Placed,
        wishes: &mut Vec<Wish>,
    ) -> Result<Option<Result<Prepared, StoreError>>, FolderError> {
        if self.is_described(old) {
            return Ok(None);
        }
        let beside = self.beside(path, version, Some(old))?;
        match beside {
            Beside::Link(ready) => {
                return Ok(Some(self.put_or_drop(path, &ready, version, Some(old))));
            }
            Beside::Wait => return Ok(None),
            Beside::Same | Beside::Alone if is_alike_but_for_group(&old.meta, &version.meta) => {
                let (version, identity) = (version.clone(), old.identity);
                let placed = Placed { meta: version.meta.clone(), version, identity };
                self.change(Durability::Later, |state| Ok(state.placed(path, Some(&placed))?))?;
                return Ok(None);
            }
            // It was described by another name.
            Beside::Same => {
                self.upkeep.look_again(path);
                return Ok(None);
            }
            Beside::Alone => {}
        }
        if self.is_shared(path, version, old)? {
            return self.bring(path, version, wishes).map(|()| None);
        }
        self.describes(old);
        self.comes(version);
        Ok(Some(self.store.prepare_describe(path, version, old)))
    }

    /// Begins to bring the content of a version; a small one is added to what is to be asked for.
    fn bring(
        &mut self,
        path: &RelPath,
        version: &Version,
        wishes: &mut Vec<Wish>,
    ) -> Result<(), FolderError> {
        let Content::File { manifest, size } = version.content else { return Ok(()) };
        wishes.extend(self.wish(path, version, (manifest, size))?);
        Ok(())
    }

    /// Begins to bring a file; a small one that is to be asked for is given back.
    fn wish(
        &mut self,
        path: &RelPath,
        version: &Version,
        (manifest, size): (ManifestId, Bytes),
    ) -> Result<Option<Wish>, FolderError> {
        if self.upkeep.is_full() {
            return Ok(None);
        }
        // Not what would be refused when it is here.
        if let Err(error) = self.store.check_spelling(path) {
            let is_folded = matches!(error, StoreError::Folded { .. });
            self.upkeep.set_unplaced(path, is_folded.then(|| error.to_string()));
            return Ok(None);
        }
        self.upkeep.set_unplaced(path, None);
        if let Err(error) = self.store.check_owner(path, &version.meta) {
            self.health.failed(path, error.to_string());
            return Ok(None);
        }
        let wish = Wish { path: path.clone(), version: version.clone(), manifest, size };
        if !self.fetching.may_try(manifest) || self.fetching.is_led(version) {
            return Ok(None);
        }
        let here = self.find(manifest);
        self.fetching.begin(wish, here)
    }

    /// A content came, or did not.
    pub(super) fn fetched(
        &mut self,
        path: RelPath,
        version: Version,
        ready: Result<Ready, String>,
    ) {
        self.fetching.took(&path);
        // The last that came is a reason to look whether that was all.
        self.going.is_due |= !self.fetching.is_busy();
        match ready {
            Ok(ready) => self.arrived.push((path, version, ready)),
            // It is asked for again; nothing is lost meanwhile.
            Err(why) => {
                self.going.is_due = true;
                tracing::info!(%path, why, "did not come");
                self.pause_if_full(&version, &why);
                self.health.failed(&path, format!("did not come: {why}"));
            }
        }
    }

    /// A file that was to be copied stands elsewhere by now: that is looked for.
    pub(super) fn moved_on(&mut self, path: &RelPath) {
        self.fetching.moved_on(path);
        self.going.is_due |= !self.fetching.is_busy();
    }

    /// Puts what came in place, if it is still wanted there.
    pub(super) fn put_arrived(&mut self) -> Result<(), FolderError> {
        let arrived = std::mem::take(&mut self.arrived);
        if arrived.is_empty() {
            return Ok(());
        }
        let tasks = self.tasks(arrived.iter().map(|(path, ..)| path.clone()).collect())?;
        let mut prepared = Vec::new();
        self.begin_round();
        for (Todo { path, task, placed }, (_, version, ready)) in tasks.iter().zip(&arrived) {
            let now = match task {
                _ if self.undecided.has(path) => None,
                Task::Place(now) if now.content == version.content => Some(now),
                // What was to be described and is a file of its own now.
                Task::SetMeta(now) if now == version => Some(now),
                _ => None,
            };
            let begun = match now {
                // It was finished as the version said that was wanted when it was asked for.
                Some(now) if now.meta != version.meta => {
                    match self.store.describe_ready(path, ready, &now.meta) {
                        Ok(ready) => self.begin_arrived(path, &ready, now, placed.as_ref())?,
                        Err(error) => Err(error),
                    }
                }
                Some(now) => self.begin_arrived(path, ready, now, placed.as_ref())?,
                None => Ok(None),
            };
            match begun {
                Ok(Some(begun)) => {
                    // Its other names wait for it.
                    self.going.is_due |= file_of(version).is_some();
                    prepared.push(begun);
                    continue;
                }
                Ok(None) => {}
                Err(error) => {
                    tracing::info!(%path, %error, "is looked at again before it is replaced");
                    self.upkeep.look_again(path);
                }
            }
            self.going.is_due = true;
            self.store.drop_ready(ready);
        }
        self.going.is_due |= tasks.len() < arrived.len();
        self.commit(prepared).map(drop)
    }

    /// Prepares to put what came in place, unless another name of the file stands by now: then that
    /// gets this one.
    fn begin_arrived(
        &mut self,
        path: &RelPath,
        ready: &Ready,
        version: &Version,
        old: Option<&Placed>,
    ) -> Result<Result<Option<Prepared>, StoreError>, FolderError> {
        let linked = match self.beside(path, version, old)? {
            Beside::Link(linked) => linked,
            Beside::Wait => return Ok(Ok(None)),
            Beside::Same if old.is_some_and(|old| old.version.content == version.content) => {
                return Ok(Ok(None));
            }
            // Also where what stands there is a damaged file, whose other names are not known to be.
            Beside::Same | Beside::Alone => {
                let ready = match self.as_it_was(path, ready, version)? {
                    Ok(ready) => ready,
                    Err(error) => return Ok(Err(error)),
                };
                let begun = self.store.prepare_put(path, &ready, version, old);
                if begun.is_ok() {
                    self.comes(version);
                }
                return Ok(begun.map(Some));
            }
        };
        let begun = self.put_or_drop(path, &linked, version, old);
        if begun.is_ok() {
            self.store.drop_ready(ready);
        }
        Ok(begun.map(Some))
    }

    /// The commit order: intents durable, renames, names durable, index durable.
    /// Returns how many changes were made.
    pub(super) fn commit(&mut self, prepared: Vec<Prepared>) -> Result<usize, FolderError> {
        if prepared.is_empty() {
            return Ok(0);
        }
        self.store.check_marker()?;
        let intents: Vec<_> = prepared.iter().map(Prepared::intent).collect();
        let recorded = self.index.record(&intents)?;
        let mut swapped = Vec::new();
        let is_half_done = match self.swap_all(prepared, &recorded, &mut swapped) {
            Ok(is_half_done) => is_half_done,
            Err(error) => return Err(unnoted(error, swapped.len())),
        };
        let made = swapped.len();
        let committed = self.store.settle(swapped)?;
        committed.iter().for_each(|done| note_places(&self.contents, done));
        let now = wall_millis() / 1000;
        let settled = self.change(Durability::Now, |state| {
            for done in &committed {
                state.index_mut().settle(done, now)?;
                for (path, placed) in &done.placed {
                    state.placed(path, placed.as_ref())?;
                }
            }
            Ok(())
        });
        settled.map_err(|error| unnoted(error, made))?;
        self.upkeep.displaced(&committed);
        self.follow_names()?;
        self.look_at_changed(&committed)?;
        for (path, _) in committed.iter().flat_map(|done| &done.placed) {
            self.health.worked(path);
        }
        if is_half_done {
            self.decide_intents()?;
        }
        Ok(made)
    }

    /// The renames of changes whose intents are recorded; whether one of them is only half done.
    fn swap_all(
        &mut self,
        prepared: Vec<Prepared>,
        recorded: &[Recorded],
        swapped: &mut Vec<Swapped>,
    ) -> Result<bool, FolderError> {
        let mut is_half_done = false;
        for (mut prepared, recorded) in prepared.into_iter().zip(recorded) {
            let path = prepared.intent().path.clone();
            let old = prepared.intent().old.as_ref();
            let (known, state) = (old.map(|old| old.identity), self.state_of(old));
            state.iter().for_each(|state| prepared.follow(state));
            let name = prepared.another_name();
            match prepared.swap(recorded) {
                Ok(done) => {
                    self.displaces(&done, known);
                    swapped.push(done);
                }
                // Its intent says what it was to be.
                Err(error @ StoreError::HalfDone { .. }) => {
                    tracing::error!(%path, %error, "is decided as after a stop");
                    is_half_done = true;
                }
                Err(error) => {
                    tracing::info!(%path, %error, "is looked at again before it is changed");
                    self.upkeep.look_again(&path);
                    self.health.failed(&path, error.to_string());
                    let mut forgetting = self.index.begin(Durability::Now)?;
                    forgetting.forget_intent(recorded.id())?;
                    forgetting.commit()?;
                    name.iter().for_each(|name| self.store.drop_ready(name));
                }
            }
        }
        Ok(is_half_done)
    }
}

/// An error after changes were made that the index does not know of: until their intents are decided
/// nothing may be done there, or a user's edit in between would be taken for this site's work.
fn unnoted(error: FolderError, made: usize) -> FolderError {
    if made == 0 { error } else { FolderError::Unnoted(Box::new(error)) }
}
