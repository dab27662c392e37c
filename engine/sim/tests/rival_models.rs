//! The models of TCP senders against published formulas and measurements; ours takes no part.
//!
//! Bounds are wide: a model stands for a family of kernels.

use farhaul_sim::cells::{Cell, CellFile, Outcome, run};

const MODELS: &str = include_str!("../cells/models.toml");

fn play(name: &str) -> Outcome {
    let cells = CellFile::from_toml(MODELS).expect("a valid file").cells;
    let cell: Cell = cells.into_iter().find(|cell| cell.name == name).expect("a listed cell");
    run(&cell, 1)
}

fn assert_within(figure: f64, least: f64, most: f64) {
    assert!((least..=most).contains(&figure), "{figure:.3} is not in {least} .. {most}");
}

/// RFC 9438, 5.1: in the Reno-friendly region sqrt(0.53 (1.7/0.6) / p) = 12.2 packets at 1 %, so
/// 1.44 Mbit/s at 100 ms; without loss the link is full.
#[test]
fn cubic_follows_its_response_function() {
    assert_within(play("CUBIC, 100 ms, 1 %").goodput() * 99.0, 1.1, 1.8);
    assert_within(play("CUBIC, 100 ms, 0 %").goodput(), 0.98, 1.0);
}

#[test]
fn two_of_a_kind_share_about_evenly() {
    for name in ["CUBIC and CUBIC, 50 ms", "BBRv1 and BBRv1, 50 ms"] {
        assert_within(play(name).share(0), 0.35, 0.65);
    }
}

/// Its gain of 1.25 outweighs losses up to a fifth.
#[test]
fn bbr1_is_deaf_to_loss_up_to_a_wall() {
    assert_within(play("BBRv1, 100 ms, 10 %").goodput(), 0.85, 1.0);
    assert_within(play("BBRv1, 100 ms, 15 %").goodput(), 0.75, 1.0);
    assert_within(play("BBRv1, 100 ms, 30 %").goodput(), 0.0, 0.1);
}

#[test]
fn bbr3_holds_below_its_loss_threshold_and_collapses_beyond() {
    assert_within(play("BBRv3, 100 ms, 1 %").goodput(), 0.6, 1.0);
    assert_within(play("BBRv3, 100 ms, 5 %").goodput(), 0.0, 0.2);
}

/// Its in-flight cap of two products crowds CUBIC out of queues of one; deeper queues help CUBIC
/// (Hock et al. 2017; Ware et al. 2019). Version 3 leaves room.
#[test]
fn bbr1_crowds_cubic_out_of_short_queues_only() {
    assert_within(play("BBRv1 and CUBIC, 50 ms, 1 BDP").share(0), 0.75, 1.0);
    assert_within(play("BBRv1 and CUBIC, 50 ms, 2 BDP").share(0), 0.2, 0.6);
    assert_within(play("BBRv3 and CUBIC, 50 ms, 1 BDP").share(0), 0.2, 0.6);
}
