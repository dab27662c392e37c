//! Looks beside those of scans, each in a thread of its own: at paths where something was in the way,
//! and at what was displaced and may be somebody's edit.

use super::Event;
use super::look::ScanJob;
use crate::index::{IndexReader, Loose};
use crate::scan::{Digester, Nowhere, Owners, identity_of};
use crate::store::Store;
use farhaul_engine::files::dir::{FileKind, Meta};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::ContentKeys;
use farhaul_sync::folder::Found;
use farhaul_sync::limits::MODE_MASK;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::{Content, Meta as SyncMeta};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// For how long an editor may hold a file open that was displaced, in seconds: what it writes later
/// stays in the version store without a version.
pub(super) const LOOSE_SECS: u64 = 24 * 3600;
/// Rows read at a time, and told at a time.
const PAGE: usize = 1024;
/// Two writes within one tick of a file system's clock are not told apart.
const TICK: Duration = Duration::from_millis(20);

/// Looks at some paths.
pub(super) struct PathsJob {
    pub(super) job: ScanJob,
    pub(super) paths: Vec<RelPath>,
}

impl PathsJob {
    /// Runs in a thread of its own.
    pub(super) fn run(self) {
        let Self { job, paths } = self;
        let mut looker = job.looker();
        for path in paths {
            if job.stop.is_set() || job.look(&mut looker, path).is_err() {
                break;
            }
        }
        let _ = job.events.blocking_send(Event::LookedAgain { folder: job.folder });
    }
}

/// What became of something that was displaced.
#[derive(Debug)]
pub(crate) struct SeenLoose {
    pub(super) name: String,
    pub(super) what: LooseLook,
}

/// What a look at it came to.
#[derive(Debug)]
pub(super) enum LooseLook {
    /// It is gone.
    Gone,
    /// Nobody wrote into it for as long as anybody is given.
    Over,
    /// It is a further name of a file that was written to by another one: it is not what it was, and
    /// what it is is told of there.
    Rewritten,
    /// It holds something of which nothing is said.
    Found(Box<(Found, Meta)>),
}

/// How many names files have in the version store, by device and inode.
type KeptNames = BTreeMap<(u64, u64), u64>;

/// Looks at all that was displaced and is not done with.
pub(super) struct LooseJob {
    pub(super) folder: FolderKey,
    pub(super) store: Store,
    pub(super) keys: Arc<ContentKeys>,
    pub(super) reader: IndexReader,
    pub(super) now_secs: u64,
    pub(super) stop: Stop,
    pub(super) events: mpsc::Sender<Event>,
}

impl LooseJob {
    /// Runs in a thread of its own.
    pub(super) fn run(self) {
        let outcome = self.look_at_all();
        let ended = Event::LooseLooked { folder: self.folder, outcome };
        let _ = self.events.blocking_send(ended);
    }

    /// Whether something is left to be looked at later.
    fn look_at_all(&self) -> Result<bool, String> {
        let mut digester = Digester::new(&self.keys, self.stop.clone());
        let owners = Owners::of(Arc::clone(self.store.principals()));
        let mut kept_names = None;
        let (mut after, mut count) = (String::new(), 0);
        loop {
            let page = self.reader.read().loose(&after, PAGE).map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { return Ok(count > 0) };
            after.clone_from(&last.name);
            let mut seen = Vec::new();
            for loose in page {
                if self.stop.is_set() {
                    return Ok(true);
                }
                count += 1;
                match self.look(&loose, &mut digester, &owners, &mut kept_names) {
                    Ok(Some(what)) => seen.push(SeenLoose { name: loose.name, what }),
                    Ok(None) => {}
                    Err(why) => {
                        let (path, name) = (&loose.path, &loose.name);
                        tracing::warn!(%path, name, why, "what was displaced is looked at later");
                    }
                }
            }
            let seen = Event::Loose { folder: self.folder, seen };
            self.events.blocking_send(seen).map_err(|_| "this site stops".to_owned())?;
        }
    }

