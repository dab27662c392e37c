//! When staged data becomes durable: after a second with 8 MB of it or more, one checkpoint at a
//! time. So a power cut takes what came in a second, or 8 MB, and what came during a checkpoint.

use crate::files::receive::Receiver;
use farhaul_proto::units::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// From the beginning of one checkpoint to that of the next.
const EVERY: Duration = Duration::from_secs(1);
/// Less is not worth one.
const AT_RISK_MIN: Bytes = Bytes::new(8_000_000);

/// The checkpoints of one transfer.
pub(super) struct Checkpoints {
    begun: Instant,
    running: Option<JoinHandle<()>>,
}

impl Checkpoints {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), running: None }
    }

    /// Begins one if it is time.
    pub(super) fn tick(&mut self, receiver: &Arc<Receiver>) {
        let busy = self.running.as_ref().is_some_and(|running| !running.is_finished());
        if busy || !is_due(self.begun.elapsed(), receiver.at_risk()) {
            return;
        }
        self.begun = Instant::now();
        let checkpoint = receiver.checkpoint();
        self.running = Some(tokio::task::spawn_blocking(move || {
            if let Err(errno) = checkpoint.sync() {
                tracing::debug!(%errno, "what is staged could not be made durable yet");
            }
        }));
    }
}

fn is_due(since: Duration, at_risk: Bytes) -> bool {
    since >= EVERY && at_risk >= AT_RISK_MIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_once_a_second_and_only_where_it_saves_much() {
        let (much, little) = (Bytes::mib(8), Bytes::mib(7));
        assert!(is_due(Duration::from_secs(1), much));
        assert!(!is_due(Duration::from_millis(900), Bytes::mib(100)));
        assert!(!is_due(Duration::from_secs(60), little));
    }
}
