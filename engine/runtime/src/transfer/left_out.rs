//! What a transfer does not hold though it was asked for, and how the other side hears of it.

use super::{FailedEntry, Side};
use crate::files::confine::ShownPath;
use crate::files::scan::{FailReason, Note, ScannedSource, SkipReason};
use farhaul_proto::limits::PATH_MAX;
use farhaul_proto::wire::control::{FailCode, LEFT_OUT_MAX, LeftOut, LeftOutNote, reason};

/// What a scan left out, for the offer; `None` when that is nothing.
pub(super) fn of_scan(scanned: &ScannedSource) -> Option<LeftOut> {
    let (failures, skipped) = (&scanned.failures, &scanned.skipped);
    if failures.is_empty() && skipped.is_empty() {
        return None;
    }
    Some(LeftOut {
        failed: notes(&failures.first, FailReason::reason),
        failed_total: failures.count,
        skipped: notes(&skipped.first, |reason| skipped_because(*reason).to_owned()),
        skipped_total: skipped.count,
    })
}

fn notes<R>(notes: &[Note<R>], words: impl Fn(&R) -> String) -> Vec<LeftOutNote> {
    let notes = notes.iter().take(LEFT_OUT_MAX);
    let note = |note: &Note<R>| {
        let path = note.path.as_bytes();
        let path = path[..path.len().min(PATH_MAX)].to_vec();
        LeftOutNote { path, reason: reason(&words(&note.reason)) }
    };
    notes.map(note).collect()
}

/// What could not be included, as failures of this side.
pub(super) fn failed_here(scanned: &ScannedSource) -> Vec<FailedEntry> {
    let failures = scanned.failures.first.iter();
    failures.map(|note| failed(&note.path, note.reason.reason(), Side::Here)).collect()
}

/// What the peer could not include.
pub(super) fn failed_there(left_out: &LeftOut) -> Vec<FailedEntry> {
    let failures = left_out.failed.iter();
    let there = |note: &LeftOutNote| (ShownPath::new(&note.path), note.reason.clone());
    failures.map(there).map(|(path, reason)| failed(&path, reason, Side::Peer)).collect()
}

fn failed(path: &ShownPath, reason: String, at: Side) -> FailedEntry {
    FailedEntry { path: path.to_string(), reason, code: FailCode::SourceUnreadable, at }
}

/// What was skipped on purpose here, printable.
pub(super) fn skipped_here(scanned: &ScannedSource) -> Vec<String> {
    let skipped = scanned.skipped.first.iter();
    skipped.map(|note| format!("{}: {}", note.path, skipped_because(note.reason))).collect()
}

/// What the peer skipped, printable: its reasons were escaped when they arrived.
pub(super) fn skipped_there(left_out: &LeftOut) -> Vec<String> {
    let skipped = left_out.skipped.iter();
    skipped.map(|note| format!("{}: {}", ShownPath::new(&note.path), note.reason)).collect()
}

fn skipped_because(reason: SkipReason) -> &'static str {
    match reason {
        SkipReason::Special => "sockets, pipes and devices are not carried",
        SkipReason::Reserved => "the staging directory of a destination is not carried",
        SkipReason::Vanished => "it went away while the tree was listed",
    }
}
