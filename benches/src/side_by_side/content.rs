//! What is sent, and whether it arrived.

use farhaul_sim::rng::Rng;
use farhaul_tools::wanem::selftest::write_noise;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

/// Files of one directory.
const DIRECTORY_FILES: u32 = 1000;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// One file of so many bytes.
    File(u64),
    /// A tree of directories with a thousand files each.
    Tree {
        /// How many files.
        files: u32,
        /// Bytes of each.
        each: u64,
    },
}

impl Content {
    /// Bytes of all files.
    pub fn bytes(self) -> u64 {
        match self {
            Self::File(size) => size,
            Self::Tree { files, each } => u64::from(files) * each,
        }
    }

    /// Files of a tree.
    pub fn files(self) -> Option<u64> {
        match self {
            Self::File(_) => None,
            Self::Tree { files, .. } => Some(files.into()),
        }
    }

    /// True for a directory.
    pub fn is_tree(self) -> bool {
        matches!(self, Self::Tree { .. })
    }

    /// Makes it at `path`; what does not compress, so that the link is what counts.
    ///
    /// # Errors
    /// Those of writing.
    pub fn make(self, path: &Path) -> io::Result<()> {
        let Self::Tree { files, each } = self else { return write_noise(path, self.bytes()) };
        remove(path)?;
        let mut rng = Rng::new(each);
        let mut data = vec![0; usize::try_from(each).map_err(io::Error::other)?];
        for file in 0..files {
            let directory = path.join(format!("{:04}", file / DIRECTORY_FILES));
            if file % DIRECTORY_FILES == 0 {
                fs::create_dir_all(&directory)?;
            }
            data.chunks_mut(8).for_each(|part| {
                part.copy_from_slice(&rng.next_u64().to_ne_bytes()[..part.len()]);
            });
            fs::write(directory.join(format!("file-{file:06}.dat")), &data)?;
        }
        Ok(())
    }
}

/// Removes whatever is at `path`, if anything.
///
/// # Errors
/// Those of removing.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether two files, or two trees of files, have the same names and bytes.
///
/// # Errors
/// Those of reading.
pub(crate) fn same_content(a: &Path, b: &Path) -> io::Result<bool> {
    if !a.is_dir() {
        return same_bytes(a, b);
    }
    let [in_a, in_b] = [names(a)?, names(b)?];
    if in_a != in_b {
        return Ok(false);
    }
    for name in in_a {
        if !same_content(&a.join(&name), &b.join(&name))? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn names(directory: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    Ok(names)
}

fn same_bytes(a: &Path, b: &Path) -> io::Result<bool> {
    let (mut a, mut b) = (fs::File::open(a)?, fs::File::open(b)?);
    let len = a.metadata()?.len();
    if len != b.metadata()?.len() {
        return Ok(false);
    }
    let size = usize::try_from(len).unwrap_or(usize::MAX).clamp(1, 1 << 20);
    let (mut part_a, mut part_b) = (vec![0; size], vec![0; size]);
    loop {
        let len = a.read(&mut part_a)?;
        if len == 0 {
            return Ok(true);
        }
        b.read_exact(&mut part_b[..len])?;
        if part_a[..len] != part_b[..len] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_compared_by_content_and_length() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for (name, content) in [("a", "same"), ("b", "same"), ("c", "sam"), ("d", "samE")] {
            fs::write(path(name), content).expect("written");
        }
        assert!(same_content(&path("a"), &path("b")).expect("readable"));
        assert!(!same_content(&path("a"), &path("c")).expect("readable"));
        assert!(!same_content(&path("a"), &path("d")).expect("readable"));
    }

    #[test]
    fn trees_are_compared_by_names_and_content() {
        let directory = tempfile::tempdir().expect("a directory");
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        for path in [&a, &b] {
            Content::Tree { files: 3, each: 10 }.make(path).expect("made");
        }
        assert!(same_content(&a, &b).expect("readable"));
        fs::write(b.join("0000/file-000001.dat"), "other").expect("written");
        assert!(!same_content(&a, &b).expect("readable"));
        Content::Tree { files: 2, each: 10 }.make(&b).expect("made");
        assert!(!same_content(&a, &b).expect("readable"));
    }
}
