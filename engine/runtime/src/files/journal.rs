//! Which blocks of a staged file are on disk: an append-only file beside it.
//!
//! The journal is a hint that saves work, never a proof: whoever resumes reads each block again
//! and compares its digest. So records are written without fsync (`checkpoint` makes them durable
//! now and then), and a torn, damaged or foreign record costs one block of work. The open journal also carries the lock on its staged file.
//!
//! ```text
//! header  magic 8 | key 32 | inode 8 | blocks 4 | block bytes 4 | check 8     = 64 bytes
//! record  block 4 | digest 32 | check 8                                        = 44 bytes
//! ```
//! Integers are little-endian. A check is the start of a BLAKE3 hash of what stands before it,
//! for records keyed by the header. The inode binds a journal to its staged file, so one can
//! never be taken for that of another file of the same name.

use farhaul_proto::limits::BLOCK_DATA;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

const MAGIC: &[u8; 8] = b"FHJRNL01";
const HEADER_LEN: usize = 64;
const RECORD_LEN: usize = 44;
const CHECK_LEN: usize = 8;
/// Records read at once.
const READ_RECORDS: usize = 1024;
/// Records beyond two for each block (one may be reopened) that a journal may hold before it is
/// started anew.
const SURPLUS_RECORDS: u64 = 4096;

/// A block digest.
pub type Digest = [u8; 32];

/// What a journal belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The staging key of the file.
    pub key: [u8; 32],
    /// The inode of the staged file.
    pub inode: u64,
    /// The number of blocks of the file.
    pub blocks: u32,
}

impl Binding {
    fn header(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let block_bytes = u32::try_from(BLOCK_DATA.get()).unwrap_or(u32::MAX);
        header[..8].copy_from_slice(MAGIC);
        header[8..40].copy_from_slice(&self.key);
        header[40..48].copy_from_slice(&self.inode.to_le_bytes());
        header[48..52].copy_from_slice(&self.blocks.to_le_bytes());
        header[52..56].copy_from_slice(&block_bytes.to_le_bytes());
        let hash = blake3::hash(&header[..HEADER_LEN - CHECK_LEN]);
        header[HEADER_LEN - CHECK_LEN..].copy_from_slice(&hash.as_bytes()[..CHECK_LEN]);
        header
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    file: File,
    /// Records so far; a record is written into its own slot, so a torn one shifts no other.
    slots: AtomicU64,
    /// Blocks noted since the last checkpoint.
    unsynced: AtomicU32,
    record_key: Digest,
    done: Mutex<BlockSet>,
}

impl Journal {
    /// Starts anew in `file`, whatever it holds.
    ///
    /// # Errors
    /// Those of writing.
    pub fn create(file: File, binding: &Binding) -> io::Result<Self> {
        file.set_len(0)?;
        file.write_all_at(&binding.header(), 0)?;
        Ok(Self::at(file, binding, 0))
    }

    /// Goes on in `file` if it holds the journal for `binding`, and returns what it says, to be
    /// verified; gives `file` back otherwise.
    ///
    /// # Errors
    /// Those of reading.
    pub fn resume(file: File, binding: &Binding) -> io::Result<Resumed> {
        let len = file.metadata()?.len();
        let slots = len.saturating_sub(HEADER_LEN as u64).div_ceil(RECORD_LEN as u64);
        let bound = u64::from(binding.blocks).saturating_mul(2).saturating_add(SURPLUS_RECORDS);
        if len < HEADER_LEN as u64 || slots > bound {
            return Ok(Resumed::Foreign(file));
        }
        if !Self::belongs(&file, binding) {
            return Ok(Resumed::Foreign(file));
        }
        let journal = Self::at(file, binding, slots);
        let claims = journal.read_records(len)?;
        Ok(Resumed::Journal(journal, claims))
    }

    /// True when `file` holds the journal for `binding`.
    pub(crate) fn belongs(file: &File, binding: &Binding) -> bool {
        let mut header = [0; HEADER_LEN];
        file.read_exact_at(&mut header, 0).is_ok() && header == binding.header()
    }

    fn at(file: File, binding: &Binding, slots: u64) -> Self {
        let record_key = *blake3::hash(&binding.header()).as_bytes();
        let done = Mutex::new(BlockSet::new(binding.blocks));
        let (slots, unsynced) = (AtomicU64::new(slots), AtomicU32::new(0));
        Self { file, slots, unsynced, record_key, done }
    }

