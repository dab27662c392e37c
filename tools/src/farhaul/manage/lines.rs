//! Answers as lines for people.

use farhaul_api::{ItemKind, SiteRef, VersionInfo};
use farhaul_proto::units::Bytes;

/// A length.
pub(super) fn size(bytes: u64) -> String {
    Bytes::new(bytes).to_string()
}

/// A number of things in words.
pub(super) fn count(number: u64, one: &str, more: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { more })
}

/// What a site is called, or its id.
pub(super) fn site(site: &SiteRef) -> &str {
    site.name.as_deref().unwrap_or(&site.id)
}

/// A version in a few words.
pub(super) fn version(version: &VersionInfo) -> String {
    let what = match (version.kind, version.size, &version.target) {
        (ItemKind::Gone, ..) => "deletion".to_owned(),
        (ItemKind::Dir, ..) => "directory".to_owned(),
        (ItemKind::Link, _, Some(target)) => format!("link to {target}"),
        (ItemKind::Link, ..) => "link".to_owned(),
        (ItemKind::File, bytes, _) => format!("file, {}", size(bytes.unwrap_or(0))),
    };
    let VersionInfo { author, serial, made, .. } = version;
    format!("{what}, {made}, version {serial} of {}", site(author))
}
