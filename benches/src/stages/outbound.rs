//! The way out: file, block, datagram, socket.

use super::end::{Buffers, End, place_in};
use super::{Carried, Meter, Stage};
use farhaul_proto::fec::{BlockShape, finish_source};
use farhaul_proto::ids::BlockIndex;
use farhaul_proto::limits::{DATA_HEADER_LEN, TAG_LEN};
use farhaul_proto::send::SendEffect;
use farhaul_proto::session::{Effect, PacketPlan, PlanBody};
use farhaul_proto::units::{Bytes, Timestamp};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The largest datagram that passes: that of an ordinary Ethernet.
const DATAGRAM_MAX: usize = 1_472;

/// The source's blocks.
pub(super) struct Outbound {
    file: File,
    span: Bytes,
    buffers: Buffers,
    blocks: BTreeMap<BlockIndex, (BlockShape, Box<[u8]>)>,
}

impl Outbound {
    pub(super) fn open(path: &Path, span: Bytes) -> io::Result<Self> {
        let (file, buffers) = (File::open(path)?, Buffers::default());
        Ok(Self { file, span, buffers, blocks: BTreeMap::new() })
    }

    /// Reads and hashes what the brain asks for.
    pub(super) fn serve(&mut self, end: &mut End, meter: &mut impl Meter) -> io::Result<()> {
        while let Some(effect) = end.core.poll_effect() {
            match effect {
                Effect::Send(SendEffect::Read { block, placed, shape }) => {
                    let mut buffer = self.buffers.take();
                    let at = place_in(self.span, placed.offset);
                    self.file.read_exact_at(&mut buffer[..placed.len.as_len()], at)?;
                    meter.done(Stage::Read);
                    finish_source(shape, &mut buffer, placed.offset.get());
                    meter.done(Stage::Hash);
                    self.blocks.insert(block, (shape, buffer));
                    end.core.on_loaded(block, shape);
                }
                Effect::Send(SendEffect::Release { block }) => {
                    self.buffers.give(self.blocks.remove(&block).map(|(_, buffer)| buffer));
                }
                Effect::Send(SendEffect::Encode { .. } | SendEffect::Reshape { .. })
                | Effect::Recv(_) => {}
            }
        }
        end.let_news_pass();
        meter.done(Stage::Plan);
        Ok(())
    }

    /// Sends what may leave now.
    pub(super) fn send(
        &mut self,
        end: &mut End,
        now: Timestamp,
        carried: &mut Carried,
        meter: &mut impl Meter,
    ) -> io::Result<()> {
        let mut plans = std::mem::take(&mut end.plans);
        loop {
            plans.clear();
            end.core.poll_transmit(now, &mut plans);
            meter.done(Stage::Plan);
            if plans.is_empty() {
                break;
            }
            // Neighbours are of equal length, but for a probe now and then.
            for run in plans.chunk_by(|a, b| len_of(a) == len_of(b)) {
                self.send_run(end, run, carried, meter)?;
            }
        }
        end.plans = plans;
        Ok(())
    }

    fn send_run(
        &self,
        end: &mut End,
        run: &[PacketPlan],
        carried: &mut Carried,
        meter: &mut impl Meter,
    ) -> io::Result<()> {
        let len = run.first().map_or(0, len_of);
        end.train.clear();
        for plan in run {
            self.frame(end, plan, carried);
        }
        meter.done(Stage::Frame);
        for (n, plan) in run.iter().enumerate() {
            let proof = end.seal((n * len, len), plan.kind, plan.number)?;
            end.core.on_sealed(plan.number, proof);
        }
        meter.done(Stage::Seal);
        if len <= DATAGRAM_MAX {
            let _sent = end.port.send_train(end.to, len, &end.train)?;
            carried.sends += 1;
        }
        meter.done(Stage::Send);
        Ok(())
    }

    /// Appends the datagram of a plan, not yet sealed, with room for its tag.
    fn frame(&self, end: &mut End, plan: &PacketPlan, carried: &mut Carried) {
        let mut head = [0; DATA_HEADER_LEN];
        let head_len = end.header(plan).encode(&mut head);
        end.train.extend_from_slice(&head[..head_len]);
        if let PlanBody::Symbol { data, len } = &plan.body {
            let len = usize::from(*len);
            let start = data.symbol.get() as usize * len;
            if let Some((_, block)) = self.blocks.get(&data.block) {
                end.train.extend_from_slice(&block[start..start + len]);
            }
            carried.packets += 1;
            carried.copied[0] += len as u64;
        }
        let padding = len_of(plan) - end.train.len() % len_of(plan);
        end.train.resize(end.train.len() + padding, 0);
    }
}

/// The length of the datagram; reports and questions to addresses do not come from here.
fn len_of(plan: &PacketPlan) -> usize {
    let payload = match &plan.body {
        PlanBody::Symbol { len, .. } | PlanBody::Padding(len) => usize::from(*len),
        PlanBody::Report(payload) => payload.len(),
        PlanBody::Path(_) => 0,
    };
    plan.kind.header_len() + payload + TAG_LEN
}
