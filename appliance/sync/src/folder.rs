//! A folder at one site: for each path, what is known of it, what stands on disk, and what follows.

mod item;
mod publish;

pub use item::{FileIdentity, Found, Item, Placed, Want};
pub use publish::{Observed, Publisher, Unpublished};

#[cfg(test)]
mod tests;
