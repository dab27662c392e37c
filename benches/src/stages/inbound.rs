//! The way in: socket, datagram, block, file. And the reports, which go the other way.

use super::end::{Buffers, End, place_in};
use super::{Carried, Meter, Stage};
use farhaul_proto::fec::verify_source;
use farhaul_proto::ids::BlockIndex;
use farhaul_proto::limits::{DATA_HEADER_LEN, TAG_LEN};
use farhaul_proto::path::proof::Proof;
use farhaul_proto::recv::{Placement, RecvEffect, Verified};
use farhaul_proto::session::{Arrival, Effect, PlanBody};
use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_proto::wire::feedback::Feedback;
use farhaul_proto::wire::header::{Header, Kind};
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The destination's blocks.
pub(super) struct Inbound {
    file: File,
    span: Bytes,
    buffers: Buffers,
    blocks: BTreeMap<BlockIndex, Box<[u8]>>,
    /// Blocks to write once they are verified.
    placements: Vec<Placement>,
}

/// Takes in what one call brings: opens everything in place. False if there was nothing.
fn open(end: &mut End, arrivals: &mut Vec<(Header, Arrival)>, now: Timestamp) -> io::Result<bool> {
    arrivals.clear();
    for segment in end.batch.segments_mut() {
        let proof = Proof::of_datagram(segment.data).unwrap_or_default();
        let (header, head_len) = Header::decode(segment.data).map_err(io::Error::other)?;
        let number = header.number.expand(end.largest);
        let (head, body) = segment.data.split_at_mut(head_len);
        let opened = end.open.open_in_place(number, header.epoch, head, body);
        opened.map_err(io::Error::other)?;
        end.largest = end.largest.max(Some(number));
        let train = header.kind.is_train();
        arrivals.push((header, Arrival { number, proof, train, at: now }));
    }
    Ok(!arrivals.is_empty())
}

