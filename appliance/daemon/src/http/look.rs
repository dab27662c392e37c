//! Looking into indexes beside the control loop: readers that are kept open, threads that may block,
//! and counts that are taken anew only now and then.

use super::Shared;
use super::fail::Failed;
use crate::control::Reader;
use crate::index::{IndexError, Kind, Reading};
use crate::moment;
use farhaul_api::{Contents, Lacking, TreePath};
use farhaul_proto::path_name::RelPath;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;

/// How much longer than it took a count stays as it is: counting takes a twentieth of a thread at
/// most, however large a folder is.
const REST: u32 = 20;
/// And at least so long.
const REST_MIN: Duration = Duration::from_secs(5);

/// Readers and counts by folder.
#[derive(Debug, Default)]
pub(super) struct Looks {
    readers: Mutex<BTreeMap<String, Reader>>,
    counts: Mutex<BTreeMap<String, Counted>>,
}

/// What was counted in a folder.
#[derive(Clone, Debug)]
pub(super) struct Counted {
    pub(super) contents: Contents,
    pub(super) missing: u64,
    pub(super) conflicts: u64,
    pub(super) waiting: u64,
    pub(super) set_aside: u64,
    pub(super) lacking: Lacking,
    opened: u64,
    again: Instant,
}

impl Shared {
    /// Reads in the index of a folder, in a thread that may block. `opened` is what the control loop
    /// said of it, so that no reader of a closed one is used; without it the loop is asked.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        name: &str,
        opened: Option<u64>,
        read: impl FnOnce(Reading<'_>) -> Result<T, IndexError> + Send + 'static,
    ) -> Result<T, Failed> {
        let kept = lock(&self.looks.readers).remove(name);
        let kept = kept.filter(|kept| opened.is_some_and(|opened| kept.opened == opened));
        let reader = match kept {
            Some(reader) => reader,
            None => self.sources.control.reader(name).await?,
        };
        let looked = spawn_blocking(move || {
            let looked = read(reader.index.read());
            (reader, looked)
        });
        let (reader, looked) = looked.await.map_err(|error| Failed::broken(error.to_string()))?;
        // Two at a time leave one: the other is closed.
        lock(&self.looks.readers).insert(name.to_owned(), reader);
        Ok(looked?)
    }

    /// What a folder holds, as counted a short while ago.
    pub(super) async fn counted(&self, name: &str, opened: u64) -> Result<Counted, Failed> {
        let known = lock(&self.looks.counts).get(name).cloned();
        if let Some(known) =
            known.filter(|known| known.opened == opened && known.again > Instant::now())
        {
            return Ok(known);
        }
        let began = Instant::now();
        let counted = self.look(name, Some(opened), |reading| {
            let (missing, conflicts) = (reading.unsettled_count()?, reading.conflict_count()?);
            let (waiting, set_aside) = (reading.look_count()?, reading.aside_count()? as u64);
            let lacking = lacking(reading)?;
            Ok((contents(reading)?, missing, conflicts, waiting, set_aside, lacking))
        });
        let (contents, missing, conflicts, waiting, set_aside, lacking) = counted.await?;
        let again = Instant::now() + (began.elapsed() * REST).max(REST_MIN);
        let counted =
            Counted { contents, missing, conflicts, waiting, set_aside, lacking, opened, again };
        lock(&self.looks.counts).insert(name.to_owned(), counted.clone());
        Ok(counted)
    }

    /// Forgets folders that are no more.
    pub(super) fn keep_only(&self, is_there: impl Fn(&str) -> bool) {
        lock(&self.looks.readers).retain(|name, _| is_there(name));
        lock(&self.looks.counts).retain(|name, _| is_there(name));
    }
}

fn lock<T>(shared: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lacking(reading: Reading<'_>) -> Result<Lacking, IndexError> {
    let (paths, [owner, group, mode, attributes, unsaid]) = reading.lacking()?;
    Ok(Lacking { paths, owner, group, mode, attributes, unsaid })
}

fn contents(reading: Reading<'_>) -> Result<Contents, IndexError> {
    let counted = moment::text_of_millis(moment::now_millis());
    let mut contents = Contents { files: 0, dirs: 0, links: 0, bytes: 0, counted };
    for standing in reading.all_standing(None) {
        let standing = standing?;
        match standing.kind {
            Kind::Dir => contents.dirs += 1,
            Kind::Symlink => contents.links += 1,
            Kind::File => {
                contents.files += 1;
                contents.bytes = contents.bytes.saturating_add(standing.identity.size);
            }
        }
    }
    Ok(contents)
}

/// A path that somebody sent.
pub(super) fn path_of(text: &TreePath) -> Result<RelPath, Failed> {
    let next =
        "write it as answers do: names joined by `/`, beneath the folder, other bytes as \\xNN";
    let bytes = text.to_bytes();
    let bytes = bytes.map_err(|error| Failed::wrong("no path", error.to_string(), next))?;
    RelPath::parse(&bytes).map_err(|error| Failed::wrong("no path", error.to_string(), next))
}

/// The same, where it may be absent.
pub(super) fn path_if(text: Option<&TreePath>) -> Result<Option<RelPath>, Failed> {
    text.map(path_of).transpose()
}
