//! What two sites say about a path that is measured without a transfer (`spec: W-099`).

use crate::ids::TransferId;
use crate::units::Ratio;
use minicbor::{Decode, Encode};

/// What the receiver of padding may be asked to measure of its way to the asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Probe {
    /// Which probe; answered with the same number.
    #[n(0)]
    pub transfer: TransferId,
    /// How long it may take, in milliseconds.
    #[n(1)]
    pub span_ms: u32,
    /// Bytes at IP level that may be used for it.
    #[n(2)]
    pub bytes_max: u64,
    /// Never faster than this, in bits per second at IP level; not zero.
    #[n(3)]
    pub rate_max: Option<u64>,
}

/// What was measured of one direction of a path (`spec: W-099`). Counts are packets, times are
/// microseconds, rates bits per second at IP level; what is not known is zero or missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct PathFigures {
    /// Small packets sent, 5 ms apart.
    #[n(0)]
    pub delay_sent: u64,
    /// Of those, lost.
    #[n(1)]
    pub delay_lost: u64,
    /// Smallest round trip.
    #[n(2)]
    pub rtt_min_us: u64,
    /// Median round trip.
    #[n(3)]
    pub rtt_median_us: u64,
    /// The round trip that one in a hundred exceeds.
    #[n(4)]
    pub rtt_p99_us: u64,
    /// Mean difference in delay between neighbours, this direction alone.
    #[n(5)]
    pub jitter_us: u64,
    /// Arrivals whose order is known.
    #[n(6)]
    pub marks: u64,
    /// Of those, overtaken by one sent later.
    #[n(7)]
    pub overtaken: u64,
    /// Packets with the smaller symbol pass.
    #[n(8)]
    pub small_passes: Option<bool>,
    /// Packets with the larger symbol pass.
    #[n(9)]
    pub full_passes: Option<bool>,
    /// Trains that were timed.
    #[n(10)]
    pub trains: u64,
    /// The bottleneck's rate: median of the trains.
    #[n(11)]
    pub train_rate_bps: Option<u64>,
    /// A quarter of the trains found less.
    #[n(12)]
    pub train_low_bps: Option<u64>,
    /// A quarter of the trains found more.
    #[n(13)]
    pub train_high_bps: Option<u64>,
    /// The rate of the burst.
    #[n(14)]
    pub burst_rate_bps: Option<u64>,
    /// What arrived of it.
    #[n(15)]
    pub burst_delivered_bps: Option<u64>,
    /// Packets of the burst whose fate is known.
    #[n(16)]
    pub burst_sent: u64,
    /// Of those, lost.
    #[n(17)]
    pub burst_lost: u64,
    /// What remained in the second half of a burst that began without loss: a policer's rate.
    #[n(18)]
    pub policed_bps: Option<u64>,
    /// Bytes used up, at IP level.
    #[n(19)]
    pub wire_bytes: u64,
}

impl PathFigures {
    /// Lost small packets as a share.
    pub const fn loss(&self) -> Ratio {
        Ratio::of(self.delay_lost, self.delay_sent)
    }
}
