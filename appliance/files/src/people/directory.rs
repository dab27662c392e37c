//! The users and groups of this machine, asked through the system (getpwnam_r(3) and its like), which may
//! have to ask others and take its time.

use crate::owner::Wake;
use farhaul_sync::limits::PRINCIPAL_MAX;
use nix::errno::Errno;
use nix::unistd::{Gid, Group, Uid, User};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Answers that are kept.
const ANSWERS_MAX: usize = 32 << 10;
/// Questions that wait for an answer.
const QUESTIONS_MAX: usize = 4096;
/// For how long an answer counts.
const FRESH: Duration = Duration::from_mins(10);
/// For how long nobody has a name or number: whoever is added is to be known soon.
const FRESH_NOBODY: Duration = Duration::from_mins(1);
/// After how long a directory that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(30);
/// How long anybody waits for an answer before nobody is taken to be meant, for the moment.
const PATIENCE: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Question {
    /// The name of a user.
    User(u32),
    /// The name of a group.
    Group(u32),
    /// The number of a user.
    UserNamed(Box<[u8]>),
    /// The number of a group.
    GroupNamed(Box<[u8]>),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The number.
    Number(u32),
    /// The name; one that a version may hold.
    Name(Box<[u8]>),
    /// There is nobody.
    Nobody,
}

type Find = dyn Fn(&Question) -> Result<Answer, Errno> + Send + Sync;

/// What was asked and answered; whoever may wait asks, whoever may not has asked.
pub struct Directory {
    find: Box<Find>,
    state: Mutex<State>,
}

/// An answer, or that there was none.
#[derive(Clone, Debug)]
struct Known {
    answer: Option<Answer>,
    /// Why the last question was not answered, if it was not.
    failed: Option<Errno>,
    until: Instant,
}

impl Known {
    /// The last answer there was, however old; only without any, why there is none.
    fn said(&self) -> Option<Result<Answer, Errno>> {
        let answer = self.answer.clone().map(Ok);
        answer.or_else(|| self.failed.map(Err))
    }
}

#[derive(Default)]
struct State {
    known: BTreeMap<Question, Known>,
    /// What somebody waits for, and since when.
    waiting: BTreeMap<Question, Instant>,
    /// What is to be asked.
    queue: BTreeSet<Question>,
    wakes: Vec<Wake>,
    is_asking: bool,
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Directory").finish_non_exhaustive()
    }
}

impl Directory {
    /// That of this machine, the same for all folders.
    pub fn of_this_machine() -> Arc<Self> {
        static ONE: OnceLock<Arc<Directory>> = OnceLock::new();
        let one = ONE.get_or_init(|| {
            let directory = Arc::new(Self::of(find));
            // Who has what nobody gives to anybody.
            let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
            let users = [0, 65_534, user.as_raw()].map(Question::User);
            let groups = [0, 65_534, group.as_raw()].map(Question::Group);
            let all = users.into_iter().chain(groups).collect();
            directory.is_ready(all, &mut || None);
            directory
        });
        Arc::clone(one)
    }

