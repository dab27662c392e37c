//! What it costs to seal and to open one data packet.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use farhaul_engine::identity::SiteId;
use farhaul_engine::seal::{LaneIds, LaneSecrets, OpenKey, SealKey, Side};
use farhaul_proto::ids::PacketNumber;
use farhaul_proto::limits::{DATA_HEADER_LEN, SYMBOL_SIZE, TAG_LEN};
use std::convert::Infallible;
use std::hint::black_box;

const HEADER: [u8; DATA_HEADER_LEN] = [0x10; DATA_HEADER_LEN];

/// Keys of both ends of a lane, from a fixed secret instead of a live connection.
fn keys() -> (SealKey, OpenKey) {
    let ids = LaneIds { client: SiteId([1; 32]), server: SiteId([2; 32]) };
    let export = |out: &mut [u8], label: &[u8], context: &[u8]| -> Result<(), Infallible> {
        for (at, byte) in out.iter_mut().enumerate() {
            let mixed = label.len() + context.len() * 3 + at * 7;
            *byte = u8::try_from(mixed % 251).unwrap_or_default();
        }
        Ok(())
    };
    let Ok(ours) = LaneSecrets::derive(export, Side::Client, 0, &ids);
    let Ok(theirs) = LaneSecrets::derive(export, Side::Server, 0, &ids);
    (ours.send.seal_key(), theirs.recv.open_key())
}

fn seal(c: &mut Criterion) {
    let mut group = c.benchmark_group("aead");
    group.throughput(Throughput::Bytes(u64::from(SYMBOL_SIZE)));
    let (mut sealing, mut opening) = keys();
    let mut body = vec![7; usize::from(SYMBOL_SIZE)];
    let mut number = 0;
    group.bench_function("seal one symbol", |b| {
        b.iter(|| {
            let mut tag = [0; TAG_LEN];
            let sealed =
                sealing.seal_in_place(PacketNumber::new(number), &HEADER, &mut body, &mut tag);
            number += 1;
            black_box((sealed.is_ok(), tag))
        });
    });
    let first = PacketNumber::new(number);
    let mut packet = vec![7; usize::from(SYMBOL_SIZE)];
    let mut tag = [0; TAG_LEN];
    assert!(sealing.seal_in_place(first, &HEADER, &mut packet, &mut tag).is_ok());
    packet.extend_from_slice(&tag);
    group.bench_function("open one symbol", |b| {
        b.iter_batched_ref(
            || packet.clone(),
            |packet| black_box(opening.open_in_place(first, 0, &HEADER, packet).is_ok()),
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, seal);
criterion_main!(benches);
