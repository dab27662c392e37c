//! Versions, paths and sites as the API tells them.

use crate::index::{Kept, Kind};
use crate::moment::{text_of_file, text_of_millis, text_of_secs};
use farhaul_api::{ItemKind, KeptVersion, SiteRef, TreePath, VersionInfo};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Aside;
use farhaul_sync::record::Record;
use farhaul_sync::version::{Author, Content, Dot, Incarnation, Serial, Version};

/// A number of things in words.
pub(crate) fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// A path as text.
pub(crate) fn text_of(path: &RelPath) -> TreePath {
    TreePath::from_bytes(path.as_bytes())
}

/// A site; what it is called is added where names are known.
pub(crate) fn site(id: SiteId) -> SiteRef {
    SiteRef { name: None, id: id.to_string() }
}

/// A version.
pub(crate) fn version(version: &Version) -> VersionInfo {
    let (kind, size, target) = match &version.content {
        Content::Gone => (ItemKind::Gone, None, None),
        Content::Dir => (ItemKind::Dir, None, None),
        Content::Symlink { target } => (ItemKind::Link, None, Some(TreePath::from_bytes(target))),
        Content::File { size, .. } => (ItemKind::File, Some(size.get()), None),
    };
    let is_dated = matches!(kind, ItemKind::Link | ItemKind::File);
    VersionInfo {
        author: site(version.dot.author.site),
        serial: version.dot.serial.get(),
        made: text_of_millis(version.stamp.millis),
        kind,
        size,
        target,
        mode: version.meta.mode,
        modified: is_dated.then(|| text_of_file(version.meta.mtime)),
    }
}

/// The name of a version: who made it, in which life of its index, as the how manyth.
pub(crate) fn dot(dot: Dot) -> String {
    let Author { site, incarnation } = dot.author;
    format!("{site}-{:x}-{}", incarnation.get(), dot.serial.get())
}

/// The other way round; `None` if it is none.
pub(crate) fn dot_of(text: &str) -> Option<Dot> {
    let mut parts = text.split('-');
    let site = parts.next()?.parse().ok()?;
    let incarnation = Incarnation::new(u64::from_str_radix(parts.next()?, 16).ok()?);
    let serial = Serial::new(parts.next()?.parse().ok()?)?;
    let dot = Dot { author: Author { site, incarnation }, serial };
    parts.next().is_none().then_some(dot)
}

/// The version of a record that is set aside.
pub(crate) fn aside(aside: &Aside) -> Option<VersionInfo> {
    let (_, bytes) = aside.run.records.first()?;
    Record::decode(bytes).ok().map(|record| version(&record.version))
}

/// Something in the version store.
pub(crate) fn kept(kept: &Kept) -> KeptVersion {
    KeptVersion {
        name: kept.name.clone(),
        kind: kind(kept.kind),
        size: kept.size,
        displaced: text_of_secs(kept.at_secs),
        version: kept.version.as_ref().map(version),
    }
}

const fn kind(kind: Kind) -> ItemKind {
    match kind {
        Kind::Dir => ItemKind::Dir,
        Kind::Symlink => ItemKind::Link,
        Kind::File => ItemKind::File,
    }
}
