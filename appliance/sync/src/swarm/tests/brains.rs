//! Takers, givers, origins and the planner, each alone against words that may be lies.

use super::terms;
use crate::swarm::giver::{PEER_QUEUE_MAX, QUEUE_MAX};
use crate::swarm::taker::{Effect, Input, Why};
use crate::swarm::{
    About, Answer, ChunkSet, Dice, Fault, Giver, NEIGHBOURS_MAX, Part, Peer, Plan, Planner, Run,
    Taker, Terms, elect, planner,
};
use core::time::Duration;
use farhaul_proto::units::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn effects(taker: &mut Taker) -> Vec<Effect> {
    core::iter::from_fn(|| taker.poll_effect()).collect()
}

fn taker(terms: &Arc<Terms>) -> Taker {
    Taker::new(Peer(1), Arc::clone(terms), ChunkSet::new(terms.chunks()), Dice::new(1))
}

fn asks(effects: &[Effect]) -> Vec<(Peer, Part)> {
    let ask = |effect: &Effect| match effect {
        Effect::Ask(peer, part) => Some((*peer, *part)),
        _ => None,
    };
    effects.iter().filter_map(ask).collect()
}

/// A peer that said it has everything, and the first asks of it.
fn with_peer(terms: &Arc<Terms>, peer: Peer) -> (Taker, Vec<(Peer, Part)>) {
    let mut taker = taker(terms);
    taker.handle(Input::Joined(peer), at(0));
    let all = Run { first: 0, len: terms.chunks() };
    taker.handle(Input::Have(peer, Arc::from([all])), at(0));
    let asked = asks(&effects(&mut taker));
    (taker, asked)
}

fn give(taker: &mut Taker, (peer, part): (Peer, Part), is_right: bool, now: u64) -> Vec<Effect> {
    taker.handle(Input::Arrived(peer, part), at(now));
    taker.handle(Input::Checked { chunk: part.chunk, is_right }, at(now + 1));
    effects(taker)
}

/// spec: S-213
#[test]
fn a_chunk_is_offered_once_it_is_verified_and_not_before() {
    let (mut taker, asked) = with_peer(&terms(20, 3), Peer(2));
    let chunk = asked[0].1.chunk;
    taker.handle(Input::Arrived(asked[0].0, asked[0].1), at(5));
    let said = effects(&mut taker);
    assert!(said.contains(&Effect::Verify(chunk)) && !taker.may_give(Peer(3), chunk));
    assert!(!said.contains(&Effect::Announce(Run::one(chunk))));
    taker.handle(Input::Checked { chunk, is_right: true }, at(6));
    assert!(effects(&mut taker).contains(&Effect::Announce(Run::one(chunk))));
    assert!(taker.may_give(Peer(3), chunk));
}

/// spec: S-213
#[test]
fn what_nobody_asked_for_is_not_taken() {
    let (mut taker, asked) = with_peer(&terms(20, 3), Peer(2));
    let part = asked[0].1;
    taker.handle(Input::Arrived(Peer(3), part), at(5));
    taker.handle(Input::Checked { chunk: part.chunk, is_right: true }, at(5));
    taker.handle(Input::Arrived(Peer(2), Part { from: 5, ..part }), at(5));
    assert!(!effects(&mut taker).contains(&Effect::Verify(part.chunk)));
    assert_eq!(taker.mine().count(), 0);
}

/// spec: S-216
#[test]
fn who_gives_bad_bytes_is_named_at_once_and_the_second_time_set_aside() {
    let (mut taker, asked) = with_peer(&terms(20, 3), Peer(2));
    let said = give(&mut taker, asked[0], false, 5);
    assert!(said.contains(&Effect::Blame(Peer(2), Fault::BadBytes)) && taker.aside().is_empty());
    let said = give(&mut taker, asked[1], false, 9);
    assert!(said.contains(&Effect::Unlink(Peer(2))) && taker.aside().contains(&Peer(2)));
    assert_eq!(taker.under_way(), 0);
    // Nothing that it says counts from then on.
    taker.handle(Input::Joined(Peer(2)), at(20));
    taker.handle(Input::Have(Peer(2), Arc::from([Run { first: 0, len: 20 }])), at(20));
    assert!(asks(&effects(&mut taker)).is_empty());
}

