//! Writes the first inputs of every corpus: one valid example of each thing the parsers know.
//!
//! Takes no arguments; writes `corpus/TARGET/seed-NAME` beside the manifest of this package. Where
//! chance is part of a seed, what is there already stays.

use farhaul_engine::files::journal::{Binding, Journal};
use farhaul_engine::identity::Identity;
use farhaul_fuzz::body::{self, BINDING};
use farhaul_proto::congestion::Policy;
use farhaul_proto::fec::{FecPolicy, PackPolicy, finish_packed, packed_shape};
use farhaul_proto::ids::{BlockIndex, LaneTag, ObjectId, PacketNumber, SymbolId, TransferId};
use farhaul_proto::limits::{FEEDBACK_LEN_MAX, TAG_LEN};
use farhaul_proto::manifest::{Entry, EntryKind, Extent, Extents, FileTime, Manifest};
use farhaul_proto::path::memory::{Carried, PATHS_MAX, PathMemory, Place};
use farhaul_proto::path::proof::Proof;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::trace::Limit;
use farhaul_proto::trace::flight::{
    self, Flight, FlightEvent, FlightHeader, FlightSample, Role, What,
};
use farhaul_proto::units::{BitRate, Bytes, Micros};
use farhaul_proto::wire::carrier::{CARRIED_MAX, frame_length};
use farhaul_proto::wire::control::{
    Accept, BlockSpan, Done, EntryFailure, EntryRange, FailCode, Figures, Have, LeftOut,
    LeftOutNote, ManifestCarrier, Message, Offer, PathFigures, Probe, RefuseCode, Request, Wishes,
    frame_prefix,
};
use farhaul_proto::wire::feedback::{
    BlockDeficit, BlockRange, DelayMark, Feedback, PacketRange, TrainReport,
};
use farhaul_proto::wire::header::{DataId, Header, Kind, PATH_DATAGRAM_MIN, PacketId, Train};
use farhaul_proto::wire::number::KeyEpoch;
use std::fs::File;
use std::num::NonZeroU16;
use std::path::Path;
use std::time::Duration;
use std::{fs, io};

type Seed = (String, Vec<u8>);

fn main() -> io::Result<()> {
    let messages = messages();
    write("header", headers())?;
    write("feedback", reports())?;
    write("frames", frames(&messages))?;
    write("carrier", streams())?;
    write("control", messages.into_iter().map(|(name, m)| (name.into(), m.encode_body())))?;
    write("manifest", manifests())?;
    write("path", paths())?;
    write("memory", memories())?;
    write("fec", blocks())?;
    write("packed", packed_blocks())?;
    write("flight", flights())?;
    write("layout", layouts())?;
    write("session", sessions())?;
    write("replay", windows())?;
    write("journal", journals()?)?;
    if !folder("certificate").exists() {
        write("certificate", certificates()?)?;
    }
    Ok(())
}

