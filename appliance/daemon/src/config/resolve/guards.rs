//! Who may do what in a folder, and what waits for a person.

use super::super::raw::{Entry, Key, Section};
use super::{Faults, Known, NAME, or_fault, quantity, shown};
use farhaul_proto::ids::SiteId;
use farhaul_sync::folder::{BrakeLimits, Role};
use std::collections::{BTreeMap, BTreeSet};

const PEERS: Key = Key { name: "peers", example: "[\"tokyo\"] with names of peers, or []" };
const ROLE: Key = Key {
    name: "role",
    example: "\"read-write\", \"read-only\", \"source-only\" or \"sink-only\"",
};
const DELETES: Key = Key { name: "deletes", example: "\"follow\" or \"keep\"" };
const BRAKE: Key = Key { name: "brake", example: "\"on\" or \"off\"" };
const BRAKE_FILES: Key = Key { name: "brake-files", example: "1000" };
const BRAKE_SHARE: Key = Key { name: "brake-share", example: "\"25 %\"" };
/// Peers of a folder: each one is told every change apart and has a stream of the index open, with
/// up to four parts of a megabyte each on their way.
const NEIGHBOURS_MAX: usize = 64;
const ROOT_OWNED: Key = Key { name: "root-owned", example: "\"never\" or \"as-said\"" };
/// Files beyond which a change is a mass change, at most.
const FILES_MAX: u64 = 1_000_000_000;

/// With whom a folder is kept, and what each of them does in it.
pub(super) fn peers(
    section: &mut Section<'_>,
    known: &Known,
    faults: &mut Faults,
) -> BTreeMap<SiteId, Role> {
    if !section.has(PEERS.name) {
        section.missing(PEERS, faults);
    }
    let entries = section.entries(PEERS, "a peer of a folder", faults);
    let entries = entries.unwrap_or_default();
    if let Some(beyond) = entries.get(NEIGHBOURS_MAX) {
        // (spec: S-166)
        let what = format!("a folder with {} peers", entries.len());
        let advice = format!(
            "name {NEIGHBOURS_MAX} at most, and have the others keep it with one of these (a hub): \
             sites pass on what they have"
        );
        faults.add(beyond.at(), what, advice);
    }
    let mut peers = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for entry in entries {
        let (name, role) = match entry {
            Entry::Text(name) => (Some(name), Some(Role::default())),
            Entry::Section(mut peer) => {
                let name = peer.required(NAME, faults);
                let role = role(&mut peer, faults);
                peer.end(faults);
                (name, role)
            }
        };
        let Some(name) = name else { continue };
        if !seen.insert(name.value) {
            let what = format!("`{}` is in the list already", shown(name.value));
            faults.add(name.at, what, "name each peer once");
        }
        match known.get(name.value) {
            Some(peer) => {
                let peer = peer.as_ref().map(|peer| peer.id);
                peers.extend(peer.zip(role));
            }
            None => {
                let what = format!("there is no peer `{}`", shown(name.value));
                let advice = "add a [[peer]] of that name, or write the name of one that is there";
                faults.add(name.at, what, advice);
            }
        }
    }
    peers
}

/// What a site does in a folder.
pub(super) fn role(section: &mut Section<'_>, faults: &mut Faults) -> Option<Role> {
    section.text(ROLE, faults).map_or(Some(Role::default()), |role| {
        let named = Role::ALL.into_iter().find(|one| one.name() == role.value);
        or_fault(ROLE, role, named, faults)
    })
}

/// Whether what others delete stays.
pub(super) fn keeps_deleted(
    section: &mut Section<'_>,
    role: Option<Role>,
    faults: &mut Faults,
) -> bool {
    let Some(written) = section.text(DELETES, faults) else { return false };
    let named = match written.value {
        "follow" => Some(false),
        "keep" => Some(true),
        _ => None,
    };
    let keeps = or_fault(DELETES, written, named, faults).unwrap_or(false);
    if keeps && role.is_some_and(Role::publishes) {
        // Whoever publishes would have files that nobody else has, and nobody would be told.
        let what = "`deletes` = \"keep\" is for a site that publishes nothing";
        faults.add(written.at, what, "write role = \"sink-only\" or \"read-only\" as well");
    }
    keeps
}

/// Whether what others publish may become root's.
pub(super) fn root_owned(section: &mut Section<'_>, faults: &mut Faults) -> bool {
    let Some(written) = section.text(ROOT_OWNED, faults) else { return false };
    let named = match written.value {
        "never" => Some(false),
        "as-said" => Some(true),
        _ => None,
    };
    or_fault(ROOT_OWNED, written, named, faults).unwrap_or(false)
}

/// When a mass change waits for a person.
pub(super) fn brake(section: &mut Section<'_>, faults: &mut Faults) -> Option<BrakeLimits> {
    let default = BrakeLimits::default();
    let is_on = section.text(BRAKE, faults).is_none_or(|written| {
        let named = match written.value {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        };
        or_fault(BRAKE, written, named, faults).unwrap_or(true)
    });
    let files = section.count(BRAKE_FILES, faults);
    if let Some(files) = files.filter(|files| !(1..=FILES_MAX).contains(&files.value)) {
        let advice = format!("write a number from 1 to {FILES_MAX}");
        faults.add(files.at, "`brake-files` is out of range", advice);
    }
    let most = files.map_or(default.most, |files| files.value);
    let range = (1, 100, "1 % to 100 %");
    let share = quantity(section, BRAKE_SHARE, quantity::percent, range, faults);
    let share = share.and_then(|share| u8::try_from(share).ok()).unwrap_or(default.share);
    is_on.then_some(BrakeLimits { share, most, least: default.least.min(most), ..default })
}
