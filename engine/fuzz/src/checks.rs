//! What must hold for any input, one function a fuzz target.
//!
//! Used by the fuzzer and by the test that replays the corpora, so both check the same things.

use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{
    BlockShape, FecPolicy, RepairSet, SymbolSet, decode, finish_packed, finish_source,
    packed_parts, packed_shape, repair_symbols, verify_source,
};
use farhaul_proto::ids::{BlockIndex, ObjectId, PacketNumber, SymbolId};
use farhaul_proto::layout::Layout;
use farhaul_proto::limits::{CONTROL_MESSAGE_MAX, DATA_HEADER_LEN, DEPTH_MAX, PATH_MAX};
use farhaul_proto::manifest::{Entry, EntryRange, Manifest, WEIGHT_MAX};
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::path::memory::{PATHS_LEN_MAX, PathMemory};
use farhaul_proto::path::proof::Proof;
use farhaul_proto::path::replay::{ReplayWindow, Verdict};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::recv::{RecvEffect, Verified};
use farhaul_proto::send::SendEffect;
use farhaul_proto::session::{Arrival, Effect, PlanBody, ProbePlan, Session, SessionConfig};
use farhaul_proto::trace::flight::Flight;
use farhaul_proto::units::{BitRate, Bytes, Micros, Timestamp};
use farhaul_proto::wire::carrier::{CARRIED_MAX, CARRIER_FRAME_MAX, FrameBuffer, frame_length};
use farhaul_proto::wire::control::{FRAME_PREFIX_LEN, FrameReader, Message};
use farhaul_proto::wire::feedback::{ENCODED_LEN_MIN, Feedback, PacketRange};
use farhaul_proto::wire::header::{self, DataId, Header, Kind};
use farhaul_proto::wire::number::TruncatedNumber;
use std::collections::BTreeSet;
use std::num::NonZeroU16;
use std::time::Duration;

/// A target's name, which is that of its corpus, and its check.
pub type Check = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Check; 14] = [
    ("header", header),
    ("feedback", feedback),
    ("control", control),
    ("frames", frames),
    ("carrier", carrier),
    ("replay", replay),
    ("manifest", manifest),
    ("path", path),
    ("memory", memory),
    ("fec", fec),
    ("packed", packed),
    ("flight", flight),
    ("layout", layout),
    ("session", session),
];

/// A header that decodes is a lane's and encodes to the same bytes.
pub fn header(datagram: &[u8]) {
    let Ok((header, len)) = Header::decode(datagram) else { return };
    assert!(header::is_lane(datagram[0]));
    assert_eq!(header.data.is_some(), header.kind.has_data());
    let mut out = [0; DATA_HEADER_LEN];
    assert_eq!(header.encode(&mut out), len);
    assert_eq!(out[..len], datagram[..len]);
    let full = header.number.expand(None);
    assert_eq!(TruncatedNumber::of(full), header.number);
}

/// A report that decodes keeps every rule, survives, and still fits when room is short.
pub fn feedback(payload: &[u8]) {
    let Ok(report) = Feedback::decode(payload) else { return };
    assert_eq!(report.validate(), Ok(()));
    let mut whole = Vec::new();
    report.encode_into(&mut whole, payload.len() + ENCODED_LEN_MIN);
    assert!(whole.len() <= payload.len(), "the shorter form was chosen");
    assert_eq!(Feedback::decode(&whole), Ok(report.clone()));
    let mut cut = Vec::new();
    report.encode_into(&mut cut, ENCODED_LEN_MIN);
    assert!(cut.len() <= ENCODED_LEN_MIN);
    let cut = Feedback::decode(&cut).expect("a cut report is a report");
    assert!(cut.covered_from >= report.covered_from);
}

/// A message that decodes keeps every rule and survives.
pub fn control(body: &[u8]) {
    let Ok(message) = Message::decode(body) else { return };
    message.validate().expect("decoding validates");
    let again = message.encode_body();
    assert!(again.len() <= body.len(), "there is no shorter encoding than ours");
    assert_eq!(Message::decode(&again).expect("own message"), message);
}

/// Frames are the same however the stream is cut; nothing beyond one frame is held.
///
/// The first byte says where to cut.
pub fn frames(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else { return };
    let whole = read_frames(stream, stream.len().max(1));
    assert_eq!(read_frames(stream, usize::from(cut).max(1)), whole);
}

