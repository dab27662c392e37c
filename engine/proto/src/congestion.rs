//! The rate controller's contract: what it is told, what it answers. One controller per path.
//!
//! A controller knows packets, times and losses. It knows nothing of blocks, files or FEC: a
//! repaired loss is still a loss here.

mod bounds;
pub mod carrier;
pub mod fixed;
pub mod pacer;
mod switch;
mod taken;
pub mod wlaw;

pub use bounds::{Bounds, BoundsError};

use crate::ids::{PacketNumber, RateEpoch};
use crate::units::{BitRate, Bytes, Ratio, Timestamp};
use core::fmt;
use core::time::Duration;
use minicbor::{Decode, Encode};

/// How a path shares a bottleneck, in the words of ascp; the meeker, the less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Policy {
    /// Takes what nobody else wants.
    #[n(0)]
    Low,
    /// One fair share.
    #[default]
    #[n(1)]
    Fair,
    /// About two fair shares.
    #[n(2)]
    High,
    /// Holds the target rate whatever happens.
    #[n(3)]
    Fixed,
}

impl Policy {
    /// Its name on the command line and in records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Fair => "fair",
            Self::High => "high",
            Self::Fixed => "fixed",
        }
    }
}

/// A packet whose fate is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Which packet.
    pub number: PacketNumber,
    /// When it left.
    pub sent_at: Timestamp,
    /// Its size at IP level.
    pub bytes: Bytes,
    /// The epoch that [`Controller::on_sent`] gave it.
    pub epoch: RateEpoch,
}

/// One delay measurement: the time from sending a packet to the arrival of the feedback that
/// names it, less the time the receiver sat on it. Contains forward queue delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttSample {
    /// When the measured packet left.
    pub sent_at: Timestamp,
    /// The measured round trip.
    pub rtt: Duration,
    /// What of it is queue on the way back (see [`crate::path::back`]).
    pub back: Duration,
}

impl RttSample {
    /// Without the queue on the way back, which is not this sender's.
    pub const fn ahead(&self) -> Duration {
        self.rtt.saturating_sub(self.back)
    }
}

/// How a back-to-back train came out of the bottleneck. Only gaps between packets that were sent
/// and received consecutively count: a drop inside a train would look like speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrainSample {
    /// IP-level bytes that arrived at the ends of the counted gaps.
    pub bytes: Bytes,
    /// The sum of the counted gaps.
    pub gap_sum: Duration,
    /// How many gaps were counted.
    pub gaps: u32,
    /// When the first packet of the train left.
    pub sent_at: Timestamp,
}

/// Everything one feedback packet taught, in one call.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Packets now known to have arrived, in send order.
    pub acked: &'a [Outcome],
    /// Packets now declared lost, in send order.
    pub lost: &'a [Outcome],
    /// Packets whose loss says nothing about the rate: they were too large for the path, or fell
    /// into an outage.
    pub dead: &'a [Outcome],
    /// Packets that were declared lost earlier and arrived after all.
    pub spurious: &'a [Outcome],
    /// Delay measurements, in order of sending.
    pub rtts: &'a [RttSample],
    /// Trains that completed.
    pub trains: &'a [TrainSample],
    /// Packets that the receiver itself dropped (its socket overflowed) since the last sample:
    /// flow control, not loss.
    pub receiver_drops: u64,
    /// Bytes sent and not yet acknowledged or declared lost, after this feedback.
    pub in_flight: Bytes,
    /// True when since the last sample the sender had nothing to send for part of the time.
    pub app_limited: bool,
}

/// What the controller believes, for telemetry and for the FEC policy.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View {
    /// The rate before dither.
    pub rate: BitRate,
    /// The bottleneck's capacity, once known.
    pub capacity: Option<BitRate>,
    /// The rate that is not exceeded for now, because what went beyond it was lost.
    pub ceiling: Option<BitRate>,
    /// Windowed minimum of the round trip.
    pub rtt_min: Duration,
    /// Current queue delay above it.
    pub queue_delay: Duration,
    /// Loss that does not come from congestion.
    pub loss_random: Ratio,
    /// Loss over the recent past, of every cause.
    pub loss: Ratio,
    /// Mean length of a run of lost packets, at least 1.
    pub loss_run: f64,
    /// True until the start-up has found the rate.
    pub starting: bool,
    /// Name of the current phase, for traces.
    pub phase: &'static str,
}

/// The law that turns measurements into a rate.
///
/// Call order: `on_sent` for each packet as it leaves; `on_feedback` for each feedback;
/// `on_timer` when `next_timer` is due. Everything is a pure function of these calls.
pub trait Controller: fmt::Debug + Send {
    /// A packet of `bytes` (IP level) leaves now; the answer is kept with it.
    fn on_sent(&mut self, number: PacketNumber, bytes: Bytes, now: Timestamp) -> RateEpoch;

    /// A feedback packet arrived.
    fn on_feedback(&mut self, sample: &Sample<'_>, now: Timestamp);

    /// `next_timer` is due.
    fn on_timer(&mut self, now: Timestamp);

    /// When the controller wants to be called without feedback (end of a dither epoch, a train
    /// that is due, ...).
    fn next_timer(&self) -> Option<Timestamp>;

    /// The pacing rate at this moment, dither included; never zero.
    fn pacing_rate(&self, now: Timestamp) -> BitRate;

    /// Bytes that may be unacknowledged at once.
    fn in_flight_limit(&self) -> Bytes;

    /// If a train is due: how many packets should leave back to back now. The caller sends that
    /// many (padding where it has no data), marks them as a train, and reports the dispersion.
    /// Each due train is answered once.
    fn take_train(&mut self, now: Timestamp) -> Option<u32>;

    /// The path was silent for `gap` (no feedback) and is back: packets sent in between tell
    /// nothing about the link's rate.
    fn on_outage_end(&mut self, gap: Duration, now: Timestamp);

    /// Changes policy and bounds while running; takes effect with the next packet.
    fn set_policy(&mut self, policy: Policy, bounds: Bounds, now: Timestamp);

    /// What the controller believes now.
    fn view(&self) -> View;
}

/// The controller for a policy; [`Controller::set_policy`] may change it to any other. For
/// a carrier with a congestion control of its own there is [`carrier::CarrierLaw`].
///
/// `bounds` are never left (and their cap is the target of [`Policy::Fixed`]); `hint` is a remembered
/// or demanded rate to start from; `initial_rtt` is what the handshake measured, or a guess.
pub fn controller(
    policy: Policy,
    bounds: Bounds,
    hint: Option<BitRate>,
    initial_rtt: Duration,
    now: Timestamp,
) -> Box<dyn Controller> {
    let config =
        wlaw::WConfig { start_hint: hint, ..wlaw::WConfig::new(policy, bounds, initial_rtt) };
    configured(config, now)
}

/// The same with everything that can be said about it.
pub fn configured(config: wlaw::WConfig, now: Timestamp) -> Box<dyn Controller> {
    Box::new(switch::Switch::new(config, now))
}
