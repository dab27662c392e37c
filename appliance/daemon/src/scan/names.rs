//! The names in a directory, sorted, in one piece of memory: a directory may have a million.

use farhaul_engine::files::dir::Dir;
use rustix::fs::{self, Mode, OFlags, RawDir};
use rustix::io::{Errno, Result};
use std::mem::MaybeUninit;

/// Bytes of names that the kernel hands over at a time.
const BATCH: usize = 32 << 10;

/// Names, by their bytes.
#[derive(Debug, Default)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where each begins, and how long it is; in the order of the names.
    places: Vec<(u32, u32)>,
}

impl Names {
    /// Reads those of `dir` from `from` on.
    pub(super) fn read(dir: &Dir, from: &[u8]) -> Result<Self> {
        // A handle of its own: others that share the given one would read on where this one ends.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = fs::openat(dir, c".", flags, Mode::empty())?;
        let mut buffer = [MaybeUninit::<u8>::uninit(); BATCH];
        let mut entries = RawDir::new(own, &mut buffer);
        let mut names = Self::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && name >= from {
                names.push(name)?;
            }
        }
        let bytes = &names.bytes;
        names.places.sort_unstable_by(|a, b| slice(bytes, *a).cmp(slice(bytes, *b)));
        Ok(names)
    }

    fn push(&mut self, name: &[u8]) -> Result<()> {
        let place = |n: usize| u32::try_from(n).map_err(|_| Errno::OVERFLOW);
        self.places.push((place(self.bytes.len())?, place(name.len())?));
        self.bytes.extend_from_slice(name);
        Ok(())
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// The one at `at`, which is below [`len`](Self::len).
    pub(super) fn get(&self, at: usize) -> &[u8] {
        slice(&self.bytes, self.places[at])
    }
}

fn slice(bytes: &[u8], (start, len): (u32, u32)) -> &[u8] {
    let start = start as usize;
    &bytes[start..start + len as usize]
}
