//! Two sites with sets of places compare them: what each is found to lack is what it lacks, whatever
//! changes meanwhile, in few bytes and turns; and no answer does harm.

use super::*;
use crate::message::Message;
use crate::seal::FolderKey;
use core::convert::Infallible;
use farhaul_proto::units::Bytes;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What a site holds: places, and the arrival number of each.
#[derive(Clone, Debug, Default)]
struct Held(BTreeMap<Place, u64>);

impl Holdings for Held {
    type Error = Infallible;

    fn buckets(
        &self,
        first: u16,
        last: u16,
        each: &mut dyn FnMut(u16, Sum),
    ) -> Result<(), Infallible> {
        let mut lists: BTreeMap<u16, ListSum> = BTreeMap::new();
        let (first, _) = Range::bucket(first).bounds();
        let (_, last) = Range::bucket(last).bounds();
        for place in self.0.range(first..=last).map(|(place, _)| *place) {
            lists.entry(place.bucket()).or_default().add(place);
        }
        lists.iter().for_each(|(bucket, list)| each(*bucket, list.finish()));
        Ok(())
    }

    fn places(&self, range: Range, each: &mut dyn FnMut(Place, u64)) -> Result<(), Infallible> {
        let (first, last) = range.bounds();
        self.0.range(first..=last).for_each(|(place, seq)| each(*place, *seq));
        Ok(())
    }
}

impl Held {
    /// Keeps what it does not hold yet, with the next number.
    fn keep(&mut self, place: Place) {
        let next = self.last() + 1;
        self.0.entry(place).or_insert(next);
    }

    fn last(&self) -> u64 {
        self.0.values().max().copied().unwrap_or(0)
    }

    fn numbers_of(&self, of: impl Fn(&Place) -> bool) -> Vec<u64> {
        let mut numbers: Vec<u64> =
            self.0.iter().filter(|(place, _)| of(place)).map(|(_, seq)| *seq).collect();
        numbers.sort_unstable();
        numbers
    }
}

/// The `n`th place of a tree with `in_dir` files in a directory.
fn place(n: u64, in_dir: u64) -> Place {
    let leaf = crate::seal::leaf(&n.to_be_bytes());
    Place::new(format!("dir {}", n / in_dir).as_bytes(), leaf)
}

fn held(numbers: impl IntoIterator<Item = u64>) -> Held {
    let mut held = Held::default();
    for (seq, n) in (1..).zip(numbers) {
        held.0.insert(place(n, 100), seq);
    }
    held
}

/// What a comparison cost.
#[derive(Debug, Default)]
struct Cost {
    bytes: usize,
    /// Messages of which each had to wait for the one before: two are a round trip.
    steps: u32,
}

fn encoded(turn: &Turn, is_answer: bool) -> Turn {
    let (folder, salt) = (FolderKey([3; 32]), [9; 32]);
    let message = Message::Compare { folder, salt, is_answer, turn: turn.clone() };
    match Message::decode(&message.encode()) {
        Ok(Message::Compare { turn, .. }) => turn,
        other => panic!("{other:?}"),
    }
}

/// Compares; `between` is done before each message is heard.
fn compare(
    here: &mut Held,
    there: &mut Held,
    mut between: impl FnMut(&mut Held, &mut Held),
) -> (Outcome, Outcome, Cost) {
    let mut asker = Asker::new([9; 32], here.last());
    let mut answerer: Option<Answerer> = None;
    let mut cost = Cost::default();
    loop {
        let mut asked = Vec::new();
        while let Some(turn) = asker.ask(here).expect("in memory") {
            asked.push(encoded(&turn, false));
        }
        assert!(!asked.is_empty(), "nobody has anything to say");
        cost.steps += 2;
        let mut answers = Vec::new();
        for turn in &asked {
            between(here, there);
            cost.bytes += bytes_of(turn);
            let answerer = answerer.get_or_insert_with(|| Answerer::new([9; 32], there.last()));
            match answerer.answer(turn, there).expect("asked in order") {
                Answer::Say(turns) => answers.extend(turns),
                Answer::Over => {
                    let outcomes = (asker.outcome(), answerer.clone().outcome());
                    // Its last word is not waited for.
                    cost.steps -= 2;
                    return (outcomes.0, outcomes.1, cost);
                }
            }
        }
        for turn in answers {
            between(here, there);
            cost.bytes += bytes_of(&turn);
            asker.hear(&encoded(&turn, true), here).expect("it was asked");
        }
    }
}

fn bytes_of(turn: &Turn) -> usize {
    let (folder, salt) = (FolderKey([3; 32]), [9; 32]);
    // Four bytes are the frame's.
    4 + Message::Compare { folder, salt, is_answer: true, turn: turn.clone() }.encode().len()
}

