//! What a block pays besides its code: digest and padding at the source, the check at the
//! receiver, the walk over missing symbols.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use farhaul_proto::content::{block_digest, run_digest};
use farhaul_proto::fec::{BlockShape, SymbolSet, finish_source, verify_source};
use farhaul_proto::ids::SymbolId;
use farhaul_proto::limits::{BLOCK_DATA, SYMBOL_SIZE};
use std::hint::black_box;

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

criterion_group!(benches, blocks, runs, symbol_sets);
criterion_main!(benches);
