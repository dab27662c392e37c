//! What is known near a path of which nothing is known, for whoever mistyped it.

use crate::http::fail::Failed;
use crate::index::{IndexError, Reading};
use crate::told;
use farhaul_proto::path_name::RelPath;
use std::collections::BTreeSet;

/// Paths that are looked at of each kind.
const LOOKED_MAX: usize = 4096;
/// Names that are told.
const TOLD_MAX: usize = 3;
/// Bytes of a name that are compared.
const COMPARED_MAX: usize = 64;

/// That nothing stood at a path, is kept of it or went from it; `None`: it is known after all.
pub(super) fn unknown(reading: Reading<'_>, path: &RelPath) -> Result<Option<Failed>, IndexError> {
    let item = reading.item(path)?;
    if item.placed.is_some() || item.has_children || item.versions.is_live() {
        return Ok(None);
    }
    let mut above = path.parent();
    let (names, place) = loop {
        let names = names_in(reading, above.as_ref())?;
        match (&above, names.is_empty()) {
            (Some(dir), true) => above = dir.parent(),
            _ => break (names, above),
        }
    };
    let depth = place.as_ref().map_or(0, |dir| dir.as_bytes().len() + 1);
    let sought = path.as_bytes().get(depth..).unwrap_or_default();
    let sought = sought.split(|&byte| byte == b'/').next().unwrap_or_default();
    let mut names: Vec<(usize, Vec<u8>)> =
        names.into_iter().map(|name| (distance(sought, &name), name)).collect();
    names.sort();
    let place_told =
        place.as_ref().map_or("the folder".to_owned(), |dir| told::text_of(dir).to_string());
    let near: Vec<String> = names
        .iter()
        .take(TOLD_MAX)
        .map(|(_, name)| format!("`{}`", farhaul_api::TreePath::from_bytes(name)))
        .collect();
    let next = if near.is_empty() {
        "nothing is known of this folder yet: scan it, or wait until it was compared with its peers"
            .to_owned()
    } else {
        format!("what is known nearest to it in {place_told}: {}", near.join(", "))
    };
    let detail = format!("nothing stood at {path} then that this site knows of");
    Ok(Some(Failed::missing("nothing to restore", detail, &next)))
}

/// Names directly in a directory, of what stands, is kept or went.
fn names_in(reading: Reading<'_>, dir: Option<&RelPath>) -> Result<BTreeSet<Vec<u8>>, IndexError> {
    let standing = reading.standing(dir, None, LOOKED_MAX)?.into_iter().map(|one| one.path);
    let kept = reading.kept_from(dir, LOOKED_MAX)?.into_iter().map(|one| one.path);
    let gone = reading.elsewhere_from(dir, LOOKED_MAX)?.into_iter().map(|one| one.path);
    let depth = dir.map_or(0, |dir| dir.as_bytes().len() + 1);
    let is_in = |path: &RelPath| dir.is_none_or(|dir| path != dir && path.starts_with(dir));
    let names = standing.chain(kept).chain(gone).filter(is_in).filter_map(|path| {
        let name = path.as_bytes().get(depth..)?.split(|&byte| byte == b'/').next()?;
        Some(name.to_vec())
    });
    Ok(names.collect())
}

/// How many letters are to be changed, added or dropped to make one name of the other, among the
/// first ones; of capital and small letters nothing is made.
fn distance(a: &[u8], b: &[u8]) -> usize {
    let short = |name: &[u8]| name[..name.len().min(COMPARED_MAX)].to_ascii_lowercase();
    let (a, b) = (short(a), short(b));
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, &to) in b.iter().enumerate() {
            let changed = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_nearer_the_fewer_letters_differ() {
        assert_eq!(distance(b"report.txt", b"Report.txt"), 0);
        assert_eq!(distance(b"report.txt", b"reprt.txt"), 1);
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(&[b'x'; 5000], &[b'x'; 4000]), 0);
    }
}
