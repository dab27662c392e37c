//! The sections of a file as they are written, read strictly: each key is known and of its type.
//!
//! The tree comes from the TOML library. It is walked by hand and not by serde, which ends at the
//! first fault: here every fault of a file is told, each at its place.

use super::fault::{Faults, shown};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A key, and how it is written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its name.
    pub(super) name: &'static str,
    /// A value as it may stand behind the sign.
    pub(super) example: &'static str,
}

impl Key {
    /// The advice to write it.
    pub(super) fn advice(self) -> String {
        format!("write {} = {}", self.name, self.example)
    }
}

/// A value, and the byte at which it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// What stands in a list of texts and sections.
pub(super) enum Entry<'t> {
    Text(At<&'t str>),
    Section(Section<'t>),
}

impl Entry<'_> {
    /// Where it begins.
    pub(super) const fn at(&self) -> usize {
        match self {
            Self::Text(text) => text.at,
            Self::Section(section) => section.at(),
        }
    }
}

/// The keys of a section that were not asked for yet are unknown ones in the end.
pub(super) struct Section<'t> {
    title: &'static str,
    at: usize,
    table: Option<&'t DeTable<'t>>,
    known: Vec<&'static str>,
}

impl<'t> Section<'t> {
    /// A section that stands at byte `at`; `None`: it was left out.
    pub(super) fn new(title: &'static str, at: usize, table: Option<&'t DeTable<'t>>) -> Self {
        Self { title, at, table, known: Vec::new() }
    }

    /// Where it begins.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// Whether it was left out.
    pub(super) const fn is_absent(&self) -> bool {
        self.table.is_none()
    }

    /// The value of a key, if it is written.
    pub(super) fn value(&mut self, name: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(name);
        self.table?.get(name)
    }

    /// A text, if the key is written.
    pub(super) fn text(&mut self, key: Key, faults: &mut Faults) -> Option<At<&'t str>> {
        let value = self.value(key.name)?;
        let text = value.get_ref().as_str();
        if text.is_none() {
            wrong_type(key, value, faults);
        }
        text.map(|text| At { at: value.span().start, value: text })
    }

    /// A text that has to be there.
    pub(super) fn required(&mut self, key: Key, faults: &mut Faults) -> Option<At<&'t str>> {
        if !self.has(key.name) {
            self.missing(key, faults);
        }
        self.text(key, faults)
    }

    /// A count, if the key is written.
    pub(super) fn count(&mut self, key: Key, faults: &mut Faults) -> Option<At<u64>> {
        let value = self.value(key.name)?;
        let at = value.span().start;
        let Some(number) = value.get_ref().as_integer() else {
            wrong_type(key, value, faults);
            return None;
        };
        // What does not fit is out of any range, and so is what is below zero.
        let number = u64::from_str_radix(number.as_str(), number.radix());
        Some(At { at, value: number.unwrap_or(u64::MAX) })
    }

    /// A list of texts, if the key is written.
    pub(super) fn list(&mut self, key: Key, faults: &mut Faults) -> Option<At<Vec<At<&'t str>>>> {
        let value = self.value(key.name)?;
        let Some(list) = value.get_ref().as_array() else {
            wrong_type(key, value, faults);
            return None;
        };
        let mut texts = Vec::with_capacity(list.len());
        for item in list.iter() {
            match item.get_ref().as_str() {
                Some(text) => texts.push(At { at: item.span().start, value: text }),
                None => wrong_type(key, item, faults),
            }
        }
        Some(At { at: value.span().start, value: texts })
    }

    /// Texts with texts for names, if the key is written; in the order in which they are written.
    pub(super) fn pairs(
        &mut self,
        key: Key,
        faults: &mut Faults,
    ) -> Option<Vec<(At<&'t str>, At<&'t str>)>> {
        let value = self.value(key.name)?;
        let Some(table) = value.get_ref().as_table() else {
            wrong_type(key, value, faults);
            return None;
        };
        let mut pairs = Vec::with_capacity(table.len());
        for (name, value) in table {
            match value.get_ref().as_str() {
                Some(text) => {
                    let name: At<&'t str> = At { at: name.span().start, value: name.get_ref() };
                    pairs.push((name, At { at: value.span().start, value: text }));
                }
                None => wrong_type(key, value, faults),
            }
        }
        pairs.sort_by_key(|(name, _)| name.at);
        Some(pairs)
    }

    /// A list of texts and sections, if the key is written.
    pub(super) fn entries(
        &mut self,
        key: Key,
        title: &'static str,
        faults: &mut Faults,
    ) -> Option<Vec<Entry<'t>>> {
        let value = self.value(key.name)?;
        let Some(list) = value.get_ref().as_array() else {
            wrong_type(key, value, faults);
            return None;
        };
        let mut entries = Vec::with_capacity(list.len());
        for item in list.iter() {
            let at = item.span().start;
            match (item.get_ref().as_str(), item.get_ref().as_table()) {
                (Some(text), _) => entries.push(Entry::Text(At { at, value: text })),
                (_, Some(table)) => {
                    entries.push(Entry::Section(Section::new(title, at, Some(table))));
                }
                _ => wrong_type(key, item, faults),
            }
        }
        Some(entries)
    }

    /// A section within this one, if it is written.
    pub(super) fn section(
        &mut self,
        key: Key,
        title: &'static str,
        faults: &mut Faults,
    ) -> Option<Section<'t>> {
        let value = self.value(key.name)?;
        let table = value.get_ref().as_table();
        if table.is_none() {
            wrong_type(key, value, faults);
        }
        table.map(|table| Section::new(title, value.span().start, Some(table)))
    }

    /// The sections of a list within this one.
    pub(super) fn sections(
        &mut self,
        key: Key,
        title: &'static str,
        faults: &mut Faults,
    ) -> Vec<Section<'t>> {
        let Some(entries) = self.entries(key, title, faults) else { return Vec::new() };
        let mut sections = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry {
                Entry::Section(section) => sections.push(section),
                Entry::Text(text) => {
                    faults.add(text.at, format!("`{}` is not for a text", key.name), key.advice());
                }
            }
        }
        sections
    }

    /// Whether a key is written.
    pub(super) fn has(&self, name: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(name))
    }

    /// A key that has to be there is not.
    pub(super) fn missing(&self, key: Key, faults: &mut Faults) {
        faults.add(self.at, format!("{} has no `{}`", self.title, key.name), key.advice());
    }

    /// Whatever nobody asked for is not known.
    pub(super) fn end(self, faults: &mut Faults) {
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let what = format!("{} has no key `{}`", self.title, shown(name));
                let advice = format!("remove it, or write one of {}", self.known.join(", "));
                faults.add(key.span().start, what, advice);
            }
        }
    }
}

