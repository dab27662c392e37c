//! What holds of shares, by example and by properties; each file has one part.

mod bucket;
mod deadline;
mod fill;
mod grant;
mod lease;
mod network;
mod tree;