    /// One that `find` answers for, which may take its time.
    pub(super) fn of(
        find: impl Fn(&Question) -> Result<Answer, Errno> + Send + Sync + 'static,
    ) -> Self {
        Self { find: Box::new(find), state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was answered, however long ago; asks nobody.
    pub(super) fn known(&self, question: &Question) -> Option<Answer> {
        self.state().known.get(question)?.answer.clone()
    }

    /// Asks, and waits, unless it was asked a short while ago. While the directory does not answer, its
    /// last answer counts on, and who has none is told so without a wait of its own each time.
    ///
    /// # Errors
    /// What the system says: the directory does not answer, and never did.
    pub(super) fn ask(&self, question: &Question) -> Result<Answer, Errno> {
        let known = self.state().known.get(question).cloned();
        let known = known.filter(|known| Instant::now() < known.until);
        if let Some(said) = known.and_then(|known| known.said()) {
            return said;
        }
        let found = (self.find)(question);
        self.state().learn(question, &found, Instant::now()).unwrap_or(found)
    }

    /// Whether all of this is answered, or was waited for in vain; what is not is asked by a thread of
    /// its own, and what `wake` gives is called once it is. What was answered long ago counts, and is asked anew.
    pub(super) fn is_ready(
        self: &Arc<Self>,
        questions: Vec<Question>,
        wake: &mut dyn FnMut() -> Option<Wake>,
    ) -> bool {
        if questions.is_empty() {
            return true;
        }
        let (now, mut is_ready) = (Instant::now(), true);
        let mut state = self.state();
        for question in questions {
            is_ready &= state.is_ready(&question, now);
        }
        if !is_ready {
            state.wakes.extend(wake());
        }
        if !state.queue.is_empty() && !state.is_asking {
            let directory = Arc::clone(self);
            let thread = std::thread::Builder::new().name("farhaul-names".to_owned());
            match thread.spawn(move || directory.ask_all()) {
                Ok(_) => state.is_asking = true,
                Err(error) => tracing::warn!(%error, "no thread to ask for names of owners"),
            }
        }
        is_ready
    }

    /// Asks all that waits, in a thread of its own.
    fn ask_all(&self) {
        loop {
            let mut state = self.state();
            let Some(question) = state.queue.pop_first() else {
                state.is_asking = false;
                let wakes = std::mem::take(&mut state.wakes);
                drop(state);
                wakes.into_iter().for_each(|wake| wake());
                return;
            };
            drop(state);
            let found = (self.find)(&question);
            if let Err(errno) = &found {
                tracing::warn!(%errno, "a directory of users or groups does not answer");
            }
            // Who is found at a path is asked for by number.
            let back = match (&question, &found) {
                (Question::UserNamed(_), Ok(Answer::Number(id))) => Some(Question::User(*id)),
                (Question::GroupNamed(_), Ok(Answer::Number(id))) => Some(Question::Group(*id)),
                _ => None,
            };
            let mut state = self.state();
            if let Some(back) = back.filter(|back| !state.known.contains_key(back)) {
                state.queue.insert(back);
            }
            let _ = state.learn(&question, &found, Instant::now());
        }
    }
}

impl State {
    /// Whether nobody has to wait for an answer; what is to be asked is noted.
    fn is_ready(&mut self, question: &Question, now: Instant) -> bool {
        if let Some(known) = self.known.get(question) {
            if known.until <= now {
                self.queue.insert(question.clone());
            }
            return true;
        }
        let waited = |since: &Instant| now.saturating_duration_since(*since) >= PATIENCE;
        if self.waiting.len() >= QUESTIONS_MAX && !self.waiting.contains_key(question) {
            // There is no room while nothing is answered: nobody waits for that longer than for an
            // answer, and it is asked once there is room.
            return self.waiting.values().any(waited);
        }
        let since = self.waiting.entry(question.clone()).or_insert_with(|| {
            self.queue.insert(question.clone());
            now
        });
        waited(since)
    }

    /// Takes in an answer, or that there was none: then one that there is counts on. What is to be
    /// said from now on.
    fn learn(
        &mut self,
        question: &Question,
        found: &Result<Answer, Errno>,
        now: Instant,
    ) -> Option<Result<Answer, Errno>> {
        self.waiting.remove(question);
        let fresh = match found {
            Ok(Answer::Nobody) => FRESH_NOBODY,
            Ok(_) => FRESH,
            Err(_) => AGAIN,
        };
        let before = self.known.remove(question).and_then(|known| known.answer);
        if self.known.len() >= ANSWERS_MAX {
            self.known.retain(|_, known| known.until > now);
        }
        if self.known.len() >= ANSWERS_MAX {
            self.known.clear();
        }
        let answer = found.as_ref().ok().cloned().or(before);
        let known = Known { answer, failed: found.as_ref().err().copied(), until: now + fresh };
        let said = known.said();
        self.known.insert(question.clone(), known);
        said
    }
}

/// Asks the system.
pub(super) fn find(question: &Question) -> Result<Answer, Errno> {
    let text = |name: &[u8]| core::str::from_utf8(name).ok().map(str::to_owned);
    let found = match question {
        Question::User(id) => User::from_uid(Uid::from_raw(*id))
            .map(|user| user.map_or(Answer::Nobody, |user| named(user.name))),
        Question::Group(id) => Group::from_gid(Gid::from_raw(*id))
            .map(|group| group.map_or(Answer::Nobody, |group| named(group.name))),
        Question::UserNamed(name) => match text(name) {
            Some(name) => User::from_name(&name)
                .map(|user| user.map_or(Answer::Nobody, |user| numbered(user.uid.as_raw()))),
            None => Ok(Answer::Nobody),
        },
        Question::GroupNamed(name) => match text(name) {
            Some(name) => Group::from_name(&name)
                .map(|group| group.map_or(Answer::Nobody, |group| numbered(group.gid.as_raw()))),
            None => Ok(Answer::Nobody),
        },
    };
    match found {
        // Ways in which systems say that there is nobody (getpwuid_r(3)).
        Err(Errno::ENOENT | Errno::ESRCH | Errno::EBADF | Errno::EPERM) => Ok(Answer::Nobody),
        found => found,
    }
}

/// The highest number means "nobody in particular" to the kernel.
const fn numbered(id: u32) -> Answer {
    if id == u32::MAX { Answer::Nobody } else { Answer::Number(id) }
}

/// The name, if a record may hold it and it is not some other number's digits.
fn named(name: String) -> Answer {
    if can_travel(name.as_bytes()) {
        Answer::Name(name.into_bytes().into())
    } else {
        Answer::Nobody
    }
}

/// Whether a record may hold a name, and it is no digits.
pub fn can_travel(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| *byte >= b' ' && *byte != b':' && *byte != 0x7f;
    (1..=PRINCIPAL_MAX).contains(&name.len())
        && name.iter().all(is_plain)
        && !name.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    #[test]
    fn the_system_is_asked_both_ways() {
        let root = Question::UserNamed((*b"root").into());
        assert_eq!(find(&root), Ok(Answer::Number(0)));
        assert_eq!(find(&Question::User(0)), Ok(Answer::Name((*b"root").into())));
        assert_eq!(find(&Question::Group(4_000_000_123)), Ok(Answer::Nobody));
        assert_eq!(find(&Question::GroupNamed((*b"\xff").into())), Ok(Answer::Nobody));
    }

    #[test]
    fn numbers_without_a_name_that_can_travel_have_none() {
        for bad in ["", "a:b", "a\nb", "17", &"x".repeat(256)] {
            assert_eq!(named(bad.to_owned()), Answer::Nobody, "{bad:?}");
        }
        assert_eq!(named("Jörg".to_owned()), Answer::Name("Jörg".as_bytes().into()));
    }

    #[test]
    fn whoever_may_not_wait_is_told_when_there_is_an_answer() {
        let (goes_on, waits) = mpsc::channel::<()>();
        let waits = Mutex::new(waits);
        let directory = Arc::new(Directory::of(move |question| {
            waits.lock().unwrap().recv().unwrap();
            Ok(match question {
                Question::UserNamed(_) => Answer::Number(7),
                _ => Answer::Name((*b"ann").into()),
            })
        }));
        let ann = || Question::UserNamed((*b"ann").into());
        let (woken, wakes) = mpsc::channel();
        let mut wake = || -> Option<Wake> {
            let woken = woken.clone();
            Some(Box::new(move || woken.send(()).unwrap()))
        };
        assert!(!directory.is_ready(vec![ann()], &mut wake), "nobody answered");
        assert_eq!(directory.known(&ann()), None);
        goes_on.send(()).unwrap();
        goes_on.send(()).unwrap();
        wakes.recv().unwrap();
        assert!(directory.is_ready(vec![ann()], &mut wake));
        assert_eq!(directory.known(&ann()), Some(Answer::Number(7)));
        assert_eq!(directory.known(&Question::User(7)), Some(Answer::Name((*b"ann").into())));
    }

    #[test]
    fn an_answer_counts_for_a_while_and_is_asked_for_once() {
        let count = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&count);
        let directory = Directory::of(move |_| {
            asked.fetch_add(1, Ordering::SeqCst);
            Ok(Answer::Number(7))
        });
        let ann = Question::UserNamed((*b"ann").into());
        for _ in 0..3 {
            assert_eq!(directory.ask(&ann), Ok(Answer::Number(7)));
        }
        assert_eq!(count.load(Ordering::SeqCst), 1);
        directory.state().known.get_mut(&ann).unwrap().until = Instant::now();
        assert_eq!(directory.ask(&ann), Ok(Answer::Number(7)));
        assert_eq!(count.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn a_directory_that_does_not_answer_is_waited_for_and_takes_nothing_back() {
        let (mut state, now) = (State::default(), Instant::now());
        let ann = Question::UserNamed((*b"ann").into());
        assert!(!state.is_ready(&ann, now));
        assert!(state.is_ready(&ann, now + PATIENCE), "after all patience");
        let _ = state.learn(&ann, &Ok(Answer::Number(7)), now);
        state.queue.clear();
        assert!(state.is_ready(&ann, now + FRESH / 2) && state.queue.is_empty());
        assert!(state.is_ready(&ann, now + FRESH), "it counts until there is another");
        assert_eq!(state.queue.len(), 1);
        let _ = state.learn(&ann, &Err(Errno::EIO), now + FRESH);
        assert_eq!(state.known[&ann].answer, Some(Answer::Number(7)));
    }

    #[test]
    fn what_is_kept_has_a_bound() {
        let (mut state, now) = (State::default(), Instant::now());
        for id in 0..u32::try_from(ANSWERS_MAX).unwrap() + 10 {
            let _ = state.learn(&Question::User(id), &Ok(Answer::Nobody), now);
        }
        assert!(state.known.len() <= ANSWERS_MAX);
        for id in 0..u32::try_from(QUESTIONS_MAX).unwrap() + 10 {
            assert!(!state.is_ready(&Question::Group(id), now));
        }
        assert_eq!((state.waiting.len(), state.queue.len()), (QUESTIONS_MAX, QUESTIONS_MAX));
        // Nobody waits without end for room that does not come.
        let more = Question::UserNamed((*b"ann").into());
        assert!(!state.is_ready(&more, now + PATIENCE / 2));
        assert!(state.is_ready(&more, now + PATIENCE));
        assert_eq!((state.waiting.len(), state.queue.len()), (QUESTIONS_MAX, QUESTIONS_MAX));
        let _ = state.learn(&Question::Group(0), &Ok(Answer::Nobody), now + PATIENCE);
        assert!(!state.is_ready(&more, now + PATIENCE), "there is room: it is asked");
    }

    #[test]
    fn a_directory_that_does_not_answer_is_not_asked_each_time_and_its_last_answer_counts() {
        let count = Arc::new(AtomicUsize::new(0));
        let asked = Arc::clone(&count);
        let directory = Directory::of(move |question| {
            let before = asked.fetch_add(1, Ordering::SeqCst);
            let is_there = before == 0 && *question == Question::User(7);
            if is_there { Ok(Answer::Name((*b"ann").into())) } else { Err(Errno::EIO) }
        });
        let (ann, bob) = (Question::User(7), Question::User(8));
        let called = Ok(Answer::Name((*b"ann").into()));
        assert_eq!(directory.ask(&ann), called);
        for _ in 0..3 {
            assert_eq!(directory.ask(&bob), Err(Errno::EIO), "nobody ever said");
        }
        assert_eq!(count.load(Ordering::SeqCst), 2, "asked once");
        directory.state().known.get_mut(&ann).unwrap().until = Instant::now();
        for _ in 0..3 {
            assert_eq!(directory.ask(&ann), called, "as before");
        }
        assert_eq!(count.load(Ordering::SeqCst), 3);
        directory.state().known.get_mut(&bob).unwrap().until = Instant::now();
        assert_eq!(directory.ask(&bob), Err(Errno::EIO));
        assert_eq!(count.load(Ordering::SeqCst), 4, "asked again after a while");
    }
}
