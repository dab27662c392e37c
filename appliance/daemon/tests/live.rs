//! Two sites with real disks, indexes and engines on loopback: what is done in one tree is done in
//! the other, and no scan is due.

mod live {
    pub(crate) mod pair;
}

use farhaul_proto::units::BitRate;
use farhauld::site::LinkCap;
use farhauld::watch::WatchMode;
use live::pair::{Site, pair, through_a_hub};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What stands in a tree: contents of files, targets of links, nothing for directories.
fn tree_of(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().expect("its kind"));
            let name = path.strip_prefix(root).expect("beneath").to_string_lossy().into_owned();
            if name == ".farhaul" {
                continue;
            }
            let content = if kind.is_dir() {
                open.push(path);
                None
            } else if kind.is_symlink() {
                fs::read_link(&path).ok().map(|target| target.into_os_string().into_encoded_bytes())
            } else {
                fs::read(&path).ok()
            };
            found.insert(name, content);
        }
    }
    found
}

/// Waits until both are watched and have come to the end of their first scan.
async fn until_both_hear(here: &Site, there: &Site) {
    let began = Instant::now();
    let hears = |site: &Site| site.watching().is_live() && site.watching().last_scan.is_some();
    while !hears(here) || !hears(there) {
        assert!(began.elapsed() < PATIENCE, "{:?} / {:?}", here.watching(), there.watching());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the other tree is as this one.
async fn until_same(here: &Site, there: &Site) {
    let began = Instant::now();
    loop {
        let (ours, theirs) = (tree_of(&here.tree()), tree_of(&there.tree()));
        if ours == theirs {
            return;
        }
        let names = |tree: &BTreeMap<String, _>| tree.keys().take(20).cloned().collect::<Vec<_>>();
        let lists = (names(&ours), names(&theirs));
        assert!(began.elapsed() < PATIENCE, "after all patience: {lists:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn what_is_done_here_is_done_there(watch: WatchMode) {
    let (here, there) = pair(watch);
    until_both_hear(&here, &there).await;
    let tree = here.tree();

    fs::create_dir_all(tree.join("sub/deep")).expect("made");
    fs::write(tree.join("sub/deep/one"), b"one").expect("written");
    std::os::unix::fs::symlink("sub/deep/one", tree.join("link")).expect("made");
    until_same(&here, &there).await;

    fs::write(tree.join("sub/deep/one"), b"edited").expect("written");
    until_same(&here, &there).await;

    fs::rename(tree.join("sub"), tree.join("moved")).expect("moved");
    until_same(&here, &there).await;

    // At the place where it arrived, and in a directory that was renamed.
    fs::write(there.tree().join("moved/deep/two"), b"two").expect("written");
    until_same(&there, &here).await;
    fs::write(tree.join("moved/deep/two"), b"two, edited").expect("written");
    until_same(&here, &there).await;

    fs::remove_dir_all(tree.join("moved")).expect("removed");
    fs::remove_file(tree.join("link")).expect("removed");
    until_same(&here, &there).await;
    assert!(tree_of(&here.tree()).is_empty());

    // What this site put in place itself made no scan, and nothing was lost.
    for site in [&here, &there] {
        assert_eq!(site.watching().overflows, 0, "{:?}", site.watching());
    }
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_is_done_at_the_other_site_without_a_scan_by_inotify() {
    what_is_done_here_is_done_there(WatchMode::Inotify).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_is_done_at_the_other_site_without_a_scan_by_the_best_that_works() {
    what_is_done_here_is_done_there(WatchMode::Auto).await;
}

/// The site in the middle passes words on before it has the contents that they name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_comes_through_a_site_in_the_middle_without_a_scan() {
    let (here, hub, there) = through_a_hub(WatchMode::Inotify);
    until_both_hear(&here, &hub).await;
    until_both_hear(&hub, &there).await;
    for (n, len) in [(1, 10 << 10), (2, 3 << 20)] {
        fs::write(here.tree().join("a"), [n].repeat(len)).expect("written");
        until_same(&here, &there).await;
        fs::write(there.tree().join("b"), [n + 10].repeat(len)).expect("written");
        until_same(&there, &here).await;
    }
    fs::rename(here.tree().join("a"), here.tree().join("c")).expect("moved");
    until_same(&here, &there).await;
    for site in [here, hub, there] {
        site.stop().await;
    }
}

/// Four MiB take more than five minutes at 100 kbit/s.
///
/// spec: S-206
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_over_a_link_is_held_to_its_cap_until_that_is_lifted() {
    let (here, there) = pair(WatchMode::Inotify);
    until_both_hear(&here, &there).await;
    let cap = |cap| LinkCap { name: "wan".to_owned(), cap, ..LinkCap::default() };
    here.sessions().allow(vec![cap(Some(BitRate::kbps(100)))]);
    fs::write(here.tree().join("small"), b"that goes").expect("written");
    until_same(&here, &there).await;
    let mut state = 1_u64;
    let large = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    let large: Vec<u8> = large.take(4 << 20).collect();
    fs::write(here.tree().join("large"), large).expect("written");
    // Without a cap it is there after some tenths of a second.
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(!there.tree().join("large").exists(), "it came faster than it may");
    assert_eq!(here.sessions().allowed()[0].cap, Some(BitRate::kbps(100)));
    here.sessions().allow(vec![cap(None)]);
    until_same(&here, &there).await;
    here.stop().await;
    there.stop().await;
}
