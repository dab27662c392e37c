//! A folder of records that does not grow for ever: the oldest make room for the next.

use super::{FILE_MAX, FlightFile, FlightPen};
use farhaul_proto::trace::flight::FlightHeader;
use farhaul_proto::units::Bytes;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What all records of a folder may take.
pub const FOLDER_MAX: Bytes = Bytes::mib(512);
/// How many there may be.
pub const FOLDER_FILES_MAX: usize = 1000;
/// How their names end; nothing else in the folder is touched.
const SUFFIX: &str = ".flight.jsonl";

/// See the module.
#[derive(Debug)]
pub struct FlightFolder {
    path: PathBuf,
    bytes_max: Bytes,
    files_max: usize,
    next: AtomicU64,
    /// One at a time makes room.
    making_room: Mutex<()>,
}

impl FlightFolder {
    /// The folder at `path`, which is made if need be.
    ///
    /// # Errors
    /// What making or listing it says.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        fs::read_dir(path)?;
        Ok(Self {
            path: path.to_owned(),
            bytes_max: FOLDER_MAX,
            files_max: FOLDER_FILES_MAX,
            next: AtomicU64::new(0),
            making_room: Mutex::new(()),
        })
    }

    /// Begins the record of a session with the site called `peer`; the oldest records go where
    /// there are too many, or where this one could make them too large.
    ///
    /// # Errors
    /// What writing says.
    pub fn begin(&self, peer: &str, header: &FlightHeader) -> io::Result<(FlightPen, FlightFile)> {
        {
            let _one = self.making_room.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            self.make_room()?;
        }
        let plain: String = peer.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
        // Names in the order of time, so that sorted is by age.
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:020}-{number:06}-{plain}{SUFFIX}", header.started_unix_us);
        let path = self.path.join(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        FlightFile::begin(&path, file, header)
    }

    fn make_room(&self) -> io::Result<()> {
        let mut records = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let ours = name.to_str().is_some_and(|name| name.ends_with(SUFFIX));
            // One that went meanwhile needs no room.
            if let (true, Ok(meta)) = (ours, entry.metadata())
                && meta.is_file()
            {
                records.push((name, meta.len()));
            }
        }
        records.sort();
        let mut total: u64 = records.iter().map(|(_, len)| len).sum();
        let mut left = records.len();
        let bytes_max = self.bytes_max.saturating_sub(FILE_MAX).get();
        for (name, len) in records {
            if left < self.files_max && total <= bytes_max {
                break;
            }
            fs::remove_file(self.path.join(name))?;
            left -= 1;
            total -= len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::header;
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_oldest_records_make_room_and_nothing_else_is_touched() {
        let temporary = tempfile::tempdir().unwrap();
        fs::write(temporary.path().join("notes.txt"), "mine").unwrap();
        let mut folder = FlightFolder::open(temporary.path()).unwrap();
        folder.files_max = 3;
        let mut began = Vec::new();
        for _ in 0..6 {
            let (pen, file) = folder.begin("../peer", &header()).unwrap();
            drop(pen);
            began.push(file.path().file_name().unwrap().to_str().unwrap().to_owned());
            file.finish().unwrap();
        }
        let mut left = began[3..].to_vec();
        left.push("notes.txt".to_owned());
        assert_eq!(names(temporary.path()), left);
    }

    #[test]
    fn large_records_go_before_there_are_too_many() {
        let temporary = tempfile::tempdir().unwrap();
        let mut folder = FlightFolder::open(temporary.path()).unwrap();
        folder.bytes_max = FILE_MAX + Bytes::new(1000);
        for (name, len) in [("00000000000000000001", 900), ("00000000000000000002", 900)] {
            fs::write(temporary.path().join(format!("{name}{SUFFIX}")), vec![b' '; len]).unwrap();
        }
        let (pen, file) = folder.begin("x", &header()).unwrap();
        drop(pen);
        file.finish().unwrap();
        assert_eq!(names(temporary.path())[0], format!("00000000000000000002{SUFFIX}"));
    }
}
