//! Packing of blocks with zstd: sampled first, bounded in time and memory, unpacked into a buffer
//! of exactly the right size.
//!
//! What travels is laid out by `farhaul_proto::fec`; the digest inside is that of the data, so a
//! frame that unpacks to anything else is noticed. Each thread keeps one context and one scratch
//! buffer of a block's size. It does not decide when packing pays beyond the one block: see
//! [`Effort::at`]. spec: W-117, W-118

#![forbid(unsafe_code)]

use core::sync::atomic::{AtomicU32, Ordering};
use farhaul_proto::content::{Digest, block_digest};
use farhaul_proto::fec::{
    BlockShape, PackPolicy, VerifyError, finish_packed, packed_parts, packed_shape,
};
use farhaul_proto::units::BitRate;
use std::cell::RefCell;
use std::io;
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::ResetDirective;

/// Bytes from the middle of a block that are packed to see whether the rest is worth it.
const SAMPLE: usize = 64 << 10;
/// A sample has to shrink by a tenth, or the block goes as it is.
const SAMPLE_GAIN: usize = 10;
/// A packed block has to save a sixteenth of its data.
const BLOCK_GAIN: usize = 16;
/// Blocks of an object in a row that did not pack, after which most are not even sampled.
const MISSES_MAX: u32 = 4;
/// Then one block in this many is.
const MISSES_SAMPLED: u32 = 16;

/// How hard zstd tries: one of its levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Effort(i32);

impl Effort {
    /// What a path of this rate leaves time for; nothing where packing would be slower than
    /// sending. A thread packs text at 4 Gbit/s with level 1, 1.5 with level 3 and 0.5 with
    /// level 6, and what it packs is two to four times what then travels.
    pub(crate) const fn at(rate: BitRate, policy: PackPolicy) -> Option<Self> {
        match policy {
            PackPolicy::Off => None,
            _ if rate.get() <= BitRate::mbps(50).get() => Some(Self(6)),
            _ if rate.get() <= BitRate::mbps(300).get() => Some(Self(3)),
            PackPolicy::Auto if rate.get() > BitRate::mbps(2000).get() => None,
            PackPolicy::Auto | PackPolicy::Always => Some(Self(1)),
        }
    }
}

/// How the blocks of one object have packed so far.
#[derive(Debug, Default)]
pub(crate) struct Experience {
    /// Blocks in a row that did not.
    misses: AtomicU32,
}

impl Experience {
    /// True when the next block is worth a sample.
    fn is_worth_a_sample(&self) -> bool {
        let misses = self.misses.load(Ordering::Relaxed);
        misses < MISSES_MAX || misses.is_multiple_of(MISSES_SAMPLED)
    }

    fn note(&self, packed: bool) {
        if packed {
            self.misses.store(0, Ordering::Relaxed);
        } else {
            self.misses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What a thread packs with.
struct Kit {
    packer: Compressor<'static>,
    unpacker: Decompressor<'static>,
    scratch: Vec<u8>,
}

thread_local! {
    static KIT: RefCell<Option<Kit>> = const { RefCell::new(None) };
}

impl Kit {
    fn new() -> io::Result<Self> {
        let packer = Compressor::new(1)?;
        Ok(Self { packer, unpacker: Decompressor::new()?, scratch: Vec::new() })
    }

    /// Packs `data` into the scratch buffer if that takes at most `len_max` bytes.
    fn pack(&mut self, data: &[u8], effort: Effort, len_max: usize) -> Option<&[u8]> {
        // A block that did not fit into its bound has left the context in the middle of a frame.
        self.packer.context_mut().reset(ResetDirective::SessionOnly).ok()?;
        self.packer.set_compression_level(effort.0).ok()?;
        self.scratch.resize(len_max, 0);
        let len = self.packer.compress_to_buffer(data, self.scratch.as_mut_slice()).ok()?;
        self.scratch.get(..len)
    }

    /// True when a piece of `data` gives hope for the rest.
    fn promises(&mut self, data: &[u8]) -> bool {
        let start = data.len().saturating_sub(SAMPLE) / 2;
        let sample = &data[start..data.len().min(start + SAMPLE)];
        self.pack(sample, Effort(1), sample.len() - sample.len() / SAMPLE_GAIN).is_some()
    }
}

/// Runs `act` with this thread's kit; nothing where zstd gets no memory.
fn with_kit<T>(act: impl FnOnce(&mut Kit) -> T) -> Option<T> {
    KIT.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Kit::new().ok();
        }
        slot.as_mut().map(act)
    })
}

