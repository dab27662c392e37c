//! What of this host jobs may take and put.

use super::super::fault::{Faults, shown};
use super::super::places::{Place, THE_STATE, absolute};
use super::super::quantity;
use super::super::raw::{At, Key, Section};
use super::super::{Export, Hooks};
use super::{Known, NAME, PATH, place, quantity as quantity_of};
use farhaul_proto::ids::SiteId;
use farhaul_sync::job::{ExportName, Grants};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

const READ: Key = Key { name: "read", example: "[\"tokyo\"]" };
const WRITE: Key = Key { name: "write", example: "[\"tokyo\"]" };
const BEFORE: Key = Key { name: "before", example: "[\"/usr/local/bin/before\", \"once\"]" };
const AFTER: Key = Key { name: "after", example: "[\"/usr/local/bin/after\"]" };
const HOOK_LIMIT: Key = Key { name: "hook-limit", example: "\"10 min\"" };
/// How long a hook may take.
const LIMIT: Duration = Duration::from_mins(10);
/// A hook and its arguments.
const ARGS_MAX: usize = 64;
/// Bytes of each.
const ARG_LEN_MAX: usize = 4096;
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
    let mut programs = Vec::new();
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
        let before = argv(&mut section, BEFORE, &mut programs, faults);
        let after = argv(&mut section, AFTER, &mut programs, faults);
        let spans = (Duration::from_secs(1), Duration::from_hours(24), "1 s to 24 h");
        let limit = quantity_of(&mut section, HOOK_LIMIT, quantity::span, spans, faults);
        let hooks = Hooks { before, after, limit: limit.unwrap_or(LIMIT) };
        section.end(faults);
        if let (Some(name), Some(path)) = (name, path) {
            let grants = Grants { read, write };
            exports.push(Export { name: name.value, path, grants, hooks });
        }
    }
    check_programs(&programs, places, faults);
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

/// A program and its arguments; nothing where the key is not written.
fn argv<'t>(
    section: &mut Section<'t>,
    key: Key,
    programs: &mut Vec<(Key, At<&'t str>)>,
    faults: &mut Faults,
) -> Vec<String> {
    let Some(list) = section.list(key, faults) else { return Vec::new() };
    if list.value.len() > ARGS_MAX {
        let what = format!("`{}` has {} texts", key.name, list.value.len());
        faults.add(list.at, what, format!("write a program and less than {ARGS_MAX} arguments"));
    }
    for text in &list.value {
        if text.value.len() > ARG_LEN_MAX || text.value.contains('\0') {
            let what = format!("a text of `{}` is too long or has a zero byte", key.name);
            faults.add(text.at, what, format!("write at most {ARG_LEN_MAX} bytes, none of them 0"));
        }
    }
    if let Some(program) = list.value.first() {
        match absolute(program.value) {
            Ok(_) => programs.push((key, At { at: program.at, value: program.value })),
            Err(why) => {
                let what = format!("`{}`: \"{}\" {why}", key.name, shown(program.value));
                let advice = "name a program by its path; no shell reads this, each argument is a \
                              text of its own";
                faults.add(program.at, what, advice);
            }
        }
    }
    list.value.iter().map(|text| text.value.to_owned()).collect()
}

/// That nothing is run of what peers may have put there; links are followed before it is run.
fn check_programs(programs: &[(Key, At<&str>)], places: &[Place], faults: &mut Faults) {
    for (key, program) in programs {
        let foreign = places.iter().filter(|place| place.called != THE_STATE);
        let within = |place: &&Place| Path::new(program.value).starts_with(&place.path);
        if let Some(place) = foreign.into_iter().find(within) {
            let what =
                format!("`{}`: \"{}\" lies in {}", key.name, shown(program.value), place.called);
            let advice = "name a program that lies where nothing from peers is put";
            faults.add(program.at, what, advice);
        }
    }
}
