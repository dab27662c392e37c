//! Which part of a run may bypass the page cache.

/// Offset, length and memory of direct I/O are multiples of this: it covers devices with 512- and
/// 4096-byte blocks. A file system that wants more answers EINVAL and is served buffered.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes at the front of a run that can go by direct I/O. Buffers begin on a page, so the offset
/// into the buffer says how the memory is aligned.
pub(super) fn direct_len(file_offset: u64, buffer_offset: usize, len: usize) -> usize {
    let aligned =
        file_offset.is_multiple_of(ALIGNMENT as u64) && buffer_offset.is_multiple_of(ALIGNMENT);
    if aligned { len - len % ALIGNMENT } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_unaligned_tail_stays_buffered() {
        assert_eq!(direct_len(8192, 4096, 10_000), 8192);
        assert_eq!(direct_len(0, 0, 4095), 0);
    }

    #[test]
    fn an_unaligned_start_keeps_everything_buffered() {
        assert_eq!(direct_len(512, 0, 1 << 20), 0);
        assert_eq!(direct_len(0, 512, 1 << 20), 0);
    }

    proptest! {
        #[test]
        fn the_direct_part_is_aligned_and_inside(file in any::<u64>(), buffer in any::<usize>(), len in any::<usize>()) {
            let direct = direct_len(file, buffer, len);
            prop_assert!(direct <= len);
            prop_assert!(direct.is_multiple_of(ALIGNMENT));
        }
    }
}
