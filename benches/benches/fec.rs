//! RaptorQ through the guard: what the first repair symbol of a block costs, what further ones
//! cost, and what a decode costs at 2 and 10 % loss. Throughput counts source bytes.
//!
//! The encoding plan of each K is warm, as it is on a sender after its first block of that size.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use farhaul_proto::fec::{self, BlockShape, RepairEncoder, SymbolSet};
use farhaul_proto::ids::SymbolId;
use farhaul_proto::limits::{BLOCK_DATA, BLOCK_DIGEST_LEN, SYMBOL_SIZE};
use farhaul_proto::units::Bytes;
use std::hint::black_box;

/// A 64 KB object, a block below 100 Mbit/s, a full block.
const SYMBOLS: [u32; 3] = [46, 250, 998];

/// The shape of a block of `k` full symbols and its finished source.
fn block(k: u32) -> (BlockShape, Vec<u8>) {
    let source_len = u64::from(k) * u64::from(SYMBOL_SIZE);
    let data_len = Bytes::new(source_len - BLOCK_DIGEST_LEN as u64).min(BLOCK_DATA);
    let shape = BlockShape::new(data_len, SYMBOL_SIZE).expect("within the limits of a block");
    let mut source: Vec<u8> = (0..=250u8).cycle().take(shape.source_len()).collect();
    fec::finish_source(shape, &mut source, 0);
    (shape, source)
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("fec/encode");
    for k in SYMBOLS {
        let (shape, source) = block(k);
        let first = SymbolId::new(k);
        group.throughput(Throughput::Bytes(source.len() as u64));
        group.bench_function(BenchmarkId::new("first", k), |b| {
            b.iter(|| fec::repair_symbols(shape, black_box(&source), first, 1));
        });
        let encoder = RepairEncoder::new(shape, &source).expect("a finished block");
        group.throughput(Throughput::Bytes(32 * u64::from(SYMBOL_SIZE)));
        group.bench_function(BenchmarkId::new("32_more", k), |b| {
            b.iter(|| encoder.symbols(black_box(SymbolId::new(k + 1)), 32));
        });
    }
    group.finish();
}

/// Every `spacing`-th source symbol lost.
fn thinned(k: u32, spacing: usize) -> SymbolSet {
    let lost: Vec<u32> = (0..k).skip(spacing / 2).step_by(spacing).collect();
    let mut present = SymbolSet::new(k);
    for id in (0..k).filter(|id| !lost.contains(id)) {
        present.insert(SymbolId::new(id));
    }
    present
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("fec/decode");
    for k in SYMBOLS {
        let (shape, source) = block(k);
        for (percent, spacing) in [(2, 50), (10, 10)] {
            let present = thinned(k, spacing);
            let count = present.missing_len() + 2;
            let set = fec::repair_symbols(shape, &source, SymbolId::new(k), count)
                .expect("a valid request");
            let repair: Vec<_> = set.iter().collect();
            let mut buffer = source.clone();
            group.throughput(Throughput::Bytes(source.len() as u64));
            group.bench_function(BenchmarkId::new(format!("{percent}_percent"), k), |b| {
                b.iter(|| fec::decode(shape, &mut buffer, &present, black_box(&repair)));
            });
            assert_eq!(buffer, source, "a decode that fails fast would look like speed");
        }
    }
    group.finish();
}

/// The first block of a new size also pays for its elimination plan.
fn cold_plan(c: &mut Criterion) {
    // More sizes than the library's cache of 64 plans holds, so that none is ever warm.
    let mut sizes = (900..998u32).cycle();
    c.bench_function("fec/encode/first_of_its_size", |b| {
        b.iter_batched(
            || block(sizes.next().expect("an endless cycle")),
            |(shape, source)| {
                fec::repair_symbols(shape, &source, SymbolId::new(shape.symbols()), 1)
            },
            BatchSize::PerIteration,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = encode, decode, cold_plan
}
criterion_main!(benches);
