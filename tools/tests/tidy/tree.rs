//! The files under version control, read once, and how a rule reports what it found.
//!
//! Knows nothing of any rule.

use super::mask::mask;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Fuzz corpora are data: no rule about text applies to them.
const DATA: [&str; 2] = ["engine/fuzz/corpus/", "appliance/fuzz/corpus/"];

/// A violation, with the advice that ends it. Line 0 stands for the whole file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) path: String,
    pub(crate) line: usize,
    pub(crate) advice: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.advice),
            line => write!(f, "{}:{line}: {}", self.path, self.advice),
        }
    }
}

/// A text file.
#[derive(Debug)]
pub(crate) struct File {
    /// Path from the root of the tree, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
    /// For Rust: the text with comments and literals blanked out; otherwise empty.
    pub(crate) code: String,
}

impl File {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") { mask(text) } else { String::new() };
        Self { path: path.to_owned(), text: text.to_owned(), code }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub(crate) fn finding(&self, line: usize, advice: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, advice: advice.into() }
    }
}

/// All text files of a tree, sorted by path.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    pub(crate) files: Vec<File>,
    /// Paths of everything, binary files included.
    pub(crate) paths: Vec<String>,
}

impl Tree {
    /// The working copy that this package belongs to.
    pub(crate) fn tracked() -> Self {
        let root = root();
        let mut tree = Self::default();
        for path in tracked_paths(&root) {
            let Ok(bytes) = std::fs::read(root.join(&path)) else { continue }; // deleted, not yet staged
            let is_text = !bytes.contains(&0) && !DATA.iter().any(|data| path.starts_with(data));
            if is_text {
                tree.files.push(File::new(&path, &String::from_utf8_lossy(&bytes)));
            }
            tree.paths.push(path);
        }
        assert!(!tree.paths.is_empty(), "no files under version control at {}", root.display());
        tree
    }

    /// A tree for the tests of the rules.
    pub(crate) fn planted(files: &[(&str, &str)]) -> Self {
        let paths = files.iter().map(|(path, _)| (*path).to_owned()).collect();
        Self { files: files.iter().map(|(path, text)| File::new(path, text)).collect(), paths }
    }

    pub(crate) fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &File> {
        self.files.iter().filter(|file| file.is_rust())
    }

    /// True when `path` is a file or a directory that holds one.
    pub(crate) fn holds(&self, path: &str) -> bool {
        let directory = format!("{path}/");
        path.is_empty() || self.paths.iter().any(|p| p == path || p.starts_with(&directory))
    }
}

fn root() -> PathBuf {
    // Asked at run time first, so that a test binary also serves a copy of the tree it came from.
    let package = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    package.parent().expect("the package lies in the workspace").to_path_buf()
}

fn tracked_paths(root: &Path) -> Vec<String> {
    let output = Command::new("git")
        // A checkout of another user is read here, never written.
        .args(["-c", "safe.directory=*", "ls-files", "-z"])
        .current_dir(root)
        .output()
        .expect("the rules need git to list the files under version control");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "git ls-files failed in {}: {complaint}", root.display());
    let names = output.stdout.split(|&byte| byte == 0).filter(|name| !name.is_empty());
    let mut paths: Vec<String> =
        names.map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    paths.sort();
    paths
}

/// The 1-based line of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    1 + text.as_bytes()[..offset].iter().filter(|&&byte| byte == b'\n').count()
}

/// True when `word` stands alone at `at`: no identifier character touches it.
pub(crate) fn is_word_at(text: &str, at: usize, word: &str) -> bool {
    let is_part = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    let bytes = text.as_bytes();
    !is_part(at.checked_sub(1).and_then(|before| bytes.get(before)))
        && !is_part(bytes.get(at + word.len()))
}

/// Byte offsets where `word` stands alone.
pub(crate) fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word).map(|(at, _)| at).filter(move |&at| is_word_at(text, at, word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_name_file_and_line() {
        let file = File::new("a.txt", "");
        assert_eq!(file.finding(3, "mend it").to_string(), "a.txt:3: mend it");
        assert_eq!(file.finding(0, "mend it").to_string(), "a.txt: mend it");
    }

    #[test]
    fn words_stand_alone() {
        assert_eq!(words("fn a_fn fn fnord fn", "fn").collect::<Vec<_>>(), [0, 8, 17]);
    }

    #[test]
    fn the_tree_knows_its_directories() {
        let tree = Tree::planted(&[("a/b/c.rs", "")]);
        assert!(tree.holds("a/b") && tree.holds("a/b/c.rs") && !tree.holds("a/b/c"));
    }
}
