//! Looking at one path: what the brain is told stands there.

use super::identity_of;
use super::owners::Owners;
use super::rules::Rules;
use super::walk::LeftOut;
use super::{ContentSink, DigestError, Digested, Digester};
use crate::exact;
use crate::store::Principals;
use farhaul_engine::files::dir::{FileKind, Meta};
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{ConfineError, Root};
use farhaul_files::holes_of;
use farhaul_files::people::OwnersError;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::FileTime;
use farhaul_sync::chunk::{ContentKeys, Holes};
use farhaul_sync::folder::{FileIdentity, Found};
use farhaul_sync::limits::{MODE_MASK, SYMLINK_TARGET_MAX};
use farhaul_sync::version::{Content, Meta as SyncMeta};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a look came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing stands there.
    Absent,
    /// Something stands there that is no part of the folder.
    LeftOut(LeftOut),
    /// This.
    Found(Box<Standing>),
}

/// What stands at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What the brain takes.
    pub found: Found,
    /// Where a file has holes.
    pub holes: Holes,
    /// How many names it has, in the folder or elsewhere.
    pub links: u64,
}

/// Why it cannot be said what stands at a path. What the index knows of it stays.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LookError {
    /// It cannot be opened or asked for.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// It is a file that cannot be read.
    #[error("{path}: {fault}")]
    Digest {
        /// Where.
        path: RelPath,
        /// Why.
        fault: DigestError,
    },
    /// It is a link whose target no site carries.
    #[error("{path}: the target of the link is too long")]
    Target {
        /// Where.
        path: RelPath,
    },
    /// Its owner or group is not known.
    #[error("{path}: {fault}")]
    Owner {
        /// Where.
        path: RelPath,
        /// Why.
        fault: OwnersError,
    },
}

/// What is known of files by the state in which they are, wherever they stood.
pub trait KnownContent {
    /// The content of the file at a path, or anywhere else, that was read in this very state, and at
    /// which path; `None` where none is known.
    fn content_of(&self, path: &RelPath, identity: &FileIdentity) -> Option<(Content, RelPath)>;
}

/// How long to wait for a file to be left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// A file that was changed less than this ago is read only when this has passed: two changes in
    /// one tick of the file system's clock are not told apart.
    pub tick: Duration,
    /// Wait this long before it is read a second time; four times as long before each further one.
    pub quiet: Duration,
    /// Read it so many times at most.
    pub tries: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Self { tick: Duration::from_millis(20), quiet: Duration::from_millis(100), tries: 4 }
    }
}

/// Looks at paths of one folder (spec: S-039).
pub struct Looker<'a> {
    root: &'a Root,
    rules: Rules,
    owners: Owners,
    digester: Digester<'a>,
    patience: Patience,
    stop: Stop,
    /// When all that was changed before went to the disk, since 1970.
    clean_at: Option<Duration>,
    /// Whether the file system takes different names for one.
    folds: bool,
    known: Option<&'a dyn KnownContent>,
    /// How many files were read, to their end or not.
    read: u64,
}

/// Whether an error says that something is no file, directory or link, as which it was opened.
fn is_of_another_kind(error: &ConfineError) -> bool {
    matches!(
        error,
        ConfineError::IsDirectory { .. }
            | ConfineError::NotDirectory { .. }
            | ConfineError::SymlinkInPath { .. }
            | ConfineError::Io { source: Errno::INVAL, .. }
    )
}

fn at(path: &RelPath) -> impl Fn(Errno) -> ConfineError + '_ {
    move |errno| ConfineError::at(path, errno)
}

impl std::fmt::Debug for Looker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Looker").field("root", &self.root).finish_non_exhaustive()
    }
}

impl<'a> Looker<'a> {
    /// Beneath `root`, with the folder's keys and rules.
    pub fn new(root: &'a Root, keys: &'a ContentKeys, rules: Rules, stop: Stop) -> Self {
        let digester = Digester::new(keys, stop.clone());
        let (owners, patience) = (Owners::default(), Patience::default());
        // Where that cannot be told, nothing can be looked at either.
        let folds = exact::folds(root.dir()).unwrap_or(false);
        let (clean_at, known) = (None, None);
        Self { root, rules, owners, digester, patience, stop, clean_at, folds, known, read: 0 }
    }

