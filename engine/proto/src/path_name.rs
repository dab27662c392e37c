//! Names of things in a tree, as bytes: the one type through which every path from a peer passes.
//!
//! A [`RelPath`] can only be built by validation, so whoever holds one holds a path that stays
//! beneath its root as far as spelling goes. Symbolic links are not its business: the body
//! resolves paths through held directory handles. It knows no `std::path`, no encoding, and
//! never touches a file system.

use crate::limits::{COMPONENT_MAX, DEPTH_MAX, PATH_MAX};
use crate::wire::control::misleads;
use core::cmp::Ordering;
use core::fmt;

/// The directory at the top of a destination that holds staged data; refused as a first
/// component whatever its case, because a destination may fold case.
pub const RESERVED_NAME: &[u8] = b".farhaul";

/// Why bytes are no [`RelPath`]; whoever supplied them is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PathError {
    /// No bytes at all.
    #[error("the path is empty")]
    Empty,
    /// Longer than [`PATH_MAX`].
    #[error("the path has {len} bytes, more than {PATH_MAX}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Starts with `/`.
    #[error("the path is absolute")]
    Absolute,
    /// Two separators in a row, or one at the end.
    #[error("the path has an empty component")]
    EmptyComponent,
    /// A component is `.`.
    #[error("the path has a `.` component")]
    CurrentDir,
    /// A component is `..`.
    #[error("the path has a `..` component")]
    ParentDir,
    /// A NUL byte, which no system call can pass on.
    #[error("the path has a NUL byte")]
    Nul,
    /// A component longer than [`COMPONENT_MAX`].
    #[error("the path has a component of {len} bytes, more than {COMPONENT_MAX}")]
    ComponentTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// More components than [`DEPTH_MAX`].
    #[error("the path has more than {DEPTH_MAX} components")]
    TooDeep,
    /// The first component is [`RESERVED_NAME`].
    #[error("the path lies in the staging directory")]
    Reserved,
}

/// A path beneath some root: one to [`DEPTH_MAX`] components joined by `/`, any bytes but NUL.
///
/// The order is that of a tree walk with sorted directories: a directory comes directly before
/// what it contains (`a`, `a/x`, `a-b`).
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct RelPath(Box<[u8]>);

impl RelPath {
    /// Validates `bytes`.
    ///
    /// # Errors
    /// The first rule that they break, in the order of [`PathError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, PathError> {
        check_whole(bytes)?;
        let mut depth = 0;
        for component in bytes.split(|&b| b == b'/') {
            check_component(component)?;
            depth += 1;
        }
        if depth > DEPTH_MAX {
            return Err(PathError::TooDeep);
        }
        let first = bytes.split(|&b| b == b'/').next().unwrap_or_default();
        if first.eq_ignore_ascii_case(RESERVED_NAME) {
            return Err(PathError::Reserved);
        }
        Ok(Self(bytes.into()))
    }

    /// The bytes, components joined by `/`.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components from the root down; at least one.
    pub fn components(&self) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/')
    }

    /// The number of components.
    pub fn depth(&self) -> usize {
        self.components().count()
    }

    /// Everything but the last component; `None` for a path of one component.
    pub fn parent(&self) -> Option<Self> {
        self.parent_bytes().map(|parent| Self(parent.into()))
    }

    /// [`parent`](Self::parent) without a copy.
    pub fn parent_bytes(&self) -> Option<&[u8]> {
        let slash = self.0.iter().rposition(|&b| b == b'/')?;
        Some(&self.0[..slash])
    }

    /// The last component.
    pub fn file_name(&self) -> &[u8] {
        match self.0.iter().rposition(|&b| b == b'/') {
            Some(slash) => &self.0[slash + 1..],
            None => &self.0,
        }
    }

    /// `tail` beneath this path.
    ///
    /// # Errors
    /// [`PathError::TooLong`] or [`PathError::TooDeep`] if the whole breaks a limit.
    pub fn join(&self, tail: &Self) -> Result<Self, PathError> {
        self.join_bytes(&tail.0)
    }

    /// The component `name` beneath this path.
    ///
    /// # Errors
    /// What [`parse`](Self::parse) finds wrong with the whole.
    pub fn join_name(&self, name: &[u8]) -> Result<Self, PathError> {
        self.join_bytes(name)
    }

    /// True when `self` is `ancestor` or lies beneath it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        self.strip(ancestor.as_bytes()).is_some()
    }

    /// What remains beneath `ancestor`; `None` when this is `ancestor` or lies elsewhere.
    pub fn strip_prefix(&self, ancestor: &Self) -> Option<Self> {
        let tail = self.strip(ancestor.as_bytes())?;
        if tail.is_empty() { None } else { Some(Self(tail.into())) }
    }

    fn strip(&self, ancestor: &[u8]) -> Option<&[u8]> {
        let tail = self.0.strip_prefix(ancestor)?;
        if tail.is_empty() { Some(tail) } else { tail.strip_prefix(b"/") }
    }

    fn join_bytes(&self, tail: &[u8]) -> Result<Self, PathError> {
        let len = self.0.len().saturating_add(1).saturating_add(tail.len());
        if len > PATH_MAX {
            return Err(PathError::TooLong { len });
        }
        let mut whole = Vec::with_capacity(len);
        whole.extend_from_slice(&self.0);
        whole.push(b'/');
        whole.extend_from_slice(tail);
        Self::parse(&whole)
    }
}

