//! Scans: a thread that walks a folder, looks at what is not as the index knows it, and says so.

use super::Event;
use super::contents::Contents;
use crate::index::chunks::Home;
use crate::index::{IndexError, IndexReader, Kind, Standing};
use crate::scan::{Known, KnownError, KnownItem, Look, Looker, Rules, Scan, Seen, WalkOptions};
use farhaul_engine::files::Root;
use farhaul_engine::files::dir::FileKind;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
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
    pub(super) stop: Stop,
    pub(super) events: mpsc::Sender<Event>,
}

impl ScanJob {
    /// Runs in a thread of its own.
    pub(super) fn run(self) {
        let outcome = self.scan();
        let _ = self.events.blocking_send(Event::Scanned { folder: self.folder, outcome });
    }

    fn scan(&self) -> Result<(), String> {
        let known = Pages { reader: &self.reader, page: Vec::new(), at: 0, after: None };
        let (rules, stop) = (self.rules.clone(), self.stop.clone());
        let options = WalkOptions { rules, stop, ..WalkOptions::default() };
        let scan = Scan::start(&self.root, known, options);
        let mut scan = scan.map_err(|error| error.to_string())?;
        let (rules, stop) = (self.rules.clone(), self.stop.clone());
        let mut looker = Looker::new(&self.root, &self.keys, rules, stop);
        // Directories that are gone: said after what was in them, or whoever hears of it in between
        // would make them again for what is still there.
        let mut gone: Vec<RelPath> = Vec::new();
        while let Some(seen) = scan.advance().map_err(|error| error.to_string())? {
            let path = match seen {
                Seen::Changed(change) => change.path,
                Seen::Gone { path, kind } => {
                    self.look_behind(&mut looker, &mut gone, Some(&path))?;
                    if kind == FileKind::Dir {
                        gone.push(path);
                        continue;
                    }
                    path
                }
                Seen::Unread(error) => {
                    tracing::warn!(%error, "not looked at; what is known of it stays");
                    continue;
                }
                Seen::LeftOut { path, reason } => {
                    tracing::debug!(%path, ?reason, "left out");
                    continue;
                }
            };
            self.look_behind(&mut looker, &mut gone, Some(&path))?;
            self.look(&mut looker, path)?;
        }
        self.look_behind(&mut looker, &mut gone, None)
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

    fn look(&self, looker: &mut Looker<'_>, path: RelPath) -> Result<(), String> {
        let (mut filler, home) = (self.contents.filler(), Home::Tree(path.clone()));
        let found = match looker.look(&path, &mut filler) {
            Ok(Look::Absent) => {
                self.contents.forget(&home);
                None
            }
            Ok(Look::Found(standing)) => {
                if let Content::File { size, .. } = standing.found.content {
                    filler.done(&home, size);
                }
                Some(standing.found)
            }
            Ok(Look::LeftOut(_)) => return Ok(()),
            Err(error) => {
                tracing::warn!(%error, "what is known of it stays");
                return Ok(());
            }
        };
        let looked = Event::Looked { folder: self.folder, path, found };
        self.events.blocking_send(looked).map_err(|_| "this site stops".to_owned())
    }
}

/// What the index knows, page by page.
struct Pages<'a> {
    reader: &'a IndexReader,
    page: Vec<Standing>,
    at: usize,
    after: Option<RelPath>,
}

impl Pages<'_> {
    fn fill(&mut self) -> Result<(), IndexError> {
        self.page = self.reader.read().standing(None, self.after.as_ref(), PAGE)?;
        self.at = 0;
        self.after = self.page.last().map(|last| last.path.clone()).or(self.after.take());
        Ok(())
    }
}

impl Known for Pages<'_> {
    fn seek(&mut self, after: Option<&RelPath>) -> Result<(), KnownError> {
        self.after = after.cloned();
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
