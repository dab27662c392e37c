//! What a cell showed, flow by flow; it measures nothing itself.

use crate::link::LinkStats;
use core::time::Duration;
use farhaul_proto::congestion::View;
use farhaul_proto::units::{BitRate, Bytes, Ratio};

/// One flow of a cell.
#[derive(Clone, Debug)]
pub struct FlowOutcome {
    /// It passes the bottleneck that is measured (a flow of the other direction does not).
    pub counted: bool,
    /// Bytes that arrived in the measured part, each packet once, at IP level.
    pub arrived: Bytes,
    /// Bytes sent in bins of `Outcome::bin`, from the start of the cell.
    pub sent: Vec<Bytes>,
    /// Bytes that arrived, in the same bins.
    pub received: Vec<Bytes>,
    /// What the controller believed, once per bin in which a report arrived.
    pub views: Vec<(Duration, View)>,
    /// How often the sender found its receiver's clock to lie.
    pub accused: u32,
}

/// The whole cell.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Its flows, in order.
    pub flows: Vec<FlowOutcome>,
    /// Length of the measured part.
    pub measured: Duration,
    /// Length of a bin.
    pub bin: Duration,
    /// Mean delay in the queue of the bottleneck, in the same bins.
    pub queue: Vec<Duration>,
    /// The bottleneck in the measured part.
    pub link: LinkStats,
    /// Packets dropped by load in the first ten round trips.
    pub overshoot: u64,
    /// Largest goodput that the link allowed in the measured part, at IP level.
    pub best: BitRate,
    /// The link's rate at the start.
    pub rate: BitRate,
    /// Base round trip.
    pub rtt: Duration,
}

impl Outcome {
    /// Goodput of one flow, as a share of the best possible.
    pub fn share(&self, flow: usize) -> f64 {
        self.flows[flow].arrived.rate_over(self.measured).as_f64() / self.best.as_f64()
    }

    /// Goodput of all flows through the bottleneck, as a share of the best possible (goodput / G*).
    pub fn goodput(&self) -> f64 {
        (0..self.flows.len()).filter(|&f| self.flows[f].counted).map(|f| self.share(f)).sum()
    }

    /// Mean queue delay of the measured part.
    pub fn queue_mean(&self) -> Duration {
        self.link.queue.mean()
    }

    /// 95th percentile of the queue delay of the measured part.
    pub fn queue_p95(&self) -> Duration {
        self.link.queue.p95()
    }

    /// Share of offered packets that the measured part lost by load.
    pub fn load_loss(&self) -> Ratio {
        Ratio::of(self.link.dropped_by_load(), self.link.offered)
    }

    /// When flow 0 first sent 90 % of `rate` over a bin, in round trips after its start.
    pub fn rtts_to_90(&self) -> Option<f64> {
        self.first_bin_at(self.rate.mul_f64(0.9), Duration::ZERO)
            .map(|at| at.as_secs_f64() / self.rtt.as_secs_f64())
    }

    /// When, after `from`, flow 0 first sent at `rate` over a bin; the start of that bin.
    pub fn first_bin_at(&self, rate: BitRate, from: Duration) -> Option<Duration> {
        let enough = rate.bytes_in(self.bin);
        let bins = self.flows[0].sent.iter().enumerate();
        let at = |index: usize| self.bin * u32::try_from(index).unwrap_or(u32::MAX);
        bins.map(|(i, bytes)| (at(i), *bytes))
            .find(|(at, bytes)| *at >= from && *bytes >= enough)
            .map(|(at, _)| at.saturating_sub(from))
    }

    /// Overshoot loss of the first ten round trips, as a share of the bandwidth-delay product.
    #[expect(clippy::cast_precision_loss, reason = "packet counts")]
    pub fn overshoot_bdp(&self) -> f64 {
        let bdp = self.rate.bytes_in(self.rtt).get().max(1);
        (self.overshoot * super::sender::PACKET.get()) as f64 / bdp as f64
    }

    /// Goodput of a flow between two times, at IP level.
    pub fn rate_between(&self, flow: usize, from: Duration, to: Duration) -> BitRate {
        let index = |at: Duration| {
            usize::try_from(at.as_nanos() / self.bin.as_nanos().max(1)).unwrap_or(usize::MAX)
        };
        let bins = &self.flows[flow].received;
        let (from, to) = (index(from).min(bins.len()), index(to).min(bins.len()));
        let bytes: Bytes = bins[from..to.max(from)].iter().copied().sum();
        bytes.rate_over(self.bin * u32::try_from(to.saturating_sub(from)).unwrap_or(u32::MAX))
    }
}
