//! What the control loop says of jobs, and what it is told of how fast they go.

use super::shown::GivenNow;
use farhaul_proto::units::BitRate;
use farhaul_sync::job::JobId;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::shares::Class;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// What a job is to get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobTerms {
    /// What its leader calls it.
    pub name: String,
    /// Before whom it comes.
    pub class: Class,
    /// What it gets beside others of its class, 1 to 1000.
    pub weight: u32,
    /// The most that this site sends of it, to all peers together.
    pub cap: Option<BitRate>,
    /// The calendar that it keeps to.
    pub calendar: Option<String>,
    /// Nothing of it is sent.
    pub is_paused: bool,
}

/// The jobs that this site has a part in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JobTable {
    /// What each is to get.
    pub jobs: BTreeMap<JobId, JobTerms>,
    /// The job of each folder that is one's.
    pub folders: BTreeMap<FolderKey, JobId>,
}

/// Where the control loop and the sessions meet over jobs.
#[derive(Clone, Debug)]
pub struct JobShares {
    table: watch::Sender<Arc<JobTable>>,
    given: Arc<Mutex<Arc<GivenNow>>>,
}

impl Default for JobShares {
    fn default() -> Self {
        Self { table: watch::channel(Arc::default()).0, given: Arc::default() }
    }
}

impl JobShares {
    /// Says what jobs there are from now on.
    pub(crate) fn say(&self, table: JobTable) {
        self.table.send_if_modified(|before| {
            let differs = **before != table;
            if differs {
                *before = Arc::new(table);
            }
            differs
        });
    }

    /// Hears of it.
    pub(super) fn hear(&self) -> watch::Receiver<Arc<JobTable>> {
        self.table.subscribe()
    }

    /// What is given of jobs to whom at the moment.
    pub(crate) fn given(&self) -> Arc<GivenNow> {
        Arc::clone(&self.given.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn tell_given(&self, given: GivenNow) {
        *self.given.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(given);
    }
}
