//! How values lie in a row: numbers as LEB128 (DWARF 5, section 7.6), byte strings behind their
//! length, and in front of all a short hash that ties the value to its table and key.
//!
//! The hash finds what a file system without checksums would hand back unseen: a flipped bit, a row
//! of an older page, a row in the wrong place. It is no defence against whoever may write the file.

use std::sync::LazyLock;

/// Bytes of the hash in front of a value.
pub(super) const CHECK_LEN: usize = 8;
/// Bytes that say of what a hash is, in front of key and value.
const HEAD_LEN: usize = 16;
/// What is hashed in one go.
const SHORT_MAX: usize = 512;

/// Tables whose values are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Meta,
    Items,
    Versions,
    Runs,
    Heads,
    /// Numbers are hashed with the rows: 5 was another table's.
    Intents = 6,
    Kept,
    Copies,
    Keys,
    Followed,
    Looks,
    Asides,
    Acked,
    Loose,
    Shortfalls,
    Sums,
    Elsewhere,
}

fn check_of(table: Table, key: &[u8], payload: &[u8]) -> [u8; CHECK_LEN] {
    static KEY: LazyLock<[u8; 32]> =
        LazyLock::new(|| blake3::derive_key("farhaul index row v1", b""));
    let mut head = [0; HEAD_LEN];
    head[0] = table as u8;
    head[8..].copy_from_slice(&(key.len() as u64).to_le_bytes());
    let len = HEAD_LEN + key.len() + payload.len();
    let hash = if len <= SHORT_MAX {
        // A usual row is hashed in one go: setting up the other way costs more than the hash.
        let mut short = [0; SHORT_MAX];
        let (key_at, payload_at) = (HEAD_LEN, HEAD_LEN + key.len());
        short[..key_at].copy_from_slice(&head);
        short[key_at..payload_at].copy_from_slice(key);
        short[payload_at..len].copy_from_slice(payload);
        blake3::keyed_hash(&KEY, &short[..len])
    } else {
        let mut hasher = blake3::Hasher::new_keyed(&KEY);
        hasher.update(&head).update(key).update(payload);
        hasher.finalize()
    };
    let mut check = [0; CHECK_LEN];
    check.copy_from_slice(&hash.as_bytes()[..CHECK_LEN]);
    check
}

/// What stands behind the hash of a value; `None` where the hash is wrong.
pub(super) fn open<'a>(table: Table, key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (check, payload) = value.split_at_checked(CHECK_LEN)?;
    (check == check_of(table, key, payload)).then_some(payload)
}

/// A value in the making.
#[derive(Debug)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new() -> Self {
        Self(vec![0; CHECK_LEN])
    }

    /// The value as it is stored.
    pub(super) fn seal(mut self, table: Table, key: &[u8]) -> Vec<u8> {
        let check = check_of(table, key, &self.0[CHECK_LEN..]);
        self.0[..CHECK_LEN].copy_from_slice(&check);
        self.0
    }

    /// What was written, without a check: part of a value.
    pub(super) fn into_payload(self) -> Vec<u8> {
        self.0[CHECK_LEN..].to_vec()
    }

    pub(super) fn byte(&mut self, byte: u8) -> &mut Self {
        self.0.push(byte);
        self
    }

    pub(super) fn u64(&mut self, n: u64) -> &mut Self {
        self.u128(n.into())
    }

    pub(super) fn u128(&mut self, mut n: u128) -> &mut Self {
        loop {
            let [low, ..] = n.to_le_bytes();
            n >>= 7;
            if n == 0 {
                self.0.push(low & 0x7f);
                return self;
            }
            self.0.push(low | 0x80);
        }
    }

    pub(super) fn i128(&mut self, n: i128) -> &mut Self {
        // Zigzag: numbers near zero are short on both sides.
        self.u128(((n << 1) ^ (n >> 127)).cast_unsigned())
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u64(bytes.len() as u64).raw(bytes)
    }

    /// Bytes of a length that the reader knows.
    pub(super) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

