//! Names of conflict copies: `report.conflict-20261122-081503-k4mzqa2f.pdf`.
//!
//! All sites must choose the same name without asking each other, so it follows from the version
//! alone: the time of its stamp (UTC) and letters of the hash of its dot.

use super::Version;
use data_encoding::BASE32_NOPAD;
use farhaul_proto::path_name::{PathError, RelPath};
use jiff::Timestamp;

/// What stands between the stem and the time.
const MARK: &[u8] = b".conflict-";
/// Letters of the hash in the first name that is tried.
const LETTERS_MIN: usize = 8;
/// All the letters that there are.
const LETTERS_MAX: usize = 52;
/// Longest name of a file.
const NAME_MAX: usize = 255;
/// Bytes of a date: `20261122-081503`.
const DATE_MAX: usize = 15;
/// Longest ending that is kept as one; longer ones are part of the stem.
const ENDING_MAX: usize = 16;

/// Names to try for one conflict copy, each longer than the one before.
#[derive(Clone, Debug)]
pub struct ConflictName {
    path: RelPath,
    date: String,
    letters: Vec<u8>,
    used: usize,
}

/// Where the copy of `loser`, a version of `path`, may stand: the first name that no other object
/// of the folder has. The objects are the same everywhere, so the choice is (spec: S-012).
pub fn conflict_name(path: &RelPath, loser: &Version) -> ConflictName {
    ConflictName {
        path: path.clone(),
        date: date_of(loser.stamp.millis),
        letters: letters_of(loser),
        used: LETTERS_MIN,
    }
}

impl Iterator for ConflictName {
    type Item = RelPath;

    fn next(&mut self) -> Option<RelPath> {
        if self.used > LETTERS_MAX {
            return None;
        }
        let tail = [MARK, self.date.as_bytes(), b"-", &self.letters[..self.used]].concat();
        self.used += 4;
        let name = with_tail(self.path.file_name(), &tail);
        sibling(&self.path, &name).ok()
    }
}

/// What the names of all copies begin with that might stand at `path`, or at a longer name because
/// `path` is taken: a path, and the shortest stem that a longest name leaves of its own. `None` where
/// no copy can stand.
pub fn copy_stem(path: &RelPath) -> Option<RelPath> {
    let name = path.file_name();
    let stem = &name[..name.windows(MARK.len()).position(|part| part == MARK)?];
    // The longest tail and ending, and what is cut of a character.
    let tail = MARK.len() + DATE_MAX + 1 + LETTERS_MAX;
    let room = NAME_MAX - tail - ENDING_MAX - 3;
    let stem = &stem[..stem.len().min(room)];
    if stem.is_empty() { None } else { sibling(path, stem).ok() }
}

/// The path of which `loser`, whose copy stands at `at`, is a version; `None` where the name does not
/// tell. Where a long name was cut it is another path, of which nothing is known.
pub fn copy_origin(at: &RelPath, loser: &Version) -> Option<RelPath> {
    let (name, letters) = (at.file_name(), letters_of(loser));
    let stem = name.windows(MARK.len()).position(|part| part == MARK)?;
    let tail = [MARK, date_of(loser.stamp.millis).as_bytes(), b"-"].concat();
    let rest = name[stem..].strip_prefix(&tail[..])?;
    let origin = |used: usize| {
        let ending = rest.strip_prefix(&letters[..used])?;
        sibling(at, &[&name[..stem], ending].concat()).ok()
    };
    let mut names = (LETTERS_MIN..=LETTERS_MAX).step_by(4).filter_map(origin);
    names.find(|origin| conflict_name(origin, loser).any(|name| name == *at))
}

/// The path of `name` in the directory of `path`. Fails only where a path is as long as paths may
/// be, and its name shorter than what marks a conflict.
fn sibling(path: &RelPath, name: &[u8]) -> Result<RelPath, PathError> {
    match path.parent() {
        Some(parent) => parent.join_name(name),
        None => RelPath::parse(name),
    }
}

/// `name` with `tail` before its ending, shortened to what a file system takes. What marks `name`
/// itself as a conflict copy goes, or names would grow when copies conflict.
fn with_tail(name: &[u8], tail: &[u8]) -> Vec<u8> {
    let (stem, ending) = split_ending(name);
    let stem = match stem.windows(MARK.len()).position(|part| part == MARK) {
        Some(at) => &stem[..at],
        None => stem,
    };
    let room = NAME_MAX - tail.len() - ending.len();
    [cut(stem, room), tail, ending].concat()
}

/// Splits before the last dot, if what follows looks like an ending and something stands before.
fn split_ending(name: &[u8]) -> (&[u8], &[u8]) {
    match name.iter().rposition(|&byte| byte == b'.') {
        Some(at) if at > 0 && name.len() - at <= ENDING_MAX && !name[at..].starts_with(MARK) => {
            name.split_at(at)
        }
        _ => (name, b""),
    }
}

