//! Sizes of files and functions. What is too much is decided by the ratchet.

use super::functions::functions;
use super::tree::Tree;

/// Lines of a file or of a function.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Path of the file.
    pub(crate) path: String,
    /// Name of the function; `None` for the file itself.
    pub(crate) function: Option<String>,
    /// Line of the function, 0 for the file.
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// Every file and every function of the tree's Rust sources.
pub(crate) fn measure(tree: &Tree) -> Vec<Size> {
    let mut sizes = Vec::new();
    for file in tree.rust() {
        let path = || file.path.clone();
        let lines = file.text.lines().count();
        sizes.push(Size { path: path(), function: None, line: 0, lines });
        for f in functions(&file.code) {
            sizes.push(Size { path: path(), function: Some(f.name), line: f.line, lines: f.lines });
        }
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_functions_are_measured() {
        let tree = Tree::planted(&[("a.rs", "//! Head.\nfn b() {\n}\n"), ("a.txt", "x\n")]);
        let sizes = measure(&tree);
        let file = Size { path: "a.rs".to_owned(), function: None, line: 0, lines: 3 };
        let function =
            Size { path: "a.rs".to_owned(), function: Some("b".to_owned()), line: 2, lines: 2 };
        assert_eq!(sizes, [file, function]);
    }
}