fn check_whole(bytes: &[u8]) -> Result<(), PathError> {
    if bytes.is_empty() {
        return Err(PathError::Empty);
    }
    if bytes.len() > PATH_MAX {
        return Err(PathError::TooLong { len: bytes.len() });
    }
    if bytes.starts_with(b"/") {
        return Err(PathError::Absolute);
    }
    Ok(())
}

fn check_component(component: &[u8]) -> Result<(), PathError> {
    match component {
        b"" => Err(PathError::EmptyComponent),
        b"." => Err(PathError::CurrentDir),
        b".." => Err(PathError::ParentDir),
        _ if component.contains(&0) => Err(PathError::Nul),
        _ if component.len() > COMPONENT_MAX => {
            Err(PathError::ComponentTooLong { len: component.len() })
        }
        _ => Ok(()),
    }
}

impl Ord for RelPath {
    fn cmp(&self, other: &Self) -> Ordering {
        // No name holds NUL, so a separator that sorts as NUL sorts before every name byte.
        let rank = |&b: &u8| if b == b'/' { 0 } else { b };
        self.0.iter().map(rank).cmp(other.0.iter().map(rank))
    }
}

impl PartialOrd for RelPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Escaped(&self.0).fmt(f)
    }
}

impl fmt::Debug for RelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RelPath({self})")
    }
}

/// Bytes from a file system or a peer, shown so that a terminal or a log cannot be steered by
/// them: printable UTF-8 as it is, all else (and the backslash) as `\xNN`. Distinct bytes show
/// as distinct text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                if c == '\\' || misleads(c) {
                    write_escaped(f, c.encode_utf8(&mut [0; 4]).as_bytes())?;
                } else {
                    f.write_char(c)?;
                }
            }
            write_escaped(f, chunk.invalid())?;
        }
        Ok(())
    }
}

