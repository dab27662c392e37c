//! Staged data made durable while it comes, so that a power cut takes a second of it and not all.
//!
//! A kill takes nothing of what was written: that is the kernel's already. A power cut takes what
//! is only in memory, first of all the journals, for which nobody asks write-back. A checkpoint is
//! a hint like the journal itself, so its errors are nobody's: it works through descriptors of its
//! own, and what they are told of a failed write-back is told once more to the fsync of the commit.
//! spec: W-130

use super::confine::Root;
use super::dir::Dir;
use super::receive::Receiver;
use super::staging::StagedFile;
use farhaul_proto::limits::BLOCK_DATA;
use farhaul_proto::units::Bytes;
use rustix::fs::fdatasync;
use rustix::io::Result;
use std::sync::Arc;

/// Files that are synced one by one; more are synced with their file system.
const APART_MAX: usize = 16;

/// What is to be made durable. It holds no lock and no staged file, so a transfer may end, and
/// another take up what it left, meanwhile.
#[derive(Debug)]
pub struct Checkpoint {
    root: Root,
    /// Names in the staging directory: each staged file and its journal.
    names: Vec<[String; 2]>,
}

impl Receiver {
    /// Data that was noted as received since the last checkpoint of its file.
    pub fn at_risk(&self) -> Bytes {
        let staged = self.lock();
        let blocks = staged.staged.values().map(|staged| u64::from(staged.journal.unsynced()));
        BLOCK_DATA.saturating_mul(blocks.fold(0, u64::saturating_add))
    }

    /// Takes what is at risk for a checkpoint; it counts as safe from now on.
    pub fn checkpoint(&self) -> Checkpoint {
        let staged: Vec<Arc<StagedFile>> = self.lock().staged.values().cloned().collect();
        let risky = staged.iter().filter(|staged| staged.journal.take_unsynced() > 0);
        let names = risky.map(|staged| staged.names()).collect();
        Checkpoint { root: self.root.clone(), names }
    }
}

impl Checkpoint {
    /// Makes it durable: data, then journals, then their names.
    ///
    /// # Errors
    /// The first that the disk or the kernel had; it concerns no file's fate.
    pub fn sync(&self) -> Result<()> {
        // Held anew: a clone of the directory of a transfer would keep its lock.
        let [top, dir] = super::staging::dirs_of(&self.root)?;
        if self.names.len() > APART_MAX {
            return dir.sync_file_system();
        }
        let each = |which: usize| self.names.iter().map(move |names| names[which].as_bytes());
        let synced = each(0).chain(each(1)).map(|name| sync_file(&dir, name));
        let synced = synced.fold(Ok(()), Result::and);
        // A name that is new is as much as its data; one that is not costs next to nothing.
        synced.and(dir.sync()).and(top.sync()).and(self.root.dir().sync())
    }
}

/// A file that is in place meanwhile was synced before that.
fn sync_file(dir: &Dir, name: &[u8]) -> Result<()> {
    match dir.open_file(name) {
        Ok((file, _)) => fdatasync(file),
        Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno),
    }
}
