//! A question to a peer, and its answer in memory: bounded before anything is allocated, and nothing
//! of it on disk before it is verified.

use super::patience::Miss;
use crate::site::{GatherSink, Intake, NoAnswer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How long an answer to one thing asked for may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Len {
    /// Of so many bytes.
    Is(u64),
    /// Of so many at most.
    UpTo(u64),
}

impl Len {
    const fn allows(self, len: u64) -> bool {
        match self {
            Self::Is(expected) => len == expected,
            Self::UpTo(max) => len <= max,
        }
    }
}

/// For each thing asked for its bytes, or `None` where the peer has it not.
pub(super) type Parts = Vec<Option<Vec<u8>>>;

/// What is done with the answer: at once, and only what waits for nothing.
pub(super) type Then = Box<dyn FnOnce(Result<Parts, Miss>) + Send + Sync>;

/// Takes an answer into memory.
pub(super) struct MemoryIntake {
    lens: Vec<Len>,
    given: Vec<bool>,
    came: Arc<AtomicU64>,
    then: Then,
}

impl MemoryIntake {
    /// For an answer of these lengths. `came` grows with what comes.
    pub(super) fn new(lens: Vec<Len>, came: Arc<AtomicU64>, then: Then) -> Self {
        Self { lens, given: Vec::new(), came, then }
    }
}

impl Intake for MemoryIntake {
    fn begin(&mut self, lens: &[Option<u64>]) -> Result<Arc<GatherSink>, String> {
        if lens.len() != self.lens.len() {
            return Err("it answers other questions than were asked".to_owned());
        }
        let allowed = self
            .lens
            .iter()
            .zip(lens)
            .all(|(allowed, len)| len.is_none_or(|len| allowed.allows(len)));
        if !allowed {
            return Err("it gives more or less of a file than it has".to_owned());
        }
        self.given = lens.iter().map(Option::is_some).collect();
        self.came.fetch_add(1, Ordering::Relaxed);
        let lens: Vec<u64> = lens.iter().flatten().copied().collect();
        Ok(Arc::new(GatherSink::new(&lens).counting(Arc::clone(&self.came))))
    }

    fn end(self: Box<Self>, outcome: Result<Arc<GatherSink>, NoAnswer>) {
        let Self { given, then, .. } = *self;
        then(match outcome {
            Ok(sink) => {
                let mut place = 0;
                let parts = given.iter().map(|&given| {
                    given.then(|| {
                        place += 1;
                        sink.take(place - 1)
                    })
                });
                Ok(parts.collect())
            }
            Err(NoAnswer::Over) => Err(Miss::Busy),
            Err(NoAnswer::Halted) => Err(Miss::Halted),
            Err(NoAnswer::Failed(why)) => {
                tracing::info!(why, "a peer cannot give what it has");
                Err(Miss::HasNot)
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn intake(lens: Vec<Len>) -> (Box<MemoryIntake>, mpsc::Receiver<Result<Parts, Miss>>) {
        let (said, heard) = mpsc::channel();
        let then = Box::new(move |answer| drop(said.send(answer)));
        (Box::new(MemoryIntake::new(lens, Arc::default(), then)), heard)
    }

    #[test]
    fn an_answer_of_other_lengths_is_refused_before_anything_is_allocated() {
        let (mut intake, _heard) = intake(vec![Len::Is(5), Len::UpTo(9)]);
        for lens in [
            &[Some(5)][..],
            &[Some(4), None],
            &[Some(u64::MAX), None],
            &[None, Some(10)],
            &[Some(5), Some(9), None],
        ] {
            assert!(intake.begin(lens).is_err(), "{lens:?}");
        }
    }

    #[test]
    fn each_thing_comes_or_is_said_to_be_missing() {
        let (mut intake, heard) = intake(vec![Len::Is(5), Len::Is(7), Len::UpTo(9)]);
        let sink = intake.begin(&[Some(5), None, Some(2)]).expect("as asked");
        assert_eq!(sink.len(), 7);
        intake.end(Ok(sink));
        let parts = heard.recv().expect("an answer").expect("it came");
        assert_eq!(parts, [Some(vec![0; 5]), None, Some(vec![0; 2])]);
    }
}
