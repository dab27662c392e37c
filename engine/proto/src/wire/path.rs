//! The payload of a challenge to an address, and of its answer: 64 bits, then zeros up to the size
//! that a path must carry. spec: W-101

use crate::limits::{PLAIN_HEADER_LEN, TAG_LEN};
use crate::wire::header::PATH_DATAGRAM_MIN;

/// Length of the payload that makes the shortest allowed datagram.
pub const PATH_PAYLOAD_LEN: usize = PATH_DATAGRAM_MIN - PLAIN_HEADER_LEN - TAG_LEN;

/// Appends a payload with `token` to `out`.
pub fn encode_into(token: u64, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&token.to_be_bytes());
    out.resize(start + PATH_PAYLOAD_LEN, 0);
}

/// The token of a payload; `None` if it is too short for one. What follows it means nothing.
pub fn decode(payload: &[u8]) -> Option<u64> {
    payload.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_and_scraps_have_none() {
        let mut out = vec![9];
        encode_into(0x0102_0304_0506_0708, &mut out);
        assert_eq!((out.len(), out[1], out[8]), (1 + PATH_PAYLOAD_LEN, 1, 8));
        assert_eq!(decode(&out[1..]), Some(0x0102_0304_0506_0708));
        assert_eq!(decode(&[1; 7]), None);
    }
}
