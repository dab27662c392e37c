//! Files that wait until one more of their kind may be begun: whoever makes room for one need not go
//! through all that is to be done to find the next.
//!
//! It is a hint. Where it remembers too much it forgets, and what waits is found again where it is
//! kept, in the index.

use farhaul_proto::path_name::RelPath;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Files of one kind that are remembered.
const REMEMBERED_MAX: usize = 1 << 15;
/// Whatever else may have become of those that wait, it is noticed after this.
const REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// What bounds how many files come at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Small files that somebody is asked for.
    Small,
    /// Large ones.
    Large,
    /// Small files that are copied from here.
    SmallCopy,
    /// Large ones.
    LargeCopy,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Small, Self::Large, Self::SmallCopy, Self::LargeCopy];
}

/// Who waits, in the order of paths.
#[derive(Debug)]
pub(super) struct Turns {
    waiting: [BTreeSet<RelPath>; Kind::ALL.len()],
    /// Of which kinds some wait that are not remembered.
    is_lossy: [bool; Kind::ALL.len()],
    since: Instant,
}

impl Turns {
    /// Nobody.
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: Default::default(), is_lossy: Default::default(), since: now }
    }

    /// A path waits for a turn of its kind.
    pub(super) fn wait(&mut self, kind: Kind, path: &RelPath) {
        let waiting = &mut self.waiting[kind as usize];
        if waiting.len() < REMEMBERED_MAX {
            waiting.insert(path.clone());
        } else {
            self.is_lossy[kind as usize] = true;
        }
    }

    /// Whether a path waits for its turn.
    pub(super) fn has(&self, path: &RelPath) -> bool {
        self.waiting.iter().any(|waiting| waiting.contains(path))
    }

    /// Something became of a path: it is looked at again like any other.
    pub(super) fn forget(&mut self, path: &RelPath) {
        self.waiting.iter_mut().for_each(|waiting| _ = waiting.remove(path));
    }

    /// Whether there are some that are not remembered.
    pub(super) fn is_lossy(&self) -> bool {
        self.is_lossy.contains(&true)
    }

    /// Forgets all of them once they were remembered for long enough.
    pub(super) fn look_after(&mut self, now: Instant) {
        if now.duration_since(self.since) >= REMEMBERED_FOR {
            *self = Self::new(now);
        }
    }

    /// Takes the first `room` of a kind. With `false`: some may be left that are only in the index.
    pub(super) fn take(&mut self, kind: Kind, room: usize, taken: &mut Vec<RelPath>) -> bool {
        let waiting = &mut self.waiting[kind as usize];
        let count = room.min(waiting.len());
        taken.extend((0..count).filter_map(|_| waiting.pop_first()));
        let is_used_up = count < room && std::mem::take(&mut self.is_lossy[kind as usize]);
        !is_used_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::path;

    #[test]
    fn the_first_of_a_kind_have_their_turn_and_nobody_else() {
        let mut turns = Turns::new(Instant::now());
        for name in ["c", "a", "b"] {
            turns.wait(Kind::Small, &path(name));
        }
        turns.wait(Kind::LargeCopy, &path("d"));
        turns.forget(&path("b"));
        let mut taken = Vec::new();
        assert!(turns.take(Kind::Small, 1, &mut taken));
        assert!(turns.take(Kind::Large, 4, &mut taken));
        assert_eq!(taken, [path("a")]);
        assert!(turns.has(&path("c")) && turns.has(&path("d")) && !turns.has(&path("b")));
    }

    #[test]
    fn beyond_its_bound_it_says_that_there_are_more() {
        let now = Instant::now();
        let mut turns = Turns::new(now);
        for n in 0..=REMEMBERED_MAX {
            turns.wait(Kind::Small, &path(&format!("{n:06}")));
        }
        assert!(turns.is_lossy() && !turns.has(&path(&format!("{REMEMBERED_MAX:06}"))));
        let mut taken = Vec::new();
        assert!(turns.take(Kind::Small, REMEMBERED_MAX, &mut taken));
        assert!(!turns.take(Kind::Small, 1, &mut taken));
        assert!(turns.take(Kind::Small, 1, &mut taken), "it is said once");
        assert_eq!(taken.len(), REMEMBERED_MAX);
        turns.wait(Kind::Large, &path("a"));
        turns.look_after(now + REMEMBERED_FOR);
        assert!(!turns.has(&path("a")));
    }
}
