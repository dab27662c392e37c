//! The version store: what was displaced, in `.farhaul/versions`, for this user alone. Its catalogue
//! is the index (`kept`): here are only names and bytes.

use super::Store;
use super::error::{StoreError, at};
use super::retention::{self, KeptAt};
use crate::index::{Durability, Index, IndexError, Kept, Reading};
use crate::scan::identity_of;
use farhaul_engine::files::dir::Meta as DiskMeta;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Item;
use rustix::io::Errno;
use std::fs::File;
use std::time::Duration;

/// For how long something that was displaced stays in any case, in seconds: whoever has it open may
/// still write into it.
const HELD_OPEN_SECS: u64 = 3600;

/// What becomes of something that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is to go by now.
    Expired,
    /// It may go where there is no room for all.
    Stays,
    /// It stays in any case.
    Pinned,
}

impl Store {
    /// Opens a kept file for reading. Removing it meanwhile takes nothing from who has it open.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open_kept(&self, name: &str) -> Result<File, StoreError> {
        Ok(self.versions.open_file(name.as_bytes()).map_err(at("versions"))?.0)
    }

    /// What a kept object is by now; `None` where it is gone.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kept_meta(&self, name: &str) -> Result<Option<DiskMeta>, StoreError> {
        self.versions.stat(name.as_bytes()).map_err(at("versions"))
    }

    /// Where a kept symbolic link points to.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn read_kept_link(&self, name: &str) -> Result<Vec<u8>, StoreError> {
        self.versions.read_link(name.as_bytes()).map_err(at("versions"))
    }

    /// Removes a kept object for good; one that is gone already is no error. Its row in the index
    /// goes afterwards: a row without an object is harmless, the other way round nobody would know
    /// what it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn remove_kept(&self, name: &str) -> Result<(), StoreError> {
        match self.versions.remove_file(name.as_bytes()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(at("versions")(errno)),
        }
    }

    /// The names of all that is kept. What the index does not know of (after its loss) is what some
    /// user wrote, and stays.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn kept_names(&self) -> Result<Vec<String>, StoreError> {
        let names = self.versions.names().map_err(at("versions"))?;
        // Whatever has another form is not ours.
        Ok(names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect())
    }

    /// All that is kept of `path`, the oldest first, and by [`retention`] becomes of it at `now_secs`
    /// (seconds since 1970), up to `age`.
    ///
    /// # Errors
    /// [`PurgeError`].
    pub fn fates(
        &self,
        reading: Reading<'_>,
        path: &RelPath,
        now_secs: u64,
        age: Option<Duration>,
    ) -> Result<Vec<(Kept, Fate)>, PurgeError> {
        let kept = reading.kept_of(path)?;
        let item = reading.item(path)?;
        let mut looked = Vec::with_capacity(kept.len());
        for kept in &kept {
            let is_pinned = self.is_pinned(reading, kept, &item, now_secs)?;
            looked.push(KeptAt { secs: kept.at_secs, is_pinned });
        }
        let mut fates = vec![Fate::Stays; kept.len()];
        for (fate, looked) in fates.iter_mut().zip(&looked) {
            if looked.is_pinned {
                *fate = Fate::Pinned;
            }
        }
        for at in retention::expired(now_secs, age, &looked) {
            fates[at] = Fate::Expired;
        }
        Ok(kept.into_iter().zip(fates).collect())
    }

    /// What holds the content of a version that is not covered stays (somebody has it, or it is a side
    /// of a conflict, or it was just brought back), so does what no version says anything of yet, and
    /// what somebody wrote into or may be writing into.
    fn is_pinned(
        &self,
        reading: Reading<'_>,
        kept: &Kept,
        item: &Item,
        now_secs: u64,
    ) -> Result<bool, PurgeError> {
        let Some(version) = &kept.version else { return Ok(true) };
        let placed = item.placed.iter().map(|placed| &placed.version);
        if item.versions.iter().chain(placed).any(|held| held.content == version.content) {
            return Ok(true);
        }
        let Some(loose) = reading.loose_one(&kept.name)? else { return Ok(false) };
        let is_new = now_secs.saturating_sub(loose.at_secs) <= HELD_OPEN_SECS;
        let is_as_said = |meta: DiskMeta| loose.said.is_some_and(|said| said == identity_of(&meta));
        Ok(is_new || !self.kept_meta(&kept.name)?.is_none_or(is_as_said))
    }

    /// Removes what is kept of `path` under `names`, but for what is pinned at `now_secs`. Returns how
    /// many went.
    ///
    /// # Errors
    /// [`PurgeError`]; what went until then is gone.
    pub fn purge(
        &self,
        index: &mut Index,
        path: &RelPath,
        names: &[String],
        now_secs: u64,
    ) -> Result<usize, PurgeError> {
        let item = index.read().item(path)?;
        let mut gone = Vec::with_capacity(names.len());
        for name in names {
            let Some(kept) = index.read().kept_as(path, name)? else { continue };
            if !self.is_pinned(index.read(), &kept, &item, now_secs)? {
                self.remove_kept(name)?;
                gone.push(name);
            }
        }
        let mut forgetting = index.begin(Durability::Later)?;
        for name in &gone {
            forgetting.forget_kept(path, name)?;
        }
        forgetting.commit()?;
        Ok(gone.len())
    }
}

/// Why a purge came to no end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// The version store refuses.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The index refuses.
    #[error(transparent)]
    Index(#[from] IndexError),
}
