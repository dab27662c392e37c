//! Small files as objects: one block holds many, and behind their data one status byte each.
//!
//! The status says whether the bytes are the file's (0), or why the sender could not read it
//! (`FailCode` + 1): so a bundle needs no second message before its files may be put in place.
//! spec: W-091

use super::failures::{Failures, Side, failure_of_status, status_of};
use super::file::source_failure;
use crate::files::receive::Receiver;
use crate::files::source::Source;
use crate::objects::{BlockSink, BlockSource, Failure, Load, Store};
use farhaul_proto::content::Digest;
use farhaul_proto::layout::ObjectSpec;
use farhaul_proto::objects::Placed;
use farhaul_proto::wire::control::FailCode;
use std::sync::Arc;

/// Bytes of a bundle on the wire: the data and a status byte for each file.
pub(super) fn wire_len(spec: &ObjectSpec) -> u64 {
    spec.len + spec.entries().len() as u64
}

/// A bundle on its way out.
pub(super) struct BundleSource {
    pub(super) source: Arc<Source>,
    pub(super) object: u32,
    pub(super) failures: Failures,
}

impl BlockSource for BundleSource {
    fn load(&self, placed: Placed, buffer: &mut [u8]) -> Result<Load, Failure> {
        let spec = self.source.layout().object(self.object).ok_or_else(mismatch)?;
        let len = usize::try_from(spec.len).map_err(|_| mismatch())?;
        let buffer = buffer.get_mut(..placed.len.as_len()).ok_or_else(mismatch)?;
        if placed.len.get() != wire_len(spec) {
            return Err(mismatch());
        }
        let (data, status) = buffer.split_at_mut(len);
        status.fill(0);
        let failed = self.source.read_bundle(self.object, data);
        for failed in failed.map_err(|error| source_failure(&error))? {
            let failure = source_failure(&failed.error);
            if let Ok(at) = spec.entries().binary_search(&failed.entry) {
                status[at] = status_of(failure.code);
            }
            self.failures.note(failed.entry, Side::Here, failure);
        }
        Ok(Load::Filled)
    }
}

/// A bundle on its way in.
pub(super) struct BundleSink {
    pub(super) receiver: Arc<Receiver>,
    pub(super) spec: ObjectSpec,
    pub(super) failures: Failures,
}

impl BlockSink for BundleSink {
    fn store(&self, _placed: Placed, data: &[u8]) -> Result<Store, Failure> {
        let len = usize::try_from(self.spec.len).map_err(|_| mismatch())?;
        if data.len() as u64 != wire_len(&self.spec) {
            return Err(mismatch());
        }
        let (data, status) = data.split_at(len);
        for (&entry, &status) in self.spec.entries().iter().zip(status) {
            if let Some(failure) = failure_of_status(status) {
                self.failures.note(entry, Side::Peer, failure);
                self.receiver.abandon(entry);
            }
        }
        // What becomes of each file is noted there, for the report at the end.
        let _ = self.receiver.write_bundle(&self.spec, data);
        Ok(Store::Taken)
    }

    fn stored(&self, _placed: Placed, _digest: Digest) -> Result<(), Failure> {
        Ok(())
    }
}

fn mismatch() -> Failure {
    let reason = "a bundle has another length than its files; this is a bug";
    Failure { code: FailCode::Internal, reason: reason.to_owned() }
}
