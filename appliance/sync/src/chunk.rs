//! Content: how the bytes of a file become chunks, and the chunks a manifest whose name is the
//! name of the content.
//!
//! Everything here is a function of bytes and of the folder's key alone: two sites that hold the
//! same bytes in one folder give them the same chunks and the same [`ManifestId`], whatever holes,
//! block sizes or history their files have. Reading files is the body's business; this room gets
//! slices ([`Cutter`]) and gives pages ([`ManifestBuilder`]) that a receiver checks one by one
//! ([`ManifestReader`]).
//!
//! [`ManifestId`]: crate::version::ManifestId

mod build;
mod class;
mod cut;
mod holes;
mod key;
mod page;
mod read;

pub use build::{Manifest, ManifestBuilder};
pub use class::SizeClass;
pub use cut::{Cut, Cutter};
pub use holes::{Hole, Holes, HolesError};
pub use key::{ChunkId, ContentKeys, PageId};
pub use page::{Child, Chunk, Entry, FORM, Page, PageError};
pub use read::{Leaf, ManifestReader};

#[cfg(test)]
mod tests;
