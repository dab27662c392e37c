//! A folder at one site: for each path, what is known of it, what stands on disk, and what follows.

mod acks;
mod aside;
mod brake;
mod feed;
mod index;
mod item;
mod listen;
mod memory;
mod policy;
mod publish;
mod state;

pub use acks::{Ack, acked_by_all};
pub use aside::{Aside, Look, Why};
pub use brake::{Brake, Limits as BrakeLimits, Load, Origin, Trip};
pub use feed::{Fed, Feed, FeedError};
pub use index::{Admitted, Arrival, CopyOf, Index, KeptRun, RunRef};
pub use item::{FileIdentity, Found, Item, Placed, Want};
pub use listen::{Heard, Listening, PATIENCE, Verdict};
pub use memory::MemoryIndex;
pub use policy::{Policy, Rights, Role};
pub use publish::{Observed, Publisher, Unpublished};
pub use state::{ASIDE_MAX, Collected, FolderState, Learned, StateError, Task, Teller, Tombstone};

#[cfg(test)]
mod tests;
