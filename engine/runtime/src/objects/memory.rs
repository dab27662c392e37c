//! Objects in memory: what is too large for a control message.

use super::{BlockSink, BlockSource, Failure, Load, Store};
use farhaul_proto::content::Digest;
use farhaul_proto::objects::Placed;
use farhaul_proto::wire::control::FailCode;
use std::sync::{Mutex, PoisonError};

/// An object whose bytes are in memory already.
pub struct MemorySource(pub Vec<u8>);

impl BlockSource for MemorySource {
    fn load(&self, placed: Placed, buffer: &mut [u8]) -> Result<Load, Failure> {
        let start = placed.offset.as_len();
        let end = start.saturating_add(placed.len.as_len());
        match (self.0.get(start..end), buffer.get_mut(..placed.len.as_len())) {
            (Some(bytes), Some(place)) => place.copy_from_slice(bytes),
            _ => return Err(outside()),
        }
        Ok(Load::Filled)
    }
}

/// Collects an object in memory; its length was checked against a limit by its maker.
pub struct MemorySink(Mutex<Vec<u8>>);

impl MemorySink {
    /// One for `len` bytes, which its maker has checked: they are allocated here.
    pub fn new(len: usize) -> Self {
        Self(Mutex::new(vec![0; len]))
    }

    /// The bytes collected so far; unset ones are zero.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl BlockSink for MemorySink {
    fn store(&self, placed: Placed, data: &[u8]) -> Result<Store, Failure> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = placed.offset.as_len();
        let place = bytes.get_mut(start..start.saturating_add(data.len())).ok_or_else(outside)?;
        place.copy_from_slice(data);
        Ok(Store::Taken)
    }

    fn stored(&self, _placed: Placed, _digest: Digest) -> Result<(), Failure> {
        Ok(())
    }
}

fn outside() -> Failure {
    let reason = "a block lies outside its object; this is a bug";
    Failure { code: FailCode::Internal, reason: reason.to_owned() }
}
