//! A walk merged with what the index knows: what is new, what changed, what is gone.
//!
//! Both come in path order, so neither is held. A path that the walk does not come to is gone, unless
//! it lies where the walk could not look: beneath a directory that could not be read to its end, at
//! or beneath something that is left out, or where the folder's rules say to look away. A scan only
//! says where to look: before anything is published, [`Looker`](super::Looker) looks there.

use super::identity_of;
use super::rules::Rules;
use super::walk::{LeftOut, Step, Walk, WalkOptions};
use farhaul_engine::files::confine::ShownPath;
use farhaul_engine::files::dir::{FileKind, Meta};
use farhaul_engine::files::{ConfineError, Root};
use farhaul_proto::path_name::{PathError, RelPath};
use farhaul_sync::folder::FileIdentity;
use std::cmp::Ordering;

/// What an index says of a path where something stands as far as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownItem<'a> {
    /// Where: the bytes of a [`RelPath`].
    pub path: &'a [u8],
    /// What stands there.
    pub kind: FileKind,
    /// In which state; `None` where that is in doubt, and it is looked at again.
    pub identity: Option<FileIdentity>,
}

/// Why an index cannot say what it knows.
pub type KnownError = Box<dyn std::error::Error + Send + Sync>;

/// What an index knows to stand on disk, in path order: a directory before what is in it, names by
/// their bytes. Paths where nothing stands are not in it.
pub trait Known {
    /// Goes to the first path behind `after`, or to the very first one.
    ///
    /// # Errors
    /// What the index says.
    fn seek(&mut self, after: Option<&RelPath>) -> Result<(), KnownError>;

    /// What is known of the path where it is; `None` at the end.
    fn current(&self) -> Option<KnownItem<'_>>;

    /// Goes to the next path.
    ///
    /// # Errors
    /// What the index says.
    fn advance(&mut self) -> Result<(), KnownError>;
}

/// Something to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub path: RelPath,
    /// How it was when the walk came by.
    pub meta: Meta,
    /// Whether the index knew of something there.
    pub was_known: bool,
}

/// What a scan comes to. Paths ascend.
#[derive(Clone, Debug)]
pub enum Seen {
    /// New, or not as it was.
    Changed(Change),
    /// Nothing stands there any more.
    Gone {
        /// Where.
        path: RelPath,
        /// What stood there.
        kind: FileKind,
    },
    /// It cannot be read: what the index knows of it, and of all beneath it, stays.
    Unread(ConfineError),
    /// It is no part of the folder.
    LeftOut {
        /// Where.
        path: ShownPath,
        /// Why.
        reason: LeftOut,
    },
}

/// How much of what a scan came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// As the index has them.
    pub unchanged: u64,
    /// [`Seen::Changed`].
    pub changed: u64,
    /// [`Seen::Gone`].
    pub gone: u64,
    /// Known and not seen, but where the walk could not look.
    pub withheld: u64,
    /// [`Seen::Unread`].
    pub unread: u64,
    /// [`Seen::LeftOut`].
    pub left_out: u64,
}

/// Why a scan ends early. What it said until then is right, and it can be taken up again behind
/// [`Scan::position`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScanError {
    /// The root cannot be read, or was removed: nothing is known of the folder.
    #[error("the folder cannot be read: {0}; see that its disk is mounted")]
    Root(ConfineError),
    /// The index cannot be read, or is not in order.
    #[error("the index does not say what it knows: {0}")]
    Known(#[source] KnownError),
    /// Somebody stopped it.
    #[error("stopped")]
    Stopped,
}

/// A walk merged with an index (spec: S-038).
#[derive(Debug)]
pub struct Scan<K> {
    walk: Walk,
    known: K,
    rules: Rules,
    root: Root,
    /// What the walk came to last, if it was not dealt with yet.
    step: Option<Step>,
    is_at_end: bool,
    /// At this path and beneath it, what is not seen is not gone.
    blind: Option<Vec<u8>>,
    position: Vec<u8>,
    counts: Counts,
}