/// A receive call; false if nothing is there.
fn take_in(end: &mut End) -> io::Result<bool> {
    match end.port.recv_batch(&mut end.batch) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

impl Inbound {
    pub(super) fn open(path: &Path, span: Bytes) -> io::Result<Self> {
        let file = File::options().write(true).create(true).truncate(false).open(path)?;
        let (buffers, blocks) = (Buffers::default(), BTreeMap::new());
        Ok(Self { file, span, buffers, blocks, placements: Vec::new() })
    }

    /// Takes in what has arrived.
    pub(super) fn receive(
        &mut self,
        end: &mut End,
        arrivals: &mut Vec<(Header, Arrival)>,
        now: Timestamp,
        carried: &mut Carried,
        meter: &mut impl Meter,
    ) -> io::Result<()> {
        loop {
            let any = take_in(end)?;
            carried.receives += 1;
            meter.done(Stage::Receive);
            if !any {
                return Ok(());
            }
            open(end, arrivals, now)?;
            meter.done(Stage::Open);
            self.take(end, arrivals, now);
            meter.done(Stage::Take);
            carried.copied[1] += self.place(end);
            meter.done(Stage::Place);
        }
    }

    /// Tells the brain what arrived, and keeps what it says.
    fn take(&mut self, end: &mut End, arrivals: &[(Header, Arrival)], now: Timestamp) {
        self.placements.clear();
        let Self { placements, blocks, buffers, .. } = self;
        let segments = end.batch.segments_mut().map(|segment| segment.data.len());
        for ((header, arrival), len) in arrivals.iter().zip(segments) {
            let placement = match header.data {
                Some(data) => {
                    let payload = len - DATA_HEADER_LEN - TAG_LEN;
                    let payload = u16::try_from(payload).unwrap_or(u16::MAX);
                    end.core.on_data(arrival, data, payload, now)
                }
                None => {
                    let bytes = Bytes::of_len(len);
                    end.core.on_padding(arrival, bytes, now);
                    Placement::Redundant
                }
            };
            if let Placement::Source { block, first: true, .. } = placement {
                blocks.insert(block, buffers.take());
            }
            placements.push(placement);
        }
    }

    /// Copies symbols into their blocks; answers how many bytes.
    fn place(&mut self, end: &mut End) -> u64 {
        let mut copied = 0;
        for (segment, placement) in end.batch.segments_mut().zip(&self.placements) {
            let Placement::Source { block, offset, .. } = *placement else { continue };
            let Some(buffer) = self.blocks.get_mut(&block) else { continue };
            let symbol = &segment.data[DATA_HEADER_LEN..segment.data.len() - TAG_LEN];
            let start = offset as usize;
            buffer[start..start + symbol.len()].copy_from_slice(symbol);
            copied += symbol.len() as u64;
        }
        copied
    }

    /// Verifies and writes what is whole.
    pub(super) fn serve(
        &mut self,
        end: &mut End,
        now: Timestamp,
        carried: &mut Carried,
        meter: &mut impl Meter,
    ) -> io::Result<()> {
        while let Some(effect) = end.core.poll_effect() {
            match effect {
                Effect::Recv(RecvEffect::Verify { block, placed, shape, .. }) => {
                    let Some(buffer) = self.blocks.get(&block) else { continue };
                    meter.done(Stage::Take);
                    let verified = verify_source(shape, buffer, placed.offset.get());
                    let verdict = if verified.is_ok() { Verified::Good } else { Verified::Bad };
                    meter.done(Stage::Verify);
                    end.core.on_verified(block, verdict, now);
                }
                Effect::Recv(RecvEffect::Write { block, placed }) => {
                    let Some(buffer) = self.blocks.get(&block) else { continue };
                    meter.done(Stage::Take);
                    let at = place_in(self.span, placed.offset);
                    self.file.write_all_at(&buffer[..placed.len.as_len()], at)?;
                    meter.done(Stage::Write);
                    end.core.on_written(block, now);
                    carried.blocks += 1;
                }
                Effect::Recv(RecvEffect::Release { block }) => {
                    self.buffers.give(self.blocks.remove(&block));
                }
                Effect::Recv(RecvEffect::Clear { .. } | RecvEffect::AskAgain { .. })
                | Effect::Send(_) => {}
            }
        }
        end.let_news_pass();
        meter.done(Stage::Take);
        Ok(())
    }
}

/// Has the receiver say what arrived, and the sender hear it.
pub(super) fn report(
    (from, to): (&mut End, &mut End),
    arrivals: &mut Vec<(Header, Arrival)>,
    now: Timestamp,
    carried: &mut Carried,
    meter: &mut impl Meter,
) -> io::Result<()> {
    let mut plans = std::mem::take(&mut from.plans);
    plans.clear();
    from.core.poll_transmit(now, &mut plans);
    for plan in &plans {
        let header = from.header(plan);
        from.train.clear();
        from.train.resize(header.encoded_len(), 0);
        header.encode(&mut from.train);
        match &plan.body {
            PlanBody::Report(payload) => from.train.extend_from_slice(payload),
            PlanBody::Padding(len) => from.train.resize(from.train.len() + usize::from(*len), 0),
            PlanBody::Symbol { .. } | PlanBody::Path(_) => {}
        }
        let len = from.train.len() + TAG_LEN;
        from.train.resize(len, 0);
        let proof = from.seal((0, len), plan.kind, plan.number)?;
        from.core.on_sealed(plan.number, proof);
        let _sent = from.port.send_train(from.to, len, &from.train)?;
    }
    from.plans = plans;
    while take_in(to)? && open(to, arrivals, now)? {
        for ((header, arrival), segment) in arrivals.iter().zip(to.batch.segments_mut()) {
            if header.kind == Kind::Feedback {
                let payload = &segment.data[header.encoded_len()..segment.data.len() - TAG_LEN];
                let feedback = Feedback::decode(payload).map_err(io::Error::other)?;
                let taken = to.core.on_feedback(arrival, &feedback, now);
                taken.map_err(io::Error::other)?;
                carried.reports += 1;
            } else {
                to.core.on_padding(arrival, Bytes::of_len(segment.data.len()), now);
            }
        }
    }
    meter.done(Stage::Report);
    Ok(())
}
