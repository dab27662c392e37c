//! No dead source files: each is a crate root or reached by `mod` declarations from one.
//!
//! Follows Cargo's rules for roots and the language's for paths, inline modules and `#[path]`
//! included.

use super::tree::{File, Finding, Tree, words};
use std::collections::BTreeSet;
use toml::{Table, Value};

/// Every Rust file is reached.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<(String, String)> = roots(tree);
    while let Some((path, directory)) = open.pop() {
        let Some(file) = tree.file(&path) else { continue };
        if reached.insert(path) {
            open.extend(children(tree, file, &directory));
        }
    }
    let dead = tree.rust().filter(|file| !reached.contains(&file.path));
    dead.map(|file| file.finding(0, "no `mod` reaches this file: declare it or delete it"))
        .collect()
}

/// Crate roots, each with the directory in which its modules lie.
fn roots(tree: &Tree) -> Vec<(String, String)> {
    let mut roots = Vec::new();
    for manifest in tree.files.iter().filter(|f| f.path.rsplit('/').next() == Some("Cargo.toml")) {
        let package = directory(&manifest.path);
        let inside = |path: &str| join(package, path);
        let explicit = explicit_roots(manifest).into_iter().map(|path| inside(&path));
        let implicit = tree.rust().map(|f| f.path.clone()).filter(|path| {
            let relative =
                if package.is_empty() { Some(&**path) } else { path.strip_prefix(package) };
            relative.is_some_and(|path| is_implicit_root(path.trim_start_matches('/')))
        });
        roots.extend(explicit.chain(implicit));
    }
    roots.into_iter().map(|path| (path.clone(), directory(&path).to_owned())).collect()
}

/// Paths of targets that a manifest names.
fn explicit_roots(manifest: &File) -> Vec<String> {
    let table: Table = manifest.text.parse().unwrap_or_default();
    let lib = table.get("lib").into_iter();
    let lists = ["bin", "test", "bench", "example"].into_iter().filter_map(|kind| table.get(kind));
    let targets = lib.chain(lists.filter_map(Value::as_array).flatten());
    let paths = targets.filter_map(|target| target.get("path").and_then(Value::as_str));
    paths.map(str::to_owned).collect()
}

/// True for the files that Cargo finds by itself, relative to the package.
fn is_implicit_root(path: &str) -> bool {
    if ["build.rs", "src/lib.rs", "src/main.rs"].contains(&path) {
        return true;
    }
    let target_directories = ["src/bin/", "tests/", "benches/", "examples/"];
    let name = target_directories.iter().find_map(|directory| path.strip_prefix(directory));
    name.is_some_and(|name| match name.split_once('/') {
        None => true,
        Some((_, rest)) => rest == "main.rs",
    })
}

/// Files that the `mod` declarations of `file` reach, each with its modules' directory.
fn children(tree: &Tree, file: &File, directory: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for declaration in declarations(file) {
        let base = join(directory, &declaration.inside);
        if let Some(path) = declaration.path {
            let from = self::directory(&file.path);
            let target =
                normal(&join(if declaration.inside.is_empty() { from } else { &base }, &path));
            let next = self::directory(&target).to_owned();
            found.push((target, next));
            continue;
        }
        let next = join(&base, &declaration.name);
        let candidates = [format!("{next}.rs"), format!("{next}/mod.rs")];
        let existing = candidates.into_iter().filter(|path| tree.file(path).is_some());
        found.extend(existing.map(|path| (path, next.clone())));
    }
    found
}

/// A `mod name;`, the inline modules around it and its `#[path]`.
#[derive(Debug, PartialEq, Eq)]
struct Declaration {
    name: String,
    /// Names of the enclosing inline modules, joined by `/`.
    inside: String,
    path: Option<String>,
}

fn declarations(file: &File) -> Vec<Declaration> {
    let code = &file.code;
    let mut found = Vec::new();
    let mut inline: Vec<(usize, String)> = Vec::new(); // closing brace, name
    for at in words(code, "mod") {
        let rest = code[at + 3..].trim_start();
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let after = rest[name.len()..].trim_start();
        inline.retain(|&(close, _)| close > at);
        if after.starts_with('{') {
            let open = code.len() - after.len();
            let close = super::functions::matching_brace(code, open).unwrap_or(code.len());
            inline.push((close, name));
        } else if after.starts_with(';') {
            let names: Vec<&str> = inline.iter().map(|(_, name)| name.as_str()).collect();
            found.push(Declaration {
                name,
                inside: names.join("/"),
                path: path_attribute(file, at),
            });
        }
    }
    found
}

/// The value of a `#[path = ".."]` among the attributes of the item whose keyword is at `at`.
fn path_attribute(file: &File, at: usize) -> Option<String> {
    let start = file.code[..at].rfind([';', '{', '}']).map_or(0, |end| end + 1);
    let attribute = start + file.code[start..at].find("#[path")?;
    let value = &file.text[attribute..at];
    value.split('"').nth(1).map(str::to_owned)
}

fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(directory, _)| directory)
}

fn join(directory: &str, path: &str) -> String {
    match (directory, path) {
        ("", _) => path.to_owned(),
        (_, "") => directory.to_owned(),
        _ => format!("{directory}/{path}"),
    }
}

/// `a/../b` as `b`.
pub(crate) fn normal(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::planted(files)).into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn unreached_files_are_found() {
        let files = [
            ("x/Cargo.toml", ""),
            ("x/src/lib.rs", "mod a; // mod c;"),
            ("x/src/a.rs", "mod b;"),
            ("x/src/a/b.rs", ""),
            ("x/src/b.rs", ""),
            ("x/src/c.rs", ""),
            ("y/src/lib.rs", ""),
        ];
        assert_eq!(dead(&files), ["x/src/b.rs", "x/src/c.rs", "y/src/lib.rs"]);
    }

    #[test]
    fn targets_of_every_kind_are_roots() {
        let files = [
            ("x/Cargo.toml", "[[bin]]\nname = 'f'\npath = 'fuzz/f.rs'\n"),
            ("x/build.rs", ""),
            ("x/fuzz/f.rs", ""),
            ("x/fuzz/g.rs", ""),
            ("x/src/bin/b.rs", ""),
            ("x/src/bin/c/main.rs", "mod d;"),
            ("x/src/bin/c/d.rs", ""),
            ("x/tests/t.rs", "mod t { pub mod u; }"),
            ("x/tests/t/u.rs", ""),
            ("x/tests/t/v.rs", ""),
        ];
        assert_eq!(dead(&files), ["x/fuzz/g.rs", "x/tests/t/v.rs"]);
    }

    #[test]
    fn path_attributes_lead_elsewhere() {
        let files = [
            ("x/Cargo.toml", ""),
            ("x/src/lib.rs", "mod a;\n#[cfg(test)]\n#[path = \"../shared/b.rs\"]\nmod b;"),
            ("x/src/a.rs", ""),
            ("x/shared/b.rs", ""),
        ];
        assert_eq!(dead(&files), [""; 0]);
    }

    #[test]
    fn a_module_after_an_inline_one_is_not_inside_it() {
        let file = File::new("a.rs", "mod a { mod b { } mod c; } mod d;");
        let places: Vec<_> = declarations(&file).into_iter().map(|d| (d.inside, d.name)).collect();
        let expected = [("a", "c"), ("", "d")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(places, expected);
    }
}
