//! A folder at one site: for each path, what is known of it, what stands on disk, and what follows.

mod acks;
mod aside;
mod feed;
mod index;
mod item;
mod listen;
mod memory;
mod publish;
mod state;

pub use acks::{Ack, acked_by_all};
pub use aside::{Aside, Look, Why};
pub use feed::{Fed, Feed, FeedError};
pub use index::{Admitted, Arrival, CopyOf, Index, KeptRun, RunRef};
pub use item::{FileIdentity, Found, Item, Placed, Want};
pub use listen::{Heard, Listening, PATIENCE, Verdict};
pub use memory::MemoryIndex;
pub use publish::{Observed, Publisher, Unpublished};
pub use state::{ASIDE_MAX, Collected, FolderState, Learned, StateError, Task, Teller, Tombstone};

#[cfg(test)]
mod tests;
