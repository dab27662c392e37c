//! What must hold for any bytes that meet the body of a site, one function a target of
//! `appliance/fuzz`: rows of the index, the configuration, what stands on disk, what is asked by HTTP.
//!
//! Here because most of what reads them is nobody else's business. The corpora are replayed below.

use crate::config::{Changes, Config};
use crate::scan::Rules;
use crate::{attrs, http, index, store};
use farhaul_proto::path_name::RelPath;

/// A target's name, which is that of its corpus, and its check.
pub type Check = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Check; 6] = [
    ("rows", rows),
    ("config", config),
    ("rules", rules),
    ("acl", acl),
    ("marker", marker),
    ("query", query),
];

/// Rows of the index: the first byte says of which table.
pub fn rows(input: &[u8]) {
    index::fuzz::rows(input);
}

/// A configuration is one, or every fault is told at a place that is in the text.
pub fn config(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    match Config::parse(text) {
        Ok(config) => {
            assert_eq!(Config::parse(text).as_ref(), Ok(&config));
            assert!(Changes::between(&config, &config).is_empty(), "it differs from itself");
        }
        Err(faults) => {
            assert!((1..=100).contains(&faults.len()));
            let lines = text.lines().count().max(1) + 1;
            assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
        }
    }
}

/// Patterns that are taken tell of every path whether it is left out, and of what is beneath it.
///
/// Lines: the last one is the path, the others are patterns.
pub fn rules(input: &[u8]) {
    let Ok(text) = core::str::from_utf8(input) else { return };
    let mut patterns: Vec<&str> = text.split('\n').collect();
    let Some(Ok(path)) = patterns.pop().map(|path| RelPath::parse(path.as_bytes())) else { return };
    let Ok(rules) = Rules::parse(&patterns) else { return };
    for is_dir in [false, true] {
        let is_ignored = rules.is_ignored(path.as_bytes(), is_dir);
        assert!(!is_ignored || rules.is_within_ignored(path.as_bytes(), is_dir));
    }
    if let Ok(beneath) = path.join_name(b"x")
        && rules.is_ignored(path.as_bytes(), true)
    {
        assert!(rules.is_within_ignored(beneath.as_bytes(), false));
    }
}

/// Access control lists in the kernel's form.
pub fn acl(input: &[u8]) {
    attrs::fuzz::acl(input);
}

/// Markers of folders, and lists of users.
pub fn marker(input: &[u8]) {
    store::fuzz::marker(input);
}

/// What is asked by HTTP.
pub fn query(input: &[u8]) {
    http::fuzz::query(input);
}

/// The first inputs of the corpora that only this crate can write: target, name, input.
pub fn seeds() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let rules = [
        ("plain", &b"*.tmp\n!keep.tmp\nbuild/\na/b.tmp"[..]),
        ("wild", b"**/[a-c]?{x,y}*\n/top\ntop/x"),
        ("bad", b"[\nx"),
        ("none", b"a"),
    ];
    let rules = rules.map(|(name, input)| (name, input.to_vec()));
    let all = [
        ("rows", index::fuzz::seeds()),
        ("rules", rules.into()),
        ("acl", attrs::fuzz::seeds()),
        ("marker", store::fuzz::seeds()),
        ("query", http::fuzz::seeds()),
    ];
    let named = all.into_iter().flat_map(|(target, seeds)| {
        seeds.into_iter().map(move |(name, input)| (target, name, input))
    });
    named.collect()
}

#[cfg(test)]
#[path = "../../../engine/fuzz/src/corpus.rs"]
#[expect(unreachable_pub, reason = "several crates use the same file")]
mod corpus;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_of_every_corpus_keeps_what_its_target_checks() {
        corpus::replay(&ALL);
    }

    #[test]
    fn seeds_are_rows_lists_and_markers_that_can_be_read() {
        for (target, name, input) in seeds() {
            let kept = corpus::corpus(target)
                .into_iter()
                .find(|(path, _)| path.ends_with(&format!("/seed-{name}")));
            assert_eq!(kept.map(|(_, kept)| kept), Some(input), "{target}: run the seeder anew");
        }
    }
}
