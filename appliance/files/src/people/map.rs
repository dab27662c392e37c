//! Names that are others elsewhere: one to one, so that there and back is where one was.

use std::collections::BTreeMap;

type Name = Box<[u8]>;

/// Which name in versions is which on this machine.
///
/// A name that is in no pair is the same here and there, unless the pairs have given it to somebody else:
/// then it means nobody (spec: S-172).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NameMap {
    here: BTreeMap<Name, Name>,
    elsewhere: BTreeMap<Name, Name>,
}

/// Two names of versions would be one of this machine, or one two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwoOfOne {
    /// The pair, counted from 0, that says so.
    pub number: usize,
    /// The name that one before it had already.
    pub name: Name,
}

impl NameMap {
    /// Of pairs of a name in versions and one of this machine.
    ///
    /// # Errors
    /// [`TwoOfOne`].
    pub fn new(pairs: impl IntoIterator<Item = (Name, Name)>) -> Result<Self, TwoOfOne> {
        let mut map = Self::default();
        for (number, (said, here)) in pairs.into_iter().enumerate() {
            if map.here.insert(said.clone(), here.clone()).is_some() {
                return Err(TwoOfOne { number, name: said });
            }
            if map.elsewhere.insert(here.clone(), said).is_some() {
                return Err(TwoOfOne { number, name: here });
            }
        }
        Ok(map)
    }

    /// Its pairs: a name in versions, and the one of this machine.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.here.iter().map(|(said, here)| (&said[..], &here[..]))
    }

    /// Who is meant by a name in a version; `None`: nobody of this machine.
    pub fn here<'a>(&'a self, said: &'a [u8]) -> Option<&'a [u8]> {
        match self.here.get(said) {
            Some(here) => Some(here),
            None => (!self.elsewhere.contains_key(said)).then_some(said),
        }
    }

    /// What somebody of this machine is called in versions; `None`: nothing that would be understood.
    pub fn elsewhere<'a>(&'a self, here: &'a [u8]) -> Option<&'a [u8]> {
        match self.elsewhere.get(here) {
            Some(said) => Some(said),
            None => (!self.here.contains_key(here)).then_some(here),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> Result<NameMap, TwoOfOne> {
        NameMap::new(pairs.iter().map(|(a, b)| (a.as_bytes().into(), b.as_bytes().into())))
    }

    #[test]
    fn names_may_change_places_and_not_become_one() {
        let swapped = map(&[("ann", "bob"), ("bob", "ann")]).unwrap();
        assert_eq!(swapped.here(b"ann"), Some(&b"bob"[..]));
        assert_eq!(swapped.elsewhere(b"bob"), Some(&b"ann"[..]));
        assert_eq!(swapped.here(b"eve"), Some(&b"eve"[..]));
        let refused = map(&[("ann", "bob"), ("eve", "bob")]);
        assert_eq!(refused, Err(TwoOfOne { number: 1, name: (*b"bob").into() }));
        assert!(map(&[("ann", "bob"), ("ann", "eve")]).is_err());
    }
}