fn seqs(outcome: &Outcome) -> Vec<u64> {
    match outcome {
        Outcome::Lacking(lacking) => lacking.seqs.to_vec(),
        Outcome::Everything => panic!("it is not so much"),
    }
}

#[test]
fn equal_sets_cost_less_than_a_kib_and_one_round_trip_whatever_their_size() {
    for count in [0, 1, 1_000, 100_000] {
        let (mut here, mut there) = (held(0..count), held((0..count).rev()));
        let (ours, theirs, cost) = compare(&mut here, &mut there, |_, _| {});
        assert!(seqs(&ours).is_empty() && seqs(&theirs).is_empty());
        assert!(cost.bytes < 1000 && cost.steps == 2, "{count}: {cost:?}");
    }
}

#[test]
fn one_difference_among_many_costs_no_more_than_some_kib_and_three_round_trips() {
    let (mut here, mut there) = (held(0..100_000), held(0..99_999));
    let (ours, theirs, cost) = compare(&mut here, &mut there, |_, _| {});
    assert_eq!((seqs(&ours), seqs(&theirs)), (vec![100_000], vec![]));
    assert!(cost.bytes < 8000 && cost.steps <= 6, "{cost:?}");
}

#[test]
fn the_cost_of_differences_is_in_proportion_to_them() {
    let cost_of = |count: u64| {
        let mut here = held(0..50_000);
        let mut there = held((0..50_000).filter(|n| n % (50_000 / count) != 0));
        let (ours, _, cost) = compare(&mut here, &mut there, |_, _| {});
        assert_eq!(seqs(&ours).len() as u64, count);
        cost.bytes
    };
    // Each costs less than a record would, with what proves it.
    for count in [10, 100, 500] {
        assert!(cost_of(count) < 3000 + 700 * usize::try_from(count).expect("few"));
    }
}

#[test]
fn a_site_that_holds_nothing_lists_that_and_no_range_is_divided() {
    let (mut here, mut there) = (held(0..10_000), Held::default());
    let (ours, theirs, cost) = compare(&mut here, &mut there, |_, _| {});
    assert_eq!(seqs(&ours), (1..=10_000).collect::<Vec<_>>());
    assert!(seqs(&theirs).is_empty() && cost.bytes < 20_000, "{cost:?}");
    let (mut here, mut there) = (Held::default(), held(0..10_000));
    let (ours, theirs, cost) = compare(&mut here, &mut there, |_, _| {});
    assert_eq!(seqs(&theirs), (1..=10_000).collect::<Vec<_>>());
    assert!(seqs(&ours).is_empty() && cost.bytes < 20_000, "{cost:?}");
}

#[test]
fn a_directory_with_all_files_is_one_bucket_and_compared_all_the_same() {
    let flat = |numbers: core::ops::Range<u64>| {
        Held(numbers.map(|n| (place(n, u64::MAX), n + 1)).collect())
    };
    let (ours, theirs, cost) = compare(&mut flat(0..20_000), &mut flat(1..20_001), |_, _| {});
    assert_eq!((seqs(&ours), seqs(&theirs)), (vec![1], vec![20_001]));
    assert!(cost.bytes < 16_000, "{cost:?}");
}

#[test]
fn places_that_nobody_can_tell_apart_end_a_comparison() {
    let crowd = |from: u16| {
        let at = |n: u16| {
            let mut place = [0; 32];
            place[30..].copy_from_slice(&n.to_be_bytes());
            (Place(place), u64::from(n))
        };
        Held((from..from + 1000).map(at).collect())
    };
    let (here, there) = (crowd(1), crowd(2));
    let mut asker = Asker::new([9; 32], here.last());
    let mut answerer = Answerer::new([9; 32], there.last());
    for _ in 0..100 {
        let turn = match asker.ask(&here) {
            Ok(turn) => turn.expect("not over"),
            Err(error) => return assert!(matches!(error, ReconcileError::Dense)),
        };
        match answerer.answer(&turn, &there) {
            Ok(Answer::Say(turns)) => {
                turns.iter().for_each(|turn| asker.hear(turn, &here).expect("asked"));
            }
            Ok(Answer::Over) => panic!("they differ"),
            Err(error) => return assert!(matches!(error, ReconcileError::Dense)),
        }
    }
    panic!("no end");
}