/// spec: S-216
#[test]
fn who_names_chunks_that_do_not_exist_is_set_aside() {
    for run in
        [Run { first: 19, len: 2 }, Run { first: 20, len: 1 }, Run { first: 5, len: u32::MAX }]
    {
        let mut taker = taker(&terms(20, 3));
        taker.handle(Input::Joined(Peer(2)), at(0));
        taker.handle(Input::Have(Peer(2), Arc::from([run])), at(0));
        let said = effects(&mut taker);
        assert!(said.contains(&Effect::Blame(Peer(2), Fault::Nonsense)) && asks(&said).is_empty());
        assert!(taker.aside().contains(&Peer(2)));
    }
}

/// spec: S-214
#[test]
fn an_ask_without_answer_runs_out_and_goes_to_somebody_else() {
    let site = |label| About { label, region: 0, is_origin: false };
    // Too short a chunk for two to give parts of it.
    let terms = Arc::new(Terms::new(vec![1_000], (0..4).map(site).collect()).unwrap());
    let (mut taker, asked) = with_peer(&terms, Peer(2));
    taker.handle(Input::Joined(Peer(3)), at(1));
    taker.handle(Input::Have(Peer(3), Arc::from([Run::one(0)])), at(1));
    taker.handle(Input::Tick, at(5_000));
    assert!(asks(&effects(&mut taker)).is_empty());
    taker.handle(Input::Tick, at(10_001));
    let said = effects(&mut taker);
    assert!(said.contains(&Effect::Cancel(asked[0].0, asked[0].1)));
    assert_eq!(asks(&said), [(Peer(3), asked[0].1)]);
    assert_eq!(taker.counters.late, 1);
}

/// spec: S-214
#[test]
fn what_somebody_gone_owed_is_asked_of_others_at_once() {
    let (mut taker, asked) = with_peer(&terms(1, 3), Peer(2));
    taker.handle(Input::Joined(Peer(3)), at(1));
    taker.handle(Input::Have(Peer(3), Arc::from([Run::one(0)])), at(1));
    taker.handle(Input::Left(Peer(2)), at(100));
    assert_eq!(asks(&effects(&mut taker)), [(Peer(3), asked[0].1)]);
}

/// spec: S-214
#[test]
fn a_new_peer_gets_a_few_asks_and_more_as_it_answers() {
    let (mut taker, asked) = with_peer(&terms(400, 3), Peer(2));
    assert_eq!(asked.len(), 2);
    let more = asks(&give(&mut taker, asked[0], true, 50));
    assert_eq!(more.len(), 2);
    taker.handle(Input::Failed(Peer(2), asked[1].1, Why::Busy), at(60));
    assert!(asks(&effects(&mut taker)).is_empty(), "it is left alone for a moment");
}

/// spec: S-215
#[test]
fn the_last_chunk_comes_in_disjoint_parts_from_several() {
    let terms = terms(1, 4);
    let (mut taker, asked) = with_peer(&terms, Peer(2));
    let whole = asked[0].1;
    taker.handle(Input::Joined(Peer(3)), at(2_000));
    taker.handle(Input::Have(Peer(3), Arc::from([Run::one(0)])), at(2_000));
    taker.handle(Input::Tick, at(3_000));
    let said = effects(&mut taker);
    let [(other, rest)] = asks(&said)[..] else { panic!("{said:?}") };
    assert!(other == Peer(3) && rest.to == whole.to && rest.from == whole.bytes() / 2);
    assert!(said.contains(&Effect::Trim(Peer(2), whole, rest.from)));
    taker.handle(Input::Arrived(Peer(3), rest), at(3_100));
    assert!(!effects(&mut taker).contains(&Effect::Verify(0)), "half of it is not here");
    taker.handle(Input::Arrived(Peer(2), Part { to: rest.from, ..whole }), at(3_200));
    assert!(effects(&mut taker).contains(&Effect::Verify(0)));
    // Which of two gave bad bytes is not known: nobody is named.
    taker.handle(Input::Checked { chunk: 0, is_right: false }, at(3_201));
    let said = effects(&mut taker);
    assert!(
        !said.iter().any(|effect| matches!(effect, Effect::Blame(..))) && asks(&said).len() == 1
    );
}

