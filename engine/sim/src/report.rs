//! What a run came to, in numbers: speed, waste, the tail, memory, and the hash of its events.

use core::fmt;
use core::time::Duration;
use farhaul_proto::trace::Spent;
use farhaul_proto::units::{BitRate, Bytes};

/// What one direction came to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Direction {
    /// Data bytes of all objects that were carried.
    pub bytes: Bytes,
    /// Time from the first declaration to the last byte on the target's disk.
    pub elapsed: Duration,
    /// Time from the end of the first pass to the last byte on the target's disk.
    pub tail: Duration,
    /// What the link and its loss would have allowed (capacity, less loss, less headers).
    pub limit: BitRate,
    /// The link's rate at IP level.
    pub rate: BitRate,
    /// Packets with symbols that were sent.
    pub data_packets: u64,
    /// Source symbols of all blocks.
    pub needed: u64,
    /// Fresh repair symbols sent.
    pub repair: u64,
    /// Source symbols sent again.
    pub resent: u64,
    /// Symbols that arrived in vain.
    pub redundant: u64,
    /// Symbols that the target could not take.
    pub refused: u64,
    /// Everything that left the source, at IP level: data, repair, trains, reports.
    pub wire: Bytes,
    /// The 95th percentile of the delay in the queue of the link.
    pub queue_p95: Duration,
    /// Payload of the packets.
    pub symbol_size: u16,
    /// Packets declared lost that arrived after all.
    pub spurious: u64,
    /// The most repair rounds that any block took.
    pub rounds: u32,
    /// Blocks encoded, and blocks decoded.
    pub coded: (u64, u64),
    /// The longest time without anything new at the target, from its first symbol to its last.
    pub stall: Duration,
    /// How long each limit applied, as the source tells it.
    pub limited: Spent,
    /// The most buffers held by the source, and by the target.
    pub buffers: (usize, usize),
}

impl Direction {
    /// Data bytes per time.
    pub fn goodput(&self) -> BitRate {
        if self.bytes == Bytes::ZERO { BitRate::ZERO } else { self.bytes.rate_over(self.elapsed) }
    }

    /// Goodput as a share of what the link allowed.
    pub fn efficiency(&self) -> f64 {
        if self.limit == BitRate::ZERO {
            0.0
        } else {
            self.goodput().as_f64() / self.limit.as_f64()
        }
    }

    /// Bytes that left, as a multiple of those that carry the data over a link with this loss if
    /// every lost packet is replaced once.
    pub fn sent_of_needed(&self) -> f64 {
        if self.limit == BitRate::ZERO || self.bytes == Bytes::ZERO {
            return 0.0;
        }
        let needed = self.bytes.time_at(self.limit).as_secs_f64();
        self.wire.time_at(self.rate).as_secs_f64() / needed
    }

    /// Symbols sent beyond those needed, as a share of those needed.
    #[expect(clippy::cast_precision_loss, reason = "counts of packets")]
    pub fn overhead(&self) -> f64 {
        if self.needed == 0 { 0.0 } else { self.data_packets as f64 / self.needed as f64 - 1.0 }
    }

    /// Symbols that arrived in vain, as a share of those needed.
    #[expect(clippy::cast_precision_loss, reason = "counts of packets")]
    pub fn waste(&self) -> f64 {
        if self.needed == 0 { 0.0 } else { self.redundant as f64 / self.needed as f64 }
    }
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Report {
    /// The scenario.
    pub name: String,
    /// Its seed.
    pub seed: u64,
    /// From A to B, and from B to A.
    pub directions: [Direction; 2],
    /// How long each object took, from the moment its source knew that it is to be sent to its last
    /// byte on the target's disk.
    pub carried: [Vec<Duration>; 2],
    /// Packets sent by both sides.
    pub packets: u64,
    /// Objects that were given up, of all objects.
    pub abandoned: (usize, usize),
    /// Virtual time that the run took.
    pub elapsed: Duration,
    /// Events that happened.
    pub events: u64,
    /// BLAKE3 over the sequence of events and their times.
    pub hash: [u8; 32],
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (seed {}): {:.3} s", self.name, self.seed, self.elapsed.as_secs_f64())?;
        for direction in self.directions.iter().filter(|direction| direction.needed > 0) {
            write!(
                f,
                "; {} in {:.3} s, {} = {:.3} of the limit, tail {:.3} s, {:.1} % over, \
                 {:.2} % in vain, {} rounds, {} repair, {} resent, {} spurious, buffers {}/{}",
                direction.bytes,
                direction.elapsed.as_secs_f64(),
                direction.goodput(),
                direction.efficiency(),
                direction.tail.as_secs_f64(),
                direction.overhead() * 100.0,
                direction.waste() * 100.0,
                direction.rounds,
                direction.repair,
                direction.resent,
                direction.spurious,
                direction.buffers.0,
                direction.buffers.1,
            )?;
        }
        Ok(())
    }
}