    /// Notes that `block` is on disk (its write has completed) with digest `digest`.
    ///
    /// # Errors
    /// Those of writing. The block counts as done all the same: what is lost is only that a
    /// resumed transfer would ask for it again.
    pub fn append(&self, block: u32, digest: &Digest) -> Result<(), Errno> {
        if !self.lock().insert(block) {
            return Ok(());
        }
        let mut record = [0; RECORD_LEN];
        record[..4].copy_from_slice(&block.to_le_bytes());
        record[4..36].copy_from_slice(digest);
        let check = self.check(&record[..36]);
        record[36..].copy_from_slice(&check);
        self.unsynced.fetch_add(1, Ordering::Relaxed);
        let slot = self.slots.fetch_add(1, Ordering::Relaxed);
        let at = (HEADER_LEN as u64).saturating_add(slot.saturating_mul(RECORD_LEN as u64));
        let written = self.file.write_all_at(&record, at);
        written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    /// Marks `block` as done without a record: it has one already, and was verified.
    pub(crate) fn confirm(&self, block: u32) {
        self.lock().insert(block);
    }

    /// Takes back that `block` is done: what is on disk is not what the sender has. Its record
    /// stays; the one that follows, or the digest of what is read, speaks against it.
    pub(crate) fn reopen(&self, block: u32) {
        self.lock().remove(block);
    }

    /// Blocks noted since they were taken last.
    pub(crate) fn unsynced(&self) -> u32 {
        self.unsynced.load(Ordering::Relaxed)
    }

    /// The same, and counts anew.
    pub(crate) fn take_unsynced(&self) -> u32 {
        self.unsynced.swap(0, Ordering::Relaxed)
    }

    /// The number of blocks that are not done.
    pub fn missing(&self) -> u32 {
        self.lock().missing
    }

    /// True when `block` is done.
    pub fn is_done(&self, block: u32) -> bool {
        self.lock().contains(block)
    }

    fn lock(&self) -> MutexGuard<'_, BlockSet> {
        // A set of bits is valid after any interruption.
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(&self, record: &[u8]) -> [u8; CHECK_LEN] {
        let hash = blake3::keyed_hash(&self.record_key, record);
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&hash.as_bytes()[..CHECK_LEN]);
        check
    }

    fn read_records(&self, len: u64) -> io::Result<BTreeMap<u32, Digest>> {
        let mut claims = BTreeMap::new();
        let mut buffer = vec![0; READ_RECORDS * RECORD_LEN];
        let mut at = HEADER_LEN as u64;
        while at + RECORD_LEN as u64 <= len {
            let whole = (len - at) / RECORD_LEN as u64 * RECORD_LEN as u64;
            let step = usize::try_from(whole).unwrap_or(usize::MAX).min(buffer.len());
            self.file.read_exact_at(&mut buffer[..step], at)?;
            claims.extend(buffer[..step].chunks_exact(RECORD_LEN).filter_map(|r| self.claim(r)));
            at += step as u64;
        }
        Ok(claims)
    }

    /// What a record says; `None` for one that is torn, damaged or out of range.
    fn claim(&self, record: &[u8]) -> Option<(u32, Digest)> {
        let (body, check) = record.split_at(RECORD_LEN - CHECK_LEN);
        let block = u32::from_le_bytes(body[..4].try_into().ok()?);
        let digest: Digest = body[4..].try_into().ok()?;
        let good = self.check(body) == check && block < self.lock().blocks;
        good.then_some((block, digest))
    }
}

/// What [`Journal::resume`] found.
#[derive(Debug)]
pub enum Resumed {
    /// The journal, and the blocks that it claims with their digests.
    Journal(Journal, BTreeMap<u32, Digest>),
    /// Something else.
    Foreign(File),
}

/// A set of block numbers below a bound; one bit each.
#[derive(Debug)]
struct BlockSet {
    bits: Vec<u64>,
    blocks: u32,
    missing: u32,
}

impl BlockSet {
    /// The caller has made sure that a file of so many blocks fits on the disk, so this takes
    /// at most one bit for 1.4 MB of free space.
    fn new(blocks: u32) -> Self {
        let words = usize::try_from(blocks.div_ceil(64)).unwrap_or(usize::MAX);
        Self { bits: vec![0; words], blocks, missing: blocks }
    }

    /// True when `block` is new and in range.
    fn insert(&mut self, block: u32) -> bool {
        if block >= self.blocks || self.contains(block) {
            return false;
        }
        self.bits[(block / 64) as usize] |= 1 << (block % 64);
        self.missing -= 1;
        true
    }

