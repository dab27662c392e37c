//! Files with several names, at two sites: as `rsync -aH` would leave them.

use crate::*;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// What `rsync` would still do to make the second tree the first, with names of files; `None` where
/// it is not installed.
fn differences(here: &Site, there: &Site) -> Option<String> {
    let mut rsync = Command::new("rsync");
    rsync.args(["-naHi", "--delete", "--checksum", "--omit-dir-times", "--exclude=/.farhaul"]);
    rsync.arg(here.tree().join("")).arg(there.tree().join(""));
    let output = rsync.output().ok()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The names of a tree by the files that they are names of.
fn files_of(root: &Path) -> BTreeSet<BTreeSet<String>> {
    let mut files: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for (name, _) in tree_of(root).into_iter().filter(|(_, text)| text.is_some()) {
        let inode = fs::symlink_metadata(root.join(&name)).map(|meta| meta.ino()).unwrap_or(0);
        files.entry(inode).or_default().insert(name);
    }
    files.into_values().collect()
}

/// Scans both until their trees are the same, names of files and all.
async fn until_linked((here, there): (&Site, &Site)) {
    let began = Instant::now();
    loop {
        let (a, b) = (files_of(&here.tree()), files_of(&there.tree()));
        if a == b && tree_of(&here.tree()) == tree_of(&there.tree()) {
            return;
        }
        let differ: Vec<_> = a.symmetric_difference(&b).take(9).collect();
        assert!(began.elapsed() < PATIENCE, "after all patience: {differ:?}");
        here.control.rescan().await.expect("it runs");
        there.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// That nothing changes any more, however often both look at what they did themselves.
async fn stays_so((here, there): (&Site, &Site)) {
    let before = [here, there].map(|site| (files_of(&site.tree()), tree_of(&site.tree())));
    for _ in 0..8 {
        here.control.rescan().await.expect("it runs");
        there.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(300)).await;
        let now = [here, there].map(|site| (files_of(&site.tree()), tree_of(&site.tree())));
        assert!(now == before, "a file or a name of one changed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_with_files_of_several_names_arrives_and_changes_as_rsync_would_leave_it() {
    let (here, there) = pair();
    let at = |name: &str| here.tree().join(name);
    fs::create_dir_all(at("sub/deep")).expect("made");
    let large: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    for (name, text) in [("one", &b"one"[..]), ("large", &large), ("empty", b""), ("alone", b"one")]
    {
        fs::write(at(name), text).expect("written");
    }
    for n in 0..40 {
        fs::write(at(&format!("sub/{n}")), n.to_string().repeat(1000)).expect("written");
        fs::hard_link(at(&format!("sub/{n}")), at(&format!("sub/deep/{n}"))).expect("linked");
    }
    let links = [("one", "sub/one"), ("one", "zero"), ("large", "a large"), ("empty", "sub/empty")];
    for (name, link) in links {
        fs::hard_link(at(name), at(link)).expect("linked");
    }
    until_linked((&here, &there)).await;
    let received = there.control.content_counts().received;
    assert!(received < 2 * large.len() as u64, "a content comes once: {received}");
    if let Some(differences) = differences(&here, &there) {
        assert_eq!(differences, "");
    }
    stays_so((&here, &there)).await;

    // Edits by one name, there and here; a name that goes, one that comes, one that is called
    // otherwise, one that becomes a file of its own.
    let other = |name: &str| there.tree().join(name);
    fs::write(other("sub/one"), b"by another name").expect("written");
    fs::write(at("a large"), b"not any more").expect("written");
    fs::remove_file(at("sub/7")).expect("removed");
    fs::hard_link(at("sub/8"), at("eight")).expect("linked");
    fs::rename(at("sub/deep/9"), at("nine")).expect("renamed");
    fs::write(at("new"), b"ten").expect("written");
    fs::rename(at("new"), at("sub/10")).expect("renamed");
    until_linked((&here, &there)).await;
    for (name, text) in [("one", &b"by another name"[..]), ("large", b"not any more")] {
        assert_eq!(fs::read(at(name)).expect("there"), text);
        assert_eq!(fs::read(other(name)).expect("there"), text);
    }
    assert_eq!(fs::metadata(other("eight")).expect("there").nlink(), 3);
    if let Some(differences) = differences(&here, &there) {
        assert_eq!(differences, "");
    }
    stays_so((&here, &there)).await;
}