/// spec: S-213
#[test]
fn a_giver_serves_the_rarest_and_the_oldest_in_turn_within_bounds() {
    let terms = terms(50, 40);
    let mut giver = Giver::new(false);
    let asked = |giver: &mut Giver, peer, chunk| {
        giver.ask(Peer(peer), terms.whole(chunk), &terms, |_| true)
    };
    for chunk in 0..4 {
        assert_eq!(asked(&mut giver, 2, chunk), Answer::Queued);
    }
    let count = |chunk: u32| 10 - u16::try_from(chunk).unwrap();
    let mut next = || giver.next(count).map(|(_, part)| part.chunk);
    assert_eq!(
        [next(), next(), next(), next(), next()],
        [Some(3), Some(0), Some(2), Some(1), None]
    );
    let (mut taken, mut of_one) = (0, 0);
    for chunk in 0..50 {
        of_one += u8::from(asked(&mut giver, 3, chunk) == Answer::Queued);
        taken += usize::from(
            asked(&mut giver, 4 + u16::try_from(chunk % 30).unwrap(), chunk) == Answer::Queued,
        );
    }
    assert!(giver.waiting() == QUEUE_MAX && usize::from(of_one) <= PEER_QUEUE_MAX && taken > 0);
    let bad = Part { chunk: 50, from: 0, to: 1 };
    assert_eq!(giver.ask(Peer(9), bad, &terms, |_| true), Answer::Nonsense);
    let bad = Part { chunk: 1, from: 9, to: 9 };
    assert_eq!(giver.ask(Peer(9), bad, &terms, |_| true), Answer::Nonsense);
    let mut giver = Giver::new(false);
    assert_eq!(giver.ask(Peer(9), terms.whole(1), &terms, |_| false), Answer::Lacking);
}

fn shown(taker: &mut Taker) -> Vec<(Peer, u32)> {
    let tell = |effect: Effect| match effect {
        Effect::Tell(peer, runs) => Some((peer, runs[0].first)),
        _ => None,
    };
    effects(taker).into_iter().filter_map(tell).collect()
}

fn origin(terms: &Arc<Terms>, takers: u16) -> Taker {
    let full = ChunkSet::full(terms.chunks());
    let mut origin = Taker::new(Peer(0), Arc::clone(terms), full, Dice::new(1));
    for peer in 1..=takers {
        origin.handle(Input::Joined(Peer(peer)), at(0));
    }
    origin.handle(Input::Tick, at(1_000));
    origin
}

/// spec: S-217
#[test]
fn an_origin_shows_each_chunk_to_one_site_and_gives_it_to_nobody_else() {
    let terms = terms(60, 5);
    let mut origin = origin(&terms, 5);
    let mut given = BTreeSet::new();
    for step in 0..100 {
        for (peer, chunk) in shown(&mut origin) {
            assert!(given.insert(chunk), "chunk {chunk} twice");
            let other = Peer(peer.0 % 5 + 1);
            assert!(!origin.may_give(other, chunk) && origin.may_give(peer, chunk));
            let sent = Input::Sent { peer, chunk, is_whole: true };
            origin.handle(sent, at(1_001 + step));
            assert!(!origin.may_give(peer, chunk), "a second time");
        }
    }
    assert_eq!(given.len(), 60);
}

/// spec: S-217
/// spec: S-217
#[test]
fn who_asks_and_takes_nothing_keeps_a_chunk_from_nobody_for_long() {
    let terms = terms(8, 3);
    let mut origin = origin(&terms, 3);
    let first = shown(&mut origin);
    let (thief, chunk) = first[0];
    assert!(origin.may_give(thief, chunk));
    origin.handle(Input::Tick, at(100_000));
    assert!(!shown(&mut origin).iter().any(|(_, again)| *again == chunk), "it may be slow");
    let mut again = Vec::new();
    for second in 121..140 {
        origin.handle(Input::Tick, at(second * 1_000));
        again.extend(shown(&mut origin));
    }
    assert!(again.iter().any(|(_, other)| *other == chunk), "{again:?}");
}

