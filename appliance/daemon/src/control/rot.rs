//! Reading the files of a folder again, at a bounded rate: a thread that says which of those that are
//! in the state in which they were read hold something else by now; and then what is kept of versions
//! that were displaced.

use super::Event;
use crate::index::{IndexReader, Kept, Kind, Standing};
use crate::scan::{DigestError, Digested, Digester, Pace, identity_of};
use crate::store::Store;
use farhaul_engine::files::Root;
use farhaul_engine::files::dir::Meta;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::folder::{Found, Placed};
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::Content;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Paths read from the index at a time.
const PAGE: usize = 1024;
/// What was read is said after so many files, or so many bytes: as much is read twice after a stop.
const FILES_MAX: u64 = 1024;
const BYTES_MAX: Bytes = Bytes::mib(256);
/// The same for paths of which something is kept.
const KEPT_PATHS: u64 = 64;

/// Files that were read again.
#[derive(Debug, Default)]
pub(crate) struct Scrubbed {
    /// The last path that was dealt with, in the order of the tree.
    pub(super) after: Option<RelPath>,
    /// How many files.
    pub(super) files: u64,
    /// Their lengths together.
    pub(super) bytes: Bytes,
    /// Those that nobody changed and that hold something else, with what they hold.
    pub(super) rotten: Vec<(RelPath, Found)>,
    /// Those that the disk does not give, and why.
    pub(super) unread: Vec<(RelPath, String)>,
    /// What is kept as a version and is not that any more, as the catalogue had it.
    pub(super) broken: Vec<Kept>,
    /// The last path of which all that is kept was read.
    pub(super) kept_after: Option<RelPath>,
}

impl Scrubbed {
    fn is_bad(&self) -> bool {
        !self.rotten.is_empty() || !self.unread.is_empty() || !self.broken.is_empty()
    }

    fn is_worth_saying(&self) -> bool {
        self.is_bad() || self.files >= FILES_MAX || self.bytes >= BYTES_MAX
    }
}

/// Reads all files behind `after`.
pub(super) struct ScrubJob {
    pub(super) folder: FolderKey,
    pub(super) root: Root,
    pub(super) store: Store,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) reader: IndexReader,
    pub(super) after: Option<RelPath>,
    pub(super) rate: BitRate,
    pub(super) stop: Stop,
    pub(super) events: mpsc::Sender<Event>,
}

/// What reading a file again came to.
enum Read {
    /// Its content, as it should be or not.
    All(Digested),
    /// Somebody changed it, or it is gone: scans see to that.
    Changed,
    /// The disk does not give it.
    Not(String),
}

impl ScrubJob {
    /// Runs in a thread of its own.
    pub(super) fn run(self) {
        let outcome = self.read_all();
        let _ = self.events.blocking_send(Event::ScrubEnded { folder: self.folder, outcome });
    }

    /// Whether it came to the end.
    fn read_all(&self) -> Result<bool, String> {
        let digester = Digester::new(&self.keys, self.stop.clone());
        let mut eye = Eye { job: self, digester, pace: Pace::new(self.rate, self.stop.clone()) };
        let (mut after, mut seen) = (self.after.clone(), Scrubbed::default());
        loop {
            let page = self.reader.read().standing(None, after.as_ref(), PAGE);
            let page = page.map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { return self.read_kept(&mut eye) };
            after = Some(last.path.clone());
            for standing in page {
                if standing.kind == Kind::File {
                    eye.look(&standing, &mut seen)?;
                }
                // What was being read then counts as not read.
                if self.stop.is_set() {
                    self.say(&mut seen)?;
                    return Ok(false);
                }
                seen.after = Some(standing.path);
                if seen.is_worth_saying() {
                    self.say(&mut seen)?;
                }
            }
            self.say(&mut seen)?;
        }
    }

    /// What is kept is read last. Whether it came to the end.
    fn read_kept(&self, eye: &mut Eye<'_>) -> Result<bool, String> {
        let mut after = self.reader.read().kept_scrubbed().map_err(|error| error.to_string())?;
        let (mut seen, mut paths_read) = (Scrubbed::default(), 0);
        loop {
            let page = self.reader.read().kept_from(after.as_ref(), PAGE);
            let page = page.map_err(|error| error.to_string())?;
            let mut paths: Vec<RelPath> = page.into_iter().map(|kept| kept.path).collect();
            paths.dedup();
            let Some(last) = paths.last() else { return Ok(true) };
            after = Some(last.clone());
            for path in paths {
                let kept = self.reader.read().kept_of(&path).map_err(|error| error.to_string())?;
                let mut bytes = Bytes::ZERO;
                for kept in kept {
                    bytes += eye.look_at_kept(&kept, &mut seen)?;
                    if self.stop.is_set() {
                        return Ok(false);
                    }
                }
                seen.kept_after = Some(path);
                paths_read += 1;
                if seen.is_bad() || bytes >= BYTES_MAX || paths_read % KEPT_PATHS == 0 {
                    self.say(&mut seen)?;
                }
            }
            self.say(&mut seen)?;
        }
    }

