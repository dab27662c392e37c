//! What proves content: the digest of a block and the digest of a run of blocks.
//!
//! A block digest binds the bytes to their place and length, so that a block cannot be passed
//! off as another one of the same object. It is no secret and no signature: who may state a
//! digest is decided elsewhere. Nothing here reads files or keeps state.

use crate::limits::BLOCK_DIGEST_LEN;

/// BLAKE3 digest of a block or of a run of blocks.
pub type Digest = [u8; BLOCK_DIGEST_LEN];

/// Domain of block digests. Part of the wire format and of journals on disk.
const BLOCK_CONTEXT: &str = "farhaul 2026 block v1";

/// Digest of one block: `data` as it stands at byte `offset_in_object` of its object
/// (`spec: W-073`).
///
/// BLAKE3 in key-derivation mode over `data ++ offset ++ length`, both as u64 little-endian.
pub fn block_digest(data: &[u8], offset_in_object: u64) -> Digest {
    let mut hasher = BlockHasher::new();
    hasher.update(data);
    hasher.finish(offset_in_object)
}

/// The digest of a block whose data come piece by piece; see [`block_digest`].
#[derive(Debug)]
pub struct BlockHasher {
    hasher: blake3::Hasher,
    len: u64,
}

impl BlockHasher {
    /// No data yet.
    pub fn new() -> Self {
        Self { hasher: blake3::Hasher::new_derive_key(BLOCK_CONTEXT), len: 0 }
    }

    /// The next piece. Long ones, of a power of two, are hashed fastest.
    pub fn update(&mut self, data: &[u8]) {
        self.hasher.update(data);
        self.len += data.len() as u64;
    }

    /// The digest, of a block that stands at `offset_in_object`.
    pub fn finish(mut self, offset_in_object: u64) -> Digest {
        self.hasher.update(&offset_in_object.to_le_bytes());
        self.hasher.update(&self.len.to_le_bytes());
        *self.hasher.finalize().as_bytes()
    }
}

impl Default for BlockHasher {
    fn default() -> Self {
        Self::new()
    }
}

/// Digest of a run of consecutive blocks: plain BLAKE3 over their digests, in order.
pub fn run_digest(digests: &[Digest]) -> Digest {
    *blake3::hash(digests.as_flattened()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(digest: Digest) -> String {
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Bytes 0, 1, .., 250, 0, 1, ..: the pattern of the BLAKE3 test vectors.
    fn pattern(len: usize) -> Vec<u8> {
        (0..=250u8).cycle().take(len).collect()
    }

    #[test]
    fn block_digests_are_frozen() {
        for (len, offset, frozen) in [
            (0, 0, "7eaccba3fb6dcac72d1d1eea49605209b443f263a364a410481c9e571c5fe11f"),
            (0, 1, "9770fa01602eaa7974721695daed068dc036b05ebfb62773dfa1240e444eec0a"),
            (1, 0, "e72e5c9a9c6aa22b596c201ada63a472c59b139a9fb8faf5a3787400c7492a77"),
            (1408, 1408, "855a30d25d96d05583bd0da8d9ddfae6a626f3094d78c071c230052c67c63f5c"),
            (
                343 * 4096,
                343 * 4096,
                "b822dccbdd3bb39cc69da403c71e63652fe8c7f8c684f9233f6ab7f8717b6bef",
            ),
            (
                343 * 4096,
                u64::MAX,
                "66beea7fb6c7527f84708c2d6ab1bf90b290e163ce2bfffeb3d36b660337e6bd",
            ),
        ] {
            assert_eq!(hex(block_digest(&pattern(len), offset)), frozen, "{len} at {offset}");
        }
    }

    #[test]
    fn a_block_in_pieces_has_the_digest_of_the_whole() {
        let data = pattern(300_000);
        for piece in [1000, 1 << 17, data.len()] {
            let mut hasher = BlockHasher::new();
            data.chunks(piece).for_each(|part| hasher.update(part));
            assert_eq!(hasher.finish(4096), block_digest(&data, 4096), "{piece}");
        }
    }

    #[test]
    fn run_digests_are_frozen() {
        let digests: Vec<Digest> = (0..3u64).map(|n| block_digest(b"abc", n)).collect();
        assert_eq!(
            hex(run_digest(&[])),
            "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
        );
        assert_eq!(
            hex(run_digest(&digests)),
            "1df8414767ae0b6f9ecf1c871ff04f3eb3f249bd97b0be5751a511b23d06849b"
        );
    }

    #[test]
    fn the_order_of_a_run_matters() {
        let (a, b) = (block_digest(b"a", 0), block_digest(b"b", 1));
        assert_ne!(run_digest(&[a, b]), run_digest(&[b, a]));
    }

    proptest! {
        #[test]
        fn the_same_bytes_elsewhere_have_another_digest(
            data in prop::collection::vec(any::<u8>(), 0..64), a in any::<u64>(), b in any::<u64>(),
        ) {
            prop_assert_eq!(block_digest(&data, a) == block_digest(&data, b), a == b);
        }

        #[test]
        fn trailing_zeros_change_the_digest(
            data in prop::collection::vec(any::<u8>(), 0..64), zeros in 1usize..32, at in any::<u64>(),
        ) {
            let mut longer = data.clone();
            longer.resize(data.len() + zeros, 0);
            prop_assert_ne!(block_digest(&data, at), block_digest(&longer, at));
        }
    }
}
