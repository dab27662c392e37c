//! Measures comparisons: `cargo run --release -p farhaul-sync --example reconcile -- [ITEMS ..]`.
//!
//! Two sites hold ITEMS records each, in directories of 100, of which some are lacking at one of
//! them: anywhere, or in neighbouring directories as a user's work leaves them. Bytes are those of the
//! frames of both directions; a step is a message that has to wait for another one.

use farhaul_sync::message::Message;
use farhaul_sync::reconcile::{
    Answer, Answerer, Asker, Holdings, ListSum, Outcome, Place, Range, Sum, Turn,
};
use farhaul_sync::seal::{FolderKey, leaf};
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::error::Error;

/// Files of a directory.
const IN_DIR: u64 = 100;

/// Places in order with the numbers of their records, and the sums of their buckets.
struct Held {
    places: Vec<(Place, u64)>,
    sums: Vec<(u16, Sum)>,
}

impl Held {
    fn new(mut places: Vec<(Place, u64)>) -> Self {
        places.sort_unstable();
        let mut sums: Vec<(u16, ListSum)> = Vec::new();
        for (place, _) in &places {
            if sums.last().is_none_or(|(bucket, _)| *bucket != place.bucket()) {
                sums.push((place.bucket(), ListSum::new()));
            }
            if let Some((_, sum)) = sums.last_mut() {
                sum.add(*place);
            }
        }
        let sums = sums.into_iter().map(|(bucket, sum)| (bucket, sum.finish())).collect();
        Self { places, sums }
    }
}

impl Holdings for Held {
    type Error = Infallible;

    fn buckets(
        &self,
        first: u16,
        last: u16,
        each: &mut dyn FnMut(u16, Sum),
    ) -> Result<(), Infallible> {
        let from = self.sums.partition_point(|(bucket, _)| *bucket < first);
        let within = self.sums[from..].iter().take_while(|(bucket, _)| *bucket <= last);
        within.for_each(|(bucket, sum)| each(*bucket, *sum));
        Ok(())
    }

    fn places(&self, range: Range, each: &mut dyn FnMut(Place, u64)) -> Result<(), Infallible> {
        let (first, last) = range.bounds();
        let from = self.places.partition_point(|(place, _)| *place < first);
        let within = self.places[from..].iter().take_while(|(place, _)| *place <= last);
        within.for_each(|(place, seq)| each(*place, *seq));
        Ok(())
    }
}

fn place(n: u64) -> Place {
    Place::new(format!("dir {}", n / IN_DIR).as_bytes(), leaf(&n.to_be_bytes()))
}

fn len(turn: &Turn) -> usize {
    let (folder, salt) = (FolderKey([3; 32]), [9; 32]);
    // Four bytes are the frame's.
    4 + Message::Compare { folder, salt, is_answer: true, turn: turn.clone() }.encode().len()
}

/// Bytes, messages, steps, and how many records were found to be lacking.
fn compare(here: &Held, there: &Held) -> Result<(usize, usize, u32, usize), Box<dyn Error>> {
    let mut asker = Asker::new([9; 32], u64::MAX);
    let mut answerer = Answerer::new([9; 32], u64::MAX);
    let (mut bytes, mut messages, mut steps) = (0, 0, 0);
    loop {
        let mut answers = Vec::new();
        steps += 2;
        while let Some(turn) = asker.ask(here)? {
            (bytes, messages) = (bytes + len(&turn), messages + 1);
            match answerer.answer(&turn, there)? {
                Answer::Say(turns) => answers.extend(turns),
                Answer::Over => {
                    let Outcome::Lacking(lacking) = asker.outcome() else {
                        return Err("so much does not differ".into());
                    };
                    return Ok((bytes, messages, steps - 2, lacking.seqs.len()));
                }
            }
        }
        for turn in answers {
            (bytes, messages) = (bytes + len(&turn), messages + 1);
            asker.hear(&turn, here)?;
        }
    }
}

/// So many of `items`: everywhere, or in runs of 50.
fn lacking(items: u64, count: u64, is_spread: bool) -> BTreeSet<u64> {
    let run = if is_spread { 1 } else { 50.min(count) };
    let runs = (count / run).max(1);
    let within = move |n: u64| (0..run).map(move |at| (n * (items / runs) + at) % items);
    (0..runs).flat_map(within).collect()
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut sizes: Vec<u64> =
        std::env::args().skip(1).map(|arg| arg.parse()).collect::<Result<_, _>>()?;
    if sizes.is_empty() {
        sizes = vec![1_000, 100_000, 1_000_000];
    }
    println!("items\tdiffer\twhere\tbytes\tper difference\tmessages\tsteps");
    for items in sizes {
        let all: Vec<(Place, u64)> = (0..items).map(|n| (place(n), n + 1)).collect();
        let here = Held::new(all.clone());
        for count in [0, 1, 10, 1_000, 100_000].into_iter().filter(|count| count * 2 <= items) {
            for is_spread in [true, false] {
                if count <= 1 && !is_spread {
                    continue;
                }
                let lacks =
                    if count == 0 { BTreeSet::new() } else { lacking(items, count, is_spread) };
                let left = all.iter().filter(|(_, seq)| !lacks.contains(&(seq - 1))).copied();
                let there = Held::new(left.collect());
                let (bytes, messages, steps, found) = compare(&here, &there)?;
                if found != lacks.len() {
                    return Err(format!("{found} of {} were found", lacks.len()).into());
                }
                let (each, at) =
                    (bytes / found.max(1), if is_spread { "anywhere" } else { "runs of 50" });
                println!("{items}\t{found}\t{at}\t{bytes}\t{each}\t{messages}\t{steps}");
            }
        }
    }
    Ok(())
}