#[test]
fn turns_out_of_order_and_answers_that_nobody_asked_for_are_refused() {
    let (here, there) = (held(0..3000), held(5..3000));
    let mut asker = Asker::new([9; 32], here.last());
    let mut answerer = Answerer::new([9; 32], there.last());
    let first = asker.ask(&here).expect("in memory").expect("a question");
    let Answer::Say(answers) = answerer.answer(&first, &there).expect("the first") else {
        panic!("they differ");
    };
    assert!(answerer.answer(&first, &there).is_err(), "the same question again");
    let twice = Turn {
        parts: [&answers[0].parts[..], &answers[0].parts[..]].concat(),
        ..answers[0].clone()
    };
    assert!(matches!(asker.clone().hear(&twice, &here), Err(ReconcileError::Unasked)));
    let elsewhere = Turn {
        parts: vec![Part::List { range: Range::bucket(7), ids: vec![] }],
        ..answers[0].clone()
    };
    assert!(matches!(asker.clone().hear(&elsewhere, &here), Err(ReconcileError::Unasked)));
    let other = Turn { number: 7, ..answers[0].clone() };
    assert!(matches!(asker.clone().hear(&other, &here), Err(ReconcileError::Unasked)));
    asker.hear(&answers[0], &here).expect("asked");
    assert!(asker.hear(&answers[0], &here).is_err(), "the same answer again");
}

#[test]
fn sums_tell_sets_apart_and_empty_ranges_have_none() {
    let sum = |numbers: &[u64]| {
        let mut list = ListSum::new();
        held(numbers.iter().copied()).0.keys().for_each(|place| list.add(*place));
        list.finish()
    };
    assert_eq!(sum(&[]), Sum::default());
    assert_ne!(sum(&[1]), sum(&[2]));
    assert_ne!(sum(&[1, 2]), sum(&[1]));
    assert_eq!(sum(&[1, 2]), sum(&[2, 1]));
}

#[test]
fn who_is_behind_by_little_or_holds_nothing_of_nothing_is_simply_told() {
    let at = |up_to| Some(Followed { epoch: 5, up_to });
    assert!(!is_far(None, 5, 0));
    assert!(is_far(None, 5, 1));
    assert!(is_far(at(100), 6, 100));
    assert!(!is_far(at(0), 5, FAR));
    assert!(is_far(at(0), 5, FAR + 1));
    assert!(!is_far(at(900), 5, 100));
}

#[derive(Clone, Debug)]
enum Change {
    /// A record comes to one site.
    New { is_here: bool, n: u64 },
    /// A record of one site is covered by one that comes now.
    Cover { is_here: bool, which: usize, n: u64 },
    /// One site hears of a record of the other from somebody else.
    Hear { to_here: bool, which: usize },
}

fn change() -> impl Strategy<Value = Change> {
    let n = || 1_000_000..2_000_000_u64;
    prop_oneof![
        (any::<bool>(), n()).prop_map(|(is_here, n)| Change::New { is_here, n }),
        (any::<bool>(), any::<usize>(), n()).prop_map(|(is_here, which, n)| Change::Cover {
            is_here,
            which,
            n
        }),
        (any::<bool>(), any::<usize>())
            .prop_map(|(to_here, which)| Change::Hear { to_here, which }),
    ]
}

fn nth(held: &Held, n: usize) -> Option<Place> {
    held.0.keys().nth(n % held.0.len().max(1)).copied()
}

/// Does it; what is covered anywhere is noted.
fn apply(change: &Change, here: &mut Held, there: &mut Held, covered: &mut BTreeSet<Place>) {
    match change {
        Change::New { is_here, n } => if *is_here { here } else { there }.keep(place(*n, 7)),
        Change::Cover { is_here, which, n } => {
            let site = if *is_here { here } else { there };
            let old = nth(site, *which);
            // The next number is above all that were given, also above that of what goes.
            site.keep(place(*n, 7));
            if let Some(old) = old.filter(|old| *old != place(*n, 7)) {
                site.0.remove(&old);
                covered.insert(old);
            }
        }
        Change::Hear { to_here, which } => {
            let (to, from) = if *to_here { (here, there) } else { (there, here) };
            if let Some(place) = nth(from, *which).filter(|place| !covered.contains(place)) {
                to.keep(place);
            }
        }
    }
}

/// spec: S-129
#[test]
fn who_makes_up_records_without_an_end_is_given_up() {
    const IDS: u64 = 256;
    let here = held(0..200_000);
    let mut asker = Asker::new([9; 32], here.last());
    let (mut named, mut turns) = (0_u64, VecDeque::new());
    let refused = loop {
        turns.extend(core::iter::from_fn(|| asker.ask(&here).expect("in memory")));
        let asked = turns.pop_front().expect("it does not come to an end by itself");
        let mut parts = Vec::new();
        for part in asked.parts {
            let Part::Split { range, prints } = part else { continue };
            let step = Part::step_of(prints.len()).expect("as asked");
            for n in (0..).take(prints.len()) {
                let range = range.child(step, n);
                // So much differs that everything is divided further, and then all of it is new.
                parts.push(if asked.number == 1 {
                    Part::Split { range, prints: vec![u64::MAX; 256] }
                } else {
                    named += IDS;
                    Part::List { range, ids: (named..named + IDS).collect() }
                });
            }
        }
        let said = parts.into_iter().map(|part| (false, vec![part]));
        let mut said = said.chain([(true, Vec::new())]);
        let heard = said.try_for_each(|(is_last, parts)| {
            asker.hear(&Turn { number: asked.number, is_last, parts }, &here)
        });
        if let Err(refused) = heard {
            break refused;
        }
        assert!(named <= 2 * Bytes::of_len(ask::PENDING_MAX).get(), "all of it is kept");
    };
    assert!(matches!(refused, ReconcileError::Endless), "{refused}");
}

