//! Heads and names: each source file says what it is, and names carry meaning.

use super::functions::functions;
use super::tree::{Finding, Tree};

/// A head says something; shorter ones are placeholders.
const HEAD_MIN: usize = 20;
/// File names that say nothing about the content, in product code.
const EMPTY_NAMES: [&str; 5] = ["mod.rs", "util.rs", "utils.rs", "helpers.rs", "common.rs"];

/// Every `.rs` file opens with a head comment.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let is_bare = |text: &str| {
        let head = text.lines().next().and_then(|line| line.strip_prefix("//!"));
        head.is_none_or(|words| words.trim().len() < HEAD_MIN)
    };
    let bare = tree.rust().filter(|file| is_bare(&file.text));
    bare.map(|file| {
        file.finding(1, "open the file with `//!`: what it is, what it deliberately does not do")
    })
    .collect()
}

/// No empty file names in product code, no `test_` in front of test names.
pub(crate) fn check_names(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust() {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if file.path.contains("/src/") && EMPTY_NAMES.contains(&name) {
            findings.push(file.finding(0, "name the file after its one idea (thing.rs + thing/)"));
        }
        for function in functions(&file.code).iter().filter(|f| f.name.starts_with("test_")) {
            let advice = format!("name the behaviour instead of `{}`", function.name);
            findings.push(file.finding(function.line, advice));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_and_placeholder_heads_are_found() {
        let tree = Tree::planted(&[
            ("a.rs", "fn a() {}"),
            ("b.rs", "//! x\n"),
            ("c.rs", "//! What this file is about.\n"),
            ("d.rs", ""),
        ]);
        let paths: Vec<String> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["a.rs", "b.rs", "d.rs"]);
    }

    #[test]
    fn empty_names_are_found() {
        let tree = Tree::planted(&[
            ("x/src/utils.rs", ""),
            ("x/tests/common.rs", ""),
            ("x/src/a.rs", "fn test_a() {}\nfn tested() {}"),
        ]);
        let places: Vec<_> = check_names(&tree).into_iter().map(|f| (f.path, f.line)).collect();
        assert_eq!(places, [("x/src/utils.rs".to_owned(), 0), ("x/src/a.rs".to_owned(), 1)]);
    }
}
