//! Code and specification hold each other: `spec:` and a number in a comment name a requirement.
//!
//! A requirement is defined where its number opens a line of the specification, whatever list,
//! table or heading marks stand before it. It is testable when the text up to the next
//! requirement carries the mark `[testable]`.

use super::tree::{File, Finding, Tree, line_of};
use std::collections::{BTreeMap, BTreeSet};

/// Which letter belongs to which specification.
const SPECS: [(char, &str); 2] = [('W', "engine/PROTOCOL.md"), ('S', "appliance/SYNC.md")];
/// The mark of a requirement that code can violate.
const TESTABLE: &str = "[testable]";

/// A requirement of a specification.
#[derive(Debug, PartialEq, Eq)]
struct Requirement {
    line: usize,
    is_testable: bool,
}

/// Every citation names a requirement that exists; every number is defined once.
pub(crate) fn check_citations(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (letter, path) in SPECS {
        let (defined, twice) = tree.file(path).map(|f| requirements(f, letter)).unwrap_or_default();
        findings.extend(twice);
        for file in tree.rust() {
            for (at, id) in citations(&file.text, letter) {
                if !defined.contains_key(&id) {
                    let advice = format!("{path} has no requirement {id}");
                    findings.push(file.finding(line_of(&file.text, at), advice));
                }
            }
        }
    }
    findings
}

/// Testable requirements that no source file cites.
pub(crate) fn uncited(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (letter, path) in SPECS {
        let Some(spec) = tree.file(path) else { continue };
        let cited: BTreeSet<String> =
            tree.rust().flat_map(|f| citations(&f.text, letter)).map(|(_, id)| id).collect();
        for (id, requirement) in requirements(spec, letter).0 {
            if requirement.is_testable && !cited.contains(&id) {
                let advice = format!("no code cites {id}: put `spec: {id}` where it is satisfied");
                findings.push(spec.finding(requirement.line, advice));
            }
        }
    }
    findings
}

/// Requirements that a text names in passing and no specification has.
pub(crate) fn unknown<'a>(tree: &'a Tree, text: &'a str) -> impl Iterator<Item = String> + 'a {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    let ids = words.filter(|word| word.len() == 5).filter_map(any_number);
    ids.filter(|id| {
        let spec = SPECS.iter().find(|(letter, _)| id.starts_with(*letter));
        let file = spec.and_then(|&(letter, path)| Some((letter, tree.file(path)?)));
        file.is_none_or(|(letter, file)| !requirements(file, letter).0.contains_key(id))
    })
}

/// The requirements of a specification and its numbers that are defined twice.
fn requirements(spec: &File, letter: char) -> (BTreeMap<String, Requirement>, Vec<Finding>) {
    let mut defined = BTreeMap::new();
    let mut twice = Vec::new();
    let mut current: Option<String> = None;
    for (index, line) in spec.text.lines().enumerate() {
        let opening = line.trim_start_matches(|c: char| c.is_whitespace() || "#-*|>[`".contains(c));
        if let Some(id) = number(opening, letter) {
            let requirement = Requirement { line: index + 1, is_testable: false };
            if defined.insert(id.clone(), requirement).is_some() {
                twice.push(spec.finding(index + 1, format!("{id} is defined twice")));
            }
            current = Some(id);
        }
        let open = current.as_ref().and_then(|id| defined.get_mut(id));
        if let Some(requirement) = open.filter(|_| line.contains(TESTABLE)) {
            requirement.is_testable = true;
        }
    }
    (defined, twice)
}

/// Requirements cited after `spec:`, separated by commas or blanks, with the mark's offset.
fn citations(text: &str, letter: char) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, mark) in text.match_indices("spec:") {
        let mut rest = &text[at + mark.len()..];
        loop {
            rest = rest.trim_start_matches([' ', ',']);
            let Some(id) = any_number(rest) else { break };
            rest = &rest[id.len()..];
            if id.starts_with(letter) {
                found.push((at, id));
            }
        }
    }
    found
}

fn any_number(text: &str) -> Option<String> {
    SPECS.iter().find_map(|&(letter, _)| number(text, letter))
}

/// The number `X-nnn` that opens `text`.
fn number(text: &str, letter: char) -> Option<String> {
    let digits = text.strip_prefix(letter)?.strip_prefix('-')?;
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    (count == 3).then(|| text[..5].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The mark, split so that this file's samples cite nothing.
    const CITE: &str = concat!("spec", ":");

    fn tree(code: &str) -> Tree {
        let spec = "# Wire\n**W-001** One. [testable]\n- W-002: Two.\n| `W-003` | Three,\n\
                    [testable] |\nSee W-001.\n";
        Tree::planted(&[("engine/PROTOCOL.md", spec), ("a.rs", code)])
    }

    #[test]
    fn a_citation_of_nothing_is_found() {
        let found = check_citations(&tree(&format!("// {CITE} W-001, W-009\n// {CITE} W-002")));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].advice, "engine/PROTOCOL.md has no requirement W-009");
    }

    #[test]
    fn testable_requirements_without_citation_are_found() {
        let ids = |code: &str| -> Vec<usize> {
            uncited(&tree(code)).into_iter().map(|finding| finding.line).collect()
        };
        assert_eq!(ids(""), [2, 4]);
        assert_eq!(ids(&format!("/// (`{CITE} W-001 W-003`)")), [0; 0]);
    }

    #[test]
    fn a_number_defined_twice_is_found() {
        let tree = Tree::planted(&[("engine/PROTOCOL.md", "- W-001 a\n- W-001 b\n")]);
        assert_eq!(check_citations(&tree).len(), 1);
    }
}
