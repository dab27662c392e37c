//! Two sites with real disks, indexes and engines on loopback: what is done in one tree is done in
//! the other.

use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, SessionOptions, TcpPort};
use farhaul_engine::identity::Identity;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use farhauld::control::{Control, FolderSetup};
use farhauld::scan::Rules;
use farhauld::site::{PeerPlace, Sites};
use farhauld::store::Unnamed;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A site that runs. Fields end in this order.
struct Site {
    _sites: Sites,
    control: Control,
    dir: tempfile::TempDir,
}

impl Site {
    fn tree(&self) -> std::path::PathBuf {
        self.dir.path().join("tree")
    }
}

fn options() -> SessionOptions {
    SessionOptions {
        policy: Policy::Fair,
        bounds: Bounds::default(),
        fec: FecPolicy::Auto,
        pack: PackPolicy::Auto,
    }
}

fn engine(identity: &Identity, peer: SiteId) -> Arc<Engine> {
    let allow = Arc::new(move |site: &SiteId| *site == peer);
    let config = EngineConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tcp: TcpPort::Off,
        identity: identity.clone(),
        allow: Some(allow),
        paths: None,
        disk: DiskKind::Threads,
        buffers: Bytes::mib(64),
        workers: 1,
    };
    Arc::new(Engine::start(config).expect("a free port on loopback"))
}

fn site(identity: &Identity, engine: Arc<Engine>, peer: SiteId, at: Option<SocketAddr>) -> Site {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("tree")).expect("made");
    let setup = FolderSetup {
        name: "projects".to_owned(),
        key: FolderKey([5; 32]),
        path: dir.path().join("tree"),
        mark: None,
        index: dir.path().join("index"),
        peers: BTreeSet::from([peer]),
        rules: Rules::default(),
        principals: Arc::new(Unnamed),
    };
    let control = Control::start(identity, vec![setup]).expect("an empty folder");
    let address = at.map(|at| at.to_string());
    let place = PeerPlace { name: "the other".to_owned(), id: peer, address };
    let heard = control.hears_sessions();
    let sites = Sites::start(engine, identity.id(), options(), vec![place], heard);
    Site { _sites: sites, control, dir }
}

/// Two sites of which the first calls the second.
fn pair() -> (Site, Site) {
    let (here, there) =
        (Identity::ephemeral().expect("made"), Identity::ephemeral().expect("made"));
    let (calls, answers) = (engine(&here, there.id()), engine(&there, here.id()));
    let addr = answers.local_addr();
    let second = site(&there, answers, here.id(), None);
    (site(&here, calls, there.id(), Some(addr)), second)
}

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
                fs::read_link(&path).ok().map(|to| to.to_string_lossy().into_owned().into_bytes())
            } else {
                fs::read(&path).ok()
            };
            found.insert(name, content);
        }
    }
    found
}

/// Scans both until their trees are `expected`, for a minute at most.
async fn until_both_have(
    (here, there): (&Site, &Site),
    expected: &BTreeMap<String, Option<Vec<u8>>>,
) {
    let began = Instant::now();
    loop {
        let trees = (tree_of(&here.tree()), tree_of(&there.tree()));
        if trees.0 == *expected && trees.1 == *expected {
            return;
        }
        let names = (trees.0.keys().collect::<Vec<_>>(), trees.1.keys().collect::<Vec<_>>());
        assert!(began.elapsed() < Duration::from_secs(60), "after a minute: {names:?}");
        here.control.rescan().await.expect("it runs");
        there.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn tree(files: &[(&str, Option<&[u8]>)]) -> BTreeMap<String, Option<Vec<u8>>> {
    files.iter().map(|(name, text)| ((*name).to_owned(), text.map(<[u8]>::to_vec))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_edited_and_deleted_at_one_site_is_so_at_the_other() {
    let (here, there) = pair();
    fs::create_dir(here.tree().join("sub")).expect("made");
    fs::write(here.tree().join("sub/one"), b"one").expect("written");
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(here.tree().join("large"), &large).expect("written");
    std::os::unix::fs::symlink("sub/one", here.tree().join("link")).expect("made");
    fs::write(there.tree().join("two"), b"two").expect("written");
    let all = [
        ("large", Some(&large[..])),
        ("link", Some(&b"sub/one"[..])),
        ("sub", None),
        ("sub/one", Some(b"one")),
        ("two", Some(b"two")),
    ];
    until_both_have((&here, &there), &tree(&all)).await;

    fs::write(there.tree().join("sub/one"), b"edited").expect("written");
    fs::remove_file(here.tree().join("two")).expect("removed");
    let after = [
        ("large", Some(&large[..])),
        ("link", Some(&b"sub/one"[..])),
        ("sub", None),
        ("sub/one", Some(b"edited")),
    ];
    until_both_have((&here, &there), &tree(&after)).await;

    fs::remove_dir_all(here.tree().join("sub")).expect("removed");
    fs::remove_file(here.tree().join("large")).expect("removed");
    until_both_have((&here, &there), &tree(&[("link", Some(b"sub/one"))])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_both_wrote_stands_at_both_under_the_same_names() {
    let (here, there) = pair();
    fs::write(here.tree().join("report.txt"), b"from here").expect("written");
    fs::write(there.tree().join("report.txt"), b"from there").expect("written");
    let began = Instant::now();
    loop {
        let trees = (tree_of(&here.tree()), tree_of(&there.tree()));
        let contents: BTreeSet<_> = trees.0.values().flatten().cloned().collect();
        let both = BTreeSet::from([b"from here".to_vec(), b"from there".to_vec()]);
        if trees.0 == trees.1 && trees.0.len() == 2 && contents == both {
            let copies = trees.0.keys().filter(|name| name.contains(".conflict-"));
            assert_eq!(copies.count(), 1);
            return;
        }
        let names = (trees.0.keys().collect::<Vec<_>>(), trees.1.keys().collect::<Vec<_>>());
        assert!(began.elapsed() < Duration::from_secs(60), "after a minute: {names:?}");
        here.control.rescan().await.expect("it runs");
        there.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