/// The frames of a stream that arrives in pieces, until its end or its first fault.
fn read_frames(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let mut reader = FrameReader::new();
    let mut frames = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let Ok(taken) = reader.push(&rest[..rest.len().min(piece)]) else { break };
        assert!(reader.buffered() <= FRAME_PREFIX_LEN + CONTROL_MESSAGE_MAX);
        let frame = reader.pull();
        assert!(taken > 0 || frame.is_some(), "the reader goes on");
        rest = &rest[taken..];
        frames.extend(frame);
    }
    frames
}

/// Datagrams in a stream are the same however it is cut, none is empty or too long, less than a
/// frame is held, and framed anew they are the stream again, as far as it went.
///
/// The first byte says where to cut.
pub fn carrier(input: &[u8]) {
    let Some((&cut, stream)) = input.split_first() else { return };
    let whole = read_datagrams(stream, usize::MAX);
    assert_eq!(read_datagrams(stream, usize::from(cut).max(1)), whole);
    let framed: Vec<u8> = whole
        .iter()
        .flat_map(|datagram| {
            let length = frame_length(datagram.len()).expect("it came out of a frame");
            [&length[..], datagram].concat()
        })
        .collect();
    assert!(stream.starts_with(&framed));
}

/// The datagrams of a stream that arrives in pieces, until its end or its first fault.
fn read_datagrams(stream: &[u8], piece: usize) -> Vec<Vec<u8>> {
    let mut buffer = FrameBuffer::new(4096);
    let mut datagrams = Vec::new();
    let mut rest = stream;
    while !rest.is_empty() {
        let space = buffer.space();
        assert!(!space.is_empty(), "the reader goes on");
        let len = space.len().min(rest.len()).min(piece);
        space[..len].copy_from_slice(&rest[..len]);
        buffer.filled(len);
        rest = &rest[len..];
        loop {
            match buffer.pull() {
                Ok(Some(datagram)) => {
                    assert!((1..=CARRIED_MAX).contains(&datagram.len()));
                    datagrams.push(datagram.to_vec());
                }
                Ok(None) => break,
                Err(_) => return datagrams,
            }
        }
        assert!(buffer.buffered() < CARRIER_FRAME_MAX);
    }
    datagrams
}

/// The window agrees with a set of all opened numbers.
///
/// The first byte is the window's size; then each byte triple moves by a signed 16-bit step,
/// scaled, and says whether the packet is authentic.
pub fn replay(input: &[u8]) {
    let Some((&size, steps)) = input.split_first() else { return };
    let size = u64::from(size) + 1;
    let mut window = ReplayWindow::new(size);
    let mut opened = BTreeSet::new();
    let mut at = 0u64;
    for step in steps.chunks_exact(3) {
        let distance = i64::from(i16::from_be_bytes([step[0], step[1]]));
        at = at.saturating_add_signed(distance << (step[2] & 0x0f));
        let number = PacketNumber::new(at);
        let expected = model(&opened, at, size);
        assert_eq!(window.check(number), expected);
        if step[2] & 0x80 != 0 {
            assert_eq!(window.commit(number), expected);
            if expected == Verdict::Fresh {
                opened.insert(at);
            }
        }
        assert_eq!(window.largest().map(PacketNumber::get), opened.last().copied());
    }
}

fn model(opened: &BTreeSet<u64>, number: u64, size: u64) -> Verdict {
    match opened.last() {
        Some(&largest) if number <= largest && largest - number >= size => Verdict::TooOld,
        _ if opened.contains(&number) => Verdict::Duplicate,
        _ => Verdict::Fresh,
    }
}

/// A manifest that decodes keeps every rule, weighs what it may and survives.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::decode(bytes) else { return };
    manifest.check().expect("decoding checks");
    assert!(manifest.entries.iter().map(Entry::weight).sum::<usize>() <= WEIGHT_MAX);
    let again = manifest.encode();
    assert_eq!(Manifest::decode(&again).expect("own manifest"), manifest);
    for (index, entry) in (0..).zip(&manifest.entries) {
        assert_eq!(manifest.find(&entry.path), Some(index));
    }
}

/// A memory of paths that decodes is bounded, and is written the same again.
pub fn memory(bytes: &[u8]) {
    let Ok(memory) = PathMemory::decode(bytes) else { return };
    assert!(bytes.len() <= PATHS_LEN_MAX);
    assert_eq!(memory.encode().as_bytes(), bytes);
}

/// A path that parses stays beneath its root, whatever a file system makes of its bytes.
pub fn path(bytes: &[u8]) {
    let Ok(path) = RelPath::parse(bytes) else { return };
    assert_eq!(path.as_bytes(), bytes);
    assert!(bytes.len() <= PATH_MAX && path.depth() <= DEPTH_MAX && !bytes.contains(&0));
    for component in path.components() {
        assert!(!component.is_empty() && component != b"." && component != b"..");
        assert!(!component.contains(&b'/'));
    }
    if let Some(parent) = path.parent() {
        assert_eq!(RelPath::parse(parent.as_bytes()).as_ref(), Ok(&parent));
        assert!(path.starts_with(&parent) && parent < path);
    }
}

