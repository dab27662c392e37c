//! The marker of a folder, the mark that a site keeps of it, and lists of users, as whoever may write
//! there leaves them.

use super::marker::{id_of, text_of};
use super::{FolderMark, NameTable, Principals as _};

/// What a marker or a mark says is written as it was read; a user of the list has the number of its
/// line.
pub(crate) fn marker(input: &[u8]) {
    if let Ok(text) = core::str::from_utf8(input) {
        if let Some(id) = id_of(text) {
            assert_eq!(id_of(&text_of(id)), Some(id));
        }
        if let Some(mark) = FolderMark::parse(text) {
            assert_eq!(FolderMark::parse(&mark.text()), Some(mark));
        }
    }
    let table = NameTable::parse(input, input);
    for line in input.split(|&byte| byte == b'\n') {
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if let Some(id) = table.user_id(name) {
            assert!(id != u32::MAX && !name.is_empty());
            assert_eq!(table.group_id(name), Some(id));
            assert!(table.user_name(id).is_some());
        }
    }
}

/// Markers, marks and lists, good and bad.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let mark = FolderMark { id: *b"0123456789abcdef", file_system: u64::MAX };
    let marker = text_of(mark.id);
    let cut = marker[..marker.len() - 4].to_owned();
    let upper = marker.to_uppercase();
    let users = "root:x:0:0:root:/:/bin/sh\nann:x:1000:1000::/:\n:x:7:\nbig:x:4294967295:\n";
    let named = ["marker", "mark", "cut", "upper", "users"];
    let texts = [marker, mark.text(), cut, upper, users.to_owned()];
    named.into_iter().zip(texts.map(String::into_bytes)).collect()
}
