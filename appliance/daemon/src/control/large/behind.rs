//! What was written of a staged file and has not been given to its disk yet: the sync at the end then
//! waits for the last of it only.

use std::ops::Range;

/// So much is given at a time, in bytes: disks are at their best with some MiB, and what is in memory
/// only is what the sync has to wait for.
const ENOUGH: u64 = 8 << 20;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// From the first to the last byte that was written.
    span: Option<Range<u64>>,
    written: u64,
}

impl Behind {
    /// So many bytes were written at an offset. Returns what is to be given to the disk now: where
    /// nothing was written in between, there is nothing to give.
    pub(super) fn wrote(&mut self, offset: u64, len: u64) -> Option<Range<u64>> {
        let end = offset.saturating_add(len);
        let span = self.span.get_or_insert(offset..end);
        (span.start, span.end) = (span.start.min(offset), span.end.max(end));
        self.written = self.written.saturating_add(len);
        if self.written < ENOUGH {
            return None;
        }
        self.written = 0;
        self.span.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_written_is_given_once_there_is_enough_of_it() {
        let mut behind = Behind::default();
        assert_eq!(behind.wrote(ENOUGH, ENOUGH - 1), None);
        assert_eq!(behind.wrote(5, 1), Some(5..2 * ENOUGH - 1));
        assert_eq!(behind.wrote(100, 1), None);
        assert_eq!(behind.wrote(200, ENOUGH), Some(100..200 + ENOUGH));
    }
}