/// Whatever symbols come, the guard returns, writes where symbols were missing and nowhere else,
/// and true ones give the block back.
///
/// Bytes: data length (2), symbol size, lost symbols (8 bits each repeated over the block), then
/// four bytes a repair symbol: three of its id, one that says whether it is true, forged, or of a
/// wrong length. Panics within the library are caught by the guard, but end the fuzzer: they are
/// worth knowing.
pub fn fec(input: &[u8]) {
    let Some((&[high, low, size, lost], symbols)) = input.split_first_chunk::<4>() else { return };
    let data_len = Bytes::new(u64::from(u16::from_be_bytes([high, low]) % 2048));
    let Ok(shape) = BlockShape::new(data_len, 32 + u16::from(size) % 96) else { return };
    let mut source = vec![0; shape.source_len()];
    (0..=u8::MAX).cycle().zip(&mut source).for_each(|(value, byte)| *byte = value);
    finish_source(shape, &mut source, 0);
    let (mut buffer, mut present) = (source.clone(), SymbolSet::new(shape.symbols()));
    for id in 0..shape.symbols() {
        if lost >> (id % 8) & 1 == 0 {
            present.insert(SymbolId::new(id));
        } else {
            symbol(shape, &mut buffer, id).fill(0xee);
        }
    }
    let before = buffer.clone();
    let mut forged = false;
    let bodies: Vec<(SymbolId, Vec<u8>)> = symbols
        .chunks_exact(4)
        .take(128)
        .map(|chunk| {
            let id = SymbolId::new(u32::from_be_bytes([0, chunk[0], chunk[1], chunk[2]]));
            let truth = repair_symbols(shape, &source, id, 1).ok();
            let mut body =
                truth.as_ref().map_or_else(Vec::new, |set: &RepairSet| set.bytes.clone());
            if chunk[3] & 1 == 1 {
                forged = true;
                body.resize(usize::from(shape.symbol_size()) + usize::from(chunk[3] >> 7), 0);
                body[0] ^= chunk[3];
            }
            (id, body)
        })
        .collect();
    let repair: Vec<(SymbolId, &[u8])> = bodies.iter().map(|(id, b)| (*id, &b[..])).collect();
    let outcome = decode(shape, &mut buffer, &present, &repair);
    for id in 0..shape.symbols() {
        if outcome.is_err() || present.contains(SymbolId::new(id)) {
            let now = symbol(shape, &mut buffer, id).to_vec();
            assert_eq!(now, symbol(shape, &mut before.clone(), id), "symbol {id} was there");
        }
    }
    if outcome.is_ok() && !forged {
        assert_eq!(buffer, source);
        verify_source(shape, &buffer, 0).expect("the block is as it was");
    }
}

/// Parts that are found lie within the block, and laid out anew they are the same block.
///
/// Bytes: symbols (2), symbol size, then the source symbols; zeros where they are short.
pub fn packed(input: &[u8]) {
    let Some((&[high, low, size], source)) = input.split_first_chunk::<3>() else { return };
    let Some(symbols) = NonZeroU16::new(u16::from_be_bytes([high, low]) % 64) else { return };
    let shape = BlockShape::packed(symbols, 16 + u16::from(size)).expect("few symbols");
    let mut block = source.to_vec();
    block.resize(shape.source_len(), 0);
    assert!(packed_parts(shape, &block[1..]).is_err(), "a short buffer is no block");
    let Ok((frame, digest)) = packed_parts(shape, &block) else { return };
    let mut again = vec![0xee; shape.source_len()];
    finish_packed(shape, &mut again, frame, &digest);
    assert_eq!(again, block);
    let least = packed_shape(frame.len(), shape.symbol_size()).expect("no larger than this one");
    assert!(least.symbols() <= shape.symbols());
}

