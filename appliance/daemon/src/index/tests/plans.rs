//! How SQLite goes about the statements of an index: what is done for each path must not read a
//! whole table, or a change of many paths takes the square of their number.

use super::*;
use std::path::Path;

/// Tables that are read or counted as a whole, on purpose, by whole statements of these files.
const WHOLE: [(&str, &str); 21] = [
    ("aside.rs", "looks"),
    ("aside.rs", "asides"),
    ("check.rs", "items"),
    ("check.rs", "kept_contents"),
    ("check.rs", "versions"),
    ("conflicts.rs", "copies"),
    ("copies.rs", "unsettled"),
    ("elsewhere.rs", "elsewhere"),
    ("guard.rs", "items"),
    ("guard.rs", "(subquery-1)"),
    ("intent.rs", "intents"),
    ("links.rs", "links"),
    ("links.rs", "items"),
    ("marks.rs", "stale"),
    ("marks.rs", "marks"),
    ("migrate.rs", "sqlite_master"),
    ("read.rs", "versions"),
    ("read.rs", "heads"),
    ("read.rs", "items"),
    ("read.rs", "runs"),
    ("shortfall.rs", "shortfalls"),
];

/// The literals of a source file that begin with a verb of SQL; those that a program completes are
/// left out.
fn statements(source: &str) -> Vec<String> {
    let verbs = ["SELECT ", "DELETE ", "UPDATE ", "INSERT ", "REPLACE "];
    let literals = source.split('"').skip(1).step_by(2).map(|one| one.replace("\\\n", " "));
    literals
        .filter(|one| verbs.iter().any(|verb| one.starts_with(verb)) && !one.contains('{'))
        .collect()
}

#[test]
fn no_statement_about_a_single_row_reads_a_whole_table() {
    let home = tempfile::tempdir().unwrap();
    let index = index(home.path());
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/index");
    let (mut seen, mut scans) = (0, Vec::new());
    for entry in std::fs::read_dir(dir).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with(".rs") || name == "tests.rs" {
            continue;
        }
        for sql in statements(&std::fs::read_to_string(&file).unwrap()) {
            seen += 1;
            let mut plan = index.db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let nothing = vec![rusqlite::types::Null; plan.parameter_count()];
            let mut rows = plan.query(rusqlite::params_from_iter(nothing)).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                let Some(table) = step.strip_prefix("SCAN ") else { continue };
                let table = table.split(' ').next().unwrap().to_owned();
                if table != "CONSTANT" && !WHOLE.contains(&(name.as_str(), table.as_str())) {
                    scans.push(format!("{name}: {step}: {sql}"));
                }
            }
        }
    }
    assert!(seen > 80, "{seen} statements were found");
    assert!(scans.is_empty(), "{scans:#?}");
}
