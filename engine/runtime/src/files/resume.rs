//! What an earlier attempt left, and what becomes of it: taken up, or removed for its room.

use super::commit::CommitError;
use super::confine::{ConfineError, ShownPath};
use super::journal::Digest;
use super::receive::{HaveBlocks, RESUMED_MAX, ReceiveError, ReceivePlan, Receiver};
use super::space;
use super::staging::{Earlier, StagedFile, StagingError};
use super::stop::Stop;
use farhaul_proto::content::block_digest;
use farhaul_proto::layout::{BUNDLED_MAX, DataMap};
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::wire::control::HAVE_MAX;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

impl Receiver {
    /// Frees the room of what nobody will take up: other versions of the same files, and all of
    /// it when nothing shall be taken up.
    pub(super) fn drop_superseded(&self) -> Result<(), StagingError> {
        let earlier = if self.options.resume { Earlier::Keep } else { Earlier::Discard };
        let keys = self.manifest.entries.iter().map(|entry| self.key(entry));
        self.staging.drop_superseded(keys, earlier)
    }

    pub(super) fn take_up_staged(
        &self,
        plan: &mut ReceivePlan,
        stop: &Stop,
    ) -> Result<(), ReceiveError> {
        if !self.options.resume {
            return Ok(());
        }
        for (index, entry) in (0u32..).zip(&self.manifest.entries) {
            let large = entry.data_len() > BUNDLED_MAX && self.expected(index).is_ok();
            if !large || self.lock().staged.len() >= RESUMED_MAX {
                continue;
            }
            let key = self.key(entry);
            if !self.staging.has_journal(key)? {
                continue;
            }
            match self.staging.stage(key, index, DataMap::of(entry), Earlier::Keep) {
                Ok((staged, claims)) => {
                    let have = verify(&staged, &claims, stop).ok_or(ReceiveError::Stopped)?;
                    plan.have.extend(have);
                    self.lock().staged.insert(index, Arc::new(staged));
                }
                Err(fault) => {
                    self.fail(index, CommitError::Staging { path: (&entry.path).into(), fault });
                }
            }
        }
        Ok(())
    }

    /// Claims only what is wanted, and no more runs than an answer may hold: blocks that are
    /// not claimed come again.
    pub(super) fn limit_claims(&self, plan: &mut ReceivePlan) {
        plan.have.retain(|have| self.expected(have.entry).is_ok());
        plan.have.truncate(HAVE_MAX);
        let bytes = plan.have.iter().map(|have| self.bytes_of(have.entry, have.first, have.count));
        plan.resumed_bytes = bytes.sum();
    }

    /// What was taken up may lack space that only a whole reservation has.
    pub(super) fn reserve_taken_up(&self) {
        let staged: Vec<_> = self.lock().staged.values().cloned().collect();
        for staged in staged {
            if let Err(errno) = space::preallocate(&staged.fd, &staged.map) {
                let path =
                    self.manifest.entry(staged.entry).map(|item| ShownPath::from(&item.path));
                let error = ConfineError::at(path.unwrap_or_else(|| b""[..].into()), errno);
                self.fail(staged.entry, CommitError::Place(error));
            }
        }
    }
}

/// Reads every claimed block again; returns the runs of those that hold what was claimed.
/// `None` when it was stopped.
fn verify(
    staged: &StagedFile,
    claims: &BTreeMap<u32, Digest>,
    stop: &Stop,
) -> Option<Vec<HaveBlocks>> {
    let mut buffer = vec![0; BLOCK_DATA.as_len()];
    let mut runs: Vec<(HaveBlocks, blake3::Hasher)> = Vec::new();
    for (&block, claimed) in claims {
        if stop.is_set() {
            return None;
        }
        if read_digest(staged, block, &mut buffer).as_ref() != Some(claimed) {
            continue;
        }
        staged.journal.confirm(block);
        match runs.last_mut() {
            Some((run, hasher)) if run.first + run.count == block => {
                run.count += 1;
                hasher.update(claimed);
            }
            Some(_) | None => {
                let (entry, digest) = (staged.entry, [0; 32]);
                let mut hasher = blake3::Hasher::new();
                hasher.update(claimed);
                runs.push((HaveBlocks { entry, first: block, count: 1, digest }, hasher));
            }
        }
    }
    let close = |(run, hasher): (HaveBlocks, blake3::Hasher)| HaveBlocks {
        digest: *hasher.finalize().as_bytes(),
        ..run
    };
    Some(runs.into_iter().map(close).collect())
}

/// The digest of what the staged file holds; `None` when it cannot be read.
fn read_digest(staged: &StagedFile, block: u32, buffer: &mut [u8]) -> Option<Digest> {
    let mut filled = 0;
    for run in staged.block_runs(block) {
        let end = filled + usize::try_from(run.len).ok()?;
        staged.fd.read_exact_at(buffer.get_mut(filled..end)?, run.offset).ok()?;
        filled = end;
    }
    Some(block_digest(&buffer[..filled], u64::from(block) * BLOCK_DATA.get()))
}