/// An ask that is not taken has to leave no trace: it would never be served, and never asked again.
#[test]
fn what_is_refused_for_want_of_room_counts_as_asked_by_nobody() {
    let terms = terms(8, 1);
    let mut giver = Giver::new(false);
    for chunk in 0..8 {
        let answer = giver.ask(Peer(1), terms.whole(chunk), &terms, |_| true);
        assert_eq!(answer, Answer::Queued);
    }
    let asked = |_: u32| -> bool { panic!("nothing is asked of the brain") };
    assert_eq!(giver.ask(Peer(2), terms.whole(0), &terms, asked), Answer::Busy);
}

#[test]
fn who_says_a_thing_twice_in_one_breath_is_set_aside() {
    let terms = terms(8, 2);
    let mut taker = taker(&terms);
    taker.handle(Input::Joined(Peer(2)), at(0));
    let runs = [Run { first: 0, len: 8 }, Run { first: 0, len: 8 }];
    taker.handle(Input::Have(Peer(2), Arc::from(runs)), at(1));
    assert!(effects(&mut taker).contains(&Effect::Blame(Peer(2), Fault::Nonsense)));
}

#[test]
fn what_does_not_spread_goes_out_again_to_another_site_and_what_does_never() {
    let terms = terms(2, 3);
    let mut origin = origin(&terms, 3);
    let first = shown(&mut origin);
    assert_eq!(first.len(), 2);
    for (peer, chunk) in &first {
        assert!(origin.may_give(*peer, *chunk));
        origin.handle(Input::Sent { peer: *peer, chunk: *chunk, is_whole: true }, at(1_100));
        origin.handle(Input::Have(*peer, Arc::from([Run::one(*chunk)])), at(1_200));
    }
    let (keeper, kept) = first[0];
    let other = (1..=3).map(Peer).find(|peer| *peer != first[1].0).unwrap();
    origin.handle(Input::Have(other, Arc::from([Run::one(first[1].1)])), at(2_000));
    origin.handle(Input::Tick, at(16_000));
    assert!(shown(&mut origin).is_empty(), "it has time");
    origin.handle(Input::Tick, at(16_200));
    let again = shown(&mut origin);
    assert!(again.len() == 1 && again[0].1 == kept && again[0].0 != keeper, "{again:?}");
}

/// spec: S-218
#[test]
fn of_appliances_behind_one_link_one_fetches_a_chunk_over_it() {
    let site = |at: u16| About { label: at / 3, region: 0, is_origin: false };
    let terms = Arc::new(Terms::new(vec![65_536; 90], (0..6).map(site).collect()).unwrap());
    let mut all = BTreeSet::new();
    for me in 0..3 {
        let none = ChunkSet::new(90);
        let mut taker = Taker::new(Peer(me), Arc::clone(&terms), none, Dice::new(1));
        (0..3)
            .filter(|mate| *mate != me)
            .for_each(|mate| taker.handle(Input::Joined(Peer(mate)), at(0)));
        taker.handle(Input::Joined(Peer(4)), at(0));
        taker.handle(Input::Have(Peer(4), Arc::from([Run { first: 0, len: 90 }])), at(0));
        let mut open = asks(&effects(&mut taker));
        while let Some(ask) = open.pop() {
            assert!(all.insert(ask.1.chunk), "twice over the link");
            assert_eq!(elect::winner(ask.1.chunk, (0..3).map(Peer)), Some(Peer(me)));
            open.extend(asks(&give(&mut taker, ask, true, 10)));
        }
    }
    assert_eq!(all.len(), 90);
}

fn plans(planner: &mut Planner) -> Vec<(Peer, Plan)> {
    let direct = |effect| match effect {
        planner::Effect::Direct(peer, plan) => Some((peer, plan)),
        planner::Effect::Aside(_) => None,
    };
    core::iter::from_fn(|| planner.poll_effect()).filter_map(direct).collect()
}

fn planned(terms: &Arc<Terms>) -> (Planner, Vec<(Peer, Plan)>) {
    let mut planner = Planner::new(Arc::clone(terms), Dice::new(1));
    terms.sites().for_each(|(site, _)| planner.handle(planner::Input::Joined(site), at(0)));
    planner.handle(planner::Input::Tick, at(10));
    let plans = plans(&mut planner);
    (planner, plans)
}

