//! Scans: a thread that walks a folder, or a part of it, looks at what is not as the index knows it,
//! and says so.

use super::Event;
use super::contents::Contents;
use crate::index::chunks::Home;
use crate::index::{IndexError, IndexReader, Kind, Standing};
use crate::scan::{
    DigestError, Known, KnownContent, KnownError, KnownItem, Look, LookError, Looker, Rules, Scan,
    ScanError, Seen, WalkOptions, identity_of,
};
use crate::store::Principals;
use farhaul_engine::files::dir::FileKind;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::folder::FileIdentity;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::Content;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Paths read from the index at a time.
const PAGE: usize = 4096;

/// What a scan needs.
pub(super) struct ScanJob {
    pub(super) folder: FolderKey,
    pub(super) root: Root,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) contents: Contents,
    pub(super) rules: Rules,
    pub(super) reader: IndexReader,
    pub(super) principals: Arc<dyn Principals>,
    pub(super) stop: Stop,
    pub(super) events: mpsc::Sender<Event>,
}

/// What a look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It was said what stands there, or there was nothing to say.
    All,
    /// A file changed while it was read.
    Changing,
}

impl ScanJob {
    /// Runs in a thread of its own.
    pub(super) fn run(self) {
        let mut looker = self.looker();
        let outcome = self.scan(&mut looker, None);
        let (folder, read) = (self.folder, looker.files_read());
        let _ = self.events.blocking_send(Event::Scanned { folder, outcome, read });
    }

    pub(super) fn looker(&self) -> Looker<'_> {
        let looker = Looker::new(&self.root, &self.keys, self.rules.clone(), self.stop.clone());
        looker.with_known(&self.reader).with_principals(Arc::clone(&self.principals))
    }

    /// Goes through all of the folder, or what is beneath a directory.
    pub(super) fn scan(
        &self,
        looker: &mut Looker<'_>,
        within: Option<&RelPath>,
    ) -> Result<(), String> {
        let (reader, within) = (&self.reader, within.cloned());
        let known = Pages { reader, page: Vec::new(), at: 0, after: None, within: within.clone() };
        let (rules, stop) = (self.rules.clone(), self.stop.clone());
        // Threads that list ahead are not worth it where little is to be listed.
        let helpers = if within.is_some() { 0 } else { WalkOptions::default().helpers };
        let is_part = within.is_some();
        let options = WalkOptions { rules, within, helpers, stop, after: None };
        let mut scan = match Scan::start(&self.root, known, options) {
            // Whatever took its place is told as well.
            Err(ScanError::Root(_)) if is_part => return Ok(()),
            scan => scan.map_err(|error| error.to_string())?,
        };
        // Directories that are gone: said after what was in them, or whoever hears of it in between
        // would make them again for what is still there.
        let mut gone: Vec<RelPath> = Vec::new();
        while let Some(seen) = scan.advance().map_err(|error| error.to_string())? {
            let path = match seen {
                Seen::Changed(change) => change.path,
                Seen::Gone { path, kind } => {
                    self.look_behind(looker, &mut gone, Some(&path))?;
                    if kind == FileKind::Dir {
                        gone.push(path);
                        continue;
                    }
                    path
                }
                Seen::Unread(error) => {
                    tracing::warn!(%error, "not looked at; what is known of it stays");
                    if let Ok(path) = RelPath::parse(error.path().as_bytes()) {
                        self.say_unread(path, error.reason())?;
                    }
                    continue;
                }
                Seen::LeftOut { path, reason } => {
                    tracing::debug!(%path, %reason, "left out");
                    continue;
                }
            };
            self.look_behind(looker, &mut gone, Some(&path))?;
            self.look(looker, path)?;
        }
        self.look_behind(looker, &mut gone, None)
    }

    /// What the index knows beneath `path`, where there is no directory any more.
    pub(super) fn look_at_gone(
        &self,
        looker: &mut Looker<'_>,
        path: &RelPath,
    ) -> Result<(), String> {
        let mut known = Pages {
            reader: &self.reader,
            page: Vec::new(),
            at: 0,
            after: None,
            within: Some(path.clone()),
        };
        known.seek(None).map_err(|error| error.to_string())?;
        let mut gone: Vec<RelPath> = Vec::new();
        while let Some(item) = known.current() {
            let is_dir = item.kind == FileKind::Dir;
            let path = RelPath::parse(item.path).map_err(|error| error.to_string())?;
            self.look_behind(looker, &mut gone, Some(&path))?;
            if is_dir {
                gone.push(path);
            } else {
                self.look(looker, path)?;
            }
            known.advance().map_err(|error| error.to_string())?;
        }
        self.look_behind(looker, &mut gone, None)
    }

    /// Looks at the directories that are gone and that the scan has left: `at` is where it is.
    fn look_behind(
        &self,
        looker: &mut Looker<'_>,
        gone: &mut Vec<RelPath>,
        at: Option<&RelPath>,
    ) -> Result<(), String> {
        while let Some(dir) = gone.pop_if(|dir| at.is_none_or(|at| !at.starts_with(dir))) {
            self.look(looker, dir)?;
        }
        Ok(())
    }

    /// Looks at a path, and says what stands there.
    pub(super) fn look(&self, looker: &mut Looker<'_>, path: RelPath) -> Result<Told, String> {
        let (mut filler, home) = (self.contents.filler(), Home::Tree(path.clone()));
        let found = match looker.look(&path, &mut filler) {
            Ok(Look::Absent) => None,
            Ok(Look::Found(standing)) => {
                let identity = &standing.found.identity;
                // Another name of a file that is still where it is known from needs none of that.
                let is_moved = filler.known_at().is_none_or(|at| !self.is_at(at, identity));
                match standing.found.content {
                    Content::File { manifest, size } if is_moved => {
                        filler.done(&home, (manifest, size));
                    }
                    _ => {}
                }
                Some(standing.found)
            }
            Ok(Look::LeftOut(_)) => return Ok(Told::All),
            Err(error) => {
                tracing::warn!(%error, "what is known of it stays");
                return match error {
                    LookError::Digest { fault: DigestError::Changed, .. } => Ok(Told::Changing),
                    LookError::Digest { fault: DigestError::Stopped, .. } => Ok(Told::All),
                    // It went away in this very moment.
                    LookError::Confine(ConfineError::NotFound { .. }) => Ok(Told::All),
                    error => self.say_unread(path, error.to_string()).map(|()| Told::All),
                };
            }
        };
        let looked = Event::Looked { folder: self.folder, path, found };
        let said = self.events.blocking_send(looked);
        said.map(|()| Told::All).map_err(|_| "this site stops".to_owned())
    }

    /// Whether a file stands at a path.
    fn is_at(&self, path: &RelPath, identity: &FileIdentity) -> bool {
        self.root.stat(path).is_ok_and(|meta| identity_of(&meta) == *identity)
    }

    /// Says that what stands at a path cannot be read.
    fn say_unread(&self, path: RelPath, why: String) -> Result<(), String> {
        let unread = Event::Unread { folder: self.folder, path, why };
        self.events.blocking_send(unread).map_err(|_| "this site stops".to_owned())
    }
}