    /// How many files it has read so far, to their end or not.
    pub const fn files_read(&self) -> u64 {
        self.read
    }

    /// Which does not read files again that `known` has read in the state in which they are: those
    /// of a directory that was renamed, and other names of a file.
    #[must_use]
    pub fn with_known(self, known: &'a dyn KnownContent) -> Self {
        Self { known: Some(known), ..self }
    }

    /// Which calls owners and groups as these do.
    #[must_use]
    pub fn with_principals(self, principals: Arc<dyn Principals>) -> Self {
        Self { owners: Owners::of(principals), ..self }
    }

    /// With another patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// Says what stands at `path`. A file is read to its end, and chunks and pages go to `sink`.
    ///
    /// # Errors
    /// [`LookError`]. A file that changes whenever it is read is [`DigestError::Changed`].
    pub fn look(&mut self, path: &RelPath, sink: &mut dyn ContentSink) -> Result<Look, LookError> {
        match self.look_at(path, sink) {
            // It can be read, and is something else than a moment ago.
            Err(LookError::Confine(error)) if is_of_another_kind(&error) => {
                Err(LookError::Digest { path: path.clone(), fault: DigestError::Changed })
            }
            looked => looked,
        }
    }

    fn look_at(&mut self, path: &RelPath, sink: &mut dyn ContentSink) -> Result<Look, LookError> {
        let meta = match self.root.stat(path) {
            Ok(meta) => meta,
            // Nothing at the path itself, or no directory any more where it was in.
            Err(
                ConfineError::NotFound { .. }
                | ConfineError::NotDirectory { .. }
                | ConfineError::SymlinkInPath { .. },
            ) => return self.absent(path),
            Err(ConfineError::CrossesMount { .. }) => {
                return Ok(Look::LeftOut(LeftOut::OtherMount));
            }
            Err(error) => return Err(error.into()),
        };
        let root = self.root.dir().meta().map_err(|errno| ConfineError::at(path, errno))?;
        if meta.identity.dev != root.identity.dev || self.is_mount(path, &meta) {
            return Ok(Look::LeftOut(LeftOut::OtherMount));
        }
        if self.rules.is_within_ignored(path.as_bytes(), meta.kind == FileKind::Dir) {
            return Ok(Look::LeftOut(LeftOut::Ignored));
        }
        // Something else, under another spelling.
        if self.folds && exact::misspelled(self.root.dir(), path).map_err(at(path))?.is_some() {
            return self.absent(path);
        }
        match meta.kind {
            FileKind::Special => Ok(Look::LeftOut(LeftOut::Special)),
            FileKind::Dir => self.found(path, Content::Dir, meta, Holes::NONE),
            FileKind::Symlink => {
                let target = self.root.read_link(path)?;
                if !(1..=SYMLINK_TARGET_MAX).contains(&target.len()) {
                    return Err(LookError::Target { path: path.clone() });
                }
                let content = Content::Symlink { target: target.into() };
                self.found(path, content, meta, Holes::NONE)
            }
            FileKind::File => {
                let Digested { manifest, size, holes, meta } = self.digest(path, sink)?;
                self.found(path, Content::File { manifest, size }, meta, holes)
            }
        }
    }

    /// Whether a directory of the same file system is mounted at `path`.
    fn is_mount(&self, path: &RelPath, meta: &Meta) -> bool {
        let crosses = || matches!(self.root.open_dir(path), Err(ConfineError::CrossesMount { .. }));
        meta.kind == FileKind::Dir && crosses()
    }

    /// That nothing stands at `path`, if the folder itself still stands.
    fn absent(&self, path: &RelPath) -> Result<Look, LookError> {
        let meta = self.root.dir().meta().map_err(|errno| ConfineError::at(&b""[..], errno))?;
        if meta.links > 0 {
            return Ok(Look::Absent);
        }
        let error = ConfineError::at(path, Errno::STALE);
        Err(error.into())
    }

