//! Watching by fanotify: one mark for the file system, whatever the number of directories.
//!
//! The kernel tells of every change on the file system, by the handle of a directory and a name. Where
//! the directory stands is asked once and remembered until any directory of the file system gets
//! another name; then all of that is forgotten. What lies outside of the folder is remembered as well:
//! most of what is told is about that.

use super::{By, Coverage, Notice, Wake, WatchError, Watched, Watcher};
use farhaul_engine::files::notify::{Entry, FileSystemMark, Finder, Handle, Record, What};
use farhaul_proto::path_name::RelPath;
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// Directories of which it is remembered where they stand.
const PLACES_MAX: usize = 4096;
/// Reads before it is looked whether somebody wakes.
const READS_MAX: usize = 64;

/// A mark on a file system.
#[derive(Debug)]
pub struct Fanotify {
    mark: FileSystemMark,
    places: Places,
}

impl Fanotify {
    /// On the file system of the folder.
    ///
    /// # Errors
    /// [`WatchError`]: this process may not, or the file system or the kernel cannot.
    pub fn start(watched: &Watched) -> Result<Self, WatchError> {
        let mark = FileSystemMark::start(watched.root.dir()).map_err(|error| {
            let needs = "it needs CAP_SYS_ADMIN, CAP_DAC_READ_SEARCH and Linux 5.17";
            WatchError::new(By::Fanotify, format!("{error}; {needs}"))
        })?;
        let places = Places { finder: mark.finder(), own: None, known: BTreeMap::new() };
        Ok(Self { mark, places })
    }

    /// Reads once. Returns whether there was anything.
    fn read(&mut self, tell: &mut dyn FnMut(Notice)) -> Result<bool, WatchError> {
        let failed = |error: io::Error| WatchError::new(By::Fanotify, error);
        let mut any = false;
        for record in self.mark.read().map_err(failed)? {
            any = true;
            match record.map_err(|error| WatchError::new(By::Fanotify, error))? {
                Record::Overflow => {
                    self.places.forget();
                    tell(Notice::Lost);
                }
                Record::Changed { what, at } => {
                    if let Some(path) = self.places.path_of(at, tell) {
                        tell(notice(what, path));
                    }
                }
                Record::Renamed { is_dir, from, to } => {
                    if is_dir {
                        self.places.forget();
                    }
                    for entry in from.into_iter().chain(to) {
                        if let Some(path) = self.places.path_of(entry, tell) {
                            tell(if is_dir { Notice::Tree(path) } else { Notice::Entry(path) });
                        }
                    }
                }
                Record::Nameless => {}
            }
        }
        Ok(any)
    }
}

impl Watcher for Fanotify {
    fn by(&self) -> By {
        By::Fanotify
    }

    fn coverage(&self) -> Coverage {
        Coverage { watches: 1, unwatched: 0 }
    }

    fn wait(
        &mut self,
        wake: &Wake,
        patience: Duration,
        tell: &mut dyn FnMut(Notice),
    ) -> Result<(), WatchError> {
        let failed = |errno| WatchError::new(By::Fanotify, errno);
        if wake.wait(&self.mark, patience).map_err(failed)? {
            for _ in 0..READS_MAX {
                if !self.read(tell)? {
                    break;
                }
            }
        }
        Ok(())
    }

    fn cover(&mut self, _: &mut dyn FnMut(Notice)) {}
}

/// Several things that happened may be told as one: what is closed may be open again, and is told
/// again then.
fn notice(what: What, path: RelPath) -> Notice {
    if what.is_dir() {
        if what.is_entry() { Notice::Tree(path) } else { Notice::Entry(path) }
    } else if what.is_closed() {
        Notice::Closed(path)
    } else if what.is_written() {
        Notice::Written(path)
    } else {
        Notice::Entry(path)
    }
}

/// Where directories stand.
#[derive(Debug)]
struct Places {
    finder: Finder,
    /// Where the folder does.
    own: Option<Vec<u8>>,
    /// By handle, beneath the folder; `None` for those outside.
    known: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Places {
    fn forget(&mut self) {
        self.known.clear();
        self.own = None;
    }

    /// The path of a name in the folder; `None` if it is not in it, or in no form that is shared.
    /// Where that cannot be found out, something is lost.
    fn path_of(&mut self, entry: Entry<'_>, tell: &mut dyn FnMut(Notice)) -> Option<RelPath> {
        let dir = self.dir_of(entry.dir).unwrap_or_else(|error| {
            tracing::debug!(%error, "it cannot be found out where a directory stands");
            tell(Notice::Lost);
            None
        })?;
        let path = match (entry.name, dir.is_empty()) {
            (b".", _) => dir,
            (name, true) => name.to_vec(),
            (name, false) => [&dir, &b"/"[..], name].concat(),
        };
        RelPath::parse(&path).ok()
    }

    /// Where a directory stands beneath the folder, empty for the folder itself.
    fn dir_of(&mut self, handle: Handle<'_>) -> io::Result<Option<Vec<u8>>> {
        let key = [&handle.kind.to_ne_bytes()[..], handle.bytes].concat();
        if let Some(known) = self.known.get(&key) {
            return Ok(known.clone());
        }
        let own = match self.own.take() {
            Some(own) => own,
            None => match self.finder.own_path()? {
                Some(own) => own,
                // The folder was removed; a scan says so.
                None => return Ok(None),
            },
        };
        let found = match self.finder.path_of(handle) {
            // What lies outside is nobody's loss.
            Err(error) => match self.finder.is_beneath(handle) {
                Ok(false) => Some(b"/".to_vec()),
                _ => return Err(error),
            },
            found => found?,
        };
        let beneath = found.map(|path| beneath(&path, &own));
        self.own = Some(own);
        // One that was removed has no place to be remembered.
        let Some(place) = beneath else { return Ok(None) };
        if self.known.len() >= PLACES_MAX {
            self.known.clear();
        }
        self.known.insert(key, place.clone());
        Ok(place)
    }
}

/// The rest of `path` behind `dir`, if it is that or lies beneath it.
fn beneath(path: &[u8], dir: &[u8]) -> Option<Vec<u8>> {
    let dir = dir.strip_suffix(b"/").unwrap_or(dir);
    let rest = path.strip_prefix(dir)?;
    if rest.is_empty() { Some(Vec::new()) } else { rest.strip_prefix(b"/").map(<[u8]>::to_vec) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beneath_a_directory_is_told_from_what_is_called_alike() {
        for (path, dir, rest) in [
            (&b"/a/b"[..], &b"/a/b"[..], Some(&b""[..])),
            (b"/a/b/c/d", b"/a/b", Some(b"c/d")),
            (b"/a/bc", b"/a/b", None),
            (b"/a", b"/a/b", None),
            (b"/a", b"/", Some(b"a")),
            (b"/", b"/", Some(b"")),
        ] {
            assert_eq!(beneath(path, dir).as_deref(), rest);
        }
    }
}
