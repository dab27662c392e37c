//! Two sites with real disks, indexes and engines on loopback: what is done in one tree is done in
//! the other.

use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, SessionOptions, TcpPort};
use farhaul_engine::identity::Identity;
use farhaul_engine::tls::Allow;
use farhaul_files::people::{Directory, NameMap, People};
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use farhauld::control::{Control, FolderSetup};
use farhauld::scan::{Rules, ScrubPlan};
use farhauld::site::{PeerPlace, Sites};
use farhauld::watch::{Limits, WatchMode};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

mod two_sites {
    mod contents;
    mod links;
    mod metadata;
    mod standing;
}

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What of a site stays when it stops.
struct Home {
    identity: Identity,
    dir: tempfile::TempDir,
}

/// A site that runs. Fields end in this order.
struct Site {
    sites: Sites,
    control: Control,
    engine: Arc<Engine>,
    home: Home,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("tree")).expect("made");
        fs::create_dir(dir.path().join("state")).expect("made");
        Self { identity: Identity::ephemeral().expect("made"), dir }
    }

    fn tree(&self) -> std::path::PathBuf {
        self.dir.path().join("tree")
    }
}

impl Site {
    fn tree(&self) -> std::path::PathBuf {
        self.home.tree()
    }

    async fn stop(self) -> Home {
        let Self { sites, control, engine, home } = self;
        sites.stop().await;
        engine.close().await;
        tokio::task::spawn_blocking(move || drop((control, engine))).await.expect("it ends");
        home
    }
}

fn options() -> SessionOptions {
    SessionOptions {
        policy: Policy::Fair,
        bounds: Bounds::FREE,
        fec: FecPolicy::Auto,
        pack: PackPolicy::Auto,
    }
}

