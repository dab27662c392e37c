//! A folder that is to be opened: what is said of it, its disk and its index; and why it cannot be.

use super::contents::Contents;
use super::opening::{Progress, Stage};
use crate::index::{Index, IndexError};
use crate::scan::{Rules, ScrubPlan};
use crate::store::retention::Retention;
use crate::store::{Principals, Store, StoreError};
use crate::watch::{Limits, WatchMode};
use farhaul_engine::identity::IdentityError;
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::{Policy, StateError};
use farhaul_sync::message::RecordsError;
use farhaul_sync::seal::FolderKey;
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A folder that is to be opened.
#[derive(Clone, Debug)]
pub struct FolderSetup {
    /// What it is called in the configuration.
    pub name: String,
    /// What it is called on the wire.
    pub key: FolderKey,
    /// Where it stands.
    pub path: PathBuf,
    /// Where this site keeps what it knows of it: a directory of its own, which exists.
    pub state: PathBuf,
    /// Sites that it is shared with.
    pub peers: BTreeSet<SiteId>,
    /// Who may do what in it, and when a person is asked.
    pub policy: Arc<Policy>,
    /// What is left out of it.
    pub rules: Rules,
    /// How long after a scan the next one begins.
    pub scan_every: Duration,
    /// How changes are heard of in between.
    pub watch: WatchMode,
    /// How its files are read again.
    pub scrub: ScrubPlan,
    /// What is kept of what was displaced in it.
    pub retention: Retention,
    /// What is bounded there.
    pub watch_limits: Limits,
    /// Who is called how on this machine.
    pub principals: Arc<dyn Principals>,
}

impl FolderSetup {
    /// All that is opened of it, which may take minutes.
    pub(super) fn open_all(
        &self,
        site: SiteId,
        progress: &Progress,
    ) -> Result<(Store, Index, Contents), FolderError> {
        progress.is_at(Stage::Disk);
        let store = self.open_store()?;
        progress.is_at(Stage::Index);
        let index = self.open_index(site, progress)?;
        progress.is_at(Stage::Chunks);
        let contents = match Contents::open(&self.state.join("chunks"), progress.stop()) {
            Ok(contents) => contents,
            // Nothing was done with it.
            Err(error) => {
                index.close()?;
                return Err(error.into());
            }
        };
        progress.is_at(Stage::Deciding);
        Ok((store, index, contents))
    }

    /// Its disk; a directory that is none yet is made one.
    fn open_store(&self) -> Result<Store, FolderError> {
        let principals = Arc::clone(&self.principals);
        Ok(Store::open_or_create(&self.path, &self.state.join("mark"), principals)?)
    }

    /// Its index; where there is none, or a damaged one, a new one.
    fn open_index(&self, site: SiteId, progress: &Progress) -> Result<Index, FolderError> {
        let (place, stop) = (self.state.join("index"), progress.stop());
        let told = &mut |rows, of| progress.is_at(Stage::Migrating { rows, of });
        let opened = Index::open_under(&place, (self.key, site), stop, told);
        let opened = opened.and_then(|mut index| {
            progress.is_at(Stage::Checking);
            // A row has a hash, but one that is not found any more has none to be wrong.
            index.check_after_cut()?;
            index.let_go()?;
            Ok(index)
        });
        let index = match opened {
            // What was not read to its end says nothing.
            Err(error) if stop.is_set() => return Err(error.into()),
            Err(IndexError::Missing { .. }) => Index::create(&place, self.key, site)?,
            // What it knew comes from the peers again, under a new incarnation.
            Err(error) if error.is_damage() => {
                let aside = crate::index::quarantine(&place)?;
                tracing::error!(%error, aside = %aside.display(), "a new index takes its place");
                Index::create(&place, self.key, site)?
            }
            opened => opened?,
        };
        if stop.is_set() {
            index.close()?;
            return Err(FolderError::Unwanted);
        }
        Ok(index)
    }
}

/// Why a folder cannot be opened, or goes on no more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// Its disk.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The index does not take what follows from an event.
    #[error(transparent)]
    State(#[from] StateError<IndexError>),
    /// The key of this site.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What a peer sent.
    #[error("a peer sent records that cannot be: {0}")]
    Records(#[from] RecordsError),
    /// A signature.
    #[error("a peer sent records that their author did not sign")]
    Forged,
    /// Numbers of an incarnation that was drawn since the index was opened: no copy of it is older.
    #[error("a peer claims to hold what this site never gave; that peer is wrong")]
    Overclaimed,
    /// What is to be sent cannot be read.
    #[error("neighbours cannot be told: {0}")]
    Feed(String),
    /// It was removed, or the site stops.
    #[error("nobody waits for it any more")]
    Unwanted,
    /// The thread that opened it ended by a panic.
    #[error("opening it broke off, which is a fault of this program: {0}; please report it")]
    Broken(String),
    /// No thread.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// Changes were made, and the index does not take what they came to.
    #[error("what was changed cannot be noted: {0}")]
    Unnoted(Box<FolderError>),
    /// What became of a change before the stop cannot be found out.
    #[error("{path}: it cannot be found out what became of a change before the stop: {source}")]
    Undecided {
        /// Where.
        path: RelPath,
        /// Why.
        source: StoreError,
    },
}

impl FolderError {
    /// Whether room on a disk is all that is missing.
    pub(super) fn is_full(&self) -> bool {
        match self {
            Self::Store(error) => error.is_full(),
            Self::Index(error) | Self::State(StateError::Index(error)) => {
                matches!(error, IndexError::Full)
            }
            _ => false,
        }
    }
}
