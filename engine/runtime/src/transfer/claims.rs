//! What the receiver claims to hold, compared with the source. spec: W-094

use super::file::source_failure;
use crate::files::source::Source;
use crate::files::stop::Stop;
use crate::objects::Failure;
use farhaul_proto::content::{Digest, block_digest, run_digest};
use farhaul_proto::layout::ObjectSpec;
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::units::Bytes;
use farhaul_proto::wire::control::{FailCode, Have};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

/// Which claims of an object do not hold, or why that cannot be found out.
pub(super) type Checked = Result<Vec<Have>, Failure>;

/// The claims of each entry.
pub(super) fn by_entry(have: &[Have]) -> BTreeMap<u32, Vec<Have>> {
    let mut claims: BTreeMap<u32, Vec<Have>> = BTreeMap::new();
    for claim in have {
        claims.entry(claim.entry).or_default().push(*claim);
    }
    claims
}

/// How an interrupted check is told.
pub(super) fn check_panicked() -> Failure {
    let reason = "checking the source failed; this is a bug".to_owned();
    Failure { code: FailCode::Internal, reason }
}

/// The data bytes of a claim, which lies within its object.
pub(super) fn bytes_of(spec: &ObjectSpec, claim: &Have) -> Bytes {
    let start = u64::from(claim.first) * BLOCK_DATA.get();
    let end = (u64::from(claim.first) + u64::from(claim.count)) * BLOCK_DATA.get();
    Bytes::new(end.min(spec.len).saturating_sub(start))
}

/// Reads the blocks that the receiver claims to hold; returns the claims that are wrong.
pub(super) fn wrong(source: &Source, index: u32, claims: Vec<Have>, stop: &Stop) -> Checked {
    let mut wrong = Vec::new();
    for claim in claims {
        if digest_of(source, index, &claim, stop)? != claim.digest {
            wrong.push(claim);
        }
    }
    Ok(wrong)
}

/// Digest over the blocks of a claim, read from the source.
fn digest_of(source: &Source, index: u32, claim: &Have, stop: &Stop) -> Result<Digest, Failure> {
    let mut buffer = vec![0; BLOCK_DATA.as_len()];
    let mut digests = Vec::new();
    for block in claim.first..claim.first.saturating_add(claim.count) {
        if stop.is_set() {
            let reason = "nobody waits for it any more".to_owned();
            return Err(Failure { code: FailCode::Cancelled, reason });
        }
        let mut len = 0;
        let segments = source.read_segments(index, block).map_err(|e| source_failure(&e))?;
        for segment in &segments {
            let end = segment.buffer_offset + segment.len;
            let place = buffer.get_mut(segment.buffer_offset..end).ok_or_else(|| Failure {
                code: FailCode::Internal,
                reason: "a block is longer than a block can be; this is a bug".to_owned(),
            })?;
            segment.file.read_exact_at(place, segment.file_offset).map_err(|error| Failure {
                code: match error.kind() {
                    ErrorKind::UnexpectedEof => FailCode::SourceChanged,
                    _ => FailCode::SourceUnreadable,
                },
                reason: format!("reading the source failed: {error}"),
            })?;
            len = len.max(end);
        }
        digests.push(block_digest(&buffer[..len], u64::from(block) * BLOCK_DATA.get()));
    }
    Ok(run_digest(&digests))
}