fn wrong_type(key: Key, value: &Spanned<DeValue<'_>>, faults: &mut Faults) {
    let what = format!("`{}` is not for {}", key.name, called(value.get_ref()));
    faults.add(value.span().start, what, key.advice());
}

/// What stands there, in words.
fn called(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a bare number",
        DeValue::Boolean(_) => "a yes or no",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

/// What sections are called.
const SECTIONS: [&str; 8] =
    ["site", "peer", "folder", "export", "transfer", "holidays", "calendar", "link"];

/// The sections of a file.
pub(super) struct Document<'t> {
    pub(super) site: Section<'t>,
    pub(super) peers: Vec<Section<'t>>,
    pub(super) folders: Vec<Section<'t>>,
    pub(super) exports: Vec<Section<'t>>,
    pub(super) transfer: Section<'t>,
    pub(super) holidays: Vec<Section<'t>>,
    pub(super) calendars: Vec<Section<'t>>,
    pub(super) links: Vec<Section<'t>>,
}

impl<'t> Document<'t> {
    /// Sorts out what stands at the top.
    pub(super) fn of(top: &'t DeTable<'t>, faults: &mut Faults) -> Self {
        for key in top.keys() {
            let name: &str = key.get_ref();
            if !SECTIONS.contains(&name) {
                let what = format!("`{}` is no section", shown(name));
                let advice = "sections are [site], [[peer]], [[folder]], [[export]], [transfer], \
                              [[holidays]], [[calendar]] and [[link]]";
                faults.add(key.span().start, what, advice);
            }
        }
        Self {
            site: one(top, "site", "[site]", faults),
            peers: many(top, "peer", "[[peer]]", faults),
            folders: many(top, "folder", "[[folder]]", faults),
            exports: many(top, "export", "[[export]]", faults),
            transfer: one(top, "transfer", "[transfer]", faults),
            holidays: many(top, "holidays", "[[holidays]]", faults),
            calendars: many(top, "calendar", "[[calendar]]", faults),
            links: many(top, "link", "[[link]]", faults),
        }
    }
}

fn one<'t>(
    top: &'t DeTable<'t>,
    name: &str,
    title: &'static str,
    faults: &mut Faults,
) -> Section<'t> {
    let Some(value) = top.get(name) else { return Section::new(title, 0, None) };
    let table = value.get_ref().as_table();
    if table.is_none() {
        let what = format!("`{name}` is {}", called(value.get_ref()));
        faults.add(value.span().start, what, format!("write {title}, once"));
    }
    Section::new(title, value.span().start, table)
}

fn many<'t>(
    top: &'t DeTable<'t>,
    name: &str,
    title: &'static str,
    faults: &mut Faults,
) -> Vec<Section<'t>> {
    let Some(value) = top.get(name) else { return Vec::new() };
    let mut wrong = |value: &Spanned<DeValue<'_>>| {
        let what = format!("`{name}` is {}", called(value.get_ref()));
        faults.add(value.span().start, what, format!("write {title} before each one"));
    };
    let Some(list) = value.get_ref().as_array() else {
        wrong(value);
        return Vec::new();
    };
    let mut sections = Vec::with_capacity(list.len());
    for item in list.iter() {
        match item.get_ref().as_table() {
            Some(table) => sections.push(Section::new(title, item.span().start, Some(table))),
            None => wrong(item),
        }
    }
    sections
}
