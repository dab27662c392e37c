//! Made-up file contents, and the comparison of files byte for byte.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Bytes of a mebibyte.
pub const MIB: usize = 1 << 20;

/// `len` bytes that do not compress and repeat only for equal seeds.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    // splitmix64; not for secrets.
    let mut state = seed;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = state;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bytes.extend_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// Fails the test unless both files hold the same bytes.
///
/// # Panics
/// If they do not, or cannot be read; the message says where they differ.
#[track_caller]
pub fn assert_same(expected: &Path, found: &Path) {
    let [one, other] = [expected, found].map(read);
    assert_eq!(one.len(), other.len(), "{} has another length", found.display());
    let difference = one.iter().zip(&other).position(|(one, other)| one != other);
    assert_eq!(difference, None, "{} has another byte there", found.display());
}

/// Fails the test if anything is at `path`, a dangling link included.
///
/// # Panics
/// If there is.
#[track_caller]
pub fn assert_absent(path: &Path) {
    assert!(fs::symlink_metadata(path).is_err(), "{} exists", path.display());
}

#[track_caller]
fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    assert!(read.is_ok(), "{}: {read:?}", path.display());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_differ_by_seed_alone() {
        assert_eq!(bytes(1, 1001), bytes(1, 1001));
        assert_ne!(bytes(1, 1001), bytes(2, 1001));
        assert_eq!(bytes(3, 13).len(), 13);
    }

    #[test]
    #[should_panic(expected = "another byte")]
    fn one_wrong_byte_is_found() {
        let directory = tempfile::tempdir().expect("a directory");
        let [one, other] = ["one", "other"].map(|name| directory.path().join(name));
        fs::write(&one, [0, 0, 0]).expect("writable");
        fs::write(&other, [0, 1, 0]).expect("writable");
        assert_same(&one, &other);
    }
}
