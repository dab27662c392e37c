//! The last words of the side that sent what was requested: figures, and what it never offered.
//!
//! The receiver knows only the manifest: what could not be read when it was made, or was left out,
//! would be missing there without a word. spec: W-087

use super::conversation::{Conversation, Heard};
use super::{FailedEntry, Outcome, Side};
use crate::files::scan::{ScannedSource, SkipReason};
use farhaul_proto::ids::TransferId;
use farhaul_proto::wire::control::{
    self, FAILURES_MAX, FailCode, Message, Omission, Printable, Sent, reason,
};
use std::time::Duration;

/// How long the receiver waits for the last words: everything is in place already.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// What was left out on purpose; at most [`FAILURES_MAX`].
pub(super) fn left_out(scanned: &ScannedSource) -> impl Iterator<Item = Omission> {
    let notes = scanned.skipped.first.iter().take(FAILURES_MAX);
    notes.map(|note| omission(&note.path, skipped_because(note.reason)))
}

/// The last words about `scanned`.
pub(super) fn sent(
    transfer: TransferId,
    figures: control::Figures,
    scanned: &ScannedSource,
) -> Sent {
    let failed = scanned.failures.first.iter().take(FAILURES_MAX);
    Sent {
        transfer,
        figures,
        failed: failed.map(|note| omission(&note.path, &note.reason)).collect(),
        failed_total: scanned.failures.count,
        left_out: left_out(scanned).collect(),
        left_out_total: scanned.skipped.count,
    }
}

fn omission(path: impl ToString, why: impl ToString) -> Omission {
    Omission { path: reason(&path.to_string()), reason: reason(&why.to_string()) }
}

/// Why something was left out, for the user.
fn skipped_because(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Special => "sockets, pipes and devices are not carried",
        SkipReason::Reserved => "the staging directory of a destination is not carried",
        SkipReason::Vanished => "it went away while the tree was listed",
    }
}

/// Waits for the last words about `transfer`; `None` if they do not come.
pub(super) async fn hear(conversation: &mut Conversation, transfer: TransferId) -> Option<Sent> {
    let listen = async {
        loop {
            match conversation.hear().await {
                Ok(Heard::Message(Message::Sent(sent))) if sent.transfer == transfer => {
                    return Some(sent);
                }
                Ok(_) => {}
                Err(error) => {
                    tracing::debug!(%error, "the sender said no last words");
                    return None;
                }
            }
        }
    };
    tokio::time::timeout(WAIT_MAX, listen).await.ok().flatten()
}

/// Adds what the sender said last to what the receiver knows.
pub(super) fn amend(outcome: &mut Outcome, sent: &Sent) {
    outcome.figures = Some((&sent.figures).into());
    let room = FAILURES_MAX.saturating_sub(outcome.failed.len());
    outcome.failed.extend(sent.failed.iter().take(room).map(|omission| FailedEntry {
        path: Printable(&omission.path).to_string(),
        reason: Printable(&omission.reason).to_string(),
        code: FailCode::SourceUnreadable,
        at: Side::Peer,
    }));
    outcome.failed_total = outcome.failed_total.saturating_add(sent.failed_total);
    outcome.left_out.extend(sent.left_out.iter().map(ToString::to_string));
    outcome.left_out_total = outcome.left_out_total.saturating_add(sent.left_out_total);
}