/// A value on its way out. Every method is `None` where the value is not what its writer wrote.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Self(payload)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        u64::try_from(self.u128()?).ok()
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.u128()?).ok()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        u16::try_from(self.u128()?).ok()
    }

    pub(super) fn u128(&mut self) -> Option<u128> {
        // Nearly all numbers are short, times of files among them.
        let mut short = 0_u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            short |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // Nobody writes more bytes than it takes.
                return (byte != 0 || shift == 0).then_some(short.into());
            }
        }
        let mut n = u128::from(short);
        for shift in (63..128).step_by(7) {
            let byte = self.byte()?;
            let low = u128::from(byte & 0x7f);
            if (low << shift) >> shift != low {
                return None;
            }
            n |= low << shift;
            if byte & 0x80 == 0 {
                return (byte != 0).then_some(n);
            }
        }
        None
    }

    pub(super) fn i128(&mut self) -> Option<i128> {
        let n = self.u128()?;
        Some((n >> 1).cast_signed() ^ -((n & 1).cast_signed()))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.u64()?).ok()?;
        self.raw(len)
    }

    pub(super) fn raw(&mut self, len: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(bytes)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }

    pub(super) fn rest(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.0)
    }

    /// That nothing is left.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_opens_only_in_its_table_under_its_key() {
        let mut writer = Writer::new();
        writer.bytes(b"payload");
        let value = writer.seal(Table::Items, b"key");
        assert_eq!(open(Table::Items, b"key", &value), Some(&b"\x07payload"[..]));
        assert_eq!(open(Table::Runs, b"key", &value), None);
        assert_eq!(open(Table::Items, b"kez", &value), None);
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(Table::Items, b"key", &flipped), None, "bit {bit}");
        }
        assert_eq!(open(Table::Items, b"key", &value[..7]), None);
    }

    #[test]
    fn a_value_of_any_length_opens() {
        for len in [0, SHORT_MAX - 19, SHORT_MAX - 18, SHORT_MAX, 5000] {
            let mut writer = Writer::new();
            writer.raw(&vec![7; len]);
            let mut value = writer.seal(Table::Items, b"key");
            assert_eq!(open(Table::Items, b"key", &value).map(<[u8]>::len), Some(len));
            if let Some(last) = value[CHECK_LEN..].last_mut() {
                *last ^= 1;
                assert_eq!(open(Table::Items, b"key", &value), None);
            }
        }
    }

    fn read(payload: &[u8]) -> Option<u128> {
        Reader::new(payload).u128()
    }

    /// Where the short way ends, and where the numbers do.
    #[test]
    fn numbers_at_each_bound_are_read_as_they_were_written() {
        for bits in [0, 7, 14, 62, 63, 64, 70, 126, 127] {
            for n in [(1_u128 << bits) - 1, 1 << bits, (1 << bits) + 1, u128::MAX >> (127 - bits)] {
                let mut writer = Writer::new();
                let payload = writer.u128(n).byte(9);
                let payload = core::mem::replace(payload, Writer::new()).into_payload();
                let mut reader = Reader::new(&payload);
                assert_eq!(
                    (reader.u128(), reader.byte(), reader.end()),
                    (Some(n), Some(9), Some(()))
                );
                let mut narrow = Reader::new(&payload);
                assert_eq!(narrow.u64(), u64::try_from(n).ok(), "{n}");
            }
        }
    }

    #[test]
    fn a_number_of_more_bytes_than_it_takes_is_nobodys() {
        for zeros in 1..19 {
            for first in [0x80, 0x81, 0xff] {
                let padded = [&[first][..], &vec![0x80; zeros - 1], &[0]].concat();
                assert_eq!(read(&padded), None, "{padded:x?}");
            }
        }
        assert_eq!(read(&[0]), Some(0));
        assert_eq!(read(&[0x80, 1]), Some(128));
    }

    #[test]
    fn a_number_that_overflows_or_does_not_end_is_none() {
        // 18 bytes of 7 bits, and two more.
        let of = |last: u8| [&[0xff; 18][..], &[last]].concat();
        assert_eq!(read(&of(3)), Some(u128::MAX));
        for last in [4, 5, 0x7f, 0x84, 0x83, 0xff] {
            assert_eq!(read(&of(last)), None, "{last:x}");
        }
        // What overflows narrower numbers is one of its own.
        assert_eq!(Reader::new(&[0xff, 0xff, 4]).u16(), None);
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x10]).u32(), None);
        let mut beyond = [0xff; 10];
        beyond[9] = 2;
        assert_eq!(Reader::new(&beyond).u64(), None);
        for len in 0..30 {
            assert_eq!(read(&vec![0x80; len]), None, "{len} bytes that do not end");
            assert_eq!(read(&vec![0xff; len]), None, "{len} bytes that do not end");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(n: u64, wide: i128, bytes: Vec<u8>, byte: u8) {
            let mut writer = Writer::new();
            writer.u64(n).i128(wide).bytes(&bytes).byte(byte).raw(&[7; 32]);
            let payload = writer.into_payload();
            let mut reader = Reader::new(&payload);
            prop_assert_eq!(reader.u64(), Some(n));
            prop_assert_eq!(reader.i128(), Some(wide));
            prop_assert_eq!(reader.bytes(), Some(&bytes[..]));
            prop_assert_eq!(reader.byte(), Some(byte));
            prop_assert_eq!(reader.array(), Some([7; 32]));
            prop_assert_eq!(reader.end(), Some(()));
        }

        #[test]
        fn any_bytes_are_read_without_harm(payload: Vec<u8>) {
            let mut reader = Reader::new(&payload);
            while reader.end().is_none() {
                let mut other = reader;
                let _ = (other.bytes(), reader.i128());
                if reader.byte().is_none() { break }
            }
        }
    }
}
