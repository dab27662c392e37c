//! The version store: what was displaced, in `.farhaul/versions`, for this user alone. Its catalogue
//! is the index (`kept`): here are only names and bytes.

use super::Store;
use super::error::{StoreError, at};
use super::retention::{self, KeptAt};
use crate::index::{Durability, Index, IndexError, Kept};
use farhaul_engine::files::dir::Meta as DiskMeta;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::version::Version;
use rustix::io::Errno;
use std::fs::File;

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

    /// Removes what is kept of `path` and by [`retention`] has to go at `now_secs` (seconds since
    /// 1970). What holds the content of a version that is not covered stays (somebody has it, or it
    /// is a side of a conflict), so does what no version says anything of yet, and what `is_pinned`.
    /// Returns how many went.
    ///
    /// # Errors
    /// [`PurgeError`]; what went until then is gone.
    pub fn purge(
        &self,
        index: &mut Index,
        path: &RelPath,
        now_secs: u64,
        is_pinned: &dyn Fn(&Kept) -> bool,
    ) -> Result<usize, PurgeError> {
        let kept = index.read().kept_of(path)?;
        let item = index.read().item(path)?;
        let is_current = |version: &Version| {
            let placed = item.placed.iter().map(|placed| &placed.version);
            item.versions.iter().chain(placed).any(|held| held.content == version.content)
        };
        let looked = kept.iter().map(|kept| KeptAt {
            secs: kept.at_secs,
            is_pinned: kept.version.as_ref().is_none_or(is_current) || is_pinned(kept),
        });
        let expired = retention::expired(now_secs, &looked.collect::<Vec<_>>());
        for &at in &expired {
            self.remove_kept(&kept[at].name)?;
        }
        let mut forgetting = index.begin(Durability::Later)?;
        for &at in &expired {
            forgetting.forget_kept(path, &kept[at].name)?;
        }
        forgetting.commit()?;
        Ok(expired.len())
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
