//! The faults that prove the brain's tests: each still fits the sources that it is to be put into.

use super::tree::{Finding, Tree};
use serde::Deserialize;

const LIST: &str = "appliance/sync/mutants.toml";
const SOURCES: &str = "appliance/sync/src/";
/// Goal G20.
const LEAST: usize = 30;

#[derive(Debug, Deserialize)]
struct List {
    mutant: Vec<Mutant>,
}

#[derive(Debug, Deserialize)]
struct Mutant {
    name: String,
    file: String,
    find: String,
    replace: String,
}

/// Every fault of the list can be put into the brain as it is now, and there are enough of them.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(LIST) else { return Vec::new() };
    let list: List = match toml::from_str(&file.text) {
        Ok(list) => list,
        Err(error) => return vec![file.finding(0, error.to_string())],
    };
    let mut findings = Vec::new();
    if list.mutant.len() < LEAST {
        findings.push(file.finding(0, format!("has fewer than {LEAST} faults")));
    }
    for Mutant { name, file: at, find, replace } in &list.mutant {
        let sound = tree.file(&format!("{SOURCES}{at}"));
        let count = sound.map_or(0, |sound| sound.text.matches(find).count());
        if count != 1 || find == replace {
            let advice = format!("{name}: what it replaces stands {count} times in {at}, not once");
            findings.push(file.finding(line_of(&file.text, name), advice));
        }
    }
    findings
}

fn line_of(text: &str, name: &str) -> usize {
    let stands = format!("name = \"{name}\"");
    text.lines().position(|line| line == stands).map_or(0, |at| at + 1)
}

#[test]
fn a_fault_that_fits_nowhere_or_twice_is_found() {
    let list = |find: &str| {
        let one = format!(
            "[[mutant]]\nname = \"x\"\nfile = \"a.rs\"\nfind = \"{find}\"\nreplace = \"\"\n"
        );
        let tree = Tree::planted(&[(LIST, &one), ("appliance/sync/src/a.rs", "a b b")]);
        check(&tree)
    };
    let told = |find| list(find).into_iter().map(|found| found.advice).collect::<Vec<_>>();
    assert_eq!(told("a"), ["has fewer than 30 faults"]);
    assert_eq!(told("b").len(), 2);
    assert_eq!(told("c").len(), 2);
    assert_eq!(list("b")[1].line, 2);
}
