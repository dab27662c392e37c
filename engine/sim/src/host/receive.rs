//! The receiving half of a host: symbols into buffers, blocks to workers and disk.

use super::{Around, Completion, Host};
use crate::check::Violation;
use crate::disk::{Access, Ending};
use crate::host::buffers::RecvBuffer;
use crate::world::agenda::Happening;
use crate::world::control::Message;
use farhaul_proto::ids::BlockIndex;
use farhaul_proto::objects::Placed;
use farhaul_proto::recv::{Placement, RecvEffect, Refusal, Verified};
use farhaul_proto::wire::header::DataId;

impl Host {
    /// False when a new block would need a buffer and there is none: the packet is dropped then,
    /// before the core sees it.
    pub(super) fn has_room_for(&self, block: BlockIndex) -> bool {
        let pool = self.profile.recv_pool.unwrap_or(u32::MAX) as usize;
        !self.session.receiver().would_open(block) || self.receiving.len() < pool
    }

    /// Puts a symbol where the core says, after asking whether it belongs there.
    pub(super) fn place(
        &mut self,
        placement: Placement,
        data: DataId,
        len: u16,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        let placement = self.profile.mutation.placement(placement);
        let side = self.side;
        let truth = &mut around.truths[side.peer().index()];
        truth.check_symbol(placement, data, len)?;
        let (block, first) = match placement {
            Placement::Source { block, first, .. } | Placement::Repair { block, first, .. } => {
                (block, first)
            }
            Placement::Redundant => return Ok(()),
            Placement::Refused(refusal) => {
                self.tally.refused += 1;
                return match refusal {
                    Refusal::OverCredit => truth.on_over_credit(data.block, around.now),
                    _ => Ok(()),
                };
            }
        };
        if first {
            self.receiving.lease(block, RecvBuffer::new(len))?;
        }
        // A worker reads it, or the disk: whoever changes it then corrupts a file.
        let buffer = self.receiving.held(block, "a symbol")?;
        if buffer.symbols() == 0 {
            // It may begin anew with symbols of another size.
            buffer.symbol_size = len;
        }
        if buffer.released || buffer.busy > 0 || buffer.symbol_size != len {
            return Err(Violation::NoBuffer { side, block, what: "a symbol" });
        }
        let fresh = match placement {
            Placement::Source { .. } => buffer.put_source(data.symbol),
            _ => buffer.repair.insert(data.symbol.get()),
        };
        if fresh {
            self.tally.progress = around.now;
            truth.on_stored(block, data.symbol, around.now)?;
        }
        Ok(())
    }

    pub(super) fn on_recv_effect(
        &mut self,
        effect: RecvEffect,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        match effect {
            RecvEffect::Verify { block, placed, shape, whole } => {
                let contents = &around.truths[self.side.peer().index()].contents;
                contents.check_block(block, placed)?;
                contents.check_shape(block, shape)?;
                let verified = self.verdict(block, placed, shape.symbols(), whole)?;
                self.tally.decodes += u64::from(!whole);
                let at = self.workers.begin(shape.symbols(), !whole, around.now);
                let done = Completion::Verified { block, verified };
                around.agenda.plan(at, Happening::Done(self.side, done));
            }
            RecvEffect::Write { block, placed } => {
                around.truths[self.side.peer().index()].contents.check_block(block, placed)?;
                let buffer = self.receiving.held(block, "a write")?;
                if !buffer.verified || buffer.released {
                    return Err(Violation::Unverified { block });
                }
                buffer.busy += 1;
                self.begin_write(block, placed, around);
            }
            RecvEffect::Release { block } => {
                self.receiving.held(block, "a release")?.released = true;
                self.receiving.give_back(block);
            }
            RecvEffect::Clear { block } => self.receiving.held(block, "a clear")?.clear(),
            RecvEffect::AskAgain { block } => self.outbox.push(Message::AskAgain(block)),
        }
        Ok(())
    }

    fn begin_write(&mut self, block: BlockIndex, placed: Placed, around: &mut Around<'_>) {
        let (at, ending) = self.disk.begin(Access::Write, &placed, around.now);
        let done = Completion::Written { block, placed, ending };
        around.agenda.plan(at, Happening::Done(self.side, done));
    }

    /// What decoding the symbols at hand comes to: K + n of them fail with 256^-(n + 1).
    fn verdict(
        &mut self,
        block: BlockIndex,
        placed: Placed,
        need: u32,
        whole: bool,
    ) -> Result<Verified, Violation> {
        let draw = self.rng.f64();
        let buffer = self.receiving.held(block, "a verification")?;
        buffer.busy += 1;
        let have = if whole { buffer.source_len() } else { buffer.symbols() };
        if have < need {
            return Err(Violation::TooEarly { block, have, need });
        }
        let spare = i32::try_from(have - need).unwrap_or(i32::MAX);
        if !whole && draw < 256f64.powi(-(spare.min(8) + 1)) {
            return Ok(Verified::NotYet);
        }
        let failures = self.profile.digest_failures.get_mut(&(placed.object, placed.position));
        match failures {
            Some(left) if *left > 0 => {
                *left -= 1;
                Ok(Verified::Bad)
            }
            _ => Ok(Verified::Good),
        }
    }

    pub(super) fn on_verified(
        &mut self,
        block: BlockIndex,
        verified: Verified,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        let buffer = self.receiving.held(block, "a verification")?;
        buffer.busy -= 1;
        buffer.verified = verified == Verified::Good;
        self.session.on_verified(block, verified, around.now);
        self.receiving.give_back(block);
        Ok(())
    }

    /// The disk took all of it, or a part, or nothing. What it took lies there even if nobody wants
    /// it any more.
    pub(super) fn on_written(
        &mut self,
        block: BlockIndex,
        placed: Placed,
        ending: Ending,
        around: &mut Around<'_>,
    ) -> Result<(), Violation> {
        let buffer = self.receiving.held(block, "a write")?;
        let wanted = !buffer.released;
        let truth = &mut around.truths[self.side.peer().index()];
        match ending {
            Ending::Short(len) => {
                truth.contents.on_bytes(&placed, len)?;
                if wanted {
                    let (offset, len) = (placed.offset + len, placed.len - len);
                    self.begin_write(block, Placed { offset, len, ..placed }, around);
                    return Ok(());
                }
            }
            Ending::Done => {
                truth.contents.on_bytes(&placed, placed.len)?;
                if wanted {
                    truth.on_written(block)?;
                    self.tally.progress = around.now;
                    self.session.on_written(block, around.now);
                }
            }
            Ending::Failed => self.refuse(placed.object, around)?,
        }
        self.receiving.held(block, "a write")?.busy -= 1;
        self.receiving.give_back(block);
        Ok(())
    }
}
