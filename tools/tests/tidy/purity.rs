//! Brains touch no world: no files, sockets, threads, clocks, processes or environment.
//!
//! Clippy bans the calls in each brain; here the paths themselves are banned, tests included,
//! and the appliance's brain sees of the engine's only the vocabulary.

use super::tree::{File, Finding, Tree, line_of, words};

/// Sources of the brains.
const BRAINS: [&str; 2] = ["engine/proto/src/", "appliance/sync/src/"];
/// Modules of the standard library that reach into the world.
const WORLD: [&str; 6] = ["env", "fs", "io", "net", "process", "thread"];
/// Clocks, wherever they were imported from.
const CLOCKS: [&str; 2] = ["Instant", "SystemTime"];
/// What the appliance's brain may see of the protocol.
const VOCABULARY: [&str; 4] = ["ids", "path_name", "ranges", "units"];

/// No banned path in a brain.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|f| BRAINS.iter().any(|brain| f.path.starts_with(brain))) {
        for (at, module) in members(&file.code, "std") {
            if WORLD.contains(&module.as_str()) {
                let advice =
                    format!("a brain has no `std::{module}`: make it an effect or an input");
                findings.push(file.finding(line_of(&file.code, at), advice));
            }
        }
        for at in CLOCKS.iter().flat_map(|clock| words(&file.code, clock)) {
            let advice = "a brain reads no clock: take `now: Timestamp`";
            findings.push(file.finding(line_of(&file.code, at), advice));
        }
    }
    let sync = tree.rust().filter(|file| file.path.starts_with("appliance/sync/"));
    findings.extend(sync.flat_map(check_vocabulary));
    findings
}

fn check_vocabulary(file: &File) -> Vec<Finding> {
    members(&file.code, "farhaul_proto")
        .into_iter()
        .filter(|(_, module)| !VOCABULARY.contains(&module.as_str()))
        .map(|(at, module)| {
            let advice =
                format!("sync sees only proto::{{ids, path_name, ranges, units}}, not `{module}`");
            file.finding(line_of(&file.code, at), advice)
        })
        .collect()
}

/// Direct members of `root` that are named in paths: `root::a`, `root::{a, b::c}`.
fn members(code: &str, root: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for at in words(code, root) {
        let Some(rest) = code[at + root.len()..].strip_prefix("::") else { continue };
        match rest.strip_prefix('{') {
            None => found.push((at, leading_word(rest))),
            Some(group) => found.extend(group_members(group).into_iter().map(|word| (at, word))),
        }
    }
    found
}

/// First words of the entries of a `use` group, given what follows its brace.
fn group_members(group: &str) -> Vec<String> {
    let mut depth = 1;
    let mut entries = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => entries.push(String::new()),
            _ => {}
        }
        match entries.last_mut() {
            Some(_) if depth == 0 => break,
            Some(entry) if c != ',' => entry.push(c),
            _ => {}
        }
    }
    entries.iter().map(|entry| leading_word(entry.trim())).filter(|w| !w.is_empty()).collect()
}

fn leading_word(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        check(&Tree::planted(&[(path, text)])).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn the_world_is_found_in_any_spelling() {
        let path = "engine/proto/src/x.rs";
        assert_eq!(lines(path, "\nuse std::fs::File;"), [2]);
        assert_eq!(lines(path, "use std::{\n  fmt, net::{Ipv4Addr, IpAddr}, thread};"), [1, 1]);
        assert_eq!(lines(path, "fn a() {\n let t = ::std::env::var(x);\n}"), [2]);
        assert_eq!(lines(path, "use core::time::Duration;\nuse quanta::Instant;"), [2]);
    }

    #[test]
    fn pure_paths_pass() {
        let text = "//! Not std::fs.\nuse std::{fmt, collections::{BTreeMap, VecDeque}};\n\
                    use core::net::SocketAddr;\nstruct Instantly;";
        assert_eq!(lines("engine/proto/src/x.rs", text), [0; 0]);
        assert_eq!(lines("engine/runtime/src/x.rs", "use std::fs;"), [0; 0]);
    }

    #[test]
    fn the_appliance_sees_only_the_vocabulary() {
        let text = "use farhaul_proto::units::Bytes;\nuse farhaul_proto::{ids, fec};";
        assert_eq!(lines("appliance/sync/src/x.rs", text), [2]);
    }
}
