//! Limits with a committed list of exceptions whose numbers may only fall.
//!
//! A ceiling must equal the size of the moment, so that whoever shrinks a file also lowers its
//! ceiling, and nobody grows back into slack.

use super::size::Size;
use super::tree::{Finding, Tree};
use serde::Deserialize;
use std::collections::BTreeMap;

/// Longest file, in lines.
const FILE_LINES: usize = 600;
/// Longest function, in lines.
const FUNCTION_LINES: usize = 70;
/// Where the exceptions stand.
const PATH: &str = "tools/tests/tidy_exceptions.toml";

/// The committed exceptions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exceptions {
    /// Path to lines.
    #[serde(default)]
    files: BTreeMap<String, usize>,
    /// `path::function` to lines.
    #[serde(default)]
    functions: BTreeMap<String, usize>,
    /// Counts of the specification.
    #[serde(default)]
    spec: SpecExceptions,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecExceptions {
    /// Testable requirements that no code cites.
    #[serde(default)]
    uncited: usize,
}

impl Exceptions {
    /// Reads the list from the tree.
    pub(crate) fn load(tree: &Tree) -> Self {
        let file = tree.file(PATH).unwrap_or_else(|| panic!("{PATH} is not under version control"));
        toml::from_str(&file.text).unwrap_or_else(|error| panic!("{PATH}: {error}"))
    }

    fn ceiling(&self, size: &Size) -> Option<usize> {
        match &size.function {
            None => self.files.get(&size.path).copied(),
            Some(_) => self.functions.get(&key(size)).copied(),
        }
    }
}

fn key(size: &Size) -> String {
    match &size.function {
        None => size.path.clone(),
        Some(function) => format!("{}::{function}", size.path),
    }
}

/// Holds sizes against limits and exceptions, and exceptions against sizes.
pub(crate) fn check(sizes: &[Size], exceptions: &Exceptions) -> Vec<Finding> {
    let mut findings: Vec<Finding> =
        sizes.iter().filter_map(|size| check_size(size, exceptions)).collect();
    for name in exceptions.files.keys().chain(exceptions.functions.keys()) {
        if !sizes.iter().any(|size| key(size) == *name) {
            findings.push(list_finding(format!("remove `{name}`: there is no such thing")));
        }
    }
    findings
}

fn check_size(size: &Size, exceptions: &Exceptions) -> Option<Finding> {
    let (limit, what) = match &size.function {
        None => (FILE_LINES, "the file".to_owned()),
        Some(function) => (FUNCTION_LINES, format!("`{function}`")),
    };
    let lines = size.lines;
    let at = |advice| Finding { path: size.path.clone(), line: size.line, advice };
    match exceptions.ceiling(size) {
        None if lines <= limit => None,
        None => Some(at(format!("{what} has {lines} lines, the limit is {limit}: split it"))),
        Some(ceiling) if lines > ceiling => {
            Some(at(format!("{what} grew from {ceiling} to {lines} lines: shrink it")))
        }
        Some(_) if lines <= limit => {
            Some(list_finding(format!("remove `{}`: it keeps the limit", key(size))))
        }
        Some(ceiling) if lines < ceiling => {
            Some(list_finding(format!("lower `{}` from {ceiling} to {lines}", key(size))))
        }
        Some(_) => None,
    }
}

/// Holds the uncited requirements against their count.
pub(crate) fn check_uncited(uncited: &[Finding], exceptions: &Exceptions) -> Vec<Finding> {
    let (now, ceiling) = (uncited.len(), exceptions.spec.uncited);
    let advice = match now.cmp(&ceiling) {
        std::cmp::Ordering::Equal => return Vec::new(),
        std::cmp::Ordering::Less => format!("lower `spec.uncited` from {ceiling} to {now}"),
        std::cmp::Ordering::Greater => {
            format!(
                "{now} testable requirements are uncited, {ceiling} were: cite them (see above)"
            )
        }
    };
    vec![list_finding(advice)]
}

fn list_finding(advice: String) -> Finding {
    Finding { path: PATH.to_owned(), line: 0, advice }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(function: Option<&str>, lines: usize) -> Size {
        Size { path: "a.rs".to_owned(), function: function.map(str::to_owned), line: 0, lines }
    }

    fn advice(sizes: &[Size], list: &str) -> Vec<String> {
        let exceptions = toml::from_str(list).expect("a valid list");
        check(sizes, &exceptions).into_iter().map(|finding| finding.advice).collect()
    }

    #[test]
    fn what_is_too_long_is_found() {
        assert_eq!(advice(&[size(None, 600), size(Some("f"), 70)], ""), [""; 0]);
        assert_eq!(advice(&[size(None, 601), size(Some("f"), 71)], "").len(), 2);
    }

    #[test]
    fn an_exception_holds_at_exactly_its_size() {
        let list = "[files]\n'a.rs' = 700\n[functions]\n'a.rs::f' = 80\n";
        let exact = [size(None, 700), size(Some("f"), 80)];
        assert_eq!(advice(&exact, list), [""; 0]);
        let grown = [size(None, 701), size(Some("f"), 80)];
        assert_eq!(advice(&grown, list), ["the file grew from 700 to 701 lines: shrink it"]);
        let shrunk = [size(None, 650), size(Some("f"), 60)];
        assert_eq!(
            advice(&shrunk, list),
            ["lower `a.rs` from 700 to 650", "remove `a.rs::f`: it keeps the limit"]
        );
    }

    #[test]
    fn an_exception_for_nothing_is_found() {
        assert_eq!(
            advice(&[], "[files]\n'b.rs' = 700\n"),
            ["remove `b.rs`: there is no such thing"]
        );
    }

    #[test]
    fn the_count_of_uncited_requirements_only_falls() {
        let exceptions = toml::from_str("[spec]\nuncited = 1\n").expect("a valid list");
        let one = || Finding { path: String::new(), line: 0, advice: String::new() };
        assert_eq!(check_uncited(&[one()], &exceptions), []);
        assert_eq!(check_uncited(&[], &exceptions).len(), 1);
        assert_eq!(check_uncited(&[one(), one()], &exceptions).len(), 1);
    }
}