fn engine(identity: &Identity, peer: SiteId, port: u16) -> Arc<Engine> {
    let allow: Allow = Arc::new(move |site: &SiteId| *site == peer);
    let config = || EngineConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], port)),
        tcp: TcpPort::Off,
        identity: identity.clone(),
        allow: Some(Arc::clone(&allow)),
        paths: None,
        disk: DiskKind::Threads,
        buffers: Bytes::mib(64),
        workers: 1,
    };
    // A port that was in use a moment ago is closed by threads and tasks that are still ending.
    let began = Instant::now();
    loop {
        match Engine::start(config()) {
            Ok(engine) => return Arc::new(engine),
            Err(error) => assert!(began.elapsed() < Duration::from_secs(30), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// With one peer; with none, if that is the site itself.
fn site(home: Home, engine: Arc<Engine>, peer: SiteId, at: Option<SocketAddr>) -> Site {
    let me = home.identity.id();
    let setup = FolderSetup {
        name: "projects".to_owned(),
        key: FolderKey([5; 32]),
        path: home.tree(),
        state: home.dir.path().join("state"),
        peers: [peer].into_iter().filter(|peer| *peer != me).collect(),
        policy: Arc::default(),
        rules: Rules::default(),
        scan_every: Duration::from_secs(3600),
        watch: WatchMode::Off,
        scrub: ScrubPlan::default(),
        retention: farhauld::store::retention::Retention::default(),
        watch_limits: Limits::default(),
        principals: Arc::new(People::new(
            Directory::of_this_machine(),
            <(NameMap, NameMap)>::default(),
            true,
        )),
    };
    let control = Control::start(&home.identity, vec![setup]).expect("its own folder");
    let address = at.map(|at| at.to_string());
    let place = PeerPlace { name: "the other".to_owned(), id: peer, address };
    let heard = control.hears_sessions();
    let sites = Sites::start(Arc::clone(&engine), me, options(), vec![place], heard);
    Site { sites, control, engine, home }
}

/// Two sites of which the first calls the second.
fn pair() -> (Site, Site) {
    let (here, there) = (Home::new(), Home::new());
    let (caller, answerer) = (here.identity.id(), there.identity.id());
    let answers = engine(&there.identity, caller, 0);
    let addr = answers.local_addr();
    let second = site(there, answers, caller, None);
    let calls = engine(&here.identity, answerer, 0);
    (site(here, calls, answerer, Some(addr)), second)
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

/// Scans both until their trees are `expected`, until patience ends.
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
        let names = |tree: &BTreeMap<String, _>| {
            let names: Vec<String> = tree.keys().take(20).cloned().collect();
            format!("{} of {}: {names:?}", tree.len(), expected.len())
        };
        let is_late = began.elapsed() > PATIENCE;
        assert!(!is_late, "after all patience: {} / {}", names(&trees.0), names(&trees.1));
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
        assert!(began.elapsed() < PATIENCE, "after all patience: {names:?}");
        here.control.rescan().await.expect("it runs");
        there.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_while_a_site_was_down_is_neither_lost_nor_taken_back() {
    let (here, there) = pair();
    fs::write(here.tree().join("edited"), b"before").expect("written");
    fs::write(here.tree().join("deleted"), b"before").expect("written");
    let both = [("deleted", Some(&b"before"[..])), ("edited", Some(b"before"))];
    until_both_have((&here, &there), &tree(&both)).await;

    let (caller, port) = (here.home.identity.id(), there.engine.local_addr().port());
    let down = there.stop().await;
    fs::write(down.tree().join("edited"), b"there").expect("written");
    fs::write(down.tree().join("new there"), b"new").expect("written");
    fs::remove_file(here.tree().join("deleted")).expect("removed");
    fs::write(here.tree().join("new here"), b"new").expect("written");
    let answers = engine(&down.identity, caller, port);
    let there = site(down, answers, caller, None);
    let after =
        [("edited", Some(&b"there"[..])), ("new here", Some(b"new")), ("new there", Some(b"new"))];
    until_both_have((&here, &there), &tree(&after)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_lost_its_index_gets_everything_and_deletes_nothing() {
    let (here, there) = pair();
    for n in 0..20 {
        fs::write(here.tree().join(format!("file {n}")), n.to_string()).expect("written");
    }
    let all = tree_of(&here.tree());
    until_both_have((&here, &there), &all).await;

    let (caller, port) = (here.home.identity.id(), there.engine.local_addr().port());
    let down = there.stop().await;
    for part in fs::read_dir(down.dir.path().join("state")).expect("there").flatten() {
        if part.file_name() != "mark" {
            fs::remove_file(part.path()).expect("removed");
        }
    }
    fs::remove_file(down.tree().join("file 7")).expect("removed");
    let answers = engine(&down.identity, caller, port);
    let there = site(down, answers, caller, None);
    // What an index that knew nothing did not find was not deleted by anybody.
    until_both_have((&here, &there), &all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_small_files_arrive() {
    let (here, there) = pair();
    for n in 0..2000_u32 {
        let dir = here.tree().join(format!("dir {}", n % 40));
        fs::create_dir_all(&dir).expect("made");
        fs::write(dir.join(format!("file {n}")), n.to_le_bytes().repeat(2500)).expect("written");
    }
    let began = Instant::now();
    until_both_have((&here, &there), &tree_of(&here.tree())).await;
    println!("2000 files of 10 kB after {:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_conflicts_every_content_stands_at_both() {
    let (here, there) = pair();
    for n in 0..300_u32 {
        fs::write(here.tree().join(format!("file {n}")), format!("from here {n}"))
            .expect("written");
        fs::write(there.tree().join(format!("file {n}")), format!("from there {n}"))
            .expect("written");
    }
    let mut written: BTreeSet<_> = tree_of(&here.tree()).into_values().flatten().collect();
    written.extend(tree_of(&there.tree()).into_values().flatten());
    let began = Instant::now();
    loop {
        let trees = (tree_of(&here.tree()), tree_of(&there.tree()));
        let contents: BTreeSet<_> = trees.0.values().flatten().cloned().collect();
        if trees.0 == trees.1 && contents == written {
            assert_eq!(trees.0.len(), 600);
            return;
        }
        let lens = (trees.0.len(), trees.1.len());
        assert!(began.elapsed() < PATIENCE, "after all patience: {lens:?}");
        here.control.rescan().await.expect("it runs");
        there.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