/// Packs the block of shape `plain` whose data stands at the start of `buffer`, if that saves
/// symbols. Returns the shape of what then stands there; `None` leaves the buffer as it was.
pub(crate) fn pack_block(
    plain: BlockShape,
    buffer: &mut [u8],
    digest: &Digest,
    effort: Effort,
    experience: &Experience,
) -> Option<BlockShape> {
    if !experience.is_worth_a_sample() {
        experience.note(false);
        return None;
    }
    let shape = with_kit(|kit| {
        let data = &buffer[..plain.data_len()];
        if data.len() > 2 * SAMPLE && !kit.promises(data) {
            return None;
        }
        let frame = kit.pack(data, effort, data.len() - data.len() / BLOCK_GAIN)?;
        let shape = packed_shape(frame.len(), plain.symbol_size()).ok()?;
        (shape.symbols() < plain.symbols()).then(|| {
            finish_packed(shape, buffer, frame, digest);
            shape
        })
    });
    let shape = shape.flatten();
    experience.note(shape.is_some());
    shape
}

/// Why a packed block is not what its sender meant.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnpackError {
    /// Its parts do not fit, or the data is not that of its digest.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The frame is not one, or its data has another length.
    #[error("the frame of a packed block does not hold {needed} bytes")]
    Frame {
        /// Bytes that the block has.
        needed: usize,
    },
    /// No memory to unpack with.
    #[error("no memory to unpack with")]
    NoMemory,
}

/// Unpacks complete source symbols into the `data_len` bytes at the start of `buffer`, if they
/// hold exactly that much with the right digest; else the buffer is as it was.
///
/// # Errors
/// [`UnpackError`]
pub(crate) fn unpack_block(
    shape: BlockShape,
    buffer: &mut [u8],
    data_len: usize,
    offset_in_object: u64,
) -> Result<Digest, UnpackError> {
    let unpacked = with_kit(|kit| {
        let (frame, digest) = packed_parts(shape, buffer)?;
        kit.scratch.resize(data_len, 0);
        let scratch = kit.scratch.as_mut_slice();
        let len = kit.unpacker.decompress_to_buffer(frame, scratch);
        if !len.is_ok_and(|len| len == data_len) || buffer.len() < data_len {
            return Err(UnpackError::Frame { needed: data_len });
        }
        if block_digest(scratch, offset_in_object) != digest {
            return Err(VerifyError::Digest.into());
        }
        buffer[..data_len].copy_from_slice(scratch);
        Ok(digest)
    });
    unpacked.unwrap_or(Err(UnpackError::NoMemory))
}

/// Endings of names whose files are packed already; small letters.
const PACKED_ENDINGS: &[&str] = &[
    "7z", "aac", "apk", "avi", "avif", "br", "bz2", "cr2", "deb", "docx", "epub", "flac", "gif",
    "gz", "heic", "jar", "jp2", "jpeg", "jpg", "jxl", "lz4", "lzma", "m4a", "m4v", "mkv", "mov",
    "mp3", "mp4", "mpg", "odp", "ods", "odt", "ogg", "opus", "png", "pptx", "rar", "rpm", "tgz",
    "txz", "webm", "webp", "whl", "wmv", "xlsx", "xz", "zip", "zst",
];

