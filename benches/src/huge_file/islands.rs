//! Data at equal intervals in a file of holes.

use farhaul_netem_tests::content::bytes;
use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// How much of two files is compared at a time, in bytes.
const PIECE: usize = 1 << 20;

/// What such a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Islands {
    /// Its length, in bytes.
    pub size: u64,
    /// How many there are.
    pub count: u64,
    /// Bytes of each.
    pub each: u64,
}

impl Islands {
    /// Bytes that are no hole.
    pub fn data(&self) -> u64 {
        self.count * self.each
    }

    /// Bytes from the beginning of an island to that of the next: a multiple of what disks give.
    fn interval(&self) -> u64 {
        (self.size / self.count.max(1)) & !4095
    }

    /// Makes the file, with data that a seed gives; on disk when this returns.
    ///
    /// # Errors
    /// If the islands do not fit, or the disk does not take it.
    pub fn make(&self, path: &Path, seed: u64) -> io::Result<()> {
        if self.interval() < self.each {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the islands do not fit"));
        }
        let each = usize::try_from(self.each).map_err(io::Error::other)?;
        let file = File::create(path)?;
        file.set_len(self.size)?;
        for island in 0..self.count {
            let data = bytes(seed.wrapping_mul(1 << 40).wrapping_add(island), each);
            file.write_all_at(&data, island * self.interval())?;
        }
        file.sync_all()
    }
}

/// Compares two files where either has data. Holes are no content: where one has zeros, the other may
/// have a hole.
///
/// # Errors
/// `InvalidData` where they differ; those of reading.
pub(crate) fn same(left: &Path, right: &Path) -> io::Result<()> {
    let (left, right) = (File::open(left)?, File::open(right)?);
    let differ = |at: u64| {
        let text = format!("what arrived is something else from byte {at} on");
        Err(io::Error::new(io::ErrorKind::InvalidData, text))
    };
    let size = left.metadata()?.len();
    if right.metadata()?.len() != size {
        return differ(0);
    }
    for of in [&left, &right] {
        let mut at = 0;
        while let Some((from, to)) = data_from(of, at)? {
            if let Some(first) = first_difference(&left, &right, from, to)? {
                return differ(first);
            }
            at = to;
        }
    }
    Ok(())
}

/// The next stretch of data at or behind `at`.
fn data_from(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    match seek(file, SeekFrom::Data(at)) {
        Ok(from) => Ok(Some((from, seek(file, SeekFrom::Hole(from))?))),
        Err(rustix::io::Errno::NXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn first_difference(left: &File, right: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let (mut here, mut there) = (vec![0; PIECE], vec![0; PIECE]);
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).map_or(PIECE, |left| left.min(PIECE));
        left.read_exact_at(&mut here[..len], at)?;
        right.read_exact_at(&mut there[..len], at)?;
        if let Some(first) = (0..len).find(|byte| here[*byte] != there[*byte]) {
            return Ok(Some(at + first as u64));
        }
        at += len as u64;
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FEW: Islands = Islands { size: 1 << 30, count: 10, each: 8192 };

    #[test]
    fn only_the_islands_take_room_and_equal_seeds_make_equal_files() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().expect("a directory");
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        FEW.make(&a, 1).expect("made");
        FEW.make(&b, 1).expect("made");
        let found = a.metadata().expect("there");
        assert_eq!(found.len(), FEW.size);
        assert!(found.blocks() * 512 < 2 * FEW.data(), "{}", found.blocks());
        same(&a, &b).expect("equal");
    }

    #[test]
    fn a_byte_where_only_one_of_them_has_data_is_a_difference() {
        let directory = tempfile::tempdir().expect("a directory");
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        FEW.make(&a, 1).expect("made");
        FEW.make(&b, 1).expect("made");
        let at = (700 << 20) + 5;
        let file = File::options().write(true).open(&b).expect("there");
        file.write_all_at(&[0], at).expect("written");
        same(&a, &b).expect("a zero is no difference");
        file.write_all_at(&[1], at).expect("written");
        let error = same(&a, &b).expect_err("one byte");
        assert!(error.to_string().ends_with(&format!("byte {at} on")), "{error}");
        FEW.make(&b, 2).expect("made");
        assert!(same(&a, &b).is_err());
    }

    #[test]
    fn islands_that_do_not_fit_are_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let much = Islands { size: 1 << 20, count: 100, each: 1 << 20 };
        assert!(much.make(&directory.path().join("a"), 1).is_err());
    }
}
