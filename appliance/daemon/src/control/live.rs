//! Looking where something happened: a thread that takes paths from the queue of what was heard.
//!
//! What the index knows already is not read again, so what this site puts in place itself costs a
//! look at its metadata. What is on its way in is left for later: its intent is in the index.

use super::look::{ScanJob, Told};
use crate::index::{Kind, Standing};
use crate::scan::{Looker, Patience, identity_of};
use crate::watch::{Due, Notice, Queue};
use farhaul_engine::files::ConfineError;
use farhaul_engine::files::dir::{FileKind, Meta};
use farhaul_engine::files::staging::is_of_a_transfer;
use farhaul_proto::path_name::{RESERVED_NAME, RelPath};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A file that changes while it is read waits in the queue for another time.
const PATIENCE: Patience =
    Patience { tick: Duration::from_millis(20), quiet: Duration::ZERO, tries: 1 };

/// What looking where something happened needs.
pub(super) struct LiveJob {
    pub(super) job: ScanJob,
    pub(super) queue: Arc<Queue>,
}

impl LiveJob {
    /// Runs in a thread of its own, until the queue is closed.
    pub(super) fn run(self) {
        let mut looker = self.job.looker().with_patience(PATIENCE);
        while let Some(batch) = self.queue.take() {
            // Directories that were said to stand, so that they are not said again for each name.
            let mut said = BTreeSet::new();
            // What is gone comes last: until then a file that has another name now is known by the old
            // one, and is not read.
            let (standing, gone): (Vec<Due>, Vec<Due>) =
                batch.into_iter().partition(|due| !self.is_gone(&due.path));
            for due in standing.into_iter().chain(gone) {
                if let Err(why) = self.look(&mut looker, &due, &mut said) {
                    if self.job.stop.is_set() {
                        return;
                    }
                    // The next scan comes by.
                    tracing::warn!(path = %due.path, why, "is not looked at");
                }
            }
        }
    }

    fn look(
        &self,
        looker: &mut Looker<'_>,
        due: &Due,
        said: &mut BTreeSet<RelPath>,
    ) -> Result<(), String> {
        let path = &due.path;
        if self.is_of_a_transfer(path) {
            return Ok(());
        }
        let known = self.known(path)?;
        let meta = match self.job.root.stat(path) {
            Ok(meta) => Some(meta),
            Err(error) if says_gone(&error) => None,
            // What is known of it stays.
            Err(ConfineError::CrossesMount { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let is_dir = meta.is_some_and(|meta| meta.kind == FileKind::Dir);
        if meta.is_some() {
            self.look_above(looker, path, said)?;
        }
        if !is_dir {
            self.job.look_at_gone(looker, path)?;
        }
        let is_as_known = match (&known, &meta) {
            (Some(known), Some(meta)) => is_same(known, meta),
            (None, None) => true,
            _ => false,
        };
        if !is_as_known {
            if !is_dir && self.is_being_changed(path)? {
                self.queue.note(&Notice::Entry(path.clone()));
                return Ok(());
            }
            let began = Instant::now();
            if self.job.look(looker, path.clone())? == Told::Changing {
                self.queue.retry(path, began.elapsed());
            }
        }
        if is_dir && due.is_tree && !self.is_left_out(path) {
            said.insert(path.clone());
            self.job.scan(looker, Some(path))?;
        }
        Ok(())
    }

    /// Whether nothing stands at a path.
    fn is_gone(&self, path: &RelPath) -> bool {
        self.job.root.stat(path).is_err_and(|error| says_gone(&error))
    }

    /// Says of directories above `path` that they stand, where the index does not know it: theirs
    /// may be due later.
    fn look_above(
        &self,
        looker: &mut Looker<'_>,
        path: &RelPath,
        said: &mut BTreeSet<RelPath>,
    ) -> Result<(), String> {
        let mut unknown = Vec::new();
        for dir in std::iter::successors(path.parent(), RelPath::parent) {
            if said.contains(&dir) || self.known(&dir)?.is_some_and(|dir| dir.kind == Kind::Dir) {
                break;
            }
            unknown.push(dir);
        }
        for dir in unknown.into_iter().rev() {
            said.insert(dir.clone());
            self.job.look(looker, dir)?;
        }
        Ok(())
    }

    /// What the index knows to stand at a path.
    fn known(&self, path: &RelPath) -> Result<Option<Standing>, String> {
        let standing = self.job.reader.read().standing(Some(path), None, 1);
        let mut standing = standing.map_err(|error| error.to_string())?;
        Ok(standing.pop().filter(|standing| standing.path == *path))
    }

    /// Whether this site is about to put something there, or did so and has not noted it yet.
    fn is_being_changed(&self, path: &RelPath) -> Result<bool, String> {
        let intents = self.job.reader.read().intents().map_err(|error| error.to_string())?;
        Ok(intents.iter().any(|(_, intent)| intent.path == *path))
    }

    fn is_left_out(&self, path: &RelPath) -> bool {
        self.job.rules.is_within_ignored(path.as_bytes(), true)
    }

    /// Whether it lies in a directory in which a transfer stages files.
    fn is_of_a_transfer(&self, path: &RelPath) -> bool {
        let mut at = Some(path.clone());
        while let Some(dir) = at {
            let name = dir.file_name();
            if name.eq_ignore_ascii_case(RESERVED_NAME)
                && let Ok(held) = self.job.root.open_dir(&dir)
                && is_of_a_transfer(name, &held)
            {
                return true;
            }
            at = dir.parent();
        }
        false
    }
}

/// Whether something stands as the index knows it. A directory's times say when something was put
/// into it or taken out, which is told by itself.
fn is_same(known: &Standing, meta: &Meta) -> bool {
    known.identity == identity_of(meta) && kind_of(meta.kind) == Some(known.kind)
}

const fn kind_of(kind: FileKind) -> Option<Kind> {
    match kind {
        FileKind::Dir => Some(Kind::Dir),
        FileKind::Symlink => Some(Kind::Symlink),
        FileKind::File => Some(Kind::File),
        FileKind::Special => None,
    }
}

/// Whether an error says that nothing stands at a path.
const fn says_gone(error: &ConfineError) -> bool {
    matches!(
        error,
        ConfineError::NotFound { .. }
            | ConfineError::NotDirectory { .. }
            | ConfineError::SymlinkInPath { .. }
    )
}