proptest! {
    #![proptest_config(crate::cases::cases(96))]
    #[test]
    fn what_each_lacks_is_found_and_nothing_else(
        both in 0..1500_u64,
        ours in proptest::collection::btree_set(0..100_000_u64, 0..400),
        theirs in proptest::collection::btree_set(0..100_000_u64, 0..400),
    ) {
        let mut here = held((0..both).chain(ours));
        let mut there = held((0..both).chain(theirs));
        let (to_there, to_here, _) = compare(&mut here, &mut there, |_, _| {});
        prop_assert_eq!(seqs(&to_there), here.numbers_of(|place| !there.0.contains_key(place)));
        prop_assert_eq!(seqs(&to_here), there.numbers_of(|place| !here.0.contains_key(place)));
    }

    #[test]
    fn whatever_changes_meanwhile_nothing_from_before_is_missed(
        both in 0..600_u64,
        ours in proptest::collection::btree_set(0..100_000_u64, 0..200),
        theirs in proptest::collection::btree_set(0..100_000_u64, 0..200),
        changes in proptest::collection::vec((0..3_u8, change()), 0..60),
    ) {
        let mut here = held((0..both).chain(ours));
        let mut there = held((0..both).chain(theirs));
        let (from_here, mut covered) = (here.last(), BTreeSet::new());
        let mut changes = changes.into_iter();
        let (to_there, to_here, _) = compare(&mut here, &mut there, |here, there| {
            for (wait, change) in changes.by_ref() {
                apply(&change, here, there, &mut covered);
                if wait > 0 {
                    break;
                }
            }
        });
        let Outcome::Lacking(theirs) = to_there else { panic!("few") };
        let Outcome::Lacking(ours) = to_here else { panic!("few") };
        prop_assert_eq!(theirs.up_to, from_here);
        for (from, to, lacking) in [(&here, &there, &theirs), (&there, &here, &ours)] {
            for (place, seq) in &from.0 {
                let is_known = to.0.contains_key(place) || covered.contains(place);
                let is_told = *seq > lacking.up_to || lacking.seqs.contains(seq);
                prop_assert!(is_known || is_told, "{place:?} {seq} {lacking:?}");
            }
        }
    }

    #[test]
    fn no_answer_and_no_question_makes_a_site_panic_or_go_on_for_ever(
        bits in proptest::collection::vec((0..17_u8, any::<u64>(), 0..4_u8, any::<u64>()), 0..40),
    ) {
        let part = |(bits, at, kind, word): (u8, u64, u8, u64)| {
            let bits = bits * 4;
            let at = if bits == 0 { 0 } else { at >> (64 - bits) };
            let range = minicbor::decode(&minicbor::to_vec((bits, at)).expect("encoded")).expect("two numbers");
            match kind {
                0 => Part::Split { range, prints: vec![word; 16] },
                1 => Part::List { range, ids: vec![word] },
                2 => Part::List { range, ids: vec![] },
                _ => Part::Want { range, ids: vec![word] },
            }
        };
        let mut parts: Vec<Part> = bits.into_iter().map(part).collect();
        let here = held(0..2000);
        parts.sort_unstable_by_key(|part| part.range().first());
        parts.dedup_by(|next, last| next.range().first() <= last.range().last());
        parts.retain(|part| Part::are_valid(core::slice::from_ref(part)));
        prop_assert!(Part::are_valid(&parts));
        let question = Turn { number: 1, is_last: false, parts };
        let mut answerer = Answerer::new([9; 32], here.last());
        if let Ok(Answer::Say(turns)) = answerer.answer(&question, &here) {
            prop_assert!(turns.iter().all(|turn| Part::are_valid(&turn.parts)));
            prop_assert!(turns.iter().map(|turn| turn.parts.len()).sum::<usize>() <= 40 * 16);
        }
        let mut asker = Asker::new([9; 32], here.last());
        prop_assert!(asker.ask(&here).is_ok_and(|turn| turn.is_some()));
        let _ = asker.hear(&question, &here);
        let mut turns = 0;
        while let Ok(Some(_)) = asker.ask(&here) {
            turns += 1;
        }
        prop_assert!(turns <= ask::WINDOW);
    }
}