/// Whatever a receiver wants of a manifest, the objects carry each wanted byte once.
///
/// The first byte is a number of ranges, then eight bytes for each, then the manifest.
pub fn layout(input: &[u8]) {
    let Some((&count, rest)) = input.split_first() else { return };
    let Some((ranges, bytes)) = rest.split_at_checked(usize::from(count) * 8) else { return };
    let Ok(manifest) = Manifest::decode(bytes) else { return };
    let mut floor = 0;
    let mut want = Vec::new();
    for range in ranges.chunks_exact(8) {
        let number = |at: usize| u32::from_be_bytes([0, range[at], range[at + 1], range[at + 2]]);
        let (first, len) = (floor + number(1) % 64, number(5) % 4096 + 1);
        floor = first + len;
        want.push(EntryRange { first, count: len });
    }
    let layout = Layout::new(&manifest, &want);
    let wanted = (0..).zip(&manifest.entries).filter(|(index, _)| {
        want.iter().any(|range| (range.first..range.first + range.count).contains(index))
    });
    let bytes = wanted.map(|(_, entry)| entry.data_len()).fold(0, u64::saturating_add);
    assert_eq!(layout.data_len(), bytes);
    for object in (0..layout.len()).take(64) {
        let spec = layout.object(object).expect("counted");
        for block in (0..spec.blocks()).take(4) {
            let runs = layout.runs(&manifest, object, block);
            let sum: u64 = runs.iter().map(|run| run.len).sum();
            assert!(sum <= spec.block_len(block) && runs.iter().all(|run| run.len > 0));
        }
    }
}

/// Whatever an authenticated peer reports and sends, a session answers or ends, and counts no more
/// in flight than it sent.
///
/// Steps of one byte for what to do, one for a length, and so many bytes: 0 a report as it stands,
/// 1 a true report with changes, 2 a symbol, 3 padding, 4 time, 5 a packet from some address, 6 a
/// message or a command, 7 time.
pub fn session(input: &[u8]) {
    let config = SessionConfig {
        carrier: Carrier::Udp,
        peer: std::net::SocketAddr::from(([192, 0, 2, 1], 7411)),
        policy: Policy::Fair,
        bounds: Bounds::capped(Some(BitRate::mbps(20))),
        start_hint: None,
        fec: FecPolicy::Auto,
        initial_rtt: Duration::from_millis(10),
        send_blocks: 8,
        recv_blocks: 8,
        seed: 7,
    };
    let mut now = Timestamp::from_millis(1000);
    let mut end = Session::new(config, now);
    end.set_solvers(1);
    end.declare_send(Bytes::mib(4), &[]).expect("a good object");
    end.declare_recv(Bytes::mib(4), &[]).expect("a good object");
    let (mut number, mut asked) = (0, None);
    let mut rest = input;
    while let [what, len, tail @ ..] = rest {
        let (bytes, tail) = tail.split_at(tail.len().min(usize::from(*len)));
        rest = tail;
        let proof = Proof::new(u16::from(*len));
        let arrival =
            Arrival { number: PacketNumber::new(number), proof, train: what & 8 != 0, at: now };
        number += 1;
        let at = |index: usize| bytes.get(index).copied().map_or(0, u32::from);
        match what & 7 {
            0 | 1 => {
                let report =
                    if what & 1 == 0 { Feedback::decode(bytes).ok() } else { claim(bytes) };
                let Some(report) = report else { continue };
                if end.on_feedback(&arrival, &report, now).is_err() {
                    return;
                }
            }
            2 => {
                let block = BlockIndex::new(at(0) % 8);
                let symbol = SymbolId::new(at(1) << 16 | at(2) << 8 | at(3));
                let packed = NonZeroU16::new(u16::from(*len >> 4));
                let data = DataId { block, symbol, packed };
                let len = [1408, 1152, 64, 8896][usize::from(what >> 6)];
                end.on_data(&arrival, data, len, now);
            }
            3 => end.on_padding(&arrival, Bytes::new(100), now),
            5 => hear_from(&mut end, [at(0), at(1), at(2)], arrival.number, asked, now),
            6 => command(&mut end, [at(0), at(1), at(2)], now),
            _ => now += Duration::from_millis(u64::from(*len)),
        }
        asked = turn(&mut end, now).or(asked);
        assert!(end.in_flight() <= end.counters().wire_sent);
        assert!(end.counters().wire_delivered <= end.counters().wire_sent);
    }
}

/// A report about the first few packets that may be true but for its receipt.
fn claim(bytes: &[u8]) -> Option<Feedback> {
    let (&[last, complete, limit], receipt) = bytes.split_first_chunk()?;
    let byte = |at: usize| receipt.get(at).copied().map_or(0, u32::from);
    let (decoding, clock) = (Micros::new(byte(2) << 16), Micros::new(byte(3) << 24));
    let largest = PacketNumber::new(u64::from(last));
    let receipt =
        receipt.first_chunk().map_or(Proof::NONE, |bits| Proof::new(u16::from_be_bytes(*bits)));
    let report = Feedback {
        largest,
        receipt,
        received_packets: u64::from(last) + 1,
        ranges: vec![PacketRange { first: PacketNumber::new(0), last: largest }],
        complete_below: BlockIndex::new(u32::from(complete)),
        open_blocks_limit: u32::from(limit),
        decoding,
        clock,
        ..Feedback::default()
    };
    report.validate().is_ok().then_some(report)
}

