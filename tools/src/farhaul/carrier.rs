//! Which carrier takes a transfer, and why: UDP wherever it passes, TCP where it does not.
//!
//! ```text
//! begin       UDP at once; without an answer for 0.8 s TCP beside it; UDP wins a photo finish
//! on UDP      next to nothing arrives although there is something to carry, and TCP answers:
//!             the attempt is ended, and goes on over TCP from its checkpoint
//! on TCP      UDP is asked now and then (--udp-again) whether it answers now; if so, the other way
//!             round; asked half as often from each time on that it answered and then carried nothing
//! ```
//! It decides; `connect` connects, and the transfer itself knows no carrier.

use super::args::CarrierArg;
use super::connect::{self, Goal};
use super::failure::Failure;
use farhaul_engine::engine::{Engine, Peer, SessionProbe};
use farhaul_engine::transfer::{Progress, TransferError};
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::trace::Limit;
use farhaul_proto::units::{BitRate, Bytes};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often the path is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So long must next to nothing arrive.
const TRICKLE_SPAN: Duration = Duration::from_secs(6);
/// Next to nothing: below what the slowest lines of today carry.
const TRICKLE_RATE: BitRate = BitRate::kbps(64);
/// What a packet counts, at least: all but the last of an object are longer.
const PACKET: Bytes = Bytes::new(1200);
/// Less than this is soon done, and not worth another beginning.
const WORTH_CHANGING: Bytes = Bytes::mib(16);
/// What was on its way when a session ended is gone by then.
const SETTLES: Duration = Duration::from_secs(1);

/// Why a transfer travels as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// `--carrier` says so.
    Asked,
    /// UDP answers.
    UdpAnswers,
    /// Nothing came over UDP for a while, and TCP was first.
    UdpSilent,
    /// UDP passed, and carried next to nothing.
    UdpTrickles,
    /// UDP passed, and then no more.
    UdpLost,
    /// UDP did not carry, and answers now.
    UdpIsBack,
}

impl Reason {
    /// In words; a part of the contract of `--json`.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::Asked => "asked for by --carrier",
            Self::UdpAnswers => "UDP answers",
            Self::UdpSilent => "no answer over UDP",
            Self::UdpTrickles => "UDP carried next to nothing",
            Self::UdpLost => "UDP went silent",
            Self::UdpIsBack => "UDP answers again",
        }
    }
}

/// What carries a transfer, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chosen {
    pub(super) carrier: Carrier,
    pub(super) reason: Reason,
}

/// The choice for the next attempt.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    asked: CarrierArg,
    /// How often UDP is asked whether it answers again: as the user says, and twice as long for each
    /// time that it did and was of no use.
    udp_again: Duration,
    /// What an earlier attempt of the same transfer taught.
    learnt: Option<Reason>,
}

impl Choice {
    pub(super) const fn new(asked: CarrierArg, udp_again: Duration) -> Self {
        Self { asked, udp_again, learnt: None }
    }

    /// Connects as was asked for, or as it seems best.
    pub(super) async fn connect(
        &self,
        engine: &Arc<Engine>,
        goal: &Goal,
    ) -> Result<(Peer, Chosen), Failure> {
        let chosen = |carrier, reason| Chosen { carrier, reason };
        match (self.asked, self.learnt) {
            (CarrierArg::Udp, _) => {
                let peer = connect::over_udp(engine, goal).await?;
                Ok((peer, chosen(Carrier::Udp, Reason::Asked)))
            }
            (CarrierArg::Tcp, _) => {
                let peer = connect::over_tcp(engine, goal).await?;
                Ok((peer, chosen(Carrier::Tcp, Reason::Asked)))
            }
            (CarrierArg::Auto, Some(reason @ (Reason::UdpTrickles | Reason::UdpLost))) => {
                let peer = connect::over_tcp(engine, goal).await?;
                Ok((peer, chosen(Carrier::Tcp, reason)))
            }
            (CarrierArg::Auto, learnt) => {
                let (peer, carrier) = connect::over_either(engine, goal).await?;
                let reason = match carrier {
                    Carrier::Udp => learnt.unwrap_or(Reason::UdpAnswers),
                    Carrier::Tcp => Reason::UdpSilent,
                };
                Ok((peer, chosen(carrier, reason)))
            }
        }
    }

