//! What happened, as a hash: two runs of one seed must agree on every event and its time.
//!
//! It can also tell the events as lines, for a person who looks for the cause of a failure.

use farhaul_proto::units::Timestamp;

/// See the module.
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    speaks: bool,
    pub(crate) events: u64,
}

impl Trace {
    pub(crate) fn new(speaks: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), speaks, events: 0 }
    }

    /// Takes an event in: `kind` (told apart by eight letters) and two
    /// numbers.
    pub(crate) fn note(&mut self, now: Timestamp, kind: &'static str, a: u64, b: u64) {
        self.events += 1;
        let mut record = [0; 32];
        record[..8].copy_from_slice(&now.as_nanos().to_le_bytes());
        record[8..16].copy_from_slice(&a.to_le_bytes());
        record[16..24].copy_from_slice(&b.to_le_bytes());
        let name = kind.len().min(8);
        record[24..24 + name].copy_from_slice(&kind.as_bytes()[..name]);
        self.hasher.update(&record);
    }

    /// Prints a line if lines are wanted.
    pub(crate) fn line(&self, now: Timestamp, text: impl FnOnce() -> String) {
        if self.speaks {
            println!("{:>12.6} {}", now.as_secs_f64(), text());
        }
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}
