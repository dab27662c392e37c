//! Links between documents resolve: the file is there, and so is the heading.
//!
//! Links to the outside are not followed.

use super::modules::normal;
use super::tree::{File, Finding, Tree};

/// Every relative link of every Markdown file.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let documents = tree.files.iter().filter(|file| file.path.ends_with(".md"));
    documents.flat_map(|file| check_document(tree, file)).collect()
}

fn check_document(tree: &Tree, file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, target) in links(&file.text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let directory = file.path.rsplit_once('/').map_or("", |(directory, _)| directory);
        let path = match path {
            "" => file.path.clone(),
            _ => normal(&format!("{directory}/{path}")),
        };
        if !tree.holds(&path) {
            findings.push(file.finding(line, format!("`{target}` leads nowhere")));
        } else if !anchor.is_empty() && !has_heading(tree, &path, anchor) {
            findings.push(file.finding(line, format!("`{path}` has no heading `#{anchor}`")));
        }
    }
    findings
}

/// Targets of the inline links outside code, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, prose) in prose(text) {
        // Code spans are the odd pieces between backquotes.
        for piece in prose.split('`').step_by(2) {
            let targets = piece.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            found.extend(targets.map(|(target, _)| {
                (line, target.split_whitespace().next().unwrap_or_default().to_owned())
            }));
        }
    }
    found
}

/// The lines outside fenced code, numbered.
fn prose(text: &str) -> Vec<(usize, &str)> {
    let mut is_code = false;
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        } else if !is_code {
            lines.push((index + 1, line));
        }
    }
    lines
}

fn has_heading(tree: &Tree, path: &str, anchor: &str) -> bool {
    let Some(file) = tree.file(path) else { return false };
    let lines = prose(&file.text).into_iter();
    let headings = lines.filter_map(|(_, line)| line.strip_prefix('#'));
    headings.map(|rest| slug(rest.trim_start_matches('#'))).any(|slug| slug == anchor)
}

/// The anchor that a forge gives a heading.
fn slug(heading: &str) -> String {
    let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(text: &str) -> Vec<String> {
        let tree = Tree::planted(&[
            ("a/README.md", text),
            ("a/b.md", "# One idea, twice\n```\n# not one\n```\n"),
            ("LICENSE", ""),
        ]);
        check(&tree).into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn good_links_pass() {
        let text = "[b](b.md) [c](../LICENSE) [`d`](b.md#one-idea-twice) [up](..)\n\
                    [e](https://example.org/x) `[f](nowhere)`\n```\n[g](nowhere)\n```\n";
        assert_eq!(advice(text), [""; 0]);
    }

    #[test]
    fn dead_links_are_found() {
        assert_eq!(advice("\nsee [b](c.md)"), ["a/README.md:2: `c.md` leads nowhere"]);
        assert_eq!(advice("[`b`](c.md)"), ["a/README.md:1: `c.md` leads nowhere"]);
        assert_eq!(
            advice("[b](b.md#not-one)"),
            ["a/README.md:1: `a/b.md` has no heading `#not-one`"]
        );
        assert_eq!(advice("[b](#here)"), ["a/README.md:1: `a/README.md` has no heading `#here`"]);
    }
}
