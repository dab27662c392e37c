//! Rooms stand where the plan has them: nothing new at the top without a decision.

use super::tree::{Finding, Tree};

/// What may stand at the top.
const TOP: [&str; 17] = [
    ".cargo",
    ".ci",
    ".config",
    ".deny.toml",
    ".gitignore",
    ".rustfmt.toml",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "appliance",
    "benches",
    "configs",
    "engine",
    "netem-tests",
    "systemd",
];
/// What may stand in a wing besides its crates; `tools` is a crate itself.
const WINGS: [(&str, &[&str]); 2] = [
    (
        "engine",
        &[
            "FEC.md",
            "FLIGHT.md",
            "PROTOCOL.md",
            "RATE.md",
            "README.md",
            "SECURITY.md",
            "SPEED.md",
            "fuzz",
            "proto",
            "runtime",
            "sim",
        ],
    ),
    ("appliance", &["FAULTS.md", "README.md", "SYNC.md", "api", "daemon", "files", "fuzz", "sync"]),
];

/// Every path lies in a known room.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for path in &tree.paths {
        let (top, rest) = path.split_once('/').unwrap_or((path, ""));
        let wing = WINGS.iter().find(|(wing, _)| *wing == top);
        let is_known = match wing {
            Some((_, rooms)) => rooms.contains(&rest.split('/').next().unwrap_or_default()),
            None => TOP.contains(&top) || top == "tools",
        };
        if !is_known {
            let advice = "no such room in the plan: move it, or change the plan first";
            findings.push(Finding { path: path.clone(), line: 0, advice: advice.to_owned() });
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strange_rooms_are_found() {
        let tree = Tree::planted(&[
            ("README.md", ""),
            ("docs/a.md", ""),
            ("engine/proto/src/lib.rs", ""),
            ("engine/fec/src/lib.rs", ""),
            ("engine/notes.md", ""),
            ("tools/src/lib.rs", ""),
        ]);
        let paths: Vec<String> = check(&tree).into_iter().map(|finding| finding.path).collect();
        assert_eq!(paths, ["docs/a.md", "engine/fec/src/lib.rs", "engine/notes.md"]);
    }
}
