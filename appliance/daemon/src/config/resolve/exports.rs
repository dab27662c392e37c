//! What of this host jobs may take and put.

use super::super::Export;
use super::super::fault::{Faults, shown};
use super::super::places::Place;
use super::super::raw::{At, Key, Section};
use super::{Known, NAME, PATH, place};
use farhaul_proto::ids::SiteId;
use farhaul_sync::job::{ExportName, Grants};
use std::collections::BTreeSet;

const READ: Key = Key { name: "read", example: "[\"tokyo\"]" };
const WRITE: Key = Key { name: "write", example: "[\"tokyo\"]" };
/// Exports of a site.
const EXPORTS_MAX: usize = 256;

pub(super) fn exports(
    sections: Vec<Section<'_>>,
    known: &Known,
    places: &mut Vec<Place>,
    faults: &mut Faults,
) -> Vec<Export> {
    if let Some(section) = sections.get(EXPORTS_MAX) {
        let what = format!("there are {} exports", sections.len());
        faults.add(section.at(), what, format!("a site has at most {EXPORTS_MAX}"));
    }
    let mut exports = Vec::new();
    let mut names = BTreeSet::new();
    for mut section in sections {
        let name = section.required(NAME, faults).and_then(|name| export_name(name, faults));
        if let Some(name) = name.as_ref().filter(|name| !names.insert(name.value.clone())) {
            let what = format!("there is an export `{}` already", name.value.as_str());
            faults.add(name.at, what, "give each export a name of its own");
        }
        let called = name.as_ref();
        let called =
            called.map_or("an export".to_owned(), |name| format!("export {}", name.value.as_str()));
        let path = section.required(PATH, faults);
        let path = path.and_then(|path| place(PATH, path, &called, places, faults));
        let read = sites(&mut section, READ, known, faults);
        let write = sites(&mut section, WRITE, known, faults);
        section.end(faults);
        if let (Some(name), Some(path)) = (name, path) {
            exports.push(Export { name: name.value, path, grants: Grants { read, write } });
        }
    }
    exports.sort_by(|a, b| a.name.cmp(&b.name));
    exports
}

fn export_name(name: At<&str>, faults: &mut Faults) -> Option<At<ExportName>> {
    let value = ExportName::new(name.value);
    if value.is_none() {
        let what = format!("`name` = \"{}\" is no name of an export", shown(name.value));
        let advice = "write 1 to 64 of a-z, 0-9, `.`, `_` and `-`, a letter or a digit first";
        faults.add(name.at, what, advice);
    }
    value.map(|value| At { at: name.at, value })
}

/// Peers by name; nobody where the key is not written.
fn sites(
    section: &mut Section<'_>,
    key: Key,
    known: &Known,
    faults: &mut Faults,
) -> BTreeSet<SiteId> {
    let mut sites = BTreeSet::new();
    for name in section.list(key, faults).map_or_else(Vec::new, |list| list.value) {
        match known.get(name.value) {
            Some(peer) => sites.extend(peer.as_ref().map(|peer| peer.id)),
            None => {
                let what = format!("there is no peer `{}`", shown(name.value));
                let advice = "add a [[peer]] of that name, or write the name of one that is there";
                faults.add(name.at, what, advice);
            }
        }
    }
    sites
}
