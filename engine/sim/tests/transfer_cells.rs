//! Whole transfers over the acceptance cells A to E, by the sessions of the product, in virtual
//! time: how much of the link is used, what is sent in vain, how long the queue becomes.
//!
//! `cargo run --release -p farhaul-sim --bin sim -- --cells 3` prints the whole table. The seed is
//! fixed, so every figure is exact and a failure repeats.

use farhaul_sim::scenario::TRANSFERS;
use farhaul_sim::world::{Speech, run};

const SEED: u64 = 7;

/// From the first word to the last byte on the disk, `floor` of what the link allows at least.
fn is_carried(name: &str, floor: f64) {
    let transfer = TRANSFERS.into_iter().find(|transfer| transfer.name == name);
    let transfer = transfer.expect("a listed cell");
    let scenario = transfer.scenario(SEED).expect("a profile of the repository");
    let report = run(&scenario, Speech::Silent).unwrap_or_else(|failure| panic!("{failure}"));
    let direction = report.directions[0];
    assert_eq!(direction.bytes, transfer.len, "{name}");
    let goodput = direction.efficiency();
    assert!(goodput >= floor, "{name}: {goodput:.3} of G*, at least {floor} is wanted");
    let sent = direction.sent_of_needed();
    assert!(sent <= 1.02, "{name}: {sent:.3} times what is needed was sent");
    let (queue, bound) = (direction.queue_p95, scenario.rtt().mul_f64(0.15));
    assert!(queue <= bound, "{name}: {queue:?} of queue at p95, allowed {bound:?}");
}

#[test]
fn cell_a_is_filled() {
    is_carried("A", 0.93);
}

#[test]
fn cell_b_is_filled() {
    is_carried("B", 0.93);
}

#[test]
fn cell_c_is_filled() {
    is_carried("C", 0.93);
}

#[test]
fn cell_d_is_filled_although_a_tenth_is_lost() {
    is_carried("D", 0.90);
}

#[test]
fn cell_e_is_filled_although_a_fifth_is_lost() {
    is_carried("E", 0.85);
}
