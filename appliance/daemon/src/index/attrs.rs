//! Access control lists and extended attributes, as they lie in a row.

use super::codec::{Reader, Writer};
use farhaul_sync::version::{Acl, Attrs, Unsaid, Who};
use std::collections::BTreeMap;

/// In the place of a count: what is counted is not said.
const UNSAID: u16 = u16::MAX;

pub(super) fn write(writer: &mut Writer, attrs: &Attrs) {
    let Attrs { access, default, xattrs, unsaid } = attrs;
    for (list, is_unsaid) in [(access, unsaid.access), (default, unsaid.default)] {
        if is_unsaid {
            writer.u64(UNSAID.into());
            continue;
        }
        let entries = list.as_ref().map(Acl::entries).unwrap_or_default();
        writer.u64(entries.len() as u64);
        for (who, perms) in entries {
            let (tag, name): (u8, &[u8]) = match who {
                Who::Owner => (0, b""),
                Who::User(name) => (1, name),
                Who::OwningGroup => (2, b""),
                Who::Group(name) => (3, name),
                Who::Mask => (4, b""),
                Who::Other => (5, b""),
            };
            writer.byte(tag).byte(*perms).bytes(name);
        }
    }
    writer.u64(if unsaid.xattrs { UNSAID.into() } else { xattrs.len() as u64 });
    for (name, value) in xattrs {
        writer.bytes(name).bytes(value);
    }
}

pub(super) fn read(reader: &mut Reader<'_>) -> Option<Attrs> {
    let mut unsaid = Unsaid::default();
    let access = read_list(reader, &mut unsaid.access)?;
    let default = read_list(reader, &mut unsaid.default)?;
    let mut xattrs = BTreeMap::new();
    let count = reader.u16()?;
    unsaid.xattrs = count == UNSAID;
    for _ in 0..if unsaid.xattrs { 0 } else { count } {
        xattrs.insert(reader.bytes()?.into(), reader.bytes()?.into());
    }
    Some(Attrs { access, default, xattrs, unsaid }).filter(Attrs::fits)
}

/// `None`: it cannot be read.
#[expect(clippy::option_option, reason = "whether it can be read, and whether there is one")]
fn read_list(reader: &mut Reader<'_>, is_unsaid: &mut bool) -> Option<Option<Acl>> {
    let count = reader.u16()?;
    *is_unsaid = count == UNSAID;
    if count == 0 || *is_unsaid {
        return Some(None);
    }
    let mut entries = Vec::new();
    for _ in 0..count {
        let (tag, perms, name) = (reader.byte()?, reader.byte()?, reader.bytes()?);
        let who = match tag {
            0 => Who::Owner,
            1 => Who::User(name.into()),
            2 => Who::OwningGroup,
            3 => Who::Group(name.into()),
            4 => Who::Mask,
            5 => Who::Other,
            _ => return None,
        };
        entries.push((who, perms));
    }
    Acl::new(entries).map(Some)
}
