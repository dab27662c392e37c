//! What happened until the power went, so that it can be judged again and again: what was on the disk
//! at first, every write and flush since, and the ledger.

use crate::KitError;
use crate::disk::{Entry, PAGE, Pages};
use crate::ledger::{Line, Stamped};
use crate::machine::FileSystem;
use crate::script::Class;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

const TITLE: &[u8; 16] = b"farhaul faults 1";
/// No part of a recording is longer.
const PART_MAX: u64 = 1 << 30;

/// A worker's life.
pub struct Recording {
    /// What was done.
    pub class: Class,
    /// What that followed from.
    pub seed: u64,
    /// On what.
    pub file_system: FileSystem,
    /// What was on the disk at first.
    pub first: Pages,
    /// What came then.
    pub log: Vec<Entry>,
    /// What was said meanwhile.
    pub lines: Stamped,
    /// When it ended, in seconds since 1970.
    pub ended_secs: u64,
}

impl Recording {
    /// From which entry on cuts are made: the first step is settled.
    pub fn begins(&self) -> usize {
        let settled = self.lines.iter().find(|(_, line)| *line == Line::Settled);
        settled.map_or(self.log.len(), |(stamp, _)| (*stamp).min(self.log.len()))
    }

    /// Keeps it.
    ///
    /// # Errors
    /// [`KitError::Io`].
    pub fn save(&self, at: &Path) -> Result<(), KitError> {
        let write = || -> std::io::Result<()> {
            let mut file = BufWriter::new(File::create(at)?);
            file.write_all(TITLE)?;
            let names = format!("{} {}", self.class.name(), self.file_system.name());
            write_part(&mut file, names.as_bytes())?;
            for number in [self.seed, self.ended_secs, self.first.len()] {
                file.write_all(&number.to_le_bytes())?;
            }
            for (page, bytes) in self.first.written() {
                file.write_all(&(page as u64).to_le_bytes())?;
                file.write_all(bytes)?;
            }
            file.write_all(&u64::MAX.to_le_bytes())?;
            file.write_all(&(self.log.len() as u64).to_le_bytes())?;
            for entry in &self.log {
                match entry {
                    Entry::Flush => file.write_all(&u64::MAX.to_le_bytes())?,
                    Entry::Write { offset, bytes } => {
                        file.write_all(&offset.to_le_bytes())?;
                        write_part(&mut file, bytes)?;
                    }
                }
            }
            let lines = self.lines.iter().map(|(stamp, line)| format!("{stamp}\t{line}\n"));
            write_part(&mut file, lines.collect::<String>().as_bytes())?;
            file.flush()
        };
        write().map_err(KitError::io(at.display().to_string()))
    }

    /// Reads one that was kept.
    ///
    /// # Errors
    /// [`KitError`].
    pub fn load(at: &Path) -> Result<Self, KitError> {
        let file = File::open(at).map_err(KitError::io(at.display().to_string()))?;
        let read = Self::read(&mut BufReader::new(file));
        read.map_err(KitError::io(at.display().to_string()))?
            .ok_or_else(|| KitError::Failed(format!("{} is no recording", at.display())))
    }

    fn read(file: &mut impl Read) -> std::io::Result<Option<Self>> {
        let mut title = [0; 16];
        file.read_exact(&mut title)?;
        let names = String::from_utf8_lossy(&read_part(file)?).into_owned();
        let Some((class, file_system)) = names.split_once(' ') else { return Ok(None) };
        let class = Class::named(class);
        let file_system = FileSystem::ALL.into_iter().find(|known| known.name() == file_system);
        let (Some(class), Some(file_system)) = (class, file_system) else { return Ok(None) };
        if title != *TITLE {
            return Ok(None);
        }
        let (seed, ended_secs, len) = (read_u64(file)?, read_u64(file)?, read_u64(file)?);
        if len > PART_MAX {
            return Ok(None);
        }
        let mut first = Pages::new(len);
        let mut page = vec![0; PAGE];
        loop {
            let number = read_u64(file)?;
            if number == u64::MAX {
                break;
            }
            file.read_exact(&mut page)?;
            first.write(number.saturating_mul(PAGE as u64), &page);
        }
        let mut log = Vec::new();
        for _ in 0..read_u64(file)? {
            let offset = read_u64(file)?;
            log.push(match offset {
                u64::MAX => Entry::Flush,
                offset => Entry::Write { offset, bytes: read_part(file)?.into() },
            });
        }
        let text = String::from_utf8_lossy(&read_part(file)?).into_owned();
        let lines = text.lines().filter_map(|line| {
            let (stamp, line) = line.split_once('\t')?;
            Some((stamp.parse().ok()?, Line::parse(line)?))
        });
        let lines = lines.collect();
        Ok(Some(Self { class, seed, file_system, first, log, lines, ended_secs }))
    }
}

fn write_part(file: &mut impl Write, bytes: &[u8]) -> std::io::Result<()> {
    file.write_all(&(bytes.len() as u64).to_le_bytes())?;
    file.write_all(bytes)
}

fn read_u64(file: &mut impl Read) -> std::io::Result<u64> {
    let mut bytes = [0; 8];
    file.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_part(file: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let len = read_u64(file)?;
    if len > PART_MAX {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    let mut bytes = Vec::new();
    file.take(len).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recording_is_read_as_it_was_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = dir.path().join("recording");
        let mut first = Pages::new(8 * PAGE as u64);
        first.write(5000, b"first");
        let write = Entry::Write { offset: 9, bytes: b"abc"[..].into() };
        let recording = Recording {
            class: Class::Kinds,
            seed: 4,
            file_system: FileSystem::Ext4,
            first,
            log: vec![write, Entry::Flush],
            lines: vec![(1, Line::Settled), (2, Line::Stored { up_to: 3 })],
            ended_secs: 17,
        };
        recording.save(&at).expect("room");
        let read = Recording::load(&at).expect("one");
        assert_eq!((read.class, read.seed, read.ended_secs), (Class::Kinds, 4, 17));
        assert_eq!((&read.log, &read.lines), (&recording.log, &recording.lines));
        let mut bytes = [0; 5];
        read.first.read(5000, &mut bytes);
        assert_eq!(&bytes, b"first");
        assert_eq!((read.begins(), read.first.len()), (1, 8 * PAGE as u64));
    }
}
