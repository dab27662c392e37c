//! Keys of paths: the bytes of a path with 0 for `/`, so that the order of keys is that of a walk
//! through the tree and everything beneath a directory is one range of keys.

use super::IndexError;
use farhaul_proto::path_name::RelPath;

/// The key of a path, and of the range beneath it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn of(path: &RelPath) -> Self {
        Self(path.as_bytes().iter().map(|&byte| if byte == b'/' { 0 } else { byte }).collect())
    }

    /// The bytes of the path of the directory that it is in; none at the top.
    pub(super) fn parent(&self) -> Vec<u8> {
        let end = self.0.iter().rposition(|&byte| byte == 0).unwrap_or(0);
        self.0[..end].iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect()
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this path is somewhere in the directory `above`.
    pub(super) fn is_beneath(&self, above: &Self) -> bool {
        self.0.strip_prefix(&above.0[..]).is_some_and(|rest| rest.first() == Some(&0))
    }

    /// Where the keys beneath this path begin, and the first key behind them. The path itself is
    /// not among them.
    pub(super) fn beneath(&self) -> (Vec<u8>, Vec<u8>) {
        ([&self.0[..], &[0]].concat(), [&self.0[..], &[1]].concat())
    }
}

/// The path of a key that was read.
pub(super) fn path_of(key: &[u8]) -> Result<RelPath, IndexError> {
    let bytes: Vec<u8> = key.iter().map(|&byte| if byte == 0 { b'/' } else { byte }).collect();
    let path = RelPath::parse(&bytes).map_err(|e| IndexError::damaged(format!("a path: {e}")))?;
    // A slash in a key was never written by `of`.
    if key.contains(&b'/') { Err(IndexError::damaged("a path has a slash")) } else { Ok(path) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path() -> impl Strategy<Value = RelPath> {
        let name =
            proptest::collection::vec(proptest::sample::select(b"\x01a-.\xff".to_vec()), 1..3);
        proptest::collection::vec(name, 1..4)
            .prop_filter_map("no path", |names| RelPath::parse(&names.join(&b'/')).ok())
    }

    proptest! {
        #[test]
        fn keys_have_the_order_of_paths_and_lead_back(a in path(), b in path()) {
            let keys = [Key::of(&a), Key::of(&b)];
            prop_assert_eq!(keys[0].cmp(&keys[1]), a.cmp(&b));
            prop_assert_eq!(path_of(keys[0].as_bytes()).expect("a path"), a.clone());
            let parent = a.parent().map_or(Vec::new(), |parent| parent.as_bytes().to_vec());
            prop_assert_eq!(keys[0].parent(), parent);
            let (first, end) = keys[0].beneath();
            let is_within = (&first[..]..&end[..]).contains(&keys[1].as_bytes());
            prop_assert_eq!(is_within, b != a && b.starts_with(&a));
            prop_assert_eq!(keys[1].is_beneath(&keys[0]), is_within);
        }
    }

    #[test]
    fn a_key_that_is_no_path_is_damage() {
        for key in [&b""[..], b"a/b", b"\0a", b"a\0", b"a\0..", b".farhaul"] {
            assert!(path_of(key).is_err_and(|error| error.is_damage()), "{key:?}");
        }
    }
}
