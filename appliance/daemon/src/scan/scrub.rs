//! How files that nobody changed are read again: how often, and how fast.

use super::{ContentSink, SinkError};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::chunk::{Chunk, PageId};
use std::time::{Duration, Instant};

/// Time that was not used for reading is made up for by so much at most.
const ARREARS_MAX: Duration = Duration::from_millis(200);

/// How a folder is scrubbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScrubPlan {
    /// How long after a round began the next one does; `None`: when somebody asks for it.
    pub every: Option<Duration>,
    /// How fast the disk is read for it at most.
    pub rate: BitRate,
}

impl Default for ScrubPlan {
    fn default() -> Self {
        Self { every: Some(Duration::from_hours(30 * 24)), rate: BitRate::mbps(160) }
    }
}

/// Lets a disk do other things in between.
pub(crate) struct Pace {
    rate: BitRate,
    stop: Stop,
    /// When what was read so far was due.
    due: Instant,
}

impl Pace {
    pub(crate) fn new(rate: BitRate, stop: Stop) -> Self {
        Self { rate, stop, due: Instant::now() }
    }

    fn wait_for(&mut self, read: Bytes) {
        const STEP: Duration = Duration::from_millis(50);
        let now = Instant::now();
        let earliest = now.checked_sub(ARREARS_MAX).unwrap_or(now);
        self.due = self.due.max(earliest) + read.time_at(self.rate);
        while !self.stop.is_set() {
            let left = self.due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(STEP));
        }
    }
}

impl ContentSink for Pace {
    fn begin(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    fn chunk(&mut self, _offset: Bytes, chunk: &Chunk) -> Result<(), SinkError> {
        self.wait_for(Bytes::new(chunk.len.into()));
        Ok(())
    }

    fn page(&mut self, _id: PageId, _bytes: &[u8]) -> Result<(), SinkError> {
        Ok(())
    }
}
