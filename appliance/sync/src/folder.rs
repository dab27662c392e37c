//! A folder at one site: for each path, what is known of it, what stands on disk, and what follows.

mod feed;
mod index;
mod item;
mod memory;
mod publish;
mod state;

pub use feed::{Fed, Feed, FeedError};
pub use index::{Admitted, Arrival, CopyOf, Index, KeptRun, RunRef};
pub use item::{FileIdentity, Found, Item, Placed, Want};
pub use memory::MemoryIndex;
pub use publish::{Observed, Publisher, Unpublished};
pub use state::{FolderState, Learned, StateError, Task};

#[cfg(test)]
mod tests;
