//! Who is called how on this machine and elsewhere: names of users and groups, asked of the system's own
//! directories (files, LDAP, SSSD), kept for a while, and mapped as the configuration says.
//!
//! Those who wait for nobody (the control loop) only see what was answered before, and have asked what
//! was not: [`Principals::is_ready`] (spec: S-170).

mod directory;
mod map;

pub use directory::Directory;
pub use map::{NameMap, TwoOfOne};

pub use directory::can_travel;

use crate::owner::{Principals, Wake, digits_of};
use directory::{Answer, Question};
use farhaul_sync::version::{Acl, Meta, Who};
use nix::errno::Errno;
use std::sync::Arc;

/// The system's directory of users and groups does not answer. That is no reason to say that
/// anybody else owns a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of user or group {id} cannot be looked up: {errno}")]
pub struct OwnersError {
    /// Whose.
    pub id: u32,
    /// What the system says.
    pub errno: Errno,
}

/// Who is called how in one folder.
#[derive(Clone, Debug)]
pub struct People {
    directory: Arc<Directory>,
    users: NameMap,
    groups: NameMap,
    may_be_roots: bool,
}

impl People {
    /// Of this machine, with these maps of names; `may_be_roots` says whether what others publish may
    /// become root's.
    pub fn new(
        directory: Arc<Directory>,
        (users, groups): (NameMap, NameMap),
        may_be_roots: bool,
    ) -> Self {
        Self { directory, users, groups, may_be_roots }
    }

    /// What has to be known to give somebody something; nothing where a number is said.
    fn question(&self, said: &[u8], is_user: bool) -> Option<Question> {
        let map = if is_user { &self.users } else { &self.groups };
        let here = map.here(said)?;
        if here == said && digits_of(here).is_some() {
            return None;
        }
        let here = here.into();
        Some(if is_user { Question::UserNamed(here) } else { Question::GroupNamed(here) })
    }

    /// All that is to be known of whom a version names.
    fn questions(&self, meta: &Meta) -> Vec<Question> {
        let mut questions = Vec::new();
        questions.extend(meta.owner.as_deref().and_then(|said| self.question(said, true)));
        questions.extend(meta.group.as_deref().and_then(|said| self.question(said, false)));
        let lists = meta.attrs.iter().flat_map(|attrs| [&attrs.access, &attrs.default]);
        for (who, _) in lists.flatten().flat_map(Acl::entries) {
            questions.extend(match who {
                Who::User(name) => self.question(name, true),
                Who::Group(name) => self.question(name, false),
                _ => None,
            });
        }
        questions
    }

    fn number(&self, said: &[u8], is_user: bool) -> Option<u32> {
        match self.directory.known(&self.question(said, is_user)?)? {
            Answer::Number(id) => Some(id),
            Answer::Name(_) | Answer::Nobody => None,
        }
    }

    /// As it is called elsewhere; `None`: by its number.
    fn called(&self, answer: Option<Answer>, is_user: bool) -> Option<Box<[u8]>> {
        let map = if is_user { &self.users } else { &self.groups };
        match answer? {
            Answer::Name(name) => map.elsewhere(&name).map(Into::into),
            Answer::Number(_) | Answer::Nobody => None,
        }
    }

    fn asked(&self, question: &Question, id: u32) -> Result<Box<[u8]>, OwnersError> {
        let answer = self.directory.ask(question).map_err(|errno| OwnersError { id, errno })?;
        let called = self.called(Some(answer), matches!(question, Question::User(_)));
        Ok(called.unwrap_or_else(|| id.to_string().into_bytes().into()))
    }
}

impl Principals for People {
    fn user_id(&self, name: &[u8]) -> Option<u32> {
        self.number(name, true)
    }

    fn group_id(&self, name: &[u8]) -> Option<u32> {
        self.number(name, false)
    }

    /// Whom the map has given digits to may be unknown here, or the directory silent: whoever has that
    /// number is somebody else.
    fn digits(&self, said: &[u8], is_user: bool) -> Option<u32> {
        let map = if is_user { &self.users } else { &self.groups };
        digits_of(said).filter(|_| map.here(said) == Some(said))
    }

    fn user_name(&self, id: u32) -> Option<Box<[u8]>> {
        self.called(self.directory.known(&Question::User(id)), true)
    }

    fn group_name(&self, id: u32) -> Option<Box<[u8]>> {
        self.called(self.directory.known(&Question::Group(id)), false)
    }

    fn may_be_roots(&self) -> bool {
        self.may_be_roots
    }

    fn called_user(&self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        self.asked(&Question::User(id), id)
    }

    fn called_group(&self, id: u32) -> Result<Box<[u8]>, OwnersError> {
        self.asked(&Question::Group(id), id)
    }

    fn is_ready(&self, meta: &Meta, wake: &mut dyn FnMut() -> Option<Wake>) -> bool {
        self.directory.is_ready(self.questions(meta), wake)
    }

    fn learn(&self, meta: &Meta) {
        for question in self.questions(meta) {
            if let Err(errno) = self.directory.ask(&question) {
                tracing::debug!(%errno, "a directory of users or groups does not answer");
            }
        }
    }
}

