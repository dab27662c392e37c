//! The tables of faults, threats and scenarios (`appliance/FAULTS.md`): each row once, each with tests
//! that exist or with the word that it is open.
//!
//! A test is named as `crate::module::function`, in code marks; of integration tests the file is the
//! module. What is missing of a row stands behind `open:`.

use super::spec;
use super::tree::{File, Finding, Tree};
use toml::Table;

/// Where the table stands.
const TABLE: &str = "appliance/FAULTS.md";
/// The word behind which it is said what is missing.
const OPEN: &str = "open:";

/// What there have to be rows of.
fn wanted() -> impl Iterator<Item = String> {
    let rows = [("F", 1..=40), ("T", 13..=20), ("S", 1..=40)];
    rows.into_iter().flat_map(|(table, numbers)| numbers.map(move |n| format!("{table}-{n:02}")))
}

/// A row: its name, its line and its other columns.
struct Row<'a> {
    id: &'a str,
    line: usize,
    behaviour: &'a str,
    tests: &'a str,
}

fn rows(file: &File) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for (index, line) in file.text.lines().enumerate() {
        let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
        if let [id, behaviour, tests] = cells[..]
            && ["F-", "T-", "S-"].iter().any(|table| id.starts_with(table))
        {
            // Behind its number the row says what the fault is.
            let id = id.split(' ').next().unwrap_or_default();
            rows.push(Row { id, line: index + 1, behaviour, tests });
        }
    }
    rows
}

/// The rows of which something is missing.
pub(crate) fn open_rows(tree: &Tree) -> Vec<String> {
    let rows = tree.file(TABLE).map(rows).unwrap_or_default();
    rows.iter().filter(|row| row.tests.contains(OPEN)).map(|row| row.id.to_owned()).collect()
}

/// Every row is there once; every test exists.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(file) = tree.file(TABLE) else {
        let advice = "the table of faults is gone".to_owned();
        return vec![Finding { path: TABLE.to_owned(), line: 0, advice }];
    };
    let rows = rows(file);
    let mut findings = Vec::new();
    for id in wanted() {
        let count = rows.iter().filter(|row| row.id == id).count();
        if count != 1 {
            findings.push(file.finding(0, format!("{id} has {count} rows: one is wanted")));
        }
    }
    for row in &rows {
        if !wanted().any(|id| id == row.id) {
            findings.push(file.finding(row.line, format!("{} is no row of this table", row.id)));
        }
        let said = row.tests.split_once(OPEN).map(|(_, missing)| missing.trim());
        if said == Some("") {
            findings.push(file.finding(row.line, "say what is open"));
        }
        let tests: Vec<&str> = named(row.tests).filter(|name| name.contains("::")).collect();
        if tests.is_empty() && said.is_none() {
            findings.push(file.finding(row.line, "name a test, or say what is open"));
        }
        let missing = tests.into_iter().filter(|test| !exists(tree, test));
        findings.extend(missing.map(|test| file.finding(row.line, format!("no test `{test}`"))));
        let unknown = spec::unknown(tree, row.behaviour);
        findings
            .extend(unknown.map(|id| file.finding(row.line, format!("{id} is specified nowhere"))));
    }
    findings
}

/// What stands in code marks.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Whether a crate has a function of that name in that module.
fn exists(tree: &Tree, test: &str) -> bool {
    let Some((package, path)) = test.split_once("::") else { return false };
    let Some((module, function)) = path.rsplit_once("::") else { return false };
    let manifests = tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml"));
    let directories = manifests.filter(|file| is_package(file, package)).filter_map(|file| {
        file.path.strip_suffix("Cargo.toml").map(|directory| directory.trim_end_matches('/'))
    });
    let mut directories: Vec<&str> = directories.collect();
    directories.dedup();
    let module = module.replace("::", "/");
    directories.into_iter().any(|directory| {
        let places = ["src", "tests"].map(|part| format!("{directory}/{part}/{module}.rs"));
        let main = format!("{directory}/tests/{module}/main.rs");
        let files = places.iter().chain([&main]).filter_map(|place| tree.file(place));
        files.into_iter().any(|file| has_function(file, function))
    })
}

fn is_package(manifest: &File, package: &str) -> bool {
    let table: Table = manifest.text.parse().unwrap_or_default();
    let name = table.get("package").and_then(|table| table.get("name"));
    name.and_then(toml::Value::as_str) == Some(package)
}

fn has_function(file: &File, function: &str) -> bool {
    file.code.contains(&format!("fn {function}("))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with all rows but for what `spoil` does to it.
    fn advice(spoil: impl Fn(String) -> String) -> Vec<String> {
        let row = |id: String| {
            format!("| {id} so called | it holds (S-001) | `x::a::holds`; open: more |\n")
        };
        let table = spoil(wanted().map(row).collect());
        let tree = Tree::planted(&[
            (TABLE, &table),
            ("appliance/SYNC.md", "- **S-001** One.\n"),
            ("x/Cargo.toml", "[package]\nname = 'x'\n"),
            ("x/src/a.rs", "#[test]\nfn holds() {}\n// fn was() {}\n"),
            ("x/tests/b.rs", "#[test]\nfn lasts() {}\n"),
        ]);
        check(&tree).into_iter().map(|finding| finding.advice).collect()
    }

    #[test]
    fn a_whole_table_passes_and_tests_of_every_kind_are_found() {
        assert_eq!(advice(|table| table), [""; 0]);
        let other = |table: String| table.replacen("`x::a::holds`; open: more", "`x::b::lasts`", 1);
        assert_eq!(advice(other), [""; 0]);
        let open = |table: String| table.replacen("`x::a::holds`; open: more", "open: all", 1);
        assert_eq!(advice(open), [""; 0]);
    }

    #[test]
    fn a_row_that_is_missing_or_twice_is_found() {
        let missing = |table: String| table.replace("F-07", "F-41");
        assert_eq!(
            advice(missing),
            ["F-07 has 0 rows: one is wanted", "F-41 is no row of this table"]
        );
        let twice = |table: String| table.replace("T-14", "T-13");
        assert_eq!(advice(twice).len(), 2);
    }

    #[test]
    fn a_test_that_is_gone_a_number_and_an_empty_word_are_found() {
        let with = |other: &str| {
            let other = other.to_owned();
            advice(move |table| table.replacen("`x::a::holds`; open: more", &other, 1))
        };
        assert_eq!(with("`x::a::was`"), ["no test `x::a::was`"]);
        assert_eq!(with("`y::a::holds`"), ["no test `y::a::holds`"]);
        assert_eq!(with("open:"), ["say what is open"]);
        assert_eq!(with("by hand"), ["name a test, or say what is open"]);
        let unknown = advice(|table| table.replacen("S-001", "S-002", 1));
        assert_eq!(unknown, ["S-002 is specified nowhere"]);
    }
}
