//! Links: what they carry, who is reached over which, and what classes may have of them.

use super::super::calendars::{Calendars, Class, ClassShare, Link};
use super::super::quantity;
use super::super::raw::{At, Key, Section};
use super::calendars::{limit, own_name};
use super::{Faults, Known, quantity as within, shown};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::BitRate;
use farhaul_sync::calendar::Limit;
use std::collections::{BTreeMap, BTreeSet};

const UP: Key = Key { name: "up", example: "\"100 Mbit/s\"" };
const DOWN: Key = Key { name: "down", example: "\"400 Mbit/s\"" };
const CALENDAR: Key =
    Key { name: "calendar", example: "\"nights\" with the name of a [[calendar]]" };
const PEERS: Key = Key { name: "peers", example: "[\"tokyo\"] with names of peers" };
const CLASS: Key = Key { name: "class", example: "sections such as [link.class.background]" };
const CAP: Key = Key { name: "cap", example: "\"40 Mbit/s\" or \"50 %\"" };
const FLOOR: Key = Key { name: "floor", example: "\"2 Mbit/s\" or \"5 %\"" };

/// Links of a site.
const LINKS_MAX: usize = 16;

/// The links, in the order in which they are written.
pub(super) fn links(
    sections: Vec<Section<'_>>,
    known: &Known,
    calendars: &Calendars,
    faults: &mut Faults,
) -> Vec<Link> {
    if let Some(section) = sections.get(LINKS_MAX) {
        let what = format!("there are {} links", sections.len());
        faults.add(section.at(), what, format!("write {LINKS_MAX} at most"));
    }
    let mut names = BTreeMap::new();
    let (mut taken, mut has_rest) = (BTreeSet::new(), false);
    let mut links = Vec::new();
    for mut section in sections {
        let at = section.at();
        let name = own_name(&mut section, &names, "a link", faults);
        names.extend(name.clone().map(|name| (name, ())));
        let range =
            || (BitRate::kbps(10), BitRate::kbps(1_000_000_000), "10 kbit/s to 1000 Gbit/s");
        let up = within(&mut section, UP, quantity::rate, range(), faults);
        let down = within(&mut section, DOWN, quantity::rate, range(), faults);
        let lacks_up = !section.has(UP.name);
        let calendar = calendar(&mut section, calendars, lacks_up, faults);
        let peers = section.list(PEERS, faults).map(|list| peers(&list, known, &mut taken, faults));
        if peers.is_none() && std::mem::replace(&mut has_rest, true) {
            let what = "two links have no `peers`";
            faults.add(at, what, "write at all links but one who is reached over them");
        }
        let classes = classes(&mut section, calendars, (up, lacks_up), faults);
        section.end(faults);
        links.extend(name.map(|name| Link { name, up, down, calendar, peers, classes }));
    }
    links
}

/// A calendar by its name; one that speaks of parts of a link needs to know the whole.
fn calendar(
    section: &mut Section<'_>,
    calendars: &Calendars,
    lacks_up: bool,
    faults: &mut Faults,
) -> Option<String> {
    let text = section.text(CALENDAR, faults)?;
    match calendars.get(text.value) {
        Some(calendar) if calendar.has_percent() && lacks_up => {
            let what = format!("`{}` speaks of parts of a link that has no `up`", text.value);
            faults.add(text.at, what, UP.advice());
        }
        Some(_) => {}
        None => {
            let what = format!("there is no calendar `{}`", shown(text.value));
            faults.add(text.at, what, "add [[calendar]] of that name, or write one that is there");
        }
    }
    Some(text.value.to_owned())
}

/// Who is reached over a link, and over no other one.
fn peers(
    list: &At<Vec<At<&str>>>,
    known: &Known,
    taken: &mut BTreeSet<String>,
    faults: &mut Faults,
) -> BTreeSet<SiteId> {
    let mut peers = BTreeSet::new();
    for name in &list.value {
        if !taken.insert(name.value.to_owned()) {
            let what = format!("`{}` is reached over a link already", shown(name.value));
            faults.add(name.at, what, "name each peer at one link, once");
        }
        match known.get(name.value) {
            Some(peer) => peers.extend(peer.as_ref().map(|peer| peer.id)),
            None => {
                let what = format!("there is no peer `{}`", shown(name.value));
                let advice = "add a [[peer]] of that name, or write the name of one that is there";
                faults.add(name.at, what, advice);
            }
        }
    }
    peers
}

fn classes(
    section: &mut Section<'_>,
    calendars: &Calendars,
    (up, lacks_up): (Option<BitRate>, bool),
    faults: &mut Faults,
) -> BTreeMap<Class, ClassShare> {
    let mut classes = BTreeMap::new();
    let Some(mut all) = section.section(CLASS, "[link.class]", faults) else { return classes };
    let mut left = BitRate::ZERO;
    for class in Class::ALL {
        let key = Key { name: class.name(), example: "a section [link.class.NAME] with its keys" };
        let Some(mut one) = all.section(key, "a class of a link", faults) else { continue };
        let at = one.at();
        let calendar = calendar(&mut one, calendars, lacks_up, faults);
        let cap = part(&mut one, CAP, lacks_up, faults);
        let floor = part(&mut one, FLOOR, lacks_up, faults);
        one.end(faults);
        let on = |limit: Option<Limit>| limit.and_then(|limit| limit.on(up));
        if let (Some(cap), Some(floor)) = (on(cap), on(floor))
            && floor > cap
        {
            faults.add(at, "`floor` is above `cap`", "lower `floor`, or raise `cap`");
        }
        left = left + on(floor).unwrap_or(BitRate::ZERO);
        classes.insert(class, ClassShare { calendar, cap, floor });
    }
    if up.is_some_and(|up| left > up) {
        let what = "the classes are left more than the link carries";
        faults.add(all.at(), what, "lower what `floor` says at some of them");
    }
    all.end(faults);
    classes
}

/// A rate or a part of a link.
fn part(section: &mut Section<'_>, key: Key, lacks_up: bool, faults: &mut Faults) -> Option<Limit> {
    let text = section.text(key, faults)?;
    match limit(key, text, faults)? {
        Limit::Full | Limit::Pause => {
            let what = format!("`{}` = \"{}\" is no quantity", key.name, shown(text.value));
            faults.add(text.at, what, key.advice());
            None
        }
        Limit::Percent(_) if lacks_up => {
            let what = format!("`{}` is a part of a link that has no `up`", key.name);
            faults.add(text.at, what, UP.advice());
            None
        }
        limit => Some(limit),
    }
}
