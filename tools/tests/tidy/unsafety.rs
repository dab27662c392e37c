//! Unsafe code stays in the rooms that were built for it, and brains forbid it outright.

use super::tree::{Finding, Tree, line_of, words};

/// Where unsafe code may stand: a directory with its `/`, or a file.
const ROOMS: [&str; 4] = [
    "engine/runtime/src/sys/",
    "tools/src/sys.rs",
    "netem-tests/src/sys.rs",
    "benches/tests/counting/allocator.rs",
];
/// Crates whose root must forbid unsafe code.
const BRAINS: [&str; 2] = ["engine/proto/src/lib.rs", "appliance/sync/src/lib.rs"];

/// No `unsafe` outside the rooms.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust().filter(|file| !ROOMS.iter().any(|room| file.path.starts_with(room))) {
        for at in words(&file.code, "unsafe") {
            let advice = "put a safe face into engine/runtime/src/sys/ and call that";
            findings.push(file.finding(line_of(&file.code, at), advice));
        }
    }
    for file in BRAINS.iter().filter_map(|path| tree.file(path)) {
        if !file.code.contains("#![forbid(unsafe_code)]") {
            findings.push(file.finding(1, "a brain says `#![forbid(unsafe_code)]`"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_outside_its_rooms_is_found() {
        let tree = Tree::planted(&[
            ("engine/runtime/src/sys/udp.rs", "unsafe { f() }"),
            ("engine/runtime/src/net.rs", "// unsafe\n#![deny(unsafe_code)]\nunsafe { f() }"),
            ("engine/proto/src/lib.rs", "//! #![forbid(unsafe_code)]"),
        ]);
        let places: Vec<_> = check(&tree).into_iter().map(|f| (f.path, f.line)).collect();
        assert_eq!(
            places,
            [
                ("engine/runtime/src/net.rs".to_owned(), 3),
                ("engine/proto/src/lib.rs".to_owned(), 1)
            ]
        );
    }
}
