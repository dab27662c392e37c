//! The records that fanotify gives, read from bytes.
//!
//! They come from the kernel, and are checked all the same: a length that leads out of the buffer, or
//! another version, is an error and no guess. Records are aligned to 4 bytes and their fields wider,
//! so every number is read byte by byte.

/// `FANOTIFY_METADATA_VERSION`.
const VERSION: u8 = 3;
/// Bytes of `struct fanotify_event_metadata`.
const HEAD_LEN: usize = 24;
/// Bytes of `struct fanotify_event_info_header` and of the file system's id behind it.
const INFO_LEN: usize = 4 + 8;
/// Bytes before those of a handle: their number and its type.
const HANDLE_HEAD_LEN: usize = 8;
/// `MAX_HANDLE_SZ`.
const HANDLE_MAX: usize = crate::sys::fanotify::HANDLE_MAX;

/// Bytes that are no records; the version of the kernel is at fault, or this program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the kernel's record of a change cannot be read: {0}")]
pub struct BadRecord(&'static str);

/// What happened, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct What(u64);

impl What {
    /// What is asked for.
    pub(super) const HEARD: u64 = libc::FAN_CREATE
        | libc::FAN_DELETE
        | libc::FAN_RENAME
        | libc::FAN_MODIFY
        | libc::FAN_CLOSE_WRITE
        | libc::FAN_ATTRIB
        | libc::FAN_ONDIR;

    const fn has(self, bits: u64) -> bool {
        self.0 & bits != 0
    }

    /// To a directory.
    pub const fn is_dir(self) -> bool {
        self.has(libc::FAN_ONDIR)
    }

    /// It came, or went.
    pub const fn is_entry(self) -> bool {
        self.has(libc::FAN_CREATE | libc::FAN_DELETE)
    }

    /// It was written to.
    pub const fn is_written(self) -> bool {
        self.has(libc::FAN_MODIFY)
    }

    /// Who wrote it closed it, which may have been before it was written to again.
    pub const fn is_closed(self) -> bool {
        self.has(libc::FAN_CLOSE_WRITE)
    }
}

/// A directory, whatever it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handle<'a> {
    /// How the file system reads it.
    pub kind: i32,
    /// At most 128 bytes.
    pub bytes: &'a [u8],
}

/// A name in a directory; `.` is the directory itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The directory.
    pub dir: Handle<'a>,
    /// Neither empty nor with a slash.
    pub name: &'a [u8],
}

/// One thing that happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    /// Too much happened at once: some of it is not told.
    Overflow,
    /// Something happened at a name. Several things may be told as one.
    Changed {
        /// What.
        what: What,
        /// Where.
        at: Entry<'a>,
    },
    /// Something has another name. A side that the kernel does not show is `None`.
    Renamed {
        /// Whether it is a directory.
        is_dir: bool,
        /// What it was called.
        from: Option<Entry<'a>>,
        /// What it is called.
        to: Option<Entry<'a>>,
    },
    /// Something that says nothing of a name.
    Nameless,
}

/// Records, one after the other; ends behind the first that cannot be read.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    rest: &'a [u8],
}

impl<'a> Records<'a> {
    /// Of what was read from the kernel at once.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn record(&mut self) -> Result<Record<'a>, BadRecord> {
        let head = self.rest.get(..HEAD_LEN).ok_or(BadRecord("it is cut off"))?;
        let len = usize::try_from(u32_at(head, 0)).unwrap_or(usize::MAX);
        let infos_at = usize::from(u16::from_ne_bytes([head[6], head[7]]));
        if head[4] != VERSION {
            return Err(BadRecord("it is of another version"));
        }
        let infos = self.rest.get(infos_at..len).filter(|_| infos_at >= HEAD_LEN);
        let infos = infos.ok_or(BadRecord("its length is wrong"))?;
        let (low, high) = (u64::from(u32_at(head, 8)), u64::from(u32_at(head, 12)));
        let mask = if cfg!(target_endian = "little") { low | high << 32 } else { high | low << 32 };
        self.rest = self.rest.get(len..).unwrap_or_default();
        let what = What(mask);
        if what.has(libc::FAN_Q_OVERFLOW) {
            return Ok(Record::Overflow);
        }
        let (mut at, mut from, mut to) = (None, None, None);
        let mut infos = infos;
        while !infos.is_empty() {
            let (kind, entry, rest) = info(infos)?;
            match kind {
                libc::FAN_EVENT_INFO_TYPE_DFID_NAME => at = entry,
                libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME => from = entry,
                libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME => to = entry,
                _ => {}
            }
            infos = rest;
        }
        Ok(match at {
            _ if what.has(libc::FAN_RENAME) => Record::Renamed { is_dir: what.is_dir(), from, to },
            Some(at) => Record::Changed { what, at },
            None => Record::Nameless,
        })
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_err() {
            self.rest = &[];
        }
        Some(record)
    }
}

/// One piece of what a record says: its type, the name if it is such a piece, and what follows.
type Info<'a> = (u8, Option<Entry<'a>>, &'a [u8]);

fn info(infos: &[u8]) -> Result<Info<'_>, BadRecord> {
    let head = infos.get(..4).ok_or(BadRecord("a piece of it is cut off"))?;
    let (kind, len) = (head[0], usize::from(u16::from_ne_bytes([head[2], head[3]])));
    let is_long_enough = len >= 4;
    let own = infos.get(..len).filter(|_| is_long_enough);
    let own = own.ok_or(BadRecord("the length of a piece is wrong"))?;
    let rest = &infos[len..];
    let has_name = matches!(
        kind,
        libc::FAN_EVENT_INFO_TYPE_DFID_NAME
            | libc::FAN_EVENT_INFO_TYPE_OLD_DFID_NAME
            | libc::FAN_EVENT_INFO_TYPE_NEW_DFID_NAME
    );
    Ok((kind, if has_name { Some(entry(own)?) } else { None }, rest))
}

fn entry(info: &[u8]) -> Result<Entry<'_>, BadRecord> {
    let handle = info.get(INFO_LEN..).filter(|rest| rest.len() >= HANDLE_HEAD_LEN);
    let handle = handle.ok_or(BadRecord("a handle is cut off"))?;
    let len = usize::try_from(u32_at(handle, 0)).unwrap_or(usize::MAX);
    let kind = u32_at(handle, 4).cast_signed();
    let behind = &handle[HANDLE_HEAD_LEN..];
    let bytes = behind.get(..len).filter(|bytes| bytes.len() <= HANDLE_MAX);
    let bytes = bytes.ok_or(BadRecord("the length of a handle is wrong"))?;
    let name = behind[len..].split(|byte| *byte == 0).next().unwrap_or_default();
    let has_end = name.len() < behind.len() - len;
    if name.is_empty() || name.contains(&b'/') || !has_end {
        return Err(BadRecord("a name is none"));
    }
    Ok(Entry { dir: Handle { kind, bytes }, name })
}

/// The number at a place that is there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_ne_bytes(number)
}
