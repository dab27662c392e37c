//! A question to a peer on its way: whatever becomes of it, whoever asked hears so once.

use super::parts::GatherSink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where the answer to a question goes.
pub trait Intake: Send + Sync {
    /// The peer gives so many bytes of each thing: where they go.
    ///
    /// # Errors
    /// In words: what is announced is not what was asked for. The session ends with it.
    fn begin(&mut self, lens: &[Option<u64>]) -> Result<Arc<GatherSink>, String>;

    /// It came to its end, or did not. Called once for every question, also for one that nobody
    /// was asked in the end; must not block.
    fn end(self: Box<Self>, outcome: Result<Arc<GatherSink>, NoAnswer>);
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// The session is over, or there are too many questions before it: nothing is known of what
    /// was asked for.
    #[error("the session is over")]
    Over,
    /// The folder halts there, or too much is on its way: whether it has it is not known (spec: S-159,
    /// S-161).
    #[error("the folder halts there, or too much is on its way")]
    Halted,
    /// The peer cannot give it after all.
    #[error("{0}")]
    Failed(String),
}

/// Whether the answer to a question is still wanted, and which question that is.
#[derive(Clone, Debug, Default)]
pub struct Wish(Arc<AtomicBool>);

impl Wish {
    /// Says that it is not wanted any more; who has the question hears of it by [`super::Outgoing::Enough`].
    pub fn end(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// An open question. Dropping it ends it.
pub struct Question(Option<Box<dyn Intake>>, Wish);

impl Question {
    /// One whose answer goes to `intake`.
    pub fn new(intake: Box<dyn Intake>) -> Self {
        Self(Some(intake), Wish::default())
    }

    /// Whoever has this may say that the answer is not wanted any more.
    pub const fn wish(&self) -> &Wish {
        &self.1
    }

    /// Whether that is the wish of this one.
    pub(crate) fn is_of(&self, wish: &Wish) -> bool {
        Arc::ptr_eq(&self.1.0, &wish.0)
    }

    /// Whether the answer is still wanted.
    pub(super) fn is_wanted(&self) -> bool {
        !self.1.0.load(Ordering::Relaxed)
    }

    /// Somebody gives so many bytes of each thing: where they go.
    ///
    /// # Errors
    /// In words: it is not what was asked for, or was answered already.
    pub fn begin(&mut self, lens: &[Option<u64>]) -> Result<Arc<GatherSink>, String> {
        match &mut self.0 {
            Some(intake) => intake.begin(lens),
            None => Err("it was answered already".to_owned()),
        }
    }

    /// It came to its end, or did not.
    pub fn end(mut self, outcome: Result<Arc<GatherSink>, NoAnswer>) {
        if let Some(intake) = self.0.take() {
            intake.end(outcome);
        }
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        if let Some(intake) = self.0.take() {
            intake.end(Err(NoAnswer::Over));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    struct Ends(Arc<Mutex<Vec<bool>>>);

    impl Intake for Ends {
        fn begin(&mut self, _lens: &[Option<u64>]) -> Result<Arc<GatherSink>, String> {
            Ok(Arc::new(GatherSink::new(&[])))
        }

        fn end(self: Box<Self>, outcome: Result<Arc<GatherSink>, NoAnswer>) {
            self.0.lock().expect("whole").push(outcome.is_ok());
        }
    }

    #[test]
    fn a_wish_is_of_one_question_and_ends_it_for_whoever_has_it() {
        let ask = || Question::new(Box::new(Ends(Arc::default())));
        let (one, other) = (ask(), ask());
        let wish = one.wish().clone();
        assert!(one.is_of(&wish) && !other.is_of(&wish));
        wish.end();
        assert!(!one.is_wanted() && other.is_wanted());
    }

    #[test]
    fn a_question_ends_once_whatever_becomes_of_it() {
        let ended = Arc::new(Mutex::new(Vec::new()));
        let ask = || Question::new(Box::new(Ends(Arc::clone(&ended))));
        let mut answered = ask();
        let sink = answered.begin(&[]).expect("anything");
        answered.end(Ok(sink));
        ask().end(Err(NoAnswer::Failed("its disk".to_owned())));
        drop(ask());
        assert_eq!(*ended.lock().expect("whole"), [true, false, false]);
    }
}
