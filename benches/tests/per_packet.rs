//! What a packet asks for, as counts: memory, calls of the kernel, copies.

mod counting {
    pub(crate) mod allocator;
}

use counting::allocator::{Counting, allocations};
use farhaul_benches::stages::{Meter, Stage, carry};
use farhaul_proto::units::Bytes;
use std::fs;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations by stage, once `warm` stages are over.
struct Count {
    last: u64,
    by_stage: [u64; Stage::ALL.len()],
    stages: u64,
    warm: u64,
}

impl Meter for Count {
    fn done(&mut self, stage: Stage) {
        self.stages += 1;
        if self.stages > self.warm {
            self.by_stage[stage as usize] += allocations() - self.last;
        }
        self.last = allocations();
    }
}

/// What remembers packets has grown to its size once half of them are through.
#[test]
fn a_packet_allocates_nothing_and_is_copied_once_on_each_side() {
    let home = tempfile::tempdir().expect("a directory");
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    let (span, len) = (Bytes::mib(16), Bytes::mib(512));
    fs::write(&from, vec![7; span.as_len()]).expect("written");
    let mut count = Count { last: 0, by_stage: [0; Stage::ALL.len()], stages: 0, warm: u64::MAX };
    carry((&from, &to), span, len, &mut count).expect("it arrives");
    // The same once more: how many stages there are does not depend on the machine.
    count = Count { warm: count.stages / 2, stages: 0, last: allocations(), ..count };
    let carried = carry((&from, &to), span, len, &mut count).expect("it arrives");

    let of = |stage: Stage| count.by_stage[stage as usize];
    let per_packet =
        [Stage::Frame, Stage::Seal, Stage::Send, Stage::Receive, Stage::Open, Stage::Place];
    for stage in per_packet {
        assert_eq!(of(stage), 0, "{stage:?} allocates: {:?}", count.by_stage);
    }
    // Blocks and reports do; of the half that was counted, not once for fifty packets.
    let all: u64 = count.by_stage.iter().sum();
    assert!(all * 50 < carried.packets / 2, "{:?} for {carried:?}", count.by_stage);
    assert_eq!(carried.copied[0], carried.copied[1]);
    // What is beyond the data is digest and padding, at most two symbols a block.
    let beyond = carried.copied[0] - carried.bytes;
    assert!(beyond <= carried.blocks * 2 * 1408, "{carried:?}");
    assert!(carried.sends * 20 < carried.packets, "{carried:?}");
}
