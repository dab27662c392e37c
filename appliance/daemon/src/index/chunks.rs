//! What is known of contents on this disk: which chunk is where, so that whatever is here already
//! crosses no network, and the pages of chunk lists, for who asks for them.
//!
//! [`ChunkMap`] is all that the rest of the daemon knows of it; [`ContentMap`] keeps it in an SQLite
//! file. Places are of a file by number: a file that changed gets another number, and what was known
//! of the old one is dead at once, and swept when that is much.

#[cfg(test)]
mod memory;
mod stored;

pub use stored::{ContentMap, Counts};

use super::IndexError;
use super::key::{Key, path_of};
use farhaul_proto::path_name::RelPath;
use farhaul_sync::chunk::{ChunkId, PageId};
use farhaul_sync::version::ManifestId;

/// Places that are kept of one chunk. Some chunk may be everywhere, and a few are enough.
pub const PLACES_MAX: u32 = 8;

/// Which file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Home {
    /// The one at a path of the tree.
    Tree(RelPath),
    /// The one of that name in the version store.
    Kept(String),
    /// One that is complete and has no place in the tree yet; none to read from.
    Staged(ManifestId),
}

/// Where a chunk is, or was when somebody looked.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In which file.
    pub home: Home,
    /// Where in it, in bytes.
    pub offset: u64,
    /// How many bytes.
    pub len: u32,
}

/// A chunk of the file that is being noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct At {
    /// Its name.
    pub chunk: ChunkId,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// How many bytes it has.
    pub len: u32,
}

/// A file of which chunks are being noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileNumber(i64);

/// What the daemon needs of a chunk map. Another store can take the place of [`ContentMap`] if it
/// keeps to this:
///
/// - **Only hints.** Whoever reads a chunk at a place hashes it, and a page has the name that its
///   bytes hash to: what is said wrongly costs a read. So a map may lose anything at any time, even
///   all of it, and nothing has to be durable. Who opens the folder reads files again of whose list
///   the first page is not here; so a map that loses places of a file should lose that page as well.
/// - **One file at a time.** A number comes from [`begin`](Self::begin) and ends with one
///   [`settle`](Self::settle) or one [`abandon`](Self::abandon); what was begun before a stop and
///   not settled is abandoned by it. What is noted is found from `settle` on, at one home; a home
///   has one file, the one that was settled or moved there last.
/// - **Cheap.** All threads that read and write files share the map, one call at a time: a call takes
///   microseconds for each chunk or page that it is given, whatever the map holds, and waits for no
///   disk. Memory does not grow with what it holds. Room on the disk grows with the chunks and pages
///   of the files that are there, and what is dead takes no more than that again
///   ([`sweep`](Self::sweep)).
/// - **Never in the way.** After an error nothing more is known than before. The caller says so once
///   and goes on as if nothing were known.
pub trait ChunkMap: Send {
    /// Begins to note a file. Nobody finds it until it is [`settle`](Self::settle)d.
    ///
    /// # Errors
    /// [`IndexError`].
    fn begin(&mut self) -> Result<FileNumber, IndexError>;

    /// Notes chunks of a file, many at a time: about a thousand. Beyond [`PLACES_MAX`] of a chunk in
    /// files that are here, new ones are left out, of one call those that come last in the file.
    ///
    /// # Errors
    /// [`IndexError`]; none of them is noted.
    fn add(&mut self, file: FileNumber, chunks: &[At]) -> Result<(), IndexError>;

    /// The file that was noted is the one at `home` from now on, and has that content; what was known of
    /// another there is found no more, unless that is [`found_at`](Self::found_at) another place.
    ///
    /// # Errors
    /// [`IndexError`].
    fn settle(
        &mut self,
        file: FileNumber,
        home: &Home,
        content: ManifestId,
    ) -> Result<(), IndexError>;

    /// A file with that content, which was last known at `from`, stands at `to`. By now another one may
    /// be at `from`, which stays there: what was noted of a file whose place was taken is remembered
    /// until the next [`sweep`](Self::sweep) or start.
    ///
    /// # Errors
    /// [`IndexError`].
    fn found_at(&mut self, content: ManifestId, from: &Home, to: &Home) -> Result<(), IndexError>;

    /// What was noted of a file counts no more.
    ///
    /// # Errors
    /// [`IndexError`].
    fn abandon(&mut self, file: FileNumber) -> Result<(), IndexError>;

    /// A file went from one place to another, if it was noted; what was known of another there is
    /// dead then.
    ///
    /// # Errors
    /// [`IndexError`].
    fn moved(&mut self, from: &Home, to: &Home) -> Result<(), IndexError>;

    /// A file is gone.
    ///
    /// # Errors
    /// [`IndexError`].
    fn forget(&mut self, home: &Home) -> Result<(), IndexError>;

    /// Where a chunk may be: in the file that was begun last first, and in a file in its order.
    ///
    /// # Errors
    /// [`IndexError`].
    fn find(&self, id: ChunkId) -> Result<Vec<Place>, IndexError>;

    /// Keeps pages; each has the name that its bytes hash to.
    ///
    /// # Errors
    /// [`IndexError`]; none is kept. [`IndexError::TooLarge`] beyond
    /// [`PAGE_MAX`](farhaul_sync::limits::PAGE_MAX).
    fn add_pages(&mut self, pages: &[(PageId, Vec<u8>)]) -> Result<(), IndexError>;

    /// A page, if it is here. Who takes it in checks its name.
    ///
    /// # Errors
    /// [`IndexError`].
    fn page(&self, id: PageId) -> Result<Option<Vec<u8>>, IndexError>;

    /// Whether a page is here.
    ///
    /// # Errors
    /// [`IndexError`].
    fn has_page(&self, id: PageId) -> Result<bool, IndexError>;

    /// Forgets a page: one whose bytes are not what its name says.
    ///
    /// # Errors
    /// [`IndexError`].
    fn forget_page(&mut self, id: PageId) -> Result<(), IndexError>;

    /// Gives back the room of what nobody finds any more, if that is much by now: called after each
    /// file that was settled. What is found stays the same.
    ///
    /// # Errors
    /// [`IndexError`].
    fn sweep(&mut self) -> Result<(), IndexError>;
}

impl Home {
    pub(super) fn encode(&self) -> Vec<u8> {
        match self {
            Self::Tree(path) => [b"t", Key::of(path).as_bytes()].concat(),
            Self::Kept(name) => [b"k", name.as_bytes()].concat(),
            Self::Staged(manifest) => [&b"s"[..], &manifest.0].concat(),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("the place of a chunk");
        match bytes.split_first().ok_or_else(damaged)? {
            (b't', key) => Ok(Self::Tree(path_of(key)?)),
            (b'k', name) => String::from_utf8(name.to_vec()).map(Self::Kept).map_err(|_| damaged()),
            (b's', id) => Ok(Self::Staged(ManifestId(id.try_into().map_err(|_| damaged())?))),
            _ => Err(damaged()),
        }
    }
}

#[cfg(test)]
mod tests;
