//! Sets of chunks, who holds them and which is asked for, against models that are plain and slow.

use crate::swarm::holders::Holders;
use crate::swarm::picker::{Offer, pick};
use crate::swarm::{ChunkSet, Dice, Peer, RUNS_MAX, Run};
use proptest::prelude::*;
use std::collections::BTreeSet;

fn set_of(chunks: u32, held: &BTreeSet<u32>) -> ChunkSet {
    let mut set = ChunkSet::new(chunks);
    held.iter().for_each(|chunk| assert!(set.insert(*chunk)));
    set
}

fn runs_of(held: impl IntoIterator<Item = u32>) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for chunk in held {
        match runs.last_mut() {
            Some(run) if run.first + run.len == chunk => run.len += 1,
            _ => runs.push(Run::one(chunk)),
        }
    }
    runs
}

proptest! {
    /// spec: S-211
    #[test]
    fn a_set_is_what_was_put_in_and_not_taken_out(
        chunks in prop_oneof![1u32..300, 4090u32..4100, 8000u32..9000],
        steps in prop::collection::vec((any::<u32>(), 0u32..600, any::<bool>()), 0..40),
    ) {
        let (mut set, mut model) = (ChunkSet::new(chunks), BTreeSet::new());
        for (first, len, is_added) in steps {
            let first = first % chunks;
            for chunk in first..(first + len + 1).min(chunks) {
                let changed = if is_added { set.insert(chunk) } else { set.remove(chunk) };
                prop_assert_eq!(changed, if is_added { model.insert(chunk) } else { model.remove(&chunk) });
            }
        }
        prop_assert_eq!(set.count() as usize, model.len());
        prop_assert!((0..chunks + 70).all(|chunk| set.contains(chunk) == model.contains(&chunk)));
        prop_assert_eq!(set.runs().collect::<Vec<_>>(), runs_of(model.iter().copied()));
        let gaps = runs_of((0..chunks).filter(|chunk| !model.contains(chunk)));
        prop_assert_eq!(set.gaps().collect::<Vec<_>>(), gaps);
        let bits: u32 = (0..set.words()).map(|word| set.word(word).count_ones()).sum();
        prop_assert_eq!(bits, set.count());
    }

    /// spec: S-211
    #[test]
    fn a_run_counts_whole_or_not_at_all(chunks in 1u32..5000, first in any::<u32>(), len in any::<u32>()) {
        let first = if len % 2 == 0 { first } else { first % chunks };
        let run = Run { first, len: if len % 3 == 0 { len } else { len % 5000 } };
        let mut holders = Holders::new(chunks);
        // The first chunk is named before it.
        let is_after = run.first > 0 && run.len > 0;
        let is_fine = is_after && u64::from(run.first) + u64::from(run.len) <= u64::from(chunks);
        prop_assert_eq!(holders.hear(Peer(1), &[Run::one(0), run]).is_ok(), is_fine);
        let has_any = holders.count(0) > 0;
        prop_assert_eq!(has_any, is_fine);
    }

    /// spec: S-211
    #[test]
    fn counts_are_how_many_peers_have_a_chunk(
        words in prop::collection::vec((0u16..6, 0u32..500, 1u32..60, 0u8..8), 0..60),
    ) {
        let mut holders = Holders::new(600);
        let mut model: Vec<BTreeSet<u32>> = vec![BTreeSet::new(); 6];
        for (peer, first, len, what) in words {
            let held = &mut model[usize::from(peer)];
            match what {
                0 => {
                    holders.forget(Peer(peer));
                    held.clear();
                }
                1 => {
                    holders.lacks(Peer(peer), first);
                    held.remove(&first);
                }
                _ => {
                    let before = held.len();
                    held.extend(first..first + len);
                    let new = holders.hear(Peer(peer), &[Run { first, len }]).unwrap();
                    prop_assert_eq!(new as usize, held.len() - before);
                }
            }
        }
        for chunk in 0..600 {
            let count = model.iter().filter(|held| held.contains(&chunk)).count();
            prop_assert_eq!(usize::from(holders.count(chunk)), count);
        }
    }

    /// spec: S-212
    #[test]
    fn what_is_picked_is_lacking_offered_allowed_and_the_rarest_of_that(
        held in prop::collection::vec(prop::collection::btree_set(0u32..200, 0..120), 1..6),
        mine in prop::collection::btree_set(0u32..200, 0..150),
        asked in prop::collection::btree_set(0u32..200, 0..20),
        (rooms, odd, seed) in (any::<u8>(), any::<bool>(), any::<u64>()),
    ) {
        let mut holders = Holders::new(200);
        for (peer, held) in (0u16..).zip(&held) {
            holders.hear(Peer(peer), &runs_of(held.iter().copied())).unwrap();
        }
        let has_room = |peer: Peer| rooms >> peer.0 & 1 == 1;
        let offers: Vec<Offer<'_>> = holders
            .iter()
            .filter(|(peer, _)| has_room(*peer))
            .map(|(peer, set)| Offer { peer, set, cost: 1, load: u64::from(peer.0) })
            .collect();
        let may = |chunk: u32| !odd || chunk % 2 == 1;
        let (mine, asked) = (set_of(200, &mine), set_of(200, &asked));
        let picked = pick((&mine, &asked), &holders, &offers, may, &mut Dice::new(seed));
        let fits = |chunk: &u32| {
            let is_offered = offers.iter().any(|offer| offer.set.contains(*chunk));
            !mine.contains(*chunk) && !asked.contains(*chunk) && may(*chunk) && is_offered
        };
        let rarest = (0..200).filter(fits).map(|chunk| holders.count(chunk)).min();
        prop_assert_eq!(picked.map(|(chunk, _)| holders.count(chunk)), rarest);
        if let Some((chunk, peer)) = picked {
            prop_assert!(fits(&chunk) && has_room(peer) && holders.has(peer, chunk));
            let least = offers.iter().find(|offer| offer.set.contains(chunk)).map(|offer| offer.peer);
            prop_assert_eq!(Some(peer), least, "the least busy one");
        }
    }
}

