//! What only the sender of data knows: symbols, loss, what limits.
//! The other side hears it from there. spec: W-087

use super::TransferError;
use super::conversation::{Conversation, Heard};
use crate::driver::command::SessionStats;
use farhaul_proto::ids::TransferId;
use farhaul_proto::trace::{Limit, Spent, longest};
use farhaul_proto::units::{BitRate, Bytes, Ratio};
use farhaul_proto::wire::control::{self, Message};
use std::time::Duration;

/// Progress reports from one message with figures to the next: about a second.
const TELL_EVERY: u32 = 5;
/// How long the receiver waits for the last figures: everything is in place already.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Millionths in one.
const MILLION: f64 = 1e6;

/// The way of the data in figures, from the start of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// Bytes sent on lanes, at IP level.
    pub wire_sent: Bytes,
    /// Source symbols sent for the first time.
    pub source: u64,
    /// Repair symbols sent.
    pub repair: u64,
    /// Source symbols sent again.
    pub resent: u64,
    /// Share of packets that were lost.
    pub loss: Ratio,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Smallest round trip.
    pub rtt_min: Duration,
    /// 95th percentile of queue delay.
    pub queue_delay_p95: Duration,
    /// What limited for most of the last second.
    pub limited_by: Option<Limit>,
    /// What limited for the longest time.
    pub limited_mostly: Option<Limit>,
    /// Data bytes of blocks that were packed.
    pub packed: Bytes,
    /// What those blocks were packed into.
    pub packed_to: Bytes,
    /// How long each limit applied; all zero where a peer does not tell.
    pub limited: Spent,
    /// The rate that the sender began with because the path carried it before.
    pub start_hint: Option<BitRate>,
}

impl Figures {
    /// Those of a session that began with `start_hint`.
    pub(super) fn new(stats: &SessionStats, start_hint: Option<BitRate>) -> Self {
        Self {
            start_hint,
            wire_sent: stats.counters.wire_sent,
            source: stats.sent.source,
            repair: stats.sent.repair,
            resent: stats.sent.resent,
            loss: stats.counters.loss(),
            rtt: stats.rtt,
            rtt_min: stats.rtt_min,
            queue_delay_p95: stats.queue_delay_p95,
            limited_by: stats.limited_by,
            limited_mostly: longest(&stats.limited),
            limited: stats.limited,
            packed: stats.sent.packed,
            packed_to: stats.sent.packed_to,
        }
    }
}

impl From<&control::Figures> for Figures {
    fn from(told: &control::Figures) -> Self {
        Self {
            wire_sent: Bytes::new(told.wire_sent),
            source: told.source,
            repair: told.repair,
            resent: told.resent,
            loss: Ratio::new(f64::from(told.loss_ppm) / MILLION),
            rtt: Duration::from_micros(told.rtt_us),
            rtt_min: Duration::from_micros(told.rtt_min_us),
            queue_delay_p95: Duration::from_micros(told.queue_delay_p95_us),
            limited_by: told.limited_by.and_then(Limit::from_code),
            limited_mostly: told.limited_mostly.and_then(Limit::from_code),
            packed: Bytes::new(told.packed.unwrap_or_default()),
            packed_to: Bytes::new(told.packed_to.unwrap_or_default()),
            limited: told.limited.as_ref().map(Into::into).unwrap_or_default(),
            start_hint: told.start_hint_bps.map(BitRate::bps),
        }
    }
}

impl From<&Figures> for control::Figures {
    fn from(figures: &Figures) -> Self {
        let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 ..= 10^6")]
        let loss_ppm = (figures.loss.get() * MILLION).round() as u32;
        Self {
            wire_sent: figures.wire_sent.get(),
            source: figures.source,
            repair: figures.repair,
            resent: figures.resent,
            loss_ppm,
            rtt_us: micros(figures.rtt),
            rtt_min_us: micros(figures.rtt_min),
            queue_delay_p95_us: micros(figures.queue_delay_p95),
            limited_by: figures.limited_by.map(Limit::code),
            limited_mostly: figures.limited_mostly.map(Limit::code),
            packed: Some(figures.packed.get()),
            packed_to: Some(figures.packed_to.get()),
            limited: Some((&figures.limited).into()),
            start_hint_bps: figures.start_hint.map(BitRate::get),
        }
    }
}

/// Who wanted a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// This side, which sends and sees its own figures.
    Here,
    /// The peer asked for it, and is told how it goes.
    ByPeer {
        /// The least rate that is held, in bits per second, if it wished for one. spec: W-138
        rate_min: Option<u64>,
    },
}

impl Wanted {
    /// What the offer says of a least rate.
    pub(super) const fn rate_min(self) -> Option<u64> {
        match self {
            Self::Here => None,
            Self::ByPeer { rate_min } => rate_min,
        }
    }
}

/// Tells the peer that wanted a transfer how it goes.
pub(super) struct Teller {
    wanted: Wanted,
    ticks: u32,
}

impl Teller {
    pub(super) const fn new(wanted: Wanted) -> Self {
        Self { wanted, ticks: 0 }
    }

    /// Takes a progress report in.
    pub(super) async fn tick(
        &mut self,
        conversation: &mut Conversation,
        figures: Option<Figures>,
    ) -> Result<(), TransferError> {
        self.ticks = (self.ticks + 1) % TELL_EVERY;
        match (self.wanted, figures) {
            (Wanted::ByPeer { .. }, Some(figures)) if self.ticks == 0 => {
                conversation.say(&Message::Figures((&figures).into())).await
            }
            _ => Ok(()),
        }
    }

    /// The last figures of `transfer`.
    pub(super) async fn end(
        &self,
        conversation: &mut Conversation,
        transfer: TransferId,
        figures: Option<Figures>,
    ) -> Result<(), TransferError> {
        if self.wanted == Wanted::Here {
            return Ok(());
        }
        let figures = figures.as_ref().map(Into::into).unwrap_or_default();
        conversation.say(&Message::Sent { transfer, figures }).await
    }
}

/// Waits for the last figures of `transfer`; `None` if they do not come.
pub(super) async fn hear_last(
    conversation: &mut Conversation,
    transfer: TransferId,
) -> Option<Figures> {
    let listen = async {
        loop {
            match conversation.hear().await {
                Ok(Heard::Message(Message::Sent { transfer: ended, figures }))
                    if ended == transfer =>
                {
                    return Some(Figures::from(&figures));
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "the sender told no last figures");
                    return None;
                }
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, listen).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_survive_the_wire_to_the_microsecond() {
        let figures = Figures {
            wire_sent: Bytes::new(1),
            source: 2,
            repair: 3,
            resent: 4,
            packed: Bytes::new(11),
            packed_to: Bytes::new(5),
            loss: Ratio::new(0.25),
            rtt: Duration::from_micros(5),
            rtt_min: Duration::from_micros(6),
            queue_delay_p95: Duration::from_micros(7),
            limited_by: Some(Limit::Tail),
            limited_mostly: None,
            limited: [Duration::from_millis(8); Limit::ALL.len()],
            start_hint: Some(BitRate::mbps(9)),
        };
        assert_eq!(Figures::from(&control::Figures::from(&figures)), figures);
    }
}