/// The name that the system gives a user or group, asked at once; digits where there is none that can
/// travel.
pub(crate) fn system_name(id: u32, is_user: bool) -> Result<Box<[u8]>, OwnersError> {
    let question = if is_user { Question::User(id) } else { Question::Group(id) };
    match directory::find(&question).map_err(|errno| OwnersError { id, errno })? {
        Answer::Name(name) => Ok(name),
        Answer::Number(_) | Answer::Nobody => Ok(id.to_string().into_bytes().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attrs::Ids;
    use crate::owner::Numbers;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// A machine on which these users have these numbers; of one number the first is found.
    fn machine(users: &BTreeMap<String, u32>) -> Arc<Directory> {
        let users = users.clone();
        let find = move |question: &Question| {
            Ok(match question {
                Question::UserNamed(name) | Question::GroupNamed(name) => {
                    let name = core::str::from_utf8(name).unwrap_or_default();
                    users.get(name).map_or(Answer::Nobody, |id| Answer::Number(*id))
                }
                Question::User(id) | Question::Group(id) => {
                    let name = users.iter().find(|(_, one)| *one == id).map(|(name, _)| name);
                    name.map_or(Answer::Nobody, |name| Answer::Name(name.as_bytes().into()))
                }
            })
        };
        Arc::new(Directory::of(find))
    }

    fn people(users: &BTreeMap<String, u32>, map: &[(&str, &str)]) -> People {
        let pairs = map.iter().map(|(said, here)| (said.as_bytes().into(), here.as_bytes().into()));
        let map = NameMap::new(pairs).expect("one to one");
        People::new(machine(users), (map, NameMap::default()), false)
    }

    fn answered(people: &People, said: &str) -> Option<u32> {
        let question = people.question(said.as_bytes(), true)?;
        let _ = people.directory.ask(&question);
        people.user_id(said.as_bytes())
    }

    #[test]
    fn mapped_names_go_both_ways_and_nobody_is_two() {
        let users = [("al", 1000), ("alice", 1001), ("bob", 1002)];
        let users = users.map(|(name, id)| (name.to_owned(), id)).into();
        let people = people(&users, &[("alice", "al"), ("77", "bob")]);
        assert_eq!(answered(&people, "alice"), Some(1000));
        assert_eq!(people.called_user(1000).as_deref(), Ok(&b"alice"[..]));
        // Who is called `al` elsewhere is nobody here, and who is called `alice` here is a number there.
        assert_eq!(answered(&people, "al"), None);
        assert_eq!(people.called_user(1001).as_deref(), Ok(&b"1001"[..]));
        // Somebody without a name elsewhere.
        assert_eq!(answered(&people, "77"), Some(1002));
        assert_eq!(people.called_user(1002).as_deref(), Ok(&b"77"[..]));
        assert_eq!(people.question(b"78", true), None, "a number is a number");
    }

    /// spec: S-172
    #[test]
    fn a_number_that_is_mapped_is_nobody_elses_while_its_name_is_unknown_here() {
        let people = people(&BTreeMap::new(), &[("1005", "backup"), ("ann", "1006")]);
        let lists = Numbers(&people);
        let numbers = |said: &[u8]| {
            let listed = lists.id(&Who::User(said.into()));
            assert_eq!(people.user_number(said), listed, "of owners as of lists");
            listed
        };
        // Not asked yet, or the directory does not answer; and then nobody has that name.
        assert_eq!(
            (numbers(b"1005"), numbers(b"1006"), numbers(b"1007")),
            (None, None, Some(1007))
        );
        assert_eq!(answered(&people, "1005"), None);
        assert_eq!(numbers(b"1005"), None);
        // Groups have a map of their own.
        assert_eq!(people.group_number(b"1005"), Some(1005));
        assert_eq!(lists.id(&Who::Group((*b"1005").into())), Some(1005));
    }

    proptest! {
        /// What is given to somebody is found to be theirs, whatever the map: nothing goes back and forth.
        #[test]
        fn who_is_given_something_is_who_is_found_to_have_it(
            names in proptest::collection::btree_set("[a-f]{1,2}", 1..12),
            map in proptest::collection::btree_map("[a-f]{1,2}|[0-9]{1,3}", "[a-f]{1,2}", 0..8),
            said in proptest::collection::vec("[a-f]{1,2}|[0-9]{1,3}", 1..12),
        ) {
            let users = names.into_iter().zip(1000..).collect();
            let mut map: Vec<(&str, &str)> = map.iter().map(|(a, b)| (&a[..], &b[..])).collect();
            map.sort_by_key(|(_, here)| *here);
            map.dedup_by_key(|(_, here)| *here);
            let people = people(&users, &map);
            for said in said {
                if let Some(id) = answered(&people, &said) {
                    let called = people.called_user(id);
                    prop_assert_eq!(called.as_deref(), Ok(said.as_bytes()));
                }
            }
            for id in users.values() {
                let called = people.called_user(*id).expect("answered");
                let called = core::str::from_utf8(&called).expect("text");
                let back = answered(&people, called).or_else(|| digits_of(called.as_bytes()));
                prop_assert_eq!(back, Some(*id));
            }
        }
    }
}