/// spec: S-219
#[test]
fn a_plan_has_bounded_neighbours_both_ways_and_each_chunk_at_one_origin() {
    let origin = |at: u16| About { label: at, region: 0, is_origin: at < 3 };
    let terms = Arc::new(Terms::new(vec![9; 500], (0..200).map(origin).collect()).unwrap());
    let (mut planner, mut said) = planned(&terms);
    let mut given = BTreeSet::new();
    for second in 1..60u64 {
        for (peer, plan) in &said {
            assert!(plan.neighbours.len() <= NEIGHBOURS_MAX && !plan.neighbours.contains(peer));
            assert!(peer.0 >= 3 || !plan.leads.is_empty());
            for run in &plan.part {
                assert!(peer.0 < 3 && given.insert(run.first), "chunk {} twice", run.first);
                let have = vec![*run];
                let report =
                    planner::Input::Report { site: Peer(7), have, given: Vec::new(), free: 0 };
                planner.handle(report, at(second * 1_000));
            }
        }
        planner.handle(planner::Input::Tick, at(second * 1_000 + 10));
        said = plans(&mut planner);
    }
    assert_eq!(given.len(), 500);
}

/// spec: S-219
#[test]
fn what_an_origin_that_is_gone_was_to_give_is_given_by_another() {
    let site = |at: u16| About { label: at, region: 0, is_origin: at < 2 };
    let terms = Arc::new(Terms::new(vec![9; 20], (0..10).map(site).collect()).unwrap());
    let (mut planner, said) = planned(&terms);
    let part = |said: &[(Peer, Plan)], who: Peer| -> BTreeSet<u32> {
        let of_it = said.iter().filter(|(peer, _)| *peer == who);
        of_it.flat_map(|(_, plan)| plan.part.iter().map(|run| run.first)).collect()
    };
    let (mine, theirs) = (part(&said, Peer(0)), part(&said, Peer(1)));
    assert!(mine.len() + theirs.len() == 20 && mine.is_disjoint(&theirs));
    planner.handle(planner::Input::Left(Peer(1)), at(500));
    planner.handle(planner::Input::Tick, at(1_000));
    assert_eq!(part(&plans(&mut planner), Peer(0)), theirs);
}

/// A few liars accuse whom many vouch for; a liar is accused by many. spec: S-220
#[test]
fn accusations_count_against_those_who_vouch() {
    let (mut planner, said) = planned(&terms(50, 30));
    let neighbours = |who: Peer| -> Vec<Peer> {
        said.iter().find(|(peer, _)| *peer == who).map(|(_, plan)| plan.neighbours.clone()).unwrap()
    };
    let (honest, liar) = (Peer(5), Peer(6));
    let around = neighbours(honest);
    for by in &around {
        let given = vec![(honest, 1_000)];
        let report = planner::Input::Report { site: *by, have: Vec::new(), given, free: 0 };
        planner.handle(report, at(20));
    }
    let fault = Fault::BadBytes;
    for by in around.iter().take(around.len() / 3) {
        planner.handle(planner::Input::Blame { by: *by, peer: honest, fault }, at(30));
    }
    let others = (1..=30).map(Peer).filter(|peer| !neighbours(liar).contains(peer));
    for by in others {
        planner.handle(planner::Input::Blame { by, peer: liar, fault }, at(30));
    }
    assert!(planner.aside().is_empty(), "accused by few, or by those who never met it");
    for by in neighbours(liar).into_iter().take(2) {
        planner.handle(planner::Input::Blame { by, peer: liar, fault }, at(40));
    }
    assert_eq!(planner.aside().iter().copied().collect::<Vec<_>>(), [liar]);
}

/// spec: S-221
#[test]
fn an_origin_goes_on_without_a_planner_and_not_before_it_is_silent() {
    let terms = terms(60, 5);
    let mut origin = origin(&terms, 0);
    origin.handle(Input::Plan(Plan::default()), at(1_000));
    (1..=5).for_each(|peer| origin.handle(Input::Joined(Peer(peer)), at(1_100)));
    origin.handle(Input::Tick, at(5_500));
    assert!(shown(&mut origin).is_empty(), "its part is what the planner says, which is nothing");
    let silent = 1_000 + u64::try_from(Duration::from_secs(6).as_millis()).unwrap();
    origin.handle(Input::Tick, at(silent + 1_000));
    assert!(!shown(&mut origin).is_empty());
}