    fn remove(&mut self, block: u32) {
        if self.contains(block) {
            self.bits[(block / 64) as usize] &= !(1 << (block % 64));
            self.missing += 1;
        }
    }

    fn contains(&self, block: u32) -> bool {
        block < self.blocks && self.bits[(block / 64) as usize] & (1 << (block % 64)) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BINDING: Binding = Binding { key: [7; 32], inode: 99, blocks: 200 };

    fn file() -> File {
        tempfile::tempfile().unwrap()
    }

    fn digest(block: u32) -> Digest {
        [u8::try_from(block % 251).unwrap(); 32]
    }

    /// A journal of `blocks`, as the file that it left.
    fn written(blocks: &[u32]) -> File {
        let file = file();
        let journal = Journal::create(file.try_clone().unwrap(), &BINDING).unwrap();
        for &block in blocks {
            journal.append(block, &digest(block)).unwrap();
        }
        file
    }

    fn claims(file: &File) -> Option<BTreeMap<u32, Digest>> {
        match Journal::resume(file.try_clone().unwrap(), &BINDING).unwrap() {
            Resumed::Journal(_, claims) => Some(claims),
            Resumed::Foreign(_) => None,
        }
    }

    #[test]
    fn a_journal_of_another_file_is_not_taken() {
        let file = written(&[1, 2]);
        for binding in [
            Binding { key: [8; 32], ..BINDING },
            Binding { inode: 98, ..BINDING },
            Binding { blocks: 199, ..BINDING },
        ] {
            let found = Journal::resume(file.try_clone().unwrap(), &binding).unwrap();
            assert!(matches!(found, Resumed::Foreign(_)), "{binding:?}");
        }
        assert!(claims(&file).is_some());
    }

    #[test]
    fn a_block_is_recorded_once_and_only_within_the_file() {
        let file = written(&[3, 3, 3, 200, u32::MAX]);
        assert_eq!(file.metadata().unwrap().len(), (HEADER_LEN + RECORD_LEN) as u64);
        assert_eq!(claims(&file).unwrap().into_keys().collect::<Vec<_>>(), [3]);
    }

    #[test]
    fn a_reopened_block_is_missing_until_it_comes_again() {
        let file = written(&[3]);
        let journal = Journal::create(file.try_clone().unwrap(), &BINDING).unwrap();
        journal.append(3, &digest(3)).unwrap();
        journal.reopen(3);
        journal.reopen(4);
        assert_eq!((journal.missing(), journal.is_done(3)), (200, false));
        journal.append(3, &digest(5)).unwrap();
        assert_eq!((journal.missing(), journal.is_done(3)), (199, true));
        assert_eq!(claims(&file).unwrap(), [(3, digest(5))].into());
    }

    #[test]
    fn records_after_a_torn_one_are_still_read() {
        let file = written(&[1, 2]);
        let torn = file.metadata().unwrap().len() - 5;
        file.set_len(torn).unwrap();
        let Resumed::Journal(journal, found) =
            Journal::resume(file.try_clone().unwrap(), &BINDING).unwrap()
        else {
            panic!("the header is whole");
        };
        assert_eq!(found.into_keys().collect::<Vec<_>>(), [1]);
        journal.append(9, &digest(9)).unwrap();
        assert_eq!(claims(&file).unwrap().into_keys().collect::<Vec<_>>(), [1, 9]);
    }

    #[test]
    fn a_journal_that_outgrew_its_file_is_started_anew() {
        let file = written(&[1]);
        file.set_len(HEADER_LEN as u64 + (2 * 200 + SURPLUS_RECORDS + 1) * RECORD_LEN as u64)
            .unwrap();
        assert!(claims(&file).is_none());
    }

    proptest! {
        #[test]
        fn damage_loses_records_but_invents_none(
            blocks in proptest::collection::btree_set(0u32..200, 0..40),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let blocks: Vec<u32> = blocks.into_iter().collect();
            let file = written(&blocks);
            let len = file.metadata().unwrap().len();
            let body = usize::try_from(len).unwrap() - HEADER_LEN;
            for (at, value) in damage {
                if body > 0 {
                    file.write_all_at(&[value], (HEADER_LEN + at.index(body)) as u64).unwrap();
                }
            }
            file.set_len(len - cut.index(RECORD_LEN + 1).min(body) as u64).unwrap();
            for (block, claimed) in claims(&file).unwrap() {
                prop_assert!(blocks.contains(&block));
                prop_assert_eq!(claimed, digest(block));
            }
        }
    }
}
