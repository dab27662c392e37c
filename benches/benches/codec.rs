//! What a packet, a report and a block pay besides sealing and repair: headers and reports written
//! and read; digest and padding at the source, the check at the receiver, the walk over missing
//! symbols.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use farhaul_proto::content::{block_digest, run_digest};
use farhaul_proto::fec::{BlockShape, SymbolSet, finish_source, verify_source};
use farhaul_proto::ids::{BlockIndex, LaneTag, PacketNumber, SymbolId};
use farhaul_proto::limits::{BLOCK_DATA, FEEDBACK_LEN_MAX, SYMBOL_SIZE};
use farhaul_proto::units::Micros;
use farhaul_proto::wire::feedback::{BlockDeficit, DelayMark, Feedback, PacketRange};
use farhaul_proto::wire::header::{DataId, Header, PacketId, Train};
use farhaul_proto::wire::number::KeyEpoch;
use std::hint::black_box;

fn headers(c: &mut Criterion) {
    let id = DataId::plain(BlockIndex::new(700), SymbolId::new(900));
    let (lane, number) = (LaneTag::new(7), PacketNumber::new(1 << 33));
    let packet = PacketId { lane, epoch: KeyEpoch::new(2048), number, salt: 9 };
    let header = Header::data(&packet, id, Train::No);
    let mut datagram = [0; 1445];
    let mut group = c.benchmark_group("codec/header");
    group.bench_function("encode", |b| b.iter(|| black_box(&header).encode(&mut datagram)));
    header.encode(&mut datagram);
    Header::decode(&datagram).expect("a data packet of full length");
    group.bench_function("decode", |b| b.iter(|| Header::decode(black_box(&datagram))));
    group.finish();
}

/// A report as a lossy link gives rise to: many short ranges, delays, blocks that lack symbols.
fn report() -> Feedback {
    let range = |n: u64| PacketRange {
        first: PacketNumber::new(10_000 - 6 * n - 4),
        last: PacketNumber::new(10_000 - 6 * n),
    };
    let mark = |n: u32| DelayMark {
        number: PacketNumber::new(10_000 - u64::from(n)),
        age: Micros::new(n),
    };
    let deficit = |n: u32| BlockDeficit { block: BlockIndex::new(10 + n), missing: 1 + n };
    Feedback {
        largest: PacketNumber::new(10_000),
        received_packets: 8_000,
        covered_from: PacketNumber::new(8_000),
        ranges: (0..300).map(range).collect(),
        delays: (0..15).map(mark).collect(),
        complete_below: BlockIndex::new(10),
        deficits: (0..32).map(deficit).collect(),
        open_blocks_limit: 59,
        ..Feedback::default()
    }
}

fn reports(c: &mut Criterion) {
    let report = report();
    report.validate().expect("a report that a receiver may send");
    let mut payload = Vec::with_capacity(FEEDBACK_LEN_MAX);
    let mut group = c.benchmark_group("codec/report");
    group.bench_function("encode", |b| {
        b.iter(|| {
            payload.clear();
            black_box(&report).encode_into(&mut payload, FEEDBACK_LEN_MAX);
        });
    });
    Feedback::decode(&payload).expect("what was encoded");
    group.bench_function("decode", |b| b.iter(|| Feedback::decode(black_box(&payload))));
    group.finish();
}

fn blocks(c: &mut Criterion) {
    let shape = BlockShape::new(BLOCK_DATA, SYMBOL_SIZE).expect("a full block");
    let mut source: Vec<u8> = (0..=250u8).cycle().take(shape.source_len()).collect();
    finish_source(shape, &mut source, 0);
    let mut group = c.benchmark_group("codec/block");
    group.throughput(Throughput::Bytes(BLOCK_DATA.get()));
    group.bench_function("digest", |b| {
        b.iter(|| block_digest(black_box(&source[..shape.data_len()]), 0));
    });
    group.bench_function("verify", |b| {
        b.iter(|| verify_source(shape, black_box(&source), 0));
    });
    group.finish();
}

fn runs(c: &mut Criterion) {
    let digests = vec![[7u8; 32]; 1000];
    c.bench_function("codec/run_of_1000_blocks", |b| b.iter(|| run_digest(black_box(&digests))));
}

fn symbol_sets(c: &mut Criterion) {
    let mut present = SymbolSet::new(998);
    for id in (0..998).filter(|id| id % 50 != 0) {
        present.insert(SymbolId::new(id));
    }
    c.bench_function("codec/missing_of_998", |b| b.iter(|| black_box(&present).missing().count()));
}

criterion_group!(benches, headers, reports, blocks, runs, symbol_sets);
criterion_main!(benches);