    /// Waits until the other carrier would be better, and takes that for the next attempt.
    pub(super) async fn until_change(
        &mut self,
        engine: &Arc<Engine>,
        goal: &Goal,
        current: Chosen,
        path: Path,
    ) -> Reason {
        let reason = match (self.asked, current) {
            (CarrierArg::Auto, Chosen { carrier: Carrier::Udp, .. }) => {
                until_trickle(engine, goal, path).await;
                Reason::UdpTrickles
            }
            (CarrierArg::Auto, Chosen { carrier: Carrier::Tcp, .. }) => {
                until_udp_answers(engine, goal, &path.progress, self.udp_again).await;
                Reason::UdpIsBack
            }
            // As asked for.
            (CarrierArg::Udp | CarrierArg::Tcp, _) => std::future::pending().await,
        };
        self.learn(current, reason);
        reason
    }

    /// Takes `reason` for the next attempt, after one that was carried as in `current`.
    fn learn(&mut self, current: Chosen, reason: Reason) {
        if current.reason == Reason::UdpIsBack {
            self.udp_again = self.udp_again.saturating_mul(2);
        }
        self.learnt = Some(reason);
    }

    /// Whether an attempt that failed over UDP is worth another over TCP.
    pub(super) fn rescues(&mut self, error: &TransferError, current: Chosen) -> bool {
        let fits =
            self.asked == CarrierArg::Auto && current.carrier == Carrier::Udp && error.is_silence();
        if fits {
            self.learn(current, Reason::UdpLost);
        }
        fits
    }
}

/// Gives what an ended session left on its way the time to arrive.
pub(super) async fn settle() {
    tokio::time::sleep(SETTLES).await;
}

/// What can be seen of the path while a transfer is under way.
pub(super) struct Path {
    pub(super) probe: SessionProbe,
    pub(super) progress: watch::Receiver<Progress>,
    pub(super) sends: bool,
    /// Nobody wants more than this.
    pub(super) cap: Option<BitRate>,
}

impl Path {
    /// How much arrived so far, and whether more should: something is to be carried, and neither
    /// a disk nor a wish holds it up.
    async fn look(&self) -> (Bytes, bool) {
        let Some(stats) = self.probe.stats().await else { return (Bytes::ZERO, false) };
        let progress = self.progress.borrow().clone();
        let packets =
            if self.sends { stats.counters.packets_acked } else { stats.received_packets };
        let limit = match self.sends {
            true => stats.limited_by,
            false => progress.figures.and_then(|figures| figures.limited_by),
        };
        let wanted = match self.sends {
            true => stats.unsent > Bytes::ZERO || stats.in_flight > Bytes::ZERO,
            false => progress.bytes_total > progress.bytes_done,
        };
        (PACKET.saturating_mul(packets), wanted && may_be_the_path(limit, self.sends))
    }
}

/// Whether next to nothing may arrive because of the path, where `limit` is what limits.
const fn may_be_the_path(limit: Option<Limit>, sends: bool) -> bool {
    match limit {
        None | Some(Limit::Link | Limit::StartUp | Limit::Peer | Limit::Tail | Limit::Cpu) => true,
        // What is sent at a cap of this host's and does not arrive is lost on the way; a cap of
        // the peer's may be as low as a trickle.
        Some(Limit::Cap | Limit::Policy) => sends,
        Some(_) => false,
    }
}

async fn until_trickle(engine: &Arc<Engine>, goal: &Goal, path: Path) {
    let begun = Instant::now();
    let mut trickle = Trickle::new(path.cap);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (arrived, wanted) = path.look().await;
        // A line that is slow or dead for TCP as well is better left to UDP.
        if trickle.is_one(begun.elapsed(), arrived, wanted)
            && connect::over_tcp(engine, goal).await.is_ok()
        {
            return;
        }
    }
}

