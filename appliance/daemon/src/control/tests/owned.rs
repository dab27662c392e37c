//! Whose what is put in place becomes.

use super::*;
use crate::store::NameTable;
use std::os::unix::fs::MetadataExt;

pub(super) fn owner_of(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid())
}

fn belonging(mut version: Version, owner: &str, group: &str) -> Version {
    version.meta.owner = Some(owner.as_bytes().into());
    version.meta.group = Some(group.as_bytes().into());
    version
}

pub(super) fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: this process is not root");
    }
    is_root
}

#[test]
fn an_owner_without_a_name_is_that_number_elsewhere() {
    if !is_root() {
        return;
    }
    let mut bench = Bench::at(tempfile::tempdir().unwrap(), Arc::new(NameTable::default()));
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    let theirs = content_of(&mut bench, "source");
    let said = belonging(version(dot(2, 1), &[], theirs.clone()), "1234", "4321");
    bench.say("a", &said);
    bench.say("d", &belonging(version(dot(2, 2), &[], Content::Dir), "1234", "0"));
    bench.say("b", &belonging(version(dot(2, 3), &[], theirs), "+7", "4294967295"));
    bench.settle();
    assert_eq!(owner_of(&bench.root("a")), (1234, 4321));
    assert_eq!(owner_of(&bench.root("d")), (1234, 65_534), "nothing becomes root's");
    assert_eq!(owner_of(&bench.root("b")), (65_534, 65_534), "these are no numbers");
    bench.scan();
    assert_eq!(dots(&mut bench, "a"), [said.dot]);
}
