//! Two sites that lost how far they follow each other: what they hold is compared, and only what
//! differs is told. Everything that both send goes through a relay that counts it.

use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, SessionOptions, TcpPort};
use farhaul_engine::identity::Identity;
use farhaul_engine::tls::Allow;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use farhauld::control::{Control, FolderSetup};
use farhauld::scan::{Rules, ScrubPlan};
use farhauld::site::{PeerPlace, Sites};
use farhauld::store::Unnamed;
use farhauld::watch::{Limits, WatchMode};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(300);
/// Files of the trees that are compared.
const FILES: u32 = 3000;

/// What of a site stays when it stops.
struct Home {
    identity: Identity,
    dir: tempfile::TempDir,
}

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

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn index(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("state/index")).expect("its index")
    }

    fn forget_positions(&self) {
        let forgotten = self.index().execute("DELETE FROM followed", []).expect("not in use");
        assert_eq!(forgotten, 1, "it followed the other");
    }

    /// Up to where it is told that it has everything, counted in positions.
    fn follows(&self) -> bool {
        let count = "SELECT count(*) FROM followed";
        self.index().query_row(count, [], |row| row.get::<_, i64>(0)).is_ok_and(|count| count == 1)
    }
}

/// Passes datagrams on between one caller and one site, and counts their bytes.
struct Relay {
    front: SocketAddr,
    bytes: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Relay {
    fn to(site: SocketAddr) -> Self {
        let bind = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            socket.set_read_timeout(Some(Duration::from_millis(100))).expect("set");
            Arc::new(socket)
        };
        let (front, back) = (bind(), bind());
        back.connect(site).expect("on loopback");
        let addr = front.local_addr().expect("bound");
        let (bytes, is_over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let caller: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        for is_there in [true, false] {
            let (front, back, caller) = (front.clone(), back.clone(), Arc::clone(&caller));
            let (bytes, is_over) = (Arc::clone(&bytes), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while !is_over.load(Ordering::Relaxed) {
                    let received = if is_there {
                        front.recv_from(&mut buffer).map(|(len, from)| {
                            *caller.lock().expect("not poisoned") = Some(from);
                            len
                        })
                    } else {
                        back.recv(&mut buffer)
                    };
                    let Ok(len) = received else { continue };
                    bytes.fetch_add(len as u64, Ordering::Relaxed);
                    let to = *caller.lock().expect("not poisoned");
                    let _ = match to {
                        _ if is_there => back.send(&buffer[..len]),
                        Some(caller) => front.send_to(&buffer[..len], caller),
                        None => Ok(0),
                    };
                }
            });
        }
        Self { front: addr, bytes, is_over }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

fn engine(identity: &Identity, peer: SiteId) -> Arc<Engine> {
    let allow: Allow = Arc::new(move |site: &SiteId| *site == peer);
    let config = EngineConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tcp: TcpPort::Off,
        identity: identity.clone(),
        allow: Some(allow),
        paths: None,
        disk: DiskKind::Threads,
        buffers: Bytes::mib(64),
        workers: 1,
    };
    Arc::new(Engine::start(config).expect("a free port"))
}

fn site(home: Home, engine: Arc<Engine>, peer: SiteId, at: Option<SocketAddr>) -> Site {
    let setup = FolderSetup {
        name: "projects".to_owned(),
        key: FolderKey([5; 32]),
        path: home.tree(),
        state: home.dir.path().join("state"),
        peers: BTreeSet::from([peer]),
        policy: Arc::default(),
        rules: Rules::default(),
        scan_every: Duration::from_secs(3600),
        watch: WatchMode::Off,
        scrub: ScrubPlan::default(),
        retention: farhauld::store::retention::Retention::default(),
        watch_limits: Limits::default(),
        principals: Arc::new(Unnamed),
    };
    let control = Control::start(&home.identity, vec![setup]).expect("its own folder");
    let place =
        PeerPlace { name: "the other".to_owned(), id: peer, address: at.map(|at| at.to_string()) };
    let options = SessionOptions {
        policy: Policy::Fair,
        bounds: Bounds::FREE,
        fec: FecPolicy::Auto,
        pack: PackPolicy::Auto,
    };
    let (heard, me) = (control.hears_sessions(), home.identity.id());
    let sites = Sites::start(Arc::clone(&engine), me, options, vec![place], heard);
    Site { sites, control, engine, home }
}

impl Site {
    async fn stop(self) -> Home {
        let Self { sites, control, engine, home } = self;
        sites.stop().await;
        engine.close().await;
        tokio::task::spawn_blocking(move || drop((control, engine))).await.expect("it ends");
        home
    }
}

/// Both run, and all that they send is counted.
fn start(here: Home, there: Home) -> (Site, Site, Relay) {
    let (caller, answerer) = (here.identity.id(), there.identity.id());
    let answers = engine(&there.identity, caller);
    let relay = Relay::to(answers.local_addr());
    let there = site(there, answers, caller, None);
    let calls = engine(&here.identity, answerer);
    (site(here, calls, answerer, Some(relay.front)), there, relay)
}

async fn stop((here, there, _relay): (Site, Site, Relay)) -> (Home, Home) {
    (here.stop().await, there.stop().await)
}

fn tree_of(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_path_buf()]);
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            let name = path.strip_prefix(root).expect("beneath").to_path_buf();
            if name == Path::new(".farhaul") {
                continue;
            } else if path.is_dir() {
                open.push(path);
            } else {
                found.insert(name, fs::read(&path).unwrap_or_default());
            }
        }
    }
    found
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "after all patience: {what}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Two stopped sites with the same tree, and what it took to tell everything.
async fn equal() -> (Home, Home, u64) {
    let (here, there) = (Home::new(), Home::new());
    for n in 0..FILES {
        let dir = here.tree().join(format!("dir {}", n % 30));
        fs::create_dir_all(&dir).expect("made");
        fs::write(dir.join(format!("file {n}")), n.to_le_bytes()).expect("written");
    }
    let running = start(here, there);
    let (one, other) = (running.0.home.tree(), running.1.home.tree());
    let expected = tree_of(&one);
    until("both trees", || tree_of(&other) == expected).await;
    until("both follow", || running.0.home.follows() && running.1.home.follows()).await;
    let bytes = running.2.bytes();
    let (here, there) = stop(running).await;
    (here, there, bytes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_trees_with_lost_positions_exchange_a_few_kib() {
    let (here, there, first) = equal().await;
    here.forget_positions();
    there.forget_positions();
    let running = start(here, there);
    until("both follow", || running.0.home.follows() && running.1.home.follows()).await;
    let bytes = running.2.bytes();
    println!("{FILES} files: {first} bytes at first, {bytes} with lost positions");
    // With the handshake and all else that a session takes. Telling all took hundreds of KiB.
    assert!(bytes < 64 << 10, "{bytes} bytes");
    assert!(first > 10 * bytes, "{first} bytes");
    // And each follows the other from there on.
    fs::write(running.0.home.tree().join("new here"), b"new").expect("written");
    fs::write(running.1.home.tree().join("new there"), b"new").expect("written");
    running.0.control.rescan().await.expect("it runs");
    running.1.control.rescan().await.expect("it runs");
    let (one, other) = (running.0.home.tree(), running.1.home.tree());
    let all = FILES as usize + 2;
    until("both new files", || tree_of(&one).len() == all && tree_of(&other).len() == all).await;
    stop(running).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_trees_that_differ_only_the_differences_are_told() {
    let (here, there, first) = equal().await;
    here.forget_positions();
    there.forget_positions();
    for n in 0..10 {
        fs::write(here.tree().join(format!("dir {n}/file {n}")), b"edited here").expect("written");
        fs::remove_file(there.tree().join(format!("dir {n}/file {}", n + 30))).expect("removed");
        fs::write(there.tree().join(format!("new {n}")), b"new there").expect("written");
    }
    let mut expected = tree_of(&here.tree());
    for n in 0..10 {
        expected.remove(Path::new(&format!("dir {n}/file {}", n + 30)));
        expected.insert(format!("new {n}").into(), b"new there".to_vec());
    }
    let running = start(here, there);
    let (one, other) = (running.0.home.tree(), running.1.home.tree());
    until("both trees", || tree_of(&one) == expected && tree_of(&other) == expected).await;
    until("both follow", || running.0.home.follows() && running.1.home.follows()).await;
    let bytes = running.2.bytes();
    println!("{FILES} files, 30 changed: {first} bytes at first, {bytes} with lost positions");
    assert!(bytes < 160 << 10, "{bytes} bytes");
    stop(running).await;
}
