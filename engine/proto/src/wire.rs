//! The wire vocabulary: what stands in a lane packet and in a control message, bit by bit.
//!
//! Pure codecs over byte slices; `PROTOCOL.md` is the specification they follow. Nothing here
//! opens a packet (the engine's `seal` does), keeps state between packets (`path::replay` does),
//! or decides what to send. Decoding never panics and never allocates more than its input.

pub mod carrier;
pub mod control;
pub mod feedback;
pub mod header;
pub mod number;
pub mod path;
pub mod varint;