/// An authentic packet comes from one of four addresses: padding, a report, a challenge, or an answer to
/// what was `asked` last, true or not.
fn hear_from(
    end: &mut Session,
    [host, what, token]: [u32; 3],
    number: PacketNumber,
    asked: Option<u64>,
    now: Timestamp,
) {
    let [_, second, third, last] = host.to_be_bytes();
    let from = std::net::SocketAddr::from(([192, second, third, 1 + last % 4], 7411));
    let kinds = [Kind::Pad, Kind::Feedback, Kind::PathChallenge, Kind::PathResponse];
    let kind = kinds[usize::from(what.to_le_bytes()[0] % 4)];
    end.on_arrival(from, number, kind, Bytes::new(1200), now);
    match kind {
        Kind::PathChallenge => end.on_challenge(from, u64::from(token)),
        Kind::PathResponse => {
            let token = asked.filter(|_| token < 128).unwrap_or(u64::from(token));
            end.on_response(from, token, now);
        }
        _ => {}
    }
}

/// What the control channel and the user of a session may ask for at any time.
fn command(end: &mut Session, [what, first, second]: [u32; 3], now: Timestamp) {
    let (object, block) = (ObjectId::new(first % 3), BlockIndex::new(first % 16));
    let run = (second % 4, 1 + second / 64);
    match what % 12 {
        0 => end.restart_send(block),
        1 => end.abandon_send(object),
        2 => end.abandon_recv(object, now),
        3 => end.settle_recv(object, now),
        4 => drop(end.reopen_send(object, &[run])),
        5 => drop(end.reopen_recv(object, &[run])),
        6 => drop(end.declare_send(Bytes::new(u64::from(second) << 16 | 1), &[])),
        7 => drop(end.declare_recv(Bytes::new(u64::from(second) << 16 | 1), &[])),
        8 => end.set_shares(first % 9, second % 9, now),
        9 => end.ask_peer(),
        10 => {
            let (span, rate_max) = (Duration::from_millis(u64::from(first) * 10), None);
            end.probe(ProbePlan { span, bytes_max: Bytes::new(1 << (second % 24)), rate_max }, now);
        }
        _ => end.set_fec([FecPolicy::Auto, FecPolicy::Off, FecPolicy::Always][first as usize % 3]),
    }
}

/// Does what the session asks for. Its packets prove nothing, so a claim can be true. Answers what an
/// address was asked, if one was.
fn turn(end: &mut Session, now: Timestamp) -> Option<u64> {
    while let Some(effect) = end.poll_effect() {
        match effect {
            Effect::Send(SendEffect::Read { block, shape, .. }) => end.on_loaded(block, shape),
            Effect::Send(SendEffect::Encode { block, count, .. }) => {
                end.on_encoded(block, Some(count));
            }
            Effect::Recv(RecvEffect::Verify { block, .. }) => {
                end.on_verified(block, Verified::Good, now);
            }
            Effect::Recv(RecvEffect::Write { block, .. }) => end.on_written(block, now),
            Effect::Send(SendEffect::Release { .. } | SendEffect::Reshape { .. })
            | Effect::Recv(_) => {}
        }
    }
    while end.poll_event().is_some() {}
    let mut plans = Vec::new();
    end.poll_transmit(now, &mut plans);
    plans.iter().for_each(|plan| end.on_sealed(plan.number, Proof::NONE));
    end.on_handed(now);
    let _ = (end.take_nudge(), end.take_probed(now), end.poll_timeout(now));
    plans.iter().find_map(|plan| match plan.body {
        PlanBody::Path(token) if plan.kind == Kind::PathChallenge => Some(token),
        _ => None,
    })
}

/// Source symbol `id` within its block.
fn symbol(shape: BlockShape, block: &mut [u8], id: u32) -> &mut [u8] {
    let size = usize::from(shape.symbol_size());
    &mut block[id as usize * size..][..size]
}

/// A flight record that is read is written and read again as the same; an error is short.
pub fn flight(file: &[u8]) {
    match Flight::parse(file) {
        Ok(flight) => {
            let again = flight.encode();
            let again = Flight::parse(&again).expect("what was written can be read");
            assert_eq!(again.encode(), flight.encode());
            assert_eq!(again.samples, flight.samples);
        }
        Err(error) => assert!(error.to_string().len() < 1_000),
    }
}