    fn found(
        &mut self,
        path: &RelPath,
        content: Content,
        meta: Meta,
        holes: Holes,
    ) -> Result<Look, LookError> {
        let wrong = |fault| LookError::Owner { path: path.clone(), fault };
        let owner = Some(self.owners.user(meta.owner).map_err(wrong)?);
        let group = Some(self.owners.group(meta.group).map_err(wrong)?);
        let mtime = match content {
            // It says when something was last put in or taken out, also by us; nobody set it.
            Content::Dir => FileTime::default(),
            _ => meta.mtime(),
        };
        let identity = identity_of(&meta);
        let attrs = match content {
            Content::Dir => self.owners.attrs(self.root.open_dir(path)?),
            Content::File { .. } => self.owners.attrs(self.root.open_file(path)?),
            Content::Symlink { .. } | Content::Gone => Ok(None),
        };
        let attrs = attrs.map_err(wrong)?;
        // Which other names it has is for who knows the rest of the folder to say.
        let link = None;
        let kept = SyncMeta { mode: meta.mode & MODE_MASK, mtime, owner, group, attrs, link };
        let found = Found { content, meta: kept, identity };
        Ok(Look::Found(Box::new(Standing { found, holes, links: meta.links })))
    }

    /// Reads the file at `path` until it was left alone for as long as that took.
    fn digest(
        &mut self,
        path: &RelPath,
        sink: &mut dyn ContentSink,
    ) -> Result<Digested, LookError> {
        let mut quiet = self.patience.quiet;
        for round in 1.. {
            let (file, before) = self.root.open_file_meta(path)?;
            if let Some((digested, at)) = self.read_before(path, &file, &before) {
                sink.known_at(&at);
                return Ok(digested);
            }
            self.wait(self.patience.tick.saturating_sub(age_of(&before)));
            self.clean(&before);
            self.read += u64::from(round == 1);
            match self.digester.digest(&file, &before, sink) {
                Ok(digested) => return Ok(digested),
                Err(DigestError::Changed) if round < self.patience.tries => {
                    self.wait(quiet);
                    quiet = quiet.saturating_mul(4);
                }
                Err(fault) => return Err(LookError::Digest { path: path.clone(), fault }),
            }
        }
        Err(LookError::Digest { path: path.clone(), fault: DigestError::Changed })
    }

    /// Whoever writes through memory changes a file's times with the first write into a page, and not
    /// with later ones until that page went to the disk: it goes before the file is read, so that
    /// no change stays unseen. Once for all files that were changed before.
    fn clean(&mut self, meta: &Meta) {
        let changed = changed_at(meta).saturating_add(self.patience.tick);
        if self.clean_at.is_some_and(|at| changed < at) {
            return;
        }
        let now = since_1970();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        // A descriptor of its own: what a disk did not take is for whoever publishes to hear of.
        let dir = rustix::fs::openat(self.root.dir(), c".", flags, Mode::empty());
        if dir.is_ok_and(|dir| rustix::fs::syncfs(dir).is_ok()) {
            self.clean_at = Some(now);
        }
    }

    /// What is known of a file that was read in the state in which it is (spec: S-093).
    fn read_before(&self, path: &RelPath, file: &File, meta: &Meta) -> Option<(Digested, RelPath)> {
        let (content, at) = self.known?.content_of(path, &identity_of(meta))?;
        let Content::File { manifest, size } = content else { return None };
        let holes = holes_of(file, meta);
        let digested = Digested { manifest, size, holes, meta: *meta };
        (size.get() == meta.size()).then_some((digested, at))
    }

    /// Waits, unless somebody says to stop.
    fn wait(&self, span: Duration) {
        const STEP: Duration = Duration::from_millis(50);
        let mut left = span;
        while left > Duration::ZERO && !self.stop.is_set() {
            std::thread::sleep(left.min(STEP));
            left = left.saturating_sub(STEP);
        }
    }
}

/// How long ago a file was changed; as long as can be if that is to come.
fn age_of(meta: &Meta) -> Duration {
    since_1970().checked_sub(changed_at(meta)).unwrap_or(Duration::MAX)
}

/// When a file was changed, since 1970.
fn changed_at(meta: &Meta) -> Duration {
    let changed = meta.identity.ctime;
    Duration::new(u64::try_from(changed.secs).unwrap_or(0), changed.nanos)
}

fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