fn write_escaped(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(bytes: &[u8]) -> RelPath {
        RelPath::parse(bytes).unwrap()
    }

    /// Bytes that hit the rules often: separators, dots, NUL, the reserved name.
    fn suspicious() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            4 => proptest::collection::vec(any::<u8>(), 0..6),
            4 => "[a-z]{1,8}".prop_map(String::into_bytes),
            1 => Just(b"..".to_vec()),
            1 => Just(b".".to_vec()),
            1 => Just(b".farhaul".to_vec()),
            1 => Just(b".FarHaul".to_vec()),
            1 => proptest::collection::vec(Just(b'x'), 250..260),
        ];
        proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.join(&b'/'))
    }

    #[test]
    fn each_rule_refuses_with_its_own_error() {
        let cases: [(&[u8], PathError); 9] = [
            (b"", PathError::Empty),
            (b"/etc/passwd", PathError::Absolute),
            (b"a//b", PathError::EmptyComponent),
            (b"a/", PathError::EmptyComponent),
            (b"a/./b", PathError::CurrentDir),
            (b"a/../../b", PathError::ParentDir),
            (b"a\0b", PathError::Nul),
            (b".farhaul/staging", PathError::Reserved),
            (b".FARHAUL", PathError::Reserved),
        ];
        for (bytes, error) in cases {
            assert_eq!(RelPath::parse(bytes), Err(error), "{}", Escaped(bytes));
        }
    }

    #[test]
    fn limits_are_inclusive() {
        let long = [b'x'; COMPONENT_MAX];
        assert!(RelPath::parse(&long).is_ok());
        assert_eq!(
            RelPath::parse(&[b'x'; COMPONENT_MAX + 1]),
            Err(PathError::ComponentTooLong { len: COMPONENT_MAX + 1 })
        );
        let deep = vec!["d"; DEPTH_MAX].join("/");
        assert_eq!(path(deep.as_bytes()).depth(), DEPTH_MAX);
        let deeper = vec!["d"; DEPTH_MAX + 1].join("/");
        assert_eq!(RelPath::parse(deeper.as_bytes()), Err(PathError::TooDeep));
        let longest = vec!["x".repeat(255); 16].join("/");
        assert_eq!(longest.len(), PATH_MAX - 1);
        assert!(RelPath::parse(longest.as_bytes()).is_ok());
        let too_long = format!("{longest}/x");
        assert_eq!(
            RelPath::parse(too_long.as_bytes()),
            Err(PathError::TooLong { len: PATH_MAX + 1 })
        );
    }

    #[test]
    fn odd_names_are_names() {
        for bytes in [&b"-rf"[..], b"...", b"..x", b"a\nb", b"\xff\xfe", b" ", b"x/.farhaul"] {
            assert_eq!(path(bytes).as_bytes(), bytes);
        }
    }

    #[test]
    fn joining_keeps_the_limits() {
        let half = path(vec!["d"; DEPTH_MAX / 2 + 1].join("/").as_bytes());
        assert_eq!(half.join(&half), Err(PathError::TooDeep));
        assert_eq!(path(b"a").join(&path(b"b/c")), Ok(path(b"a/b/c")));
        assert_eq!(path(b"a").join_name(b".."), Err(PathError::ParentDir));
    }

    #[test]
    fn display_cannot_steer_a_terminal() {
        let shown = path(b"a\x1b[31m\xffb\xe2\x80\xae\\\nc\xc3\xa4").to_string();
        assert_eq!(shown, "a\\x1b[31m\\xffb\\xe2\\x80\\xae\\x5c\\x0acä");
    }

    #[test]
    fn a_directory_sorts_directly_before_what_it_contains() {
        let mut paths = [path(b"a-b"), path(b"a/x"), path(b"a"), path(b"a/x/y"), path(b"a/x-")];
        paths.sort();
        let sorted: Vec<_> = paths.iter().map(RelPath::as_bytes).collect();
        assert_eq!(sorted, [&b"a"[..], b"a/x", b"a/x/y", b"a/x-", b"a-b"]);
    }

    proptest! {
        #[test]
        fn what_parses_stays_beneath_its_root(bytes in suspicious()) {
            if let Ok(path) = RelPath::parse(&bytes) {
                prop_assert_eq!(path.as_bytes(), &bytes[..]);
                prop_assert!(path.depth() <= DEPTH_MAX);
                for component in path.components() {
                    prop_assert!(!component.is_empty() && component.len() <= COMPONENT_MAX);
                    prop_assert!(component != b"." && component != b"..");
                    prop_assert!(!component.contains(&0) && !component.contains(&b'/'));
                }
                let first = path.components().next().unwrap();
                prop_assert!(!first.eq_ignore_ascii_case(RESERVED_NAME));
            }
        }

        #[test]
        fn parent_and_name_make_the_path_again(bytes in "[a-c]{1,2}(/[a-c]{1,2}){0,5}") {
            let whole = path(bytes.as_bytes());
            let again = match whole.parent() {
                Some(parent) => parent.join_name(whole.file_name()).unwrap(),
                None => path(whole.file_name()),
            };
            prop_assert_eq!(&again, &whole);
            if let Some(parent) = whole.parent() {
                prop_assert!(whole.starts_with(&parent) && !parent.starts_with(&whole));
                let tail = whole.strip_prefix(&parent).unwrap();
                prop_assert_eq!(tail.as_bytes(), whole.file_name());
            }
        }

        #[test]
        fn order_is_that_of_component_lists(a in "[a\\-.b]{1,2}x(/[a\\-b]{1,2}){0,3}", b in "[a\\-.b]{1,2}x(/[a\\-b]{1,2}){0,3}") {
            let (a, b) = (path(a.as_bytes()), path(b.as_bytes()));
            let by_components = a.components().cmp(b.components());
            prop_assert_eq!(a.cmp(&b), by_components);
        }

        #[test]
        fn shown_text_is_printable_and_distinct(a in proptest::collection::vec(any::<u8>(), 0..12), b in proptest::collection::vec(any::<u8>(), 0..12)) {
            let (shown_a, shown_b) = (Escaped(&a).to_string(), Escaped(&b).to_string());
            prop_assert!(!shown_a.chars().any(char::is_control));
            prop_assert_eq!(shown_a == shown_b, a == b);
        }
    }
}
