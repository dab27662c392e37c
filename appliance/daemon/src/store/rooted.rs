//! What is root's here, and what must not become that (spec: S-145, S-173).

use super::error::{StoreError, at};
use super::staged::Ready;
use super::{Store, random_name};
use farhaul_engine::files::dir::{FileKind, Meta as DiskMeta};
use farhaul_files::{NOBODY, ROOT, guards_root};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::version::Meta;
use rustix::fd::AsFd;
use rustix::fs::{Gid, Uid, fchown, fsync};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For how long it counts whether this site can give files away.
const COUNTS: Duration = Duration::from_secs(1);

/// Owner and group, each for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rooted {
    /// The owner is root.
    pub owner: bool,
    /// The group is root's.
    pub group: bool,
}

impl Rooted {
    /// Of what stands somewhere.
    pub fn of(meta: &DiskMeta) -> Self {
        Self { owner: meta.owner == ROOT, group: meta.group == ROOT }
    }

    /// What is so in both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self { owner: self.owner && other.owner, group: self.group && other.group }
    }

    /// Whether anything is.
    pub const fn is_any(self) -> bool {
        self.owner || self.group
    }
}

/// Whether files can be given away, as it was last found.
#[derive(Debug, Default)]
pub(super) struct Gives(Mutex<Option<(Instant, bool)>>);

impl Store {
    /// What of a version's owner and group is root's.
    pub fn says_root(&self, meta: &Meta) -> Rooted {
        let user = |name: &[u8]| self.principals.user_number(name) == Some(ROOT);
        let group = |name: &[u8]| self.principals.group_number(name) == Some(ROOT);
        Rooted {
            owner: meta.owner.as_deref().is_some_and(user),
            group: meta.group.as_deref().is_some_and(group),
        }
    }

    /// Whether what others publish must not become root's here, and would: what this site makes is.
    pub fn guards_root(&self) -> bool {
        guards_root(&*self.principals)
    }

    /// That a file of these owners can be put at `path` without becoming root's.
    ///
    /// # Errors
    /// [`StoreError::Roots`], and what the kernel says of the path.
    pub fn check_owner(&self, path: &RelPath, meta: &Meta) -> Result<(), StoreError> {
        if !self.guards_root() {
            return Ok(());
        }
        let over = self.root.stat(path).ok().filter(|over| over.kind == FileKind::File);
        let stays = self.says_root(meta).and(over.as_ref().map(Rooted::of).unwrap_or_default());
        if (stays.owner && stays.group) || self.gives_away()? {
            return Ok(());
        }
        Err(StoreError::Roots)
    }

    /// Tries it on a file of nobody's, now and then.
    fn gives_away(&self) -> Result<bool, StoreError> {
        let mut known = self.gives.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((since, gives)) = *known
            && since.elapsed() < COUNTS
        {
            return Ok(gives);
        }
        let name = random_name()?;
        let file = self.incoming.create_file(name.as_bytes()).map_err(at("incoming"))?;
        let nobody = (Some(Uid::from_raw(NOBODY)), Some(Gid::from_raw(NOBODY)));
        let gives = fchown(&file, nobody.0, nobody.1).is_ok();
        self.incoming.remove_file(name.as_bytes()).map_err(at("incoming"))?;
        *known = Some((Instant::now(), gives));
        Ok(gives)
    }

    /// Gives something that is ready back to root, durably: as this very version it was root's here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn give_back(&self, ready: &Ready, rooted: Rooted) -> Result<Ready, StoreError> {
        let at = at("incoming");
        let name = ready.name.as_bytes();
        let owner = rooted.owner.then(|| Uid::from_raw(ROOT));
        let group = rooted.group.then(|| Gid::from_raw(ROOT));
        let file = match ready.kind {
            FileKind::File if !ready.is_another_name => self.incoming.open_file(name),
            _ => return Ok(ready.clone()),
        };
        let (file, _) = file.map_err(&at)?;
        let given = fchown(file.as_fd(), owner, group).and_then(|()| fsync(&file));
        let now = given.and_then(|()| DiskMeta::of(&file)).map_err(&at)?;
        Ok(Ready { identity: now.identity, ..ready.clone() })
    }
}
