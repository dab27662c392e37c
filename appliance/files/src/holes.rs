//! Where a file on disk has holes, as the file system tells it.

use farhaul_engine::files::dir::Meta;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{Hole, Holes};
use farhaul_sync::limits::HOLES_MAX;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;

/// The holes of `file`, of which `meta` was told, as many as a list has; none where the file system
/// does not say. Moves the file's position.
pub fn holes_of(file: &File, meta: &Meta) -> Holes {
    let mut next = NextHoles::of(file, meta);
    let mut holes = Holes::default();
    while let Some(hole) = next.find().filter(|_| holes.count() < HOLES_MAX) {
        holes.push(hole);
    }
    holes
}

/// The holes of a file from its beginning to its end, asked for as they are needed: images have any
/// number of them. Moves the file's position.
pub struct NextHoles<'f> {
    file: &'f File,
    size: u64,
    /// Up to where the file system was asked.
    at: u64,
    /// Found and not passed yet.
    known: VecDeque<Hole>,
}

impl<'f> NextHoles<'f> {
    /// Of a file that has `meta`.
    pub fn of(file: &'f File, meta: &Meta) -> Self {
        let size = meta.size();
        // What takes as much room as it has bytes has none.
        let at = if meta.allocated >= size { size } else { 0 };
        Self { file, size, at, known: VecDeque::new() }
    }

    /// Those that end behind `from` and begin before `until`, in order. What ends before `from` is not
    /// told again.
    pub fn between(&mut self, from: Bytes, until: Bytes) -> impl Iterator<Item = &Hole> {
        while self.known.front().is_some_and(|hole| hole.offset + hole.len <= from) {
            self.known.pop_front();
        }
        while self.known.back().is_none_or(|last| last.offset < until) {
            let Some(hole) = self.find() else { break };
            if hole.offset + hole.len > from {
                self.known.push_back(hole);
            }
        }
        self.known.iter().take_while(move |hole| hole.offset < until)
    }

    /// The next one; none after the last, and where the file system does not say.
    fn find(&mut self) -> Option<Hole> {
        while self.at < self.size {
            let from = self.at;
            let data = match seek(self.file, SeekFrom::Data(from)) {
                Ok(data) => data.clamp(from, self.size),
                // Nothing but a hole up to the end.
                Err(Errno::NXIO) => self.size,
                Err(_) => from,
            };
            self.at = match seek(self.file, SeekFrom::Hole(data)) {
                Ok(hole) if hole > data => hole,
                Ok(_) | Err(_) => self.size,
            };
            if data > from {
                return Some(Hole { offset: Bytes::new(from), len: Bytes::new(data - from) });
            }
        }
        None
    }
}