/// True when the name says that the file is packed already: media and archives.
pub(crate) fn is_packed_name(name: &[u8]) -> bool {
    let Some(dot) = name.iter().rposition(|&byte| byte == b'.') else { return false };
    let ending = name[dot + 1..].to_ascii_lowercase();
    core::str::from_utf8(&ending).is_ok_and(|ending| PACKED_ENDINGS.binary_search(&ending).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::fec::finish_source;
    use farhaul_proto::units::Bytes;
    use proptest::prelude::*;

    const SIZE: u16 = 1408;

    fn text(len: usize) -> Vec<u8> {
        (0u32..)
            .flat_map(|n| format!("line {n} of a log that says little\n").into_bytes())
            .take(len)
            .collect()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut out);
        out
    }

    /// A buffer with a finished block of `data` at its start.
    fn block(data: &[u8]) -> (BlockShape, Vec<u8>, Digest) {
        let shape = BlockShape::new(Bytes::of_len(data.len()), SIZE).expect("a block");
        let mut buffer = vec![0; shape.source_len()];
        buffer[..data.len()].copy_from_slice(data);
        let digest = finish_source(shape, &mut buffer, 7);
        (shape, buffer, digest)
    }

    fn pack(data: &[u8], experience: &Experience) -> (Option<BlockShape>, Vec<u8>) {
        let (plain, mut buffer, digest) = block(data);
        (pack_block(plain, &mut buffer, &digest, Effort(1), experience), buffer)
    }

    #[test]
    fn text_travels_packed_and_comes_out_as_it_was() {
        let data = text(1_300_000);
        let (shape, mut buffer) = pack(&data, &Experience::default());
        let shape = shape.expect("text packs");
        assert!(shape.symbols() < 998 / 3, "{}", shape.symbols());
        let (.., digest) = block(&data);
        assert_eq!(unpack_block(shape, &mut buffer, data.len(), 7).expect("whole"), digest);
        assert_eq!(buffer[..data.len()], data);
    }

    #[test]
    fn noise_travels_as_it_is() {
        let data = noise(1_300_000);
        let (_, before, _) = block(&data);
        let (shape, buffer) = pack(&data, &Experience::default());
        assert_eq!(shape, None);
        assert_eq!(buffer, before);
    }

    #[test]
    fn an_object_that_does_not_pack_is_sampled_less_and_noticed_when_it_does_again() {
        let experience = Experience::default();
        let (noise, text) = (noise(200_000), text(200_000));
        (0..MISSES_MAX).for_each(|_| assert_eq!(pack(&noise, &experience).0, None));
        let tries = (0..2 * MISSES_SAMPLED).filter(|_| pack(&text, &experience).0.is_some());
        assert!(tries.count() > 0);
        assert!(pack(&text, &experience).0.is_some(), "after one that packed, all are tried");
    }

    #[test]
    fn a_packed_block_that_was_changed_is_refused_and_left_alone() {
        let data = text(300_000);
        let (shape, buffer) = pack(&data, &Experience::default());
        let shape = shape.expect("text packs");
        for at in [0, 3, 4, 60, shape.source_len() / 2] {
            let mut changed = buffer.clone();
            changed[at] ^= 0x10;
            let before = changed.clone();
            assert!(unpack_block(shape, &mut changed, data.len(), 7).is_err(), "byte {at}");
            assert_eq!(changed, before);
        }
        for (len, offset) in [(data.len() - 1, 7), (data.len() + 1, 7), (data.len(), 8)] {
            assert!(unpack_block(shape, &mut buffer.clone(), len, offset).is_err());
        }
    }

    #[test]
    fn a_frame_that_says_it_holds_more_than_its_block_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).expect("a frame");
        let shape = packed_shape(bomb.len(), SIZE).expect("it is small");
        let mut buffer = vec![0; 2 << 20];
        finish_packed(shape, &mut buffer, &bomb, &[0; 32]);
        assert!(unpack_block(shape, &mut buffer, 1_400_000, 0).is_err());
    }

    #[test]
    fn media_and_archives_are_known_by_their_names() {
        assert!(PACKED_ENDINGS.is_sorted());
        for name in ["a.jpg", "A.JPG", "x.tar.gz", "b/c.MP4"] {
            assert!(is_packed_name(name.as_bytes()), "{name}");
        }
        for name in ["a.txt", "jpg", "x.gz.tar", "", ".", "a.\u{fffd}"] {
            assert!(!is_packed_name(name.as_bytes()), "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_block_that_packs_unpacks(
            piece in proptest::collection::vec(any::<u8>(), 1..300), times in 1usize..400,
        ) {
            let data = piece.repeat(times);
            let (shape, mut buffer) = pack(&data, &Experience::default());
            if let Some(shape) = shape {
                prop_assert!(unpack_block(shape, &mut buffer, data.len(), 7).is_ok());
                prop_assert_eq!(&buffer[..data.len()], &data[..]);
            }
        }

        #[test]
        fn any_bytes_are_refused_as_a_packed_block(
            bytes in proptest::collection::vec(any::<u8>(), 64..2000),
        ) {
            let shape = packed_shape(bytes.len() - 36, 64).expect("small");
            let mut buffer = bytes;
            buffer.resize(shape.source_len().max(5000), 0);
            prop_assert!(unpack_block(shape, &mut buffer, 5000, 0).is_err());
        }
    }
}
