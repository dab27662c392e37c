//! Comparisons with a peer that says anything.

use core::convert::Infallible;
use farhaul_sync::message::Message;
use farhaul_sync::reconcile::{
    Answer, Answerer, Asker, Holdings, ListSum, Outcome, Place, Range, Sum, Turn,
};
use farhaul_sync::seal::{FolderKey, leaf};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What salts the comparisons of the corpus.
pub const SALT: [u8; 32] = [9; 32];
/// Records that are held, and how many came before the comparison began.
const HELD: u64 = 300;
const UP_TO: u64 = 250;
/// Messages of one input.
const MESSAGES_MAX: usize = 64;

/// What the site holds: places, and the arrival number of each.
#[derive(Clone, Debug, Default)]
pub struct Held(BTreeMap<Place, u64>);

static HOLDINGS: LazyLock<Held> = LazyLock::new(|| held(1..=HELD));

/// These records of a tree with 40 in a directory.
pub fn held(numbers: impl IntoIterator<Item = u64>) -> Held {
    let place = |n: u64| Place::new(&(n / 40).to_be_bytes(), leaf(&n.to_be_bytes()));
    Held(numbers.into_iter().map(|n| (place(n), n)).collect())
}

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

/// Whatever a peer asks or answers: what is said to it can be said, and what it is found to lack was
/// held when the comparison began.
///
/// Messages, each behind its length in two bytes; those that are no turn of a comparison are left out.
pub fn compare(input: &[u8]) {
    let mut asker = Asker::new(SALT, UP_TO);
    let mut answerer = Answerer::new(SALT, UP_TO);
    let (mut asks, mut answers) = (true, true);
    for (turn, is_answer) in turns(input) {
        while asks && let Ok(Some(question)) = asker.ask(&*HOLDINGS) {
            assert_sayable(&question, false);
        }
        if is_answer && asks {
            asks = asker.hear(&turn, &*HOLDINGS).is_ok();
        } else if !is_answer && answers {
            match answerer.answer(&turn, &*HOLDINGS) {
                Ok(Answer::Say(said)) => {
                    assert_eq!(said.last().map(|turn| turn.is_last), Some(true));
                    said.iter().for_each(|turn| assert_sayable(turn, true));
                }
                Ok(Answer::Over) | Err(_) => answers = false,
            }
        }
    }
    for outcome in [asker.outcome(), answerer.outcome()] {
        let Outcome::Lacking(lacking) = outcome else { panic!("so much is not held") };
        assert!(
            lacking.seqs.is_sorted() && lacking.seqs.iter().all(|seq| (1..=UP_TO).contains(seq))
        );
    }
}

/// What is said is what a peer takes.
fn assert_sayable(turn: &Turn, is_answer: bool) {
    let said = said(turn, is_answer);
    assert!(Message::decode(&said).is_ok(), "the peer would refuse {turn:?}");
}

/// A turn as a message.
pub fn said(turn: &Turn, is_answer: bool) -> Vec<u8> {
    let (folder, turn) = (FolderKey([3; 32]), turn.clone());
    Message::Compare { folder, salt: SALT, is_answer, turn }.encode()
}

fn turns(mut rest: &[u8]) -> Vec<(Turn, bool)> {
    let mut turns = Vec::new();
    while let Some((len, behind)) = rest.split_first_chunk()
        && let Some((frame, behind)) = behind.split_at_checked(u16::from_be_bytes(*len).into())
        && turns.len() < MESSAGES_MAX
    {
        if let Ok(Message::Compare { turn, is_answer, .. }) = Message::decode(frame) {
            turns.push((turn, is_answer));
        }
        rest = behind;
    }
    turns
}
