//! Sets against plain ones, choices against all choices, and what brains make of hostile words.

mod brains;
mod pieces;
mod sets;

use super::{About, Terms};
use std::sync::Arc;

/// A job of so many chunks of 64 KiB and one more byte each, one origin and so many takers.
fn terms(chunks: u32, takers: u16) -> Arc<Terms> {
    let site = |at: u16| About { label: at, region: 0, is_origin: at == 0 };
    let sites = (0..=takers).map(site).collect();
    Arc::new(Terms::new((0..chunks).map(|n| 65_536 + n).collect(), sites).unwrap())
}
