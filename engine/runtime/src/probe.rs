//! Measures a path without a transfer: this side's way to the peer, then the peer's to us.
//!
//! The way there needs nothing of the peer but its reports on padding. For the way back it is
//! asked to do the same, within bounds of its own: time, bytes, its rate, one at a time.

use crate::engine::{Peer, SessionHandle, SessionOptions};
use crate::record::unix_us;
use crate::transfer::TransferError;
use crate::transfer::conversation::{Conversation, Heard, refusal};
use farhaul_proto::ids::TransferId;
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::session::ProbePlan;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::{Message, PathFigures, Probe, RefuseCode};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// What a peer may be asked for at most.
const SPAN_MAX: Duration = Duration::from_secs(10);
const BYTES_MAX: Bytes = Bytes::mib(64);
/// Nothing can be measured in less.
const SPAN_MIN: Duration = Duration::from_millis(500);
/// How much longer than it should take an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Measurements for peers at once, in this process: they would disturb each other, and together
/// they would be a load.
static TURN: Semaphore = Semaphore::const_new(1);

/// What a probe may use up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeOptions {
    /// Time for both directions.
    pub span: Duration,
    /// Bytes at IP level, for each direction.
    pub bytes_max: Bytes,
    /// Never faster than this.
    pub rate_max: Option<BitRate>,
}

impl Default for ProbeOptions {
    fn default() -> Self {
        Self { span: Duration::from_secs(5), bytes_max: Bytes::mib(32), rate_max: None }
    }
}

/// What a probe found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probed {
    /// The way to the peer.
    pub forward: PathFigures,
    /// The way from the peer; `None` if it had no answer in time.
    pub reverse: Option<PathFigures>,
    /// The peer's wall clock less ours, in microseconds, give or take half of a round trip.
    pub clock_offset_us: Option<i64>,
}

/// Measures the path to `peer` in both directions, and ends the session.
///
/// # Errors
/// [`TransferError`]: the session failed, or the peer does not do that.
pub async fn probe(peer: Peer, options: ProbeOptions) -> Result<Probed, TransferError> {
    let mut conversation = Conversation::new(peer);
    let probed = both_ways(&mut conversation, options).await;
    match &probed {
        Ok(_) => conversation.finish(),
        Err(error) => conversation.give_up(error).await,
    }
    probed
}

async fn both_ways(
    conversation: &mut Conversation,
    options: ProbeOptions,
) -> Result<Probed, TransferError> {
    let span = options.span.max(SPAN_MIN * 2) / 2;
    let plan = ProbePlan { span, bytes_max: options.bytes_max, rate_max: options.rate_max };
    conversation.greet().await?;
    let forward = measure(&conversation.session, plan).await?;
    let transfer = TransferId::new(1);
    let span_ms = u32::try_from(span.as_millis()).unwrap_or(u32::MAX);
    let rate_max = options.rate_max.map(BitRate::get);
    let bytes_max = options.bytes_max.get();
    conversation.say(&Message::Probe(Probe { transfer, span_ms, bytes_max, rate_max })).await?;
    let ends = Instant::now() + span + PATIENCE;
    let answer = loop {
        let heard = match tokio::time::timeout_at(ends, conversation.hear()).await {
            Ok(heard) => heard?,
            Err(_) => break None,
        };
        match heard {
            Heard::Message(Message::Probed { transfer: answered, figures, clock_us })
                if answered == transfer =>
            {
                break Some((figures, clock_us));
            }
            Heard::Message(Message::Refuse { transfer: answered, code, reason })
                if answered == transfer =>
            {
                return Err(TransferError::Refused { code, reason });
            }
            Heard::Message(_) => {
                let what = "it answers a probe with something else".to_owned();
                return Err(TransferError::Violation(what));
            }
            Heard::Lane(_) => {}
        }
    };
    let clock_offset_us = answer.and_then(|(_, theirs)| {
        // It said so half a round trip ago.
        let said = unix_us().checked_sub(forward.rtt_median_us / 2)?;
        i64::try_from(theirs).ok()?.checked_sub(i64::try_from(said).ok()?)
    });
    Ok(Probed { forward, reverse: answer.map(|(figures, _)| figures), clock_offset_us })
}

/// Answers a peer that asks for our way to it.
pub(crate) async fn answer(
    conversation: &mut Conversation,
    asked: Probe,
) -> Result<(), TransferError> {
    let no = |what: &str, code| TransferError::Local { what: what.to_owned(), code };
    let turn = if conversation.carrier() == Carrier::Udp {
        let busy = |_| no("another probe is under way", RefuseCode::Busy);
        TURN.try_acquire().map_err(busy)
    } else {
        Err(no("over TCP there is no path to measure", RefuseCode::Unsupported))
    };
    let figures = match turn {
        Ok(_turn) => {
            let plan = bounded(&asked, conversation.session.options());
            // The turn ends with it: the peer may take its time to hear the answer.
            measure(&conversation.session, plan).await?
        }
        Err(error) => {
            if let Some(refusal) = refusal(asked.transfer, &error) {
                conversation.say(&refusal).await?;
            }
            return Ok(());
        }
    };
    let (transfer, clock_us) = (asked.transfer, unix_us());
    conversation.say(&Message::Probed { transfer, figures, clock_us }).await
}

/// What a peer asks for, within what this side allows.
fn bounded(asked: &Probe, ours: SessionOptions) -> ProbePlan {
    let wished = asked.rate_max.map(BitRate::bps);
    ProbePlan {
        span: Duration::from_millis(u64::from(asked.span_ms)).clamp(SPAN_MIN, SPAN_MAX),
        bytes_max: Bytes::new(asked.bytes_max).min(BYTES_MAX),
        rate_max: ours.bounds.cap().into_iter().chain(wished).min(),
    }
}

async fn measure(session: &SessionHandle, plan: ProbePlan) -> Result<PathFigures, TransferError> {
    Ok(session.probe(plan).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::congestion::{Bounds, Policy};
    use farhaul_proto::fec::{FecPolicy, PackPolicy};

    #[test]
    fn a_peer_gets_no_more_than_this_side_allows() {
        let ours = SessionOptions {
            policy: Policy::Fair,
            bounds: Bounds::capped(Some(BitRate::mbps(50))),
            fec: FecPolicy::Auto,
            pack: PackPolicy::Off,
        };
        let greedy = Probe {
            transfer: TransferId::new(1),
            span_ms: u32::MAX,
            bytes_max: u64::MAX,
            rate_max: Some(u64::MAX),
        };
        let plan = bounded(&greedy, ours);
        assert_eq!((plan.span, plan.bytes_max), (SPAN_MAX, BYTES_MAX));
        assert_eq!(plan.rate_max, Some(BitRate::mbps(50)));
        let modest = Probe { span_ms: 0, bytes_max: 7, rate_max: Some(1_000_000), ..greedy };
        let plan = bounded(&modest, ours);
        assert_eq!((plan.span, plan.bytes_max), (SPAN_MIN, Bytes::new(7)));
        assert_eq!(plan.rate_max, Some(BitRate::mbps(1)));
    }
}