    fn say(&self, seen: &mut Scrubbed) -> Result<(), String> {
        let seen = core::mem::take(seen);
        if seen.after.is_none() && seen.kept_after.is_none() && !seen.is_bad() {
            return Ok(());
        }
        let scrubbed = Event::Scrubbed { folder: self.folder, seen };
        self.events.blocking_send(scrubbed).map_err(|_| "this site stops".to_owned())
    }
}

/// What reads the files, one after the other.
struct Eye<'a> {
    job: &'a ScrubJob,
    digester: Digester<'a>,
    pace: Pace,
}

impl Eye<'_> {
    /// Reads a file if it is in the state in which it was read before. What seems to be something
    /// else is read twice: memory and cables fail as well.
    fn look(&mut self, standing: &Standing, seen: &mut Scrubbed) -> Result<(), String> {
        let Standing { path, identity, .. } = standing;
        let placed = self.job.reader.read().item(path).map_err(|error| error.to_string())?.placed;
        let Some(Placed { version, meta, identity: known }) = placed else { return Ok(()) };
        let Content::File { manifest, size } = version.content else { return Ok(()) };
        if known != *identity {
            return Ok(());
        }
        for is_second in [false, true] {
            let read = match self.read(standing) {
                Read::All(read) => read,
                Read::Changed => return Ok(()),
                Read::Not(why) => {
                    seen.unread.push((path.clone(), why));
                    return Ok(());
                }
            };
            seen.bytes += read.size;
            if (read.manifest, read.size) == (manifest, size) {
                if is_second {
                    let first = "read again: it was something else at first, and no disk does that";
                    tracing::warn!(%path, "{first}; test the memory of this machine");
                }
                break;
            }
            if is_second {
                let content = Content::File { manifest: read.manifest, size: read.size };
                let found = Found { content, meta: meta.clone(), identity: *identity };
                seen.rotten.push((path.clone(), found));
            }
        }
        seen.files += 1;
        Ok(())
    }

    /// Reads what is kept as a version of a file. What is looked through for late writes (spec: S-046)
    /// is not judged yet, and what no version says is judged by nobody. How much it was.
    fn look_at_kept(&mut self, kept: &Kept, seen: &mut Scrubbed) -> Result<Bytes, String> {
        let content = kept.version.as_ref().map(|version| &version.content);
        let Some(Content::File { manifest, size }) = content else { return Ok(Bytes::ZERO) };
        for is_second in [false, true] {
            // It may have become another version since the catalogue was read.
            if !self.is_still(kept)? {
                return Ok(Bytes::ZERO);
            }
            match self.read_kept(&kept.name) {
                Read::All(read) if (read.manifest, read.size) == (*manifest, *size) => break,
                Read::All(_) if is_second => {
                    if self.is_still(kept)? {
                        seen.broken.push(kept.clone());
                    }
                }
                Read::All(_) => {}
                Read::Changed => break,
                Read::Not(why) => {
                    let why = format!("a version of it that is kept, `{}`: {why}", kept.name);
                    tracing::error!(path = %kept.path, "{why}");
                    break;
                }
            }
        }
        Ok(*size)
    }

    /// Whether something is kept as it was, and nobody may be writing into it.
    fn is_still(&self, kept: &Kept) -> Result<bool, String> {
        let reading = self.job.reader.read();
        let now = reading.kept_as(&kept.path, &kept.name).map_err(|error| error.to_string())?;
        let loose = reading.loose_one(&kept.name).map_err(|error| error.to_string())?;
        Ok(now.as_ref() == Some(kept) && loose.is_none())
    }

    /// It may be thinned out in this moment.
    fn read_kept(&mut self, name: &str) -> Read {
        let Ok(file) = self.job.store.open_kept(name) else { return Read::Changed };
        let Ok(before) = Meta::of(&file) else { return Read::Changed };
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        self.digest(&file, &before)
    }

    fn read(&mut self, standing: &Standing) -> Read {
        let Ok((file, before)) = self.job.root.open_file_meta(&standing.path) else {
            return Read::Changed;
        };
        if identity_of(&before) != standing.identity {
            return Read::Changed;
        }
        // What is in memory says nothing of the disk.
        let _ = fadvise(&file, 0, None, Advice::DontNeed);
        self.digest(&file, &before)
    }

    fn digest(&mut self, file: &File, before: &Meta) -> Read {
        match self.digester.digest(file, before, &mut self.pace) {
            Ok(read) => Read::All(read),
            Err(DigestError::Read { offset, errno }) => {
                Read::Not(format!("its disk does not give it from byte {offset} on: {errno}"))
            }
            Err(_) => Read::Changed,
        }
    }
}
