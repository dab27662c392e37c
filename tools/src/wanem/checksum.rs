//! The Internet checksum (RFC 1071) and the pseudo-header sums of TCP and UDP over IPv4 and IPv6.
//!
//! Plain and portable: full checksums are computed only for packets that are corrupted on purpose,
//! everything else leaves through the kernel with an unfinished checksum.

/// Adds `bytes` to a running sum of big-endian 16-bit words; an odd last byte counts as the high
/// half of a word.
pub(crate) fn add(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<2>();
    let sum = words.iter().fold(sum, |sum, word| sum + u64::from(u16::from_be_bytes(*word)));
    match rest {
        [last] => sum + (u64::from(*last) << 8),
        _ => sum,
    }
}

/// Folds a running sum to 16 bits, carries included.
pub(crate) fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    u16::try_from(sum).expect("folded below 65,536 just above")
}

/// The checksum of a header whose checksum field is zero.
pub(crate) fn finish(sum: u64) -> u16 {
    !fold(sum)
}

/// The sum of the pseudo header: `addresses` are source and destination, 8 bytes for IPv4 and 32
/// for IPv6 (the two layouts add up alike).
pub(crate) fn pseudo_header(addresses: &[u8], protocol: u8, len: usize) -> u64 {
    add(0, addresses) + u64::from(protocol) + len as u64
}

/// Amends the 16-bit `field` of a packet in which `old` was replaced by `new`, both of even length
/// (RFC 1624). A field that is `unfinished` holds a sum, a finished one its complement.
pub(crate) fn amend(field: &mut [u8], old: &[u8], new: &[u8], unfinished: bool) {
    let flip = if unfinished { 0 } else { 0xffff };
    let sum = u64::from(u16::from_be_bytes([field[0], field[1]]) ^ flip);
    let gone: u64 = old.as_chunks::<2>().0.iter().map(|w| u64::from(!u16::from_be_bytes(*w))).sum();
    let sum = fold(add(sum + gone, new)) ^ flip;
    field.copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_1071_sums_as_printed() {
        let words = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(fold(add(0, &words)), 0xddf2);
    }

    #[test]
    fn an_odd_byte_counts_as_a_high_half() {
        assert_eq!(add(0, &[0x12, 0x34, 0x56]), 0x1234 + 0x5600);
    }

    #[test]
    fn a_header_with_its_checksum_sums_to_all_ones() {
        let mut header = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0, 0, 192, 168, 0, 1];
        let checksum = finish(add(0, &header));
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(fold(add(0, &header)), 0xffff);
    }
}
