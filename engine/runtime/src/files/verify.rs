//! What a journal claims, read again: the only proof that staged data is what it was.

use super::journal::Digest;
use super::receive::HaveBlocks;
use super::staging::StagedFile;
use super::stop::Stop;
use farhaul_proto::content::block_digest;
use farhaul_proto::limits::BLOCK_DATA;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;

/// Reads every claimed block again; returns the runs of those that hold what was claimed.
/// `None` when it was stopped.
pub(super) fn verify(
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
