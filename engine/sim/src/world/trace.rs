//! What happened, as a hash: two runs of one seed must agree on every event and its time.
//!
//! It can also tell the events as lines, for a person who looks for the cause of a failure.

use crate::scenario::Side;
use crate::world::agenda::Packet;
use core::fmt::{self, Debug, Write};
use farhaul_proto::session::PlanBody;
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

    /// Takes in a packet with all that it carries.
    pub(crate) fn note_packet(
        &mut self,
        now: Timestamp,
        kind: &'static str,
        side: Side,
        packet: &Packet,
    ) {
        self.note(now, kind, side as u64, packet.number.get());
        let (what, symbol) = match &packet.body {
            PlanBody::Symbol { data, .. } => (data.block.get(), data.symbol.get()),
            PlanBody::Padding(_) | PlanBody::Report(_) | PlanBody::Path(_) => (0, 0),
        };
        let mut record = [0; 18];
        record[..8].copy_from_slice(&packet.bytes.get().to_le_bytes());
        record[8] = packet.kind as u8;
        record[9] = u8::from(packet.corrupt);
        record[10..14].copy_from_slice(&what.to_le_bytes());
        record[14..].copy_from_slice(&symbol.to_le_bytes());
        self.hasher.update(&record);
        if let PlanBody::Report(payload) = &packet.body {
            self.hasher.update(payload);
        }
    }

    /// Takes in an event with all that there is to say about it.
    pub(crate) fn note_words(
        &mut self,
        now: Timestamp,
        kind: &'static str,
        side: Side,
        what: &impl Debug,
    ) {
        self.note(now, kind, side as u64, 0);
        // The sink takes everything.
        let _ = write!(Sink(&mut self.hasher), "{what:?}");
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

/// Text that goes straight into the hash.
struct Sink<'a>(&'a mut blake3::Hasher);

impl Write for Sink<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}
