//! How fast whole transfers run in the virtual world: the speed of simulation, and the cost of
//! the core per packet.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use core::time::Duration;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::scenario::{Scenario, named};
use farhaul_sim::world::{Speech, run};
use std::hint::black_box;

fn sim_wan(c: &mut Criterion) {
    let mut group = c.benchmark_group("simulated transfer");
    group.sample_size(10);
    let size = Bytes::mib(16);
    group.throughput(Throughput::Bytes(size.get()));
    for (name, loss) in [("clean", 0.0), ("2 % loss", 0.02), ("20 % loss", 0.2)] {
        let link = named::cell(BitRate::mbps(500), Duration::from_millis(200), loss);
        let scenario = Scenario::one_way(name, 1, link, &[size]);
        group.bench_function(name, |b| {
            b.iter(|| black_box(run(&scenario, Speech::Silent).is_ok()));
        });
    }
    group.finish();
}

criterion_group!(benches, sim_wan);
criterion_main!(benches);