    fn look(
        &self,
        loose: &Loose,
        digester: &mut Digester<'_>,
        owners: &Owners,
        kept_names: &mut Option<KeptNames>,
    ) -> Result<Option<LooseLook>, String> {
        let meta = self.store.kept_meta(&loose.name).map_err(|error| error.to_string())?;
        let Some(meta) = meta else { return Ok(Some(LooseLook::Gone)) };
        if meta.kind == FileKind::File
            && meta.links > 1
            && let (Some(said), Some(over)) = (&loose.said, &loose.over)
        {
            let kept_names = match kept_names {
                Some(known) => known,
                none => none.insert(self.kept_names()?),
            };
            let kept = kept_names.get(&(said.device, said.inode)).copied().unwrap_or(0);
            // Somebody may write to it by a name that is not kept.
            if meta.links > kept {
                return self.part(&loose.name, &over.content, digester).map(Some);
            }
        }
        if loose.said == Some(identity_of(&meta)) {
            let is_over = self.now_secs.saturating_sub(loose.at_secs) > LOOSE_SECS;
            return Ok(is_over.then_some(LooseLook::Over));
        }
        let (content, meta, file) = match meta.kind {
            FileKind::Symlink => {
                let target = self.store.read_kept_link(&loose.name);
                let target = target.map_err(|error| error.to_string())?.into();
                (Content::Symlink { target }, meta, None)
            }
            FileKind::File => self.digest(&loose.name, digester)?,
            FileKind::Dir | FileKind::Special => return Ok(Some(LooseLook::Over)),
        };
        let owner = owners.user(meta.owner).map_err(|error| error.to_string())?;
        let group = owners.group(meta.group).map_err(|error| error.to_string())?;
        let (mode, mtime) = (meta.mode & MODE_MASK, meta.mtime());
        let attrs = match &file {
            Some(file) => owners.attrs(file).map_err(|error| error.to_string())?,
            None => None,
        };
        let said =
            SyncMeta { mode, mtime, owner: Some(owner), group: Some(group), attrs, link: None };
        let found = Found { content, meta: said, identity: identity_of(&meta) };
        Ok(Some(LooseLook::Found(Box::new((found, meta)))))
    }

    /// How many kept names files have.
    fn kept_names(&self) -> Result<KeptNames, String> {
        let (mut after, mut names) = (String::new(), KeptNames::new());
        loop {
            let page = self.reader.read().loose(&after, PAGE).map_err(|error| error.to_string())?;
            let Some(last) = page.last() else { return Ok(names) };
            after.clone_from(&last.name);
            for said in page.iter().filter_map(|loose| loose.said.as_ref()) {
                *names.entry((said.device, said.inode)).or_default() += 1;
            }
        }
    }

    /// Gives a kept file that has further names bytes of its own: what is written by one of those is
    /// no edit of what was displaced, and takes nothing of it away (spec: S-114).
    fn part(
        &self,
        name: &str,
        content: &Content,
        digester: &mut Digester<'_>,
    ) -> Result<LooseLook, String> {
        let mut is_whole = |file: &File| {
            let before = Meta::of(file)?;
            let digested = digester.digest(file, &before, &mut Nowhere);
            let digested = digested.map_err(std::io::Error::other)?;
            let copied = Content::File { manifest: digested.manifest, size: digested.size };
            Ok(copied == *content)
        };
        let parted = self.store.part_kept(name, &mut is_whole);
        let parted = parted.map_err(|error| error.to_string())?;
        Ok(if parted { LooseLook::Over } else { LooseLook::Rewritten })
    }

    /// What is in it, durable before it is announced.
    fn digest(
        &self,
        name: &str,
        digester: &mut Digester<'_>,
    ) -> Result<(Content, Meta, Option<File>), String> {
        let file = self.store.open_kept(name).map_err(|error| error.to_string())?;
        std::thread::sleep(TICK);
        file.sync_all().map_err(|error| error.to_string())?;
        let before = Meta::of(&file).map_err(|errno| errno.to_string())?;
        let digested = digester.digest(&file, &before, &mut Nowhere);
        let digested = digested.map_err(|error| error.to_string())?;
        let content = Content::File { manifest: digested.manifest, size: digested.size };
        Ok((content, digested.meta, Some(file)))
    }
}