impl KnownContent for IndexReader {
    fn content_of(&self, path: &RelPath, identity: &FileIdentity) -> Option<(Content, RelPath)> {
        let reading = self.read();
        let content = reading.content_in_state(identity).and_then(|known| match known {
            Some(known) => Ok(Some(known)),
            // What was found and waits, to be published or for whoever may say what becomes of it
            // (spec: S-168).
            None => {
                let waits = reading.look(path)?.and_then(|look| look.found);
                let waits = waits.filter(|found| found.identity == *identity);
                Ok(waits.map(|found| (found.content, path.clone())))
            }
        });
        content.unwrap_or_else(|error| {
            // Then it is read again.
            tracing::warn!(%error, "the index does not say what it knows of a file");
            None
        })
    }
}

/// What the index knows, page by page.
pub(super) struct Pages<'a> {
    reader: &'a IndexReader,
    page: Vec<Standing>,
    at: usize,
    after: Option<RelPath>,
    /// Only what is beneath this.
    within: Option<RelPath>,
}

impl<'a> Pages<'a> {
    /// All of it.
    pub(super) const fn all(reader: &'a IndexReader) -> Self {
        Self { reader, page: Vec::new(), at: 0, after: None, within: None }
    }

    fn fill(&mut self) -> Result<(), IndexError> {
        self.page = self.reader.read().standing(self.within.as_ref(), self.after.as_ref(), PAGE)?;
        self.at = 0;
        self.after = self.page.last().map(|last| last.path.clone()).or(self.after.take());
        Ok(())
    }
}

impl Known for Pages<'_> {
    fn seek(&mut self, after: Option<&RelPath>) -> Result<(), KnownError> {
        self.after = after.or(self.within.as_ref()).cloned();
        Ok(self.fill()?)
    }

    fn current(&self) -> Option<KnownItem<'_>> {
        let standing = self.page.get(self.at)?;
        let kind = match standing.kind {
            Kind::Dir => FileKind::Dir,
            Kind::Symlink => FileKind::Symlink,
            Kind::File => FileKind::File,
        };
        let path = standing.path.as_bytes();
        Some(KnownItem { path, kind, identity: Some(standing.identity) })
    }

    fn advance(&mut self) -> Result<(), KnownError> {
        self.at += 1;
        if self.at >= self.page.len() && !self.page.is_empty() {
            self.fill()?;
        }
        Ok(())
    }
}