async fn until_udp_answers(
    engine: &Arc<Engine>,
    goal: &Goal,
    progress: &watch::Receiver<Progress>,
    again: Duration,
) {
    loop {
        tokio::time::sleep(again).await;
        if !connect::answers_over_udp(engine, goal).await {
            continue;
        }
        let left = {
            let progress = progress.borrow();
            progress.bytes_total.saturating_sub(progress.bytes_done)
        };
        if left >= WORTH_CHANGING {
            return;
        }
    }
}

/// Finds a path that carries next to nothing for a while.
#[derive(Debug)]
struct Trickle {
    least: BitRate,
    /// Looks without a pause in wanting, over the span and a little more.
    looks: VecDeque<(Duration, Bytes)>,
}

impl Trickle {
    fn new(cap: Option<BitRate>) -> Self {
        let least = cap.map_or(TRICKLE_RATE, |cap| TRICKLE_RATE.min(cap.mul_f64(0.25)));
        Self { least, looks: VecDeque::new() }
    }

    /// A look at time `at`: so much `arrived` since the beginning, and more is `wanted`.
    fn is_one(&mut self, at: Duration, arrived: Bytes, wanted: bool) -> bool {
        if !wanted {
            self.looks.clear();
            return false;
        }
        self.looks.push_back((at, arrived));
        while self.looks.get(1).is_some_and(|&(then, _)| at - then >= TRICKLE_SPAN) {
            self.looks.pop_front();
        }
        let Some(&(then, before)) = self.looks.front() else { return false };
        let span = at - then;
        span >= TRICKLE_SPAN && arrived.saturating_sub(before) < self.least.bytes_in(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second while `rate` arrives; the second at which it was found to be a trickle.
    fn found(cap: Option<BitRate>, rate: BitRate, wanted: impl Fn(u64) -> bool) -> Option<u64> {
        let mut trickle = Trickle::new(cap);
        (0..60).find(|&second| {
            let at = Duration::from_secs(second);
            trickle.is_one(at, rate.bytes_in(at), wanted(second))
        })
    }

    #[test]
    fn next_to_nothing_for_some_seconds_is_a_trickle_and_a_slow_line_is_none() {
        assert_eq!(found(None, BitRate::kbps(10), |_| true), Some(6));
        assert_eq!(found(None, BitRate::kbps(80), |_| true), None);
    }

    #[test]
    fn a_cap_of_this_host_explains_no_loss_on_the_way() {
        assert!(may_be_the_path(Some(Limit::Cap), true));
        assert!(may_be_the_path(Some(Limit::Policy), true));
        assert!(!may_be_the_path(Some(Limit::Cap), false), "who sends may have a cap of his own");
        assert!(may_be_the_path(Some(Limit::Link), false));
        assert!(!may_be_the_path(Some(Limit::DestinationDisk), true));
    }

    #[test]
    fn what_nobody_waits_for_is_no_trickle() {
        assert_eq!(found(None, BitRate::ZERO, |_| false), None);
        assert_eq!(found(None, BitRate::ZERO, |second| second % 5 != 0), None);
        assert_eq!(found(None, BitRate::ZERO, |second| second >= 20), Some(26));
    }

    #[test]
    fn udp_that_answered_and_was_of_no_use_is_asked_half_as_often() {
        let udp = |reason| Chosen { carrier: Carrier::Udp, reason };
        let mut choice = Choice::new(CarrierArg::Auto, Duration::from_secs(60));
        choice.learn(udp(Reason::UdpAnswers), Reason::UdpTrickles);
        assert_eq!(
            choice.udp_again,
            Duration::from_secs(60),
            "what never went back was of no harm"
        );
        choice.learn(
            Chosen { carrier: Carrier::Tcp, reason: Reason::UdpTrickles },
            Reason::UdpIsBack,
        );
        choice.learn(udp(Reason::UdpIsBack), Reason::UdpTrickles);
        choice.learn(udp(Reason::UdpIsBack), Reason::UdpLost);
        assert_eq!(choice.udp_again, Duration::from_secs(240));
        assert_eq!(choice.learnt, Some(Reason::UdpLost));
    }

    #[test]
    fn whoever_wants_little_gets_little() {
        let cap = Some(BitRate::kbps(40));
        assert_eq!(found(cap, BitRate::kbps(38), |_| true), None);
        assert_eq!(found(cap, BitRate::kbps(2), |_| true), Some(6));
    }
}
