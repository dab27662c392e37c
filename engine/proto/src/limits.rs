//! Every bound of the protocol, named in one place, with the relations between them asserted.

use crate::units::Bytes;
use core::time::Duration;

/// Symbol payload where the path carries 1500-byte packets (22 x 64 bytes, fits IPv4 and IPv6).
pub const SYMBOL_SIZE: u16 = 1408;
/// Symbol payload where the path is not known to carry more than 1280-byte packets.
pub const SYMBOL_SIZE_SMALL: u16 = 1152;
/// Symbol payload where the path carries 9000-byte packets (139 x 64 bytes).
pub const SYMBOL_SIZE_JUMBO: u16 = 8896;
/// Every symbol size in use, smallest first.
pub const SYMBOL_SIZES: [u16; 3] = [SYMBOL_SIZE_SMALL, SYMBOL_SIZE, SYMBOL_SIZE_JUMBO];
/// Header of a data packet before its payload, in bytes.
pub const DATA_HEADER_LEN: usize = 21;
/// Header of every other lane packet before its payload, in bytes.
pub const PLAIN_HEADER_LEN: usize = 14;
/// AEAD tag, in bytes.
pub const TAG_LEN: usize = 16;
/// UDP and IPv4 header in front of every packet; rates are counted at IP level.
pub const UDP_IP_OVERHEAD: u64 = 28;
/// The largest datagram payload a lane produces or accepts.
pub const DATAGRAM_MAX: usize = 8933;

/// Data bytes of a full block: 343 pages, so runs on disk stay page-aligned.
pub const BLOCK_DATA: Bytes = Bytes::new(343 * 4096);
/// BLAKE3 digest that follows the data of a block inside its last source symbols.
pub const BLOCK_DIGEST_LEN: usize = 32;
/// Largest number of source symbols of a block.
pub const BLOCK_SYMBOLS_MAX: u32 = 4096;
/// Encoding symbol ids have 24 bits (RFC 6330 section 3.2).
pub const SYMBOL_ID_END: u32 = 1 << 24;
/// Source symbols of a packed block: what 11 bits of its header can name.
pub const PACKED_SYMBOLS_MAX: u16 = (1 << 11) - 1;
/// Encoding symbol ids of a packed block have 13 bits.
pub const PACKED_SYMBOL_ID_END: u32 = 1 << 13;
/// Repair symbols that a receiver keeps for one block; more are dropped and counted.
pub const BLOCK_REPAIR_MAX: u32 = 1024;
/// Repair symbols that a receiver keeps for all open blocks of a session (11 MiB).
pub const SESSION_REPAIR_MAX: u32 = 8192;
/// Largest object, in bytes.
pub const OBJECT_MAX: Bytes = Bytes::new(1 << 50);

/// Largest control message.
pub const CONTROL_MESSAGE_MAX: usize = 16 << 20;
/// Largest manifest that rides inside an offer; larger ones travel as an object.
pub const INLINE_MANIFEST_MAX: usize = 32 << 10;
/// Longest path in a manifest.
pub const PATH_MAX: usize = 4096;
/// Longest component of a path.
pub const COMPONENT_MAX: usize = 255;
/// Deepest nesting of directories.
pub const DEPTH_MAX: usize = 256;
/// Longest symlink target.
pub const SYMLINK_TARGET_MAX: usize = 4095;

/// Packets under one key, after which a sender takes the next (`PROTOCOL.md` W-023).
pub const PACKETS_PER_EPOCH: u64 = 1 << 22;
/// Packets under one key that are never exceeded: what AES-GCM allows whatever their size (RFC 9001
/// appendix B.1).
pub const PACKETS_PER_KEY_MAX: u64 = 1 << 23;
/// Bytes under one key, after which a sender takes the next.
pub const BYTES_PER_EPOCH: Bytes = Bytes::new(16 << 30);
/// Age of a key, after which a sender takes the next.
pub const EPOCH_AGE_MAX: Duration = Duration::from_secs(120);
/// How many epochs ahead of the newest authentic packet a packet is tried. No loss spans a whole
/// epoch, so 2 is generous; each costs a derivation that anyone can provoke.
pub const EPOCHS_AHEAD_MAX: u64 = 2;
/// Failed opens after which a session is closed (RFC 9001 section 6.6 allows 2^52 for GCM).
pub const FORGERY_LIMIT: u64 = 1 << 36;
/// Failed opens of which the operator is told: no broken link makes so many.
pub const FORGERY_ALARM: u64 = 1_000_000;
/// Packets remembered by the replay window of a lane: 100 ms at 10 Gbit/s.
pub const REPLAY_WINDOW: u64 = 131_072;
/// Packets up to the largest that a report proves to have arrived: what the replay window tells
/// apart.
pub const PROOF_WINDOW: u64 = REPLAY_WINDOW;
/// What a report leaves unsaid ends at a multiple of this, so that a receiver keeps one sum for so
/// many packets.
pub const PROOF_STEP: u64 = 64;

/// Shortest spacing of feedback.
pub const FEEDBACK_MIN: Duration = Duration::from_millis(5);
/// Longest spacing of feedback while data arrives.
pub const FEEDBACK_MAX: Duration = Duration::from_millis(25);
/// Largest feedback payload.
pub const FEEDBACK_LEN_MAX: usize = 1350;
/// Longest train of packets reported for dispersion.
pub const TRAIN_PACKETS_MAX: u32 = 64;

const _: () = {
    assert!(DATA_HEADER_LEN + SYMBOL_SIZE_JUMBO as usize + TAG_LEN == DATAGRAM_MAX);
    assert!(DATAGRAM_MAX as u64 + UDP_IP_OVERHEAD + 20 <= 9000);
    assert!(SYMBOL_SIZES[0] < SYMBOL_SIZES[1] && SYMBOL_SIZES[1] < SYMBOL_SIZES[2]);
    assert!(FEEDBACK_LEN_MAX + PLAIN_HEADER_LEN + TAG_LEN <= DATAGRAM_MAX);
    let source = BLOCK_DATA.get() + BLOCK_DIGEST_LEN as u64;
    assert!(source.div_ceil(SYMBOL_SIZE_SMALL as u64) <= BLOCK_SYMBOLS_MAX as u64);
    assert!(BLOCK_SYMBOLS_MAX + BLOCK_REPAIR_MAX < SYMBOL_ID_END);
    assert!(PACKED_SYMBOLS_MAX as u32 + BLOCK_REPAIR_MAX < PACKED_SYMBOL_ID_END);
    assert!(REPLAY_WINDOW < PACKETS_PER_EPOCH);
    assert!(PACKETS_PER_EPOCH < PACKETS_PER_KEY_MAX);
    assert!(PROOF_WINDOW.is_multiple_of(PROOF_STEP));
};
