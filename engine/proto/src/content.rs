//! What names the content of a block.
//!
//! One digest per block, bound to where the block lies in its object, so a good block in the
//! wrong place is as visible as a bad one. Nothing is stored or compared here.

/// The BLAKE3 key-derivation context of block digests.
const BLOCK_CONTEXT: &str = "farhaul 2026 block v1";

/// The digest of a block: of its data, its offset in the object's data, and its length.
pub fn block_digest(data: &[u8], offset_in_object: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(BLOCK_CONTEXT);
    hasher.update(data);
    hasher.update(&offset_in_object.to_le_bytes());
    hasher.update(&(data.len() as u64).to_le_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_in_another_place_has_another_digest() {
        assert_ne!(block_digest(b"block", 0), block_digest(b"block", 1));
    }

    #[test]
    fn offset_and_length_cannot_pass_as_data() {
        let mut longer = b"block".to_vec();
        longer.extend_from_slice(&7u64.to_le_bytes());
        assert_ne!(block_digest(b"block", 7), block_digest(&longer, 7));
    }
}
