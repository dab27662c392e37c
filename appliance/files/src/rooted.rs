//! What must not become root's (spec: S-145, S-173).

use crate::describe::NOBODY;
use crate::owner::Principals;
use std::sync::LazyLock;

/// Whether this process is root, of whom nothing of others' may become. In a namespace of users in which
/// there is no nobody, root is whoever made it, and has no more rights than that.
pub fn guards_root(principals: &dyn Principals) -> bool {
    static HAS_NOBODY: LazyLock<bool> = LazyLock::new(|| {
        let map = std::fs::read_to_string("/proc/self/uid_map");
        map.map_or(true, |map| has_id(&map, NOBODY))
    });
    rustix::process::geteuid().is_root() && !principals.may_be_roots() && *HAS_NOBODY
}

/// Whether a map of user_namespaces(7) has an id: lines of the first one inside, that outside, and how
/// many there are.
fn has_id(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().ok());
        let (first, count) = (numbers.next().flatten(), numbers.nth(1).flatten());
        let range = first.zip(count).map(|(first, count)| first..first.saturating_add(count));
        range.is_some_and(|range| range.contains(&id.into()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_of_one_user_has_no_nobody() {
        assert!(has_id("         0          0 4294967295\n", NOBODY));
        assert!(has_id("0 1000 1\n1 100000 65536\n", NOBODY));
        for map in ["0 1000 1\n", "", "0 1000\n", "x y z\n", "65535 0 10\n"] {
            assert!(!has_id(map, NOBODY), "{map:?}");
        }
    }
}
