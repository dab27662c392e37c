//! Who may depend on whom: imports go down only.
//!
//! Checked in the manifests, where Cargo then enforces it; third-party crates are not fenced.

use super::tree::{File, Finding, Tree, line_of};
use toml::{Table, Value};

/// A crate of ours and what it may depend on.
struct Fence {
    name: &'static str,
    /// In product code.
    normal: &'static [&'static str],
    /// In its tests and benches, in addition.
    tests: &'static [&'static str],
}

const FENCES: [Fence; 14] = [
    Fence { name: "farhaul-proto", normal: &[], tests: &[] },
    Fence { name: "farhaul-engine", normal: &["farhaul-proto"], tests: &["farhaul-sim"] },
    Fence { name: "farhaul-sim", normal: &["farhaul-proto", "farhaul-sync"], tests: &[] },
    Fence { name: "farhaul-sync", normal: &["farhaul-proto"], tests: &["farhaul-sim"] },
    Fence { name: "farhaul-api", normal: &[], tests: &[] },
    // What the daemon and the command both do to files, so that neither does it otherwise.
    Fence {
        name: "farhaul-files",
        normal: &["farhaul-proto", "farhaul-engine", "farhaul-sync"],
        tests: &[],
    },
    Fence {
        name: "farhauld",
        normal: &[
            "farhaul-proto",
            "farhaul-engine",
            "farhaul-sync",
            "farhaul-api",
            "farhaul-files",
        ],
        tests: &["farhaul-sim"],
    },
    // The WAN emulator in tools is the simulator's link model in real time.
    Fence {
        name: "farhaul-tools",
        normal: &[
            "farhaul-proto",
            "farhaul-engine",
            "farhaul-sim",
            "farhaul-sync",
            "farhaul-api",
            "farhaul-files",
        ],
        tests: &[],
    },
    // Whole binaries are tested from outside; the lab comes from tools.
    Fence {
        name: "farhaul-netem-tests",
        normal: &["farhaul-proto", "farhaul-sim", "farhaul-tools"],
        tests: &[],
    },
    // The hostile peer speaks the protocol from its text: what it shares with the product, it
    // cannot find wrong there.
    Fence { name: "farhaul-hostile", normal: &[], tests: &["farhaul-netem-tests"] },
    // The fault kit runs the product's own loop over a disk of its own, and judges what is left.
    Fence {
        name: "farhaul-faults",
        normal: &["farhaul-proto", "farhaul-engine", "farhaul-sync", "farhaul-api", "farhauld"],
        tests: &["farhaul-netem-tests"],
    },
    Fence {
        name: "farhaul-benches",
        normal: &[
            "farhaul-proto",
            "farhaul-engine",
            "farhaul-sim",
            "farhaul-sync",
            "farhaul-tools",
            "farhaul-netem-tests",
        ],
        tests: &[],
    },
    Fence {
        name: "farhaul-fuzz",
        normal: &["farhaul-proto", "farhaul-engine", "farhaul-sync"],
        tests: &[],
    },
    Fence {
        name: "farhaul-appliance-fuzz",
        normal: &["farhaul-proto", "farhaul-sync", "farhauld"],
        tests: &[],
    },
];

/// Every manifest keeps its fence, every crate has one.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let manifests = tree.files.iter().filter(|f| f.path.rsplit('/').next() == Some("Cargo.toml"));
    manifests.flat_map(check_manifest).collect()
}

fn check_manifest(file: &File) -> Vec<Finding> {
    let manifest: Table = match file.text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![file.finding(0, format!("not a manifest: {error}"))],
    };
    let name = manifest.get("package").and_then(|package| package.get("name"));
    let Some(name) = name.and_then(Value::as_str) else { return Vec::new() }; // the workspace
    let Some(fence) = FENCES.iter().find(|fence| fence.name == name) else {
        return vec![
            file.finding(0, format!("give `{name}` a fence in tools/tests/tidy/fences.rs")),
        ];
    };
    let mut findings = Vec::new();
    for (section, dependency) in ours(&manifest) {
        let is_test = section == "dev-dependencies";
        let is_allowed = fence.normal.contains(&dependency.as_str())
            || is_test && fence.tests.contains(&dependency.as_str());
        if !is_allowed {
            let line = file.text.find(&dependency).map_or(0, |at| line_of(&file.text, at));
            let advice = format!("`{name}` must not import `{dependency}`: imports go down only");
            findings.push(file.finding(line, advice));
        }
    }
    findings
}

/// Section and package of every dependency on a crate of ours.
fn ours(manifest: &Table) -> Vec<(String, String)> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let per_target = targets.into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let mut found = Vec::new();
    for table in std::iter::once(manifest).chain(per_target) {
        for section in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let entries = table.get(section).and_then(Value::as_table);
            for (key, value) in entries.into_iter().flatten() {
                let package = value.get("package").and_then(Value::as_str).unwrap_or(key);
                if package.starts_with("farhaul") {
                    found.push((section.to_owned(), package.to_owned()));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advice(name: &str, rest: &str) -> Vec<String> {
        let text = format!("[package]\nname = \"{name}\"\n{rest}");
        let tree = Tree::planted(&[("x/Cargo.toml", &text)]);
        check(&tree).into_iter().map(|finding| finding.advice).collect()
    }

    #[test]
    fn imports_upwards_are_found_in_every_section() {
        for section in ["dependencies", "dev-dependencies", "target.'cfg(unix)'.dependencies"] {
            let rest = format!("[{section}]\nfarhaul-engine = {{ path = \"y\" }}\n");
            assert_eq!(advice("farhaul-proto", &rest).len(), 1, "{section}");
        }
    }

    #[test]
    fn a_renamed_import_is_found() {
        let rest = "[dependencies]\nharmless = { package = \"farhaul-engine\", path = \"y\" }\n";
        assert_eq!(advice("farhaul-sync", rest).len(), 1);
    }

    #[test]
    fn tests_may_use_the_simulator() {
        let rest = "[dev-dependencies]\nfarhaul-sim.workspace = true\n";
        assert_eq!(advice("farhaul-engine", rest), [""; 0]);
        let rest = "[dependencies]\nfarhaul-sim.workspace = true\n";
        assert_eq!(advice("farhaul-engine", rest).len(), 1);
    }

    #[test]
    fn a_crate_without_a_fence_is_found() {
        assert_eq!(advice("farhaul-new", "").len(), 1);
    }
}