/// The first `room` bytes at most, without breaking a UTF-8 character.
fn cut(stem: &[u8], room: usize) -> &[u8] {
    if stem.len() <= room {
        return stem;
    }
    let is_inside = |&at: &usize| stem[at] & 0b1100_0000 == 0b1000_0000;
    // A character has four bytes at most; a name that is no UTF-8 may be cut anywhere.
    let at = (room.saturating_sub(3)..=room).rev().find(|at| !is_inside(at)).unwrap_or(room);
    &stem[..at]
}

/// Year to second, in UTC. Clocks can be wrong by any amount; what no calendar holds has no date.
fn date_of(millis: u64) -> String {
    let time = i64::try_from(millis).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| "undated".to_owned(), |time| time.strftime("%Y%m%d-%H%M%S").to_string())
}

/// What tells the version from all others, as letters that stay the same in names that fold case.
fn letters_of(version: &Version) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new_derive_key("farhaul conflict name v1");
    hasher.update(version.dot.author.site.as_bytes());
    hasher.update(&version.dot.author.incarnation.get().to_be_bytes());
    hasher.update(&version.dot.serial.get().to_be_bytes());
    let letters = BASE32_NOPAD.encode(hasher.finalize().as_bytes());
    letters.to_ascii_lowercase().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::version::tests::{dot, version};
    use proptest::prelude::*;

    fn names(path: &[u8]) -> ConflictName {
        let mut loser = version(dot(1, 7), &[], b"x");
        loser.stamp.millis = 1_795_335_303_000;
        conflict_name(&RelPath::parse(path).expect("valid"), &loser)
    }

    fn first(path: &[u8]) -> String {
        let name = names(path).next().expect("there is a name");
        String::from_utf8_lossy(name.as_bytes()).into_owned()
    }

    #[test]
    fn a_copy_stands_beside_its_file_and_keeps_its_ending() {
        let name = first(b"a/report.pdf");
        assert!(name.starts_with("a/report.conflict-20261122-081503-"), "{name}");
        assert!(
            name.ends_with(".pdf")
                && name.len() == "a/report.conflict-20261122-081503-12345678.pdf".len()
        );
    }

    #[test]
    fn versions_of_one_author_and_one_moment_have_names_of_their_own() {
        let name = |serial| {
            let mut loser = version(dot(1, serial), &[], b"x");
            loser.stamp.millis = 1_795_335_303_000;
            conflict_name(&RelPath::parse(b"report.pdf").expect("valid"), &loser).next()
        };
        assert!(name(7).is_some() && name(7) != name(8));
    }

    #[test]
    fn names_without_an_ending_get_none() {
        for name in ["Makefile", ".profile", "x.but this is no ending"] {
            let copy = first(name.as_bytes());
            assert!(copy.starts_with(&format!("{name}.conflict-")), "{copy}");
        }
    }

    #[test]
    fn a_copy_of_a_copy_is_named_after_the_file() {
        let copy = first(b"report.pdf");
        assert_eq!(first(copy.as_bytes()).len(), copy.len());
    }

    #[test]
    fn names_to_try_are_different() {
        let all: Vec<RelPath> = names(b"a/b.c").collect();
        assert_eq!(all.len(), 12);
        assert!(all.windows(2).all(|pair| pair[0].as_bytes().len() < pair[1].as_bytes().len()));
    }

    #[test]
    fn the_name_of_a_copy_tells_of_which_path_it_is() {
        let loser = version(dot(1, 7), &[], b"x");
        for origin in ["a/b.c", "Makefile", ".profile", "x.but this is no ending"] {
            let origin = RelPath::parse(origin.as_bytes()).expect("valid");
            for name in conflict_name(&origin, &loser) {
                assert_eq!(copy_origin(&name, &loser), Some(origin.clone()));
                assert_eq!(copy_origin(&name, &version(dot(2, 7), &[], b"x")), None);
            }
            assert_eq!(copy_origin(&origin, &loser), None);
        }
    }

    #[test]
    fn a_time_beyond_all_calendars_has_a_name() {
        let mut loser = version(dot(1, 7), &[], b"x");
        loser.stamp.millis = u64::MAX;
        let name = conflict_name(&RelPath::parse(b"x").expect("valid"), &loser).next();
        assert!(name.expect("there is a name").as_bytes().starts_with(b"x.conflict-undated-"));
    }

    proptest! {
        #[test]
        fn every_name_is_valid_and_at_most_as_long_as_file_systems_take(
            name in proptest::collection::vec(1_u8..=255, 1..=255)
        ) {
            let Ok(path) = RelPath::parse(&name) else { return Ok(()) };
            if path.depth() > 1 { return Ok(()) }
            for copy in conflict_name(&path, &version(dot(1, 7), &[], b"x")) {
                prop_assert!(copy.file_name().len() <= NAME_MAX);
                prop_assert_ne!(&copy, &path);
            }
        }

        #[test]
        fn a_name_of_text_stays_text(name in "[a-zäöü漢字]{1,80}(\\.[a-z]{1,4})?") {
            let Ok(path) = RelPath::parse(name.as_bytes()) else { return Ok(()) };
            for copy in conflict_name(&path, &version(dot(1, 7), &[], b"x")) {
                prop_assert!(core::str::from_utf8(copy.as_bytes()).is_ok());
            }
        }
    }
}