/// spec: S-211
#[test]
fn a_million_chunks_cost_a_bit_each_at_worst_and_nearly_nothing_in_runs() {
    let mut half = ChunkSet::new(1_000_000);
    (0..1_000_000).step_by(2).for_each(|chunk| assert!(half.insert(chunk)));
    assert!(half.memory() < 140_000, "{}", half.memory());
    let mut run = ChunkSet::new(1_000_000);
    run.insert_run(Run { first: 0, len: 700_000 }, |_| {}).unwrap();
    assert!(run.memory() < 6_000, "{}", run.memory());
}

/// spec: S-211
#[test]
fn more_runs_than_a_message_may_have_count_not_at_all() {
    let mut holders = Holders::new(10_000);
    let runs: Vec<Run> = (0..=u32::try_from(RUNS_MAX).unwrap()).map(|n| Run::one(2 * n)).collect();
    assert!(holders.hear(Peer(1), &runs).is_err());
    assert_eq!(holders.count(0), 0);
    assert!(holders.hear(Peer(1), &runs[1..]).is_ok());
}

/// Everybody would ask whoever is next, in the same order. spec: S-212
#[test]
fn sites_take_different_ones_of_equally_rare_chunks() {
    let mut holders = Holders::new(64);
    holders.hear(Peer(1), &[Run { first: 0, len: 64 }]).unwrap();
    let none = ChunkSet::new(64);
    let offers: Vec<Offer<'_>> =
        holders.iter().map(|(peer, set)| Offer { peer, set, cost: 1, load: 0 }).collect();
    let picks = (0..20)
        .filter_map(|seed| pick((&none, &none), &holders, &offers, |_| true, &mut Dice::new(seed)));
    assert!(picks.map(|(chunk, _)| chunk).collect::<BTreeSet<_>>().len() > 10);
}
