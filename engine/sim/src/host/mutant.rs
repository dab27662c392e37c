//! Faults that a core could have, played on an honest one: they prove that the rules see them.

use crate::scenario::Mutation;
use farhaul_proto::limits::{BLOCK_DATA, FEEDBACK_LEN_MAX};
use farhaul_proto::objects::Placed;
use farhaul_proto::recv::{Placement, RecvEffect};
use farhaul_proto::send::SendEffect;
use farhaul_proto::wire::feedback::Feedback;

impl Mutation {
    /// What the faulty core reports.
    pub(super) fn on_report(self, payload: &mut Vec<u8>) {
        if self == Self::ClaimsUnseen
            && let Ok(mut report) = Feedback::decode(payload)
            && let [newest, older, ..] = &mut report.ranges[..]
        {
            older.last = older.last.next();
            if older.last.next() == newest.first {
                newest.first = older.first;
                report.ranges.remove(1);
            }
            payload.clear();
            report.encode_into(payload, FEEDBACK_LEN_MAX);
        }
    }

    /// What the faulty core says about a symbol.
    pub(super) fn placement(self, placement: Placement) -> Placement {
        match placement {
            Placement::Source { block, offset, first }
                if self == Self::MisplacesSymbol && offset > 0 =>
            {
                Placement::Source { block, offset: offset - 1, first }
            }
            other => other,
        }
    }

    /// What the faulty core asks of its disk for sending.
    pub(super) fn on_send(self, effect: SendEffect) -> SendEffect {
        match effect {
            SendEffect::Read { block, placed, shape }
                if self == Self::ReadsNeighbour && placed.position > 0 =>
            {
                SendEffect::Read { block, placed: moved_back(placed), shape }
            }
            other => other,
        }
    }

    /// What the faulty core asks of its disk and workers for receiving.
    pub(super) fn on_recv(self, effect: RecvEffect) -> Vec<RecvEffect> {
        match (self, effect) {
            (Self::MisplacesBlock, RecvEffect::Write { block, placed }) if placed.position > 0 => {
                vec![RecvEffect::Write { block, placed: moved_back(placed) }]
            }
            (Self::WritesTwice, RecvEffect::Write { .. }) => vec![effect, effect],
            (Self::SkipsVerification, RecvEffect::Verify { block, placed, .. }) => {
                vec![RecvEffect::Write { block, placed }]
            }
            (Self::KeepsBuffers, RecvEffect::Release { .. }) => Vec::new(),
            _ => vec![effect],
        }
    }
}

fn moved_back(placed: Placed) -> Placed {
    Placed { position: placed.position - 1, offset: placed.offset - BLOCK_DATA, ..placed }
}