fn folder(target: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

fn write(target: &str, seeds: impl IntoIterator<Item = Seed>) -> io::Result<()> {
    let folder = folder(target);
    fs::create_dir_all(&folder)?;
    for (name, input) in seeds {
        fs::write(folder.join(format!("seed-{name}")), input)?;
    }
    Ok(())
}

/// One datagram of every kind, of the shortest length that its kind allows.
fn headers() -> Vec<Seed> {
    let packet = PacketId {
        lane: LaneTag::new(0x0123_4567_89ab_cdef),
        epoch: KeyEpoch::new(0x48d),
        number: PacketNumber::new(0x1_2345_6789),
        salt: 0x5a,
    };
    let id = DataId::plain(BlockIndex::new(70_000), SymbolId::new(998));
    let packed = DataId { packed: NonZeroU16::new(400), ..id };
    let seed = |kind: Kind| {
        let header = match kind {
            Kind::Data => Header::data(&packet, id, Train::No),
            Kind::DataTrain => Header::data(&packet, id, Train::Member),
            Kind::Packed => Header::data(&packet, packed, Train::No),
            Kind::PackedTrain => Header::data(&packet, packed, Train::Member),
            _ => Header::plain(kind, &packet),
        };
        let payload = match kind {
            Kind::Data | Kind::DataTrain | Kind::Packed | Kind::PackedTrain => 64,
            Kind::Pad | Kind::PadTrain => 0,
            Kind::Feedback => 1,
            Kind::PathChallenge | Kind::PathResponse => PATH_DATAGRAM_MIN,
            Kind::Close => 2,
        };
        let mut datagram = vec![0; header.encoded_len() + payload + TAG_LEN];
        header.encode(&mut datagram);
        (format!("{kind:?}").to_lowercase(), datagram)
    };
    Kind::ALL.into_iter().map(seed).collect()
}

fn reports() -> Vec<Seed> {
    let start = Feedback { open_blocks_limit: 64, ..Feedback::default() };
    let cases = [
        ("start", start),
        ("clean", report(vec![packets(0, 4_000)])),
        ("ranges", report(vec![packets(3_000, 4_000), packets(17, 2_900), packets(3, 4)])),
        ("bitmap", report((0..500).rev().map(|n| packets(4 * n, 4 * n + 1)).collect())),
        ("full", full_report()),
    ];
    let encode = |(name, report): (&str, Feedback)| {
        let mut payload = Vec::new();
        report.encode_into(&mut payload, FEEDBACK_LEN_MAX);
        (name.into(), payload)
    };
    cases.into_iter().map(encode).collect()
}

fn packets(first: u64, last: u64) -> PacketRange {
    PacketRange { first: PacketNumber::new(first), last: PacketNumber::new(last) }
}

fn report(ranges: Vec<PacketRange>) -> Feedback {
    let largest = ranges[0].last;
    let received_packets = ranges.iter().map(|r| r.last.get() - r.first.get() + 1).sum();
    Feedback { largest, received_packets, ranges, ..Feedback::default() }
}

/// A report in which every list has items.
fn full_report() -> Feedback {
    let number = PacketNumber::new;
    let block = BlockIndex::new;
    Feedback {
        largest_age: Micros::new(800),
        received_bytes: Bytes::mib(5),
        duplicates: 3,
        invalid: 1,
        receiver_drops: 2,
        receipt: Proof::new(0x1234),
        delays: vec![DelayMark { number: number(3_990), age: Micros::new(4_000) }; 3],
        trains: vec![TrainReport {
            first: number(3_900),
            last: number(3_931),
            gap_sum: Micros::new(372),
            gaps: 31,
        }],
        complete_below: block(9),
        complete: vec![
            BlockRange { first: block(11), last: block(12) },
            BlockRange { first: block(14), last: block(14) },
        ],
        deficits: vec![
            BlockDeficit { block: block(9), missing: 17 },
            BlockDeficit { block: block(13), missing: 1 },
        ],
        open_blocks_limit: 128,
        backlog: Bytes::mib(2),
        decoding: Micros::new(84_000),
        clock: Micros::new(123_456_789),
        ..report(vec![packets(3_000, 4_000), packets(17, 2_900)])
    }
}

fn messages() -> Vec<(&'static str, Message)> {
    let transfer = TransferId::new(1);
    let inline = ManifestCarrier::Inline(b"manifest".to_vec());
    let lacking = ManifestCarrier::Inline(b"manifest".to_vec());
    let object = ManifestCarrier::Object { len: 1 << 20, digest: [7; 32] };
    let offer = |manifest, resume, left_out| {
        let (dest, entries, bytes, rate_min) = (b"incoming".to_vec(), 2, 1 << 30, None);
        let offer = Offer { transfer, dest, manifest, entries, bytes, resume, left_out, rate_min };
        Message::Offer(offer)
    };
    let request = Request { transfer, path: b"data/run-7".to_vec(), resume: true, wishes: None };
    let wishes = Wishes {
        rate_max: Some(500_000_000),
        policy: Some(Policy::Low),
        fec: Some(FecPolicy::Always),
        pack: Some(PackPolicy::Auto),
        rate_min: None,
    };
    let wishing = Request { wishes: Some(wishes), ..request.clone() };
    let least = Wishes { rate_min: Some(20_000_000), ..wishes };
    let insisting = Request { wishes: Some(least), ..request.clone() };
    let reason = || "no space left".to_owned();
    vec![
        ("hello", Message::Hello { features: 0, agent: "farhaul/0.1.0".into() }),
        ("offer-inline", offer(inline, true, None)),
        ("offer-object", offer(object, false, None)),
        ("offer-lacking", offer(lacking, true, Some(left_out()))),
        ("request", Message::Request(request)),
        ("request-wishes", Message::Request(wishing)),
        ("request-floor", Message::Request(insisting)),
        ("accept", Message::Accept(accept(transfer))),
        ("refuse", Message::Refuse { transfer, code: RefuseCode::NoSpace, reason: reason() }),
        ("sealed", Message::Sealed { object: ObjectId::new(3) }),
        ("reopen", reopen()),
        (
            "object-failed",
            Message::ObjectFailed {
                object: ObjectId::new(3),
                code: FailCode::SourceChanged,
                reason: reason(),
            },
        ),
        ("restart", Message::Restart { block: BlockIndex::new(70_000) }),
        ("done", Message::Done(done(transfer))),
        ("figures", Message::Figures(figures())),
        ("sent", Message::Sent { transfer, figures: figures() }),
        ("probe", Message::Probe(probe(transfer))),
        ("probed", Message::Probed { transfer, figures: path_figures(), clock_us: 1 << 50 }),
        ("cancel", Message::Cancel { transfer, code: FailCode::Cancelled, reason: reason() }),
    ]
}

fn left_out() -> LeftOut {
    let note =
        |path: &[u8], reason: &str| LeftOutNote { path: path.to_vec(), reason: reason.into() };
    LeftOut {
        failed: vec![note(b"a/locked", "permission denied")],
        failed_total: 2,
        skipped: vec![note(b"a/socket", "sockets, pipes and devices are not carried")],
        skipped_total: 1,
    }
}

fn accept(transfer: TransferId) -> Accept {
    Accept {
        transfer,
        want: vec![EntryRange { first: 0, count: 1 }, EntryRange { first: 3, count: 70_000 }],
        have: vec![Have { entry: 3, first: 0, count: 12, digest: [3; 32] }],
    }
}

fn reopen() -> Message {
    let (object, first_block) = (ObjectId::new(3), BlockIndex::new(70_000));
    let runs = vec![BlockSpan { first: 12, count: 2 }, BlockSpan { first: 20, count: 1 }];
    Message::Reopen { object, runs, first_block }
}

fn figures() -> Figures {
    Figures {
        wire_sent: 1 << 30,
        source: 700_000,
        loss_ppm: 20_000,
        rtt_us: 200_000,
        limited_by: Some(0),
        start_hint_bps: Some(80_000_000),
        limited: Some((&[std::time::Duration::from_secs(1); Limit::ALL.len()]).into()),
        ..Figures::default()
    }
}

const fn probe(transfer: TransferId) -> Probe {
    Probe { transfer, span_ms: 2_500, bytes_max: 1 << 24, rate_max: Some(100_000_000) }
}

fn path_figures() -> PathFigures {
    PathFigures {
        delay_sent: 200,
        rtt_min_us: 100_000,
        full_passes: Some(true),
        train_rate_bps: Some(100_000_000),
        wire_bytes: 1 << 23,
        ..PathFigures::default()
    }
}

fn done(transfer: TransferId) -> Done {
    let reason = "permission denied".to_owned();
    let failed = vec![EntryFailure { entry: 8, code: FailCode::NoPermission, reason }];
    Done { transfer, files: 70_000, bytes: 1 << 40, failed, failed_total: 1, skipped: 9 }
}

/// Streams of frames, each after the byte that says how they are cut.
fn frames(messages: &[(&'static str, Message)]) -> Vec<Seed> {
    let frame = |message: &Message| {
        let body = message.encode_body();
        let prefix = frame_prefix(body.len()).expect("messages fit into frames");
        [&prefix[..], &body].concat()
    };
    let all: Vec<u8> = messages.iter().flat_map(|(_, message)| frame(message)).collect();
    let one = frame(&messages[0].1);
    let with = |cut: u8, stream: &[u8]| [&[cut], stream].concat();
    vec![
        ("one".into(), with(1, &one)),
        ("all-by-3".into(), with(3, &all)),
        ("all-by-200".into(), with(200, &all)),
        ("cut-short".into(), with(7, &all[..all.len() - 5])),
        ("too-long".into(), with(2, &[1, 0, 0, 1, 0])),
        ("empty".into(), with(2, &[0, 0, 0, 0, 0])),
    ]
}

/// Streams of datagrams, each after the byte that says how they are cut.
fn streams() -> Vec<Seed> {
    let frame = |len: usize| {
        let length = frame_length(len).expect("a datagram");
        [&length[..], &vec![0x10; len]].concat()
    };
    let few: Vec<u8> = [1, 1200, CARRIED_MAX, 60].into_iter().flat_map(frame).collect();
    let with = |cut: u8, stream: &[u8]| [&[cut], stream].concat();
    let behind = |fault: &[u8]| [&few[..], fault, &few[..]].concat();
    let long = u16::try_from(CARRIED_MAX + 1).unwrap_or(u16::MAX).to_be_bytes();
    vec![
        ("few".into(), with(200, &few)),
        ("by-1".into(), with(1, &frame(70))),
        ("cut-short".into(), with(7, &few[..few.len() - 5])),
        ("empty".into(), with(90, &behind(&[0, 0]))),
        ("too-long".into(), with(90, &behind(&long))),
        ("huge".into(), with(3, &behind(&[0xff, 0xff]))),
    ]
}

/// Lists of files: empty, one file, a tree with all kinds, and one with a shared prefix forged.
fn manifests() -> Vec<Seed> {
    let entry = |path: &str, kind| Entry {
        path: RelPath::parse(path.as_bytes()).expect("a good path"),
        mode: 0o640,
        mtime: FileTime { secs: -1, nanos: 999_999_999 },
        kind,
    };
    let file = |size| EntryKind::File { size, extents: Extents::Full };
    let list = vec![Extent { offset: 4096, len: 4096 }, Extent { offset: 1 << 30, len: 1 }];
    let sparse = EntryKind::File { size: 1 << 40, extents: Extents::List(list) };
    let hole = EntryKind::File { size: 1 << 20, extents: Extents::List(Vec::new()) };
    let tree = vec![
        entry("run", EntryKind::Dir),
        entry("run/data.bin", file(3_000_000)),
        entry("run/data.idx", file(0)),
        entry("run/deep", EntryKind::Dir),
        entry("run/deep/hole", hole),
        entry("run/deep/sparse", sparse),
        entry("run/latest", EntryKind::Symlink { target: b"../other".to_vec() }),
    ];
    let encode = |entries| Manifest::new(entries).expect("a good manifest").encode();
    let tree = encode(tree);
    let mut forged = tree.clone();
    if let Some(shared) = forged.get_mut(40) {
        *shared = 0x17;
    }
    vec![
        ("none".into(), encode(Vec::new())),
        ("file".into(), encode(vec![entry("a", file(1))])),
        ("names".into(), encode(vec![entry("a\u{e4}\n", file(1)), entry("b c", file(1 << 50))])),
        ("cut".into(), tree[..tree.len() - 3].to_vec()),
        ("tree".into(), tree),
        ("forged".into(), forged),
    ]
}

/// What is wanted, before each manifest; see `checks::layout`.
fn layouts() -> Vec<Seed> {
    let range = |first: u32, count: u32| [first.to_be_bytes(), count.to_be_bytes()].concat();
    let all = range(0, 4095);
    let some = [range(1, 1), range(2, 3)].concat();
    let wanting = |how: &str, count: u8, want: &[u8]| {
        let with = |(name, manifest): Seed| {
            (format!("{how}-{name}"), [&[count], want, &manifest[..]].concat())
        };
        manifests().into_iter().map(with).collect::<Vec<Seed>>()
    };
    [wanting("all", 1, &all), wanting("some", 2, &some), wanting("none", 0, &[])].concat()
}

/// Steps of a session; see `checks::session`.
fn sessions() -> Vec<Seed> {
    let step = |what: u8, bytes: &[u8]| {
        let len = u8::try_from(bytes.len()).expect("steps are short");
        [&[what, len], bytes].concat()
    };
    let time = |ms: u8| [&[4, ms][..], &vec![0; usize::from(ms)]].concat();
    let claims = |count: u8| (0..count).flat_map(|n| [time(20), step(1, &[n, 0, 8])].concat());
    let slow = |n: u8| [time(20), step(1, &[n, 0, 8, 0, 0, n * 9, n * 7])].concat();
    let symbols =
        |block: u8| (0..250).flat_map(move |n| step(2, &[block, 0, 0, n])).collect::<Vec<u8>>();
    let reports = reports().into_iter().filter(|(_, report)| report.len() < 256);
    let told: Vec<u8> = reports.flat_map(|(_, report)| step(0, &report)).collect();
    // A packet from elsewhere, the true answer from there; home again; one that is asked in vain.
    let moves = [[1, 0, 0], [1, 3, 0], [0, 0, 0], [2, 0, 0], [3, 3, 200], [2, 2, 9]];
    let moves: Vec<u8> =
        moves.iter().flat_map(|step_of| [step(5, step_of), time(12)].concat()).collect();
    let commands: Vec<u8> =
        (0..12).flat_map(|what| [step(6, &[what, 1, 70]), time(20)].concat()).collect();
    let begun: Vec<u8> = claims(6).collect();
    vec![
        ("claims".into(), claims(20).collect()),
        ("lie".into(), [time(20), step(1, &[200, 0, 8])].concat()),
        ("receipt".into(), [time(20), step(1, &[0, 0, 8, 1, 2])].concat()),
        ("behind".into(), (0..20).flat_map(slow).collect()),
        ("complete".into(), [time(50), step(1, &[0, 3, 8])].concat()),
        ("symbols".into(), [symbols(0), symbols(1), symbols(7), time(9)].concat()),
        ("padding".into(), [step(3, &[]), step(11, &[]), time(40), time(250)].concat()),
        ("reports".into(), told),
        ("moves".into(), [&begun[..], &moves].concat()),
        ("commands".into(), [begun, commands].concat()),
    ]
}

/// Paths, good and bad.
fn paths() -> Vec<Seed> {
    let named: [(&str, &[u8]); 8] = [
        ("name", b"report.pdf"),
        ("deep", b"a/b/c/d/e/f"),
        ("odd", b"...\n/ \xff\xfe"),
        ("dots", b"a/...b/.c"),
        ("up", b"a/../../etc/passwd"),
        ("absolute", b"/etc/passwd"),
        ("reserved", b".farhaul/x"),
        ("nul", b"a\0b"),
    ];
    named.into_iter().map(|(name, path)| (name.into(), path.to_vec())).collect()
}

/// Memories of paths, good and bad.
fn memories() -> Vec<Seed> {
    let carried = Carried {
        rate: BitRate::mbps(500),
        rtt: Duration::from_millis(200),
        at: Duration::from_secs(1_800_000_000),
    };
    let mut one = PathMemory::default();
    one.note(Place::new([1; 32], [192, 0, 2, 7].into()), carried);
    let mut two = one.clone();
    two.note(Place::new([2; 32], [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()), carried);
    let mut full = PathMemory::default();
    for site in 0..PATHS_MAX {
        let site = u8::try_from(site).unwrap_or(u8::MAX);
        full.note(Place::new([site; 32], [192, 0, 2, 7].into()), carried);
    }
    let two = two.encode();
    vec![
        ("none".into(), PathMemory::default().encode().into_bytes()),
        ("one".into(), one.encode().into_bytes()),
        ("two".into(), two.clone().into_bytes()),
        ("full".into(), full.encode().into_bytes()),
        ("torn".into(), two.as_bytes()[..two.len() - 9].to_vec()),
        ("twice".into(), [two.as_bytes(), &two.as_bytes()[16..]].concat()),
        ("no-network".into(), two.replace("192.0.2.0", "192.0.2.7").into_bytes()),
    ]
}

/// Packed blocks, good and bad; see `checks::packed`.
fn packed_blocks() -> Vec<Seed> {
    let block = |frame_len: usize, spoil: fn(&mut Vec<u8>)| {
        let shape = packed_shape(frame_len, 64).expect("a small frame");
        let mut source = vec![0; shape.source_len()];
        finish_packed(shape, &mut source, &vec![0x5a; frame_len], &[7; 32]);
        spoil(&mut source);
        let symbols = u16::try_from(shape.symbols()).expect("few").to_be_bytes();
        [&symbols[..], &[64 - 16], &source].concat()
    };
    vec![
        ("empty".into(), block(0, |_| ())),
        ("full".into(), block(64 * 3 - 36, |_| ())),
        ("padded".into(), block(100, |_| ())),
        ("too-long".into(), block(100, |source| source[2] = 1)),
        ("not-padded".into(), block(100, |source| source[191] = 1)),
    ]
}

/// Blocks with lost symbols, and what comes in their place; see `checks::fec`.
fn blocks() -> Vec<Seed> {
    let with = |head: [u8; 4], symbols: &[(u32, u8)]| {
        let symbols = symbols.iter().flat_map(|&(id, how)| {
            let [_, a, b, c] = id.to_be_bytes();
            [a, b, c, how]
        });
        head.into_iter().chain(symbols).collect::<Vec<u8>>()
    };
    // 1000 bytes and a digest in symbols of 64: 17 of them.
    let head = [3, 232, 32, 0x11];
    let good: Vec<(u32, u8)> = (17..25).map(|id| (id, 0)).collect();
    let forged: Vec<(u32, u8)> = (17..25).map(|id| (id, 1)).collect();
    vec![
        ("good".into(), with(head, &good)),
        ("forged".into(), with(head, &forged)),
        ("too-few".into(), with(head, &good[..2])),
        ("twice".into(), with(head, &[good[0]; 8])),
        ("ids".into(), with(head, &[(0, 0), (16, 1), (0xff_ffff, 0), (17, 0x81), (18, 0)])),
        ("none-lost".into(), with([0, 1, 0, 0], &[])),
    ]
}

/// Walks over packet numbers: step (16 bits), then scale and authenticity.
fn windows() -> Vec<Seed> {
    let walk = |size: u8, steps: &[(i16, u8)]| {
        let steps = steps.iter().flat_map(|&(step, how)| {
            let [high, low] = step.to_be_bytes();
            [high, low, how]
        });
        [size].into_iter().chain(steps).collect::<Vec<u8>>()
    };
    vec![
        ("forwards".into(), walk(63, &[(1, 0x80); 100])),
        ("twice".into(), walk(63, &[(1, 0x80), (0, 0x80), (1, 0), (0, 0x80)])),
        ("backwards".into(), walk(10, &[(1_000, 0x80), (-5, 0x80), (-5, 0x80), (-1, 0x80)])),
        ("jump".into(), walk(200, &[(90, 0x80), (30_000, 0x8f), (-90, 0x80), (-200, 0x80)])),
    ]
}

/// A record with every kind of event, and heads of other versions.
fn flights() -> Vec<Seed> {
    let header = FlightHeader {
        farhaul_flight: flight::VERSION,
        agent: "farhaul 0.1.0".into(),
        role: Role::Sender,
        site: "a".into(),
        peer: "b".into(),
        title: "send to b".into(),
        started_unix_us: 1_700_000_000_000_000,
        policy: "fair".into(),
        cap_bps: Some(1_000_000),
        floor_bps: Some(500_000),
        sample_us: flight::SAMPLE_US,
    };
    let limit = Some(Limit::Link);
    let word = || "word".into();
    let (cap_bps, floor_bps, hint_bps) = (None, None, Some(1));
    let what = [
        What::Started { policy: word(), cap_bps, floor_bps, hint_bps, initial_rtt_us: 2 },
        What::Policy { policy: word(), cap_bps: Some(3), floor_bps: hint_bps },
        What::PacketSize { symbol: 1408, packet: 1473 },
        What::Phase { old: word(), new: word() },
        What::Limit { old: None, new: limit },
        What::Losses { packets: 4, span_us: 5 },
        What::FeedbackOverdue { halvings: 1 },
        What::Silent {},
        What::Restored { silent_us: 6 },
        What::Declared { way: word(), object: 0, len: 7 },
        What::Completed { way: word(), object: 0 },
        What::Abandoned { way: word(), object: 1 },
        What::Told { sent: 8, loss_ppm: 9, rtt_us: 10, base_rtt_us: 11, limit },
        What::Missing { lines: 12 },
        What::Ended { why: word(), unsent: 0, in_flight: 0 },
    ];
    let sample =
        FlightSample { at_us: 100_000, span_us: 100_000, sent: 1, limit, ..Default::default() };
    let events = what.into_iter().map(|what| FlightEvent { at_us: 100_000, what }).collect();
    let whole = Flight { header, samples: vec![sample], events }.encode();
    let cut = whole[..whole.len() - 9].to_vec();
    vec![
        ("whole".into(), whole),
        ("cut".into(), cut),
        ("newer".into(), b"{\"farhaul_flight\":3}\n".to_vec()),
        ("none".into(), b"\n".to_vec()),
    ]
}

/// Journals of the binding of `body::journal`: whole, torn, damaged, of another file.
fn journals() -> io::Result<Vec<Seed>> {
    let path = std::env::temp_dir().join(format!("farhaul-seed-{}", std::process::id()));
    let written = |binding, blocks: &[u32]| {
        let file = File::create(&path)?;
        let journal = Journal::create(file, binding)?;
        for &block in blocks {
            journal.append(block, &body::digest(block))?;
        }
        fs::read(&path)
    };
    let empty = written(&BINDING, &[])?;
    let whole = written(&BINDING, &(0..BINDING.blocks).collect::<Vec<_>>())?;
    let few = written(&BINDING, &[3, 0, 69, 12])?;
    let foreign = written(&Binding { inode: 98, ..BINDING }, &[3, 0])?;
    fs::remove_file(&path)?;
    let mut damaged = few.clone();
    damaged[64 + 44 + 7] ^= 1;
    let torn = few[..few.len() - 9].to_vec();
    let twice = [&few[..], &few[64..]].concat();
    let seeds = [
        ("empty", empty),
        ("whole", whole),
        ("few", few),
        ("torn", torn),
        ("damaged", damaged),
        ("twice", twice),
        ("foreign", foreign),
        ("nothing", Vec::new()),
    ];
    Ok(seeds.map(|(name, file)| (name.into(), file)).into())
}

/// A certificate of a fresh key, and what it may be taken for.
fn certificates() -> io::Result<Vec<Seed>> {
    let identity = Identity::ephemeral().map_err(io::Error::other)?;
    let whole = identity.certificate().to_vec();
    let cut = whole[..whole.len() - 1].to_vec();
    let trailed = [&whole[..], &[0]].concat();
    let mut changed = whole.clone();
    changed[60] ^= 1;
    let seeds = [("whole", whole), ("cut", cut), ("trailed", trailed), ("changed", changed)];
    Ok(seeds.map(|(name, der)| (name.into(), der)).into())
}
