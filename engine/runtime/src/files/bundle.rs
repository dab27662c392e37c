//! Bundles of small files at the receiver: create all, sync once, place all.
//!
//! A bundle is one block whose digest has been checked. Its files are created under temporary
//! names in the staging directory, made durable together, then renamed one by one. One that
//! fails does not concern the others.

use super::commit::{CommitError, describe};
use super::confine::ConfineError;
use super::receive::{Parents, Receiver};
use super::step;
use super::stop::Stop;
use crate::sys::writeback;
use farhaul_proto::layout::ObjectSpec;
use farhaul_proto::manifest::Entry;
use rustix::fs::fsync;
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

/// Files from which on one sync of the file system does the work of their fsyncs.
const SYNC_TOGETHER_MIN: usize = 16;
/// Files open at once.
const OPEN_MAX: usize = 512;

/// What became of one file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleOutcome {
    /// Its entry.
    pub entry: u32,
    /// Whether it is in place; a failure is noted for the report as well.
    pub result: Result<(), CommitError>,
}

/// A file of the bundle under its temporary name.
struct Created {
    index: u32,
    name: String,
    /// Open from the first write on: an error of write-back is told once to each open file, and
    /// to nobody once the file is closed.
    file: File,
}

/// What a file lacks to be durable.
#[derive(Clone, Copy)]
enum Synced {
    /// Its own fsync.
    Not,
    /// Nothing: its file system was synced, and only has to say whether it could.
    Wholly,
}

impl Receiver {
    /// Writes the files of bundle `object` from its content `data` and puts them in place.
    /// Entries that were abandoned or are not expected are left out, as failures.
    pub fn write_bundle(&self, object: &ObjectSpec, data: &[u8]) -> Vec<BundleOutcome> {
        let entries = object.entries();
        let expected = entries.iter().filter_map(|&e| self.manifest.entry(e));
        let expected = expected.fold(0u64, |sum, entry| sum.saturating_add(entry.data_len()));
        let found = data.len() as u64;
        if expected != found {
            let error = CommitError::BundleLength { expected, found };
            let fail = |&entry| self.outcome(entry, Err(error.clone()));
            return entries.iter().map(fail).collect();
        }
        let mut rest = data;
        let parts = entries.iter().map(|&index| {
            let len = self.manifest.entry(index).map_or(0, Entry::data_len);
            let (part, tail) = rest.split_at(usize::try_from(len).unwrap_or(usize::MAX));
            rest = tail;
            (index, part)
        });
        self.write_small(&parts.collect::<Vec<_>>(), &Stop::default())
    }

    /// Creates the files `parts` with their data, syncs them, puts them in place. Once `stop` is
    /// set, those that are not yet in place come to nothing, and have no outcome.
    pub(super) fn write_small(&self, parts: &[(u32, &[u8])], stop: &Stop) -> Vec<BundleOutcome> {
        let mut outcomes = Vec::with_capacity(parts.len());
        for parts in parts.chunks(OPEN_MAX) {
            let mut created = Vec::with_capacity(parts.len());
            for &(index, data) in parts.iter().take_while(|_| !stop.is_set()) {
                match self.create_small(index, data) {
                    Ok(new) => created.push(new),
                    Err(error) => outcomes.push(self.outcome(index, Err(error))),
                }
            }
            step();
            let together = created.len() >= SYNC_TOGETHER_MIN;
            let needed = together && !stop.is_set();
            let synced = if needed { self.sync_together() } else { Ok(Synced::Not) };
            step();
            let mut parents = Parents::new(&self.root);
            for new in created {
                if stop.is_set() {
                    let _ = self.staging.dir().remove_file(new.name.as_bytes());
                    continue;
                }
                let result =
                    synced.clone().and_then(|synced| self.place_small(&mut parents, &new, synced));
                self.clean_up(new.name.as_bytes(), &result);
                outcomes.push(self.outcome(new.index, result));
                step();
            }
        }
        outcomes.sort_by_key(|outcome| outcome.entry);
        outcomes
    }

    fn outcome(&self, entry: u32, result: Result<(), CommitError>) -> BundleOutcome {
        BundleOutcome { entry, result: self.noted(entry, result) }
    }

    fn create_small(&self, index: u32, data: &[u8]) -> Result<Created, CommitError> {
        let item = self.expected(index)?;
        let name = self.staging.tmp_name(index);
        let at = |errno| CommitError::Place(ConfineError::at(&item.path, errno));
        let file = self.staging.dir().create_file(name.as_bytes()).map_err(at)?;
        if let Err(errno) = fill(&file, item, data).and_then(|()| describe(&file, item)) {
            let _ = self.staging.dir().remove_file(name.as_bytes());
            return Err(at(errno));
        }
        Ok(Created { index, name, file })
    }

    /// Writes all new files back at once. An error is told to one caller only, so each file has
    /// to be asked as well; and the end of the transfer must not take silence for success.
    fn sync_together(&self) -> Result<Synced, CommitError> {
        let dir = self.staging.dir();
        let wholly = if dir.syncs_wholly() { Synced::Wholly } else { Synced::Not };
        dir.sync_file_system().map(|()| wholly).map_err(|errno| {
            let error = ConfineError::at(&b""[..], errno);
            self.lock().not_durable.get_or_insert(error.clone());
            CommitError::Place(error)
        })
    }

    fn place_small(
        &self,
        parents: &mut Parents<'_>,
        new: &Created,
        synced: Synced,
    ) -> Result<(), CommitError> {
        let item = self.expected(new.index)?;
        let durable = match synced {
            Synced::Not => fsync(&new.file),
            // Asking costs nothing, where each fsync would empty the cache of the disk once more.
            Synced::Wholly => writeback::outcome(new.file.as_fd()).map_err(errno_of),
        };
        durable.map_err(|errno| ConfineError::at(&item.path, errno))?;
        self.place(parents, new.name.as_bytes(), new.index, item)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn fill(file: &File, entry: &Entry, data: &[u8]) -> rustix::io::Result<()> {
    let mut rest = data;
    for extent in entry.data_extents() {
        let len = usize::try_from(extent.len).unwrap_or(usize::MAX).min(rest.len());
        let (part, tail) = rest.split_at(len);
        let written = file.write_all_at(part, extent.offset);
        written.map_err(errno_of)?;
        rest = tail;
    }
    Ok(())
}
