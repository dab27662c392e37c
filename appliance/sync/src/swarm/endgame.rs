//! The last chunks of a site: several holders give disjoint parts of one.
//!
//! What somebody slow has not begun is given by somebody faster, half by half; the slow one is told
//! to stop there. Nobody is asked for bytes that another one was asked for, so what comes twice is
//! at most what was sent before the word to stop arrived.

use super::Part;
use core::time::Duration;

/// So many chunks are the last ones: with more under way a site's own downlink is what is full.
pub const CHUNKS_MAX: usize = 8;
/// Givers of one chunk at most.
pub const SLICES_MAX: usize = 8;
/// A part that is shorter than this is not divided.
pub const SHORTEST: u32 = 32 << 10;
/// An ask that is younger than this is not divided.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether somebody else shall give half of a part that was asked for so long ago of somebody who needs
/// `wait` ms for all it owes, while the other one needs `load` ms for what it owes.
pub fn is_worth(aged: Duration, wait: u64, load: u64, part: Part) -> bool {
    let aged = u64::try_from(aged.as_millis()).unwrap_or(u64::MAX);
    let is_slow = aged >= u64::try_from(PATIENCE.as_millis()).unwrap_or(u64::MAX);
    is_slow && part.bytes() >= 2 * SHORTEST && load.saturating_mul(2) < wait.max(aged)
}

/// A part in two.
pub fn halves(part: Part) -> (Part, Part) {
    let middle = part.from + part.bytes() / 2;
    (Part { to: middle, ..part }, Part { from: middle, ..part })
}
