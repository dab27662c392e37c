//! Items that a transaction read, for as long as nothing that it does changes them: one look at the
//! disk asks for the same path again and again, and for the directories above it.

use super::key::Key;
use farhaul_sync::folder::Item;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Enough for a path and what is above it in most trees.
const HELD_MAX: usize = 16;

/// What was read, what was asked for last in front.
#[derive(Debug, Default)]
pub(super) struct Held(RefCell<VecDeque<(Key, Item)>>);

impl Held {
    pub(super) fn get(&self, key: &Key) -> Option<Item> {
        let mut held = self.0.borrow_mut();
        let at = held.iter().position(|(held, _)| held == key)?;
        if at > 0 {
            let found = held.remove(at)?;
            held.push_front(found);
        }
        held.front().map(|(_, item)| item.clone())
    }

    /// Holds what was just read.
    pub(super) fn hold(&self, key: Key, item: &Item) {
        let mut held = self.0.borrow_mut();
        held.truncate(HELD_MAX - 1);
        held.push_front((key, item.clone()));
    }

    /// What stands at a path, what is known of it or whose copy it is for is about to be another.
    pub(super) fn forget(&self, key: &Key) {
        self.0.borrow_mut().retain(|(held, _)| held != key);
    }

    /// Something live is about to be known of a path.
    pub(super) fn comes_alive(&self, key: &Key) {
        self.forget(key);
        let mut held = self.0.borrow_mut();
        held.iter_mut().filter(|(held, _)| key.is_beneath(held)).for_each(|(_, item)| {
            item.has_children = true;
        });
    }

    /// Something live is no longer known of a path: whether anything is beneath those above has to be
    /// looked up.
    pub(super) fn goes(&self, key: &Key) {
        self.0.borrow_mut().retain(|(held, _)| held != key && !key.is_beneath(held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::path;

    fn key(text: &str) -> Key {
        Key::of(&path(text))
    }

    fn held(texts: &[&str]) -> Held {
        let held = Held::default();
        texts.iter().for_each(|text| held.hold(key(text), &Item::default()));
        held
    }

    #[test]
    fn what_becomes_another_is_not_held() {
        let held = held(&["a", "a/b", "a.b", "a/b/c"]);
        held.comes_alive(&key("a/b"));
        assert_eq!(held.get(&key("a/b")), None);
        let has_children = |text| held.get(&key(text)).map(|item| item.has_children);
        let expected = [Some(true), Some(false), Some(false)];
        assert_eq!(["a", "a.b", "a/b/c"].map(has_children), expected);
        held.goes(&key("a/x"));
        assert_eq!(["a", "a.b", "a/b/c"].map(has_children), [None, Some(false), Some(false)]);
        held.forget(&key("a.b"));
        assert_eq!(held.get(&key("a.b")), None);
    }

    #[test]
    fn what_was_not_asked_for_for_the_longest_time_goes_first() {
        let held = held(&["first"]);
        for n in 0..100 {
            held.hold(key(&n.to_string()), &Item::default());
            assert!(held.get(&key("first")).is_some());
            assert!(held.0.borrow().len() <= HELD_MAX);
        }
        assert_eq!(held.get(&key("50")), None);
    }
}