impl<K: Known> Scan<K> {
    /// Begins a scan of all beneath `root`.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn start(root: &Root, mut known: K, options: WalkOptions) -> Result<Self, ScanError> {
        let after = options.after.as_ref();
        known.seek(after).map_err(ScanError::Known)?;
        let position = after.map(|path| path.as_bytes().to_vec()).unwrap_or_default();
        let (rules, root) = (options.rules.clone(), root.clone());
        let walk = Walk::start(&root, options).map_err(ScanError::Root)?;
        let (blind, counts) = (None, Counts::default());
        let (step, is_at_end) = (None, false);
        Ok(Self { walk, known, rules, root, step, is_at_end, blind, position, counts })
    }

    /// Up to which path everything is said; `None` at the beginning.
    pub fn position(&self) -> Option<RelPath> {
        RelPath::parse(&self.position).ok()
    }

    /// What it came to until now.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// [`ScanError`].
    pub fn advance(&mut self) -> Result<Option<Seen>, ScanError> {
        loop {
            if self.step.is_none() && !self.is_at_end {
                self.step = self.walk.step();
                self.is_at_end = self.step.is_none();
            }
            if self.walk.is_stopped() {
                return Err(ScanError::Stopped);
            }
            let order = match (self.known.current(), &self.step) {
                (None, None) => return Ok(None),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(known), Some(_)) => in_path_order(known.path, self.walk.path()),
            };
            let seen = match order {
                Ordering::Less => self.not_seen()?,
                Ordering::Equal | Ordering::Greater => self.seen(order == Ordering::Equal)?,
            };
            if seen.is_some() {
                return Ok(seen);
            }
        }
    }

    /// The index knows of something that the walk did not come to.
    fn not_seen(&mut self) -> Result<Option<Seen>, ScanError> {
        let Some(known) = self.known.current() else { return Ok(None) };
        let is_dir = known.kind == FileKind::Dir;
        let is_withheld = self.blind.as_ref().is_some_and(|blind| is_within(known.path, blind))
            || self.rules.is_within_ignored(known.path, is_dir);
        let path = RelPath::parse(known.path).map_err(unordered)?;
        let kind = known.kind;
        self.position.clear();
        self.position.extend_from_slice(known.path);
        self.advance_known()?;
        if is_withheld {
            self.counts.withheld += 1;
            return Ok(None);
        }
        // Of a root that was removed or moved away, all names are gone at once.
        let root = self.root.dir().meta();
        if !root.is_ok_and(|meta| meta.links > 0) {
            let path = ShownPath::new(b"");
            return Err(ScanError::Root(ConfineError::NotFound { path }));
        }
        self.counts.gone += 1;
        Ok(Some(Seen::Gone { path, kind }))
    }

    /// The walk came to something, of which the index knows or not.
    fn seen(&mut self, is_known: bool) -> Result<Option<Seen>, ScanError> {
        let Some(step) = self.step.take() else { return Ok(None) };
        self.position.clear();
        self.position.extend_from_slice(self.walk.path());
        match step {
            Step::Entry(meta) => {
                let known = self.known.current().filter(|_| is_known);
                let is_same = known.is_some_and(|known| {
                    known.kind == meta.kind && known.identity == Some(identity_of(&meta))
                });
                if is_known {
                    self.advance_known()?;
                }
                if is_same {
                    self.counts.unchanged += 1;
                    return Ok(None);
                }
                self.counts.changed += 1;
                let path = RelPath::parse(self.walk.path()).map_err(unordered)?;
                Ok(Some(Seen::Changed(Change { path, meta, was_known: is_known })))
            }
            Step::LeftOut(reason) => {
                self.look_away(is_known)?;
                self.counts.left_out += 1;
                Ok(Some(Seen::LeftOut { path: ShownPath::new(self.walk.path()), reason }))
            }
            Step::Unread(errno) => {
                self.look_away(is_known)?;
                self.counts.unread += 1;
                Ok(Some(Seen::Unread(ConfineError::at(self.walk.path(), errno))))
            }
        }
    }

    /// What is known of the path, and beneath it, stays.
    fn look_away(&mut self, is_known: bool) -> Result<(), ScanError> {
        self.blind = Some(self.walk.path().to_vec());
        if is_known {
            self.counts.withheld += 1;
            self.advance_known()?;
        }
        Ok(())
    }

    fn advance_known(&mut self) -> Result<(), ScanError> {
        self.known.advance().map_err(ScanError::Known)
    }
}

fn unordered(fault: PathError) -> ScanError {
    ScanError::Known(Box::new(fault))
}

/// Whether `path` is `dir` or lies beneath it; the empty path is the root.
fn is_within(path: &[u8], dir: &[u8]) -> bool {
    let rest = path.strip_prefix(dir);
    rest.is_some_and(|rest| dir.is_empty() || rest.is_empty() || rest.starts_with(b"/"))
}

/// The order of a walk, as [`RelPath`] has it.
fn in_path_order(a: &[u8], b: &[u8]) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    let rank = |&byte: &u8| if byte == b'/' { 0 } else { byte };
    a.iter().map(rank).cmp(b.iter().map(rank))
}
