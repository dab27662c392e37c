//! Two sites with real disks, indexes and engines on loopback, with roles and brakes: what a site may
//! not publish reaches nobody, stays where it is, and is never lost.

use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, SessionOptions, TcpPort};
use farhaul_engine::identity::Identity;
use farhaul_engine::tls::Allow;
use farhaul_proto::congestion::{Bounds, Policy as RatePolicy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::{BrakeLimits, Origin, Policy, Rights, Role};
use farhaul_sync::seal::FolderKey;
use farhauld::control::{Control, FolderFacts, FolderSetup};
use farhauld::scan::Rules;
use farhauld::site::{PeerPlace, Sites};
use farhauld::store::Unnamed;
use farhauld::watch::{Limits, WatchMode};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(300);

/// A site that runs. Fields end in this order.
struct Site {
    sites: Sites,
    control: Control,
    engine: Arc<Engine>,
    dir: tempfile::TempDir,
    peer: SiteId,
}

/// Deletions in a small folder that are never a mass.
const FEW: usize = 20;

fn count(of: u64) -> usize {
    usize::try_from(of).expect("few")
}

/// What a site thinks of itself and of the other one.
#[derive(Clone, Copy)]
struct Believes {
    own: Role,
    other: Role,
    brake: Option<BrakeLimits>,
}

const BOTH: Believes = Believes { own: Role::ReadWrite, other: Role::ReadWrite, brake: None };

impl Site {
    fn start(
        (identity, dir): (Identity, tempfile::TempDir),
        engine: Arc<Engine>,
        (peer, at): (SiteId, Option<SocketAddr>),
        believes: Believes,
    ) -> Self {
        let setup = setup_of(&dir, peer, believes, Rules::default());
        let control = Control::start(&identity, vec![setup]).expect("its own folder");
        let address = at.map(|at| at.to_string());
        let place = PeerPlace { name: "the other".to_owned(), id: peer, address };
        let options = SessionOptions {
            policy: RatePolicy::Fair,
            bounds: Bounds::FREE,
            fec: FecPolicy::Auto,
            pack: PackPolicy::Auto,
        };
        let heard = control.hears_sessions();
        let sites = Sites::start(Arc::clone(&engine), identity.id(), options, vec![place], heard);
        Self { sites, control, engine, dir, peer }
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.tree().join(name), text).expect("written");
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.tree().join(name)).expect("removed");
    }

    /// Takes up another configuration while it runs.
    async fn believe(&self, believes: Believes) {
        let setup = setup_of(&self.dir, self.peer, believes, Rules::default());
        let looked = BTreeSet::from([setup.key]);
        let failed = self.control.asker().configure(vec![setup], looked).await.expect("it runs");
        assert!(failed.is_empty(), "{failed:?}");
    }

    async fn facts(&self) -> FolderFacts {
        self.control.asker().folders().await.expect("it runs").remove(0)
    }

    /// Contents of the files in its tree, by name.
    fn files(&self) -> BTreeMap<String, String> {
        files_in(&self.tree())
    }

    /// Contents of what is kept of what was displaced.
    fn kept(&self) -> BTreeSet<String> {
        files_in(&self.tree().join(".farhaul/versions")).into_values().collect()
    }

    async fn stop(self) {
        let Self { sites, control, engine, dir, peer: _ } = self;
        sites.stop().await;
        engine.close().await;
        let ended = tokio::task::spawn_blocking(move || drop((control, engine, dir)));
        ended.await.expect("it ends");
    }
}

fn setup_of(
    dir: &tempfile::TempDir,
    peer: SiteId,
    believes: Believes,
    rules: Rules,
) -> FolderSetup {
    let Believes { own, other, brake } = believes;
    let rights = Rights::new(own, [(peer, other)]);
    FolderSetup {
        name: "projects".to_owned(),
        key: FolderKey([5; 32]),
        path: dir.path().join("tree"),
        state: dir.path().join("state"),
        peers: BTreeSet::from([peer]),
        policy: Arc::new(Policy { rights, brake, keeps_deleted: false }),
        scrub: farhauld::scan::ScrubPlan::default(),
        retention: farhauld::store::retention::Retention::default(),
        rules,
        scan_every: Duration::from_secs(3600),
        watch: WatchMode::Off,
        watch_limits: Limits::default(),
        principals: Arc::new(Unnamed),
    }
}

fn files_in(dir: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let files = files.filter(|file| file.file_type().is_ok_and(|kind| kind.is_file()));
    files
        .filter_map(|file| {
            let text = fs::read_to_string(file.path()).ok()?;
            Some((file.file_name().to_string_lossy().into_owned(), text))
        })
        .collect()
}

fn home() -> (Identity, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    fs::create_dir(dir.path().join("tree")).expect("made");
    fs::create_dir(dir.path().join("state")).expect("made");
    (Identity::ephemeral().expect("made"), dir)
}

fn engine(identity: &Identity, peer: SiteId) -> Arc<Engine> {
    let allow: Allow = Arc::new(move |site: &SiteId| *site == peer);
    let started = Engine::start(EngineConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        tcp: TcpPort::Off,
        identity: identity.clone(),
        allow: Some(allow),
        paths: None,
        disk: DiskKind::Threads,
        buffers: Bytes::mib(64),
        workers: 1,
    });
    Arc::new(started.expect("a port that the kernel chooses"))
}

/// Two sites of which the first calls the second.
fn pair(here: Believes, there: Believes) -> (Site, Site) {
    let (one, other) = (home(), home());
    let (caller, answerer) = (one.0.id(), other.0.id());
    let answers = engine(&other.0, caller);
    let addr = answers.local_addr();
    let second = Site::start(other, answers, (caller, None), there);
    let calls = engine(&one.0, answerer);
    (Site::start(one, calls, (answerer, Some(addr)), here), second)
}

/// Scans both until something is so.
async fn until(sites: [&Site; 2], what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        let trees = sites.map(Site::files);
        assert!(began.elapsed() < PATIENCE, "after all patience, not {what}: {trees:?}");
        for site in sites {
            site.control.rescan().await.expect("it runs");
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn texts(all: &[(&str, &str)]) -> BTreeMap<String, String> {
    all.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

/// S-35, with real sites: listed, kept, overtaken, reverted; the other one never hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_edited_at_a_read_only_site_stays_there_until_it_is_overtaken_or_reverted() {
    let writer = Believes { other: Role::ReadOnly, ..BOTH };
    let reader = Believes { own: Role::ReadOnly, ..BOTH };
    let (here, there) = pair(writer, reader);
    for name in ["overtaken", "reverted", "deleted"] {
        here.write(name, "first");
    }
    until([&here, &there], "told", async || there.files().len() == 3).await;
    there.write("overtaken", "mine");
    there.write("reverted", "mine too");
    there.write("new", "only mine");
    there.remove("deleted");
    let asker = there.control.asker();
    let waiting = async || {
        let reader = asker.reader("projects").await.expect("it runs");
        reader.index.read().looks(None, 99).expect("read").len()
    };
    until([&here, &there], "listed", async || waiting().await == 4).await;
    here.write("overtaken", "second");
    let overtaken = async || there.files().get("overtaken").is_some_and(|text| text == "second");
    until([&here, &there], "overtaken", overtaken).await;
    let mine = [("new", "only mine"), ("overtaken", "second"), ("reverted", "mine too")];
    assert_eq!((there.files(), waiting().await), (texts(&mine), 3));
    assert_eq!(asker.revert("projects", None).await.expect("it runs"), 3);
    let all = texts(&[("deleted", "first"), ("overtaken", "second"), ("reverted", "first")]);
    until([&here, &there], "reverted", async || there.files() == all).await;
    let kept = ["mine", "mine too", "only mine"].map(str::to_owned);
    assert!(there.kept().is_superset(&BTreeSet::from(kept)), "{:?}", there.kept());
    assert_eq!(here.files(), all, "nothing leaked");
    assert_eq!(waiting().await, 0);
    here.stop().await;
    there.stop().await;
}

/// A site that believes it may write and publishes: the other one, which knows better, takes none of
/// it; and all of it once a person says that it may.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_site_publishes_against_its_role_changes_nothing_until_the_role_is_wider() {
    let (here, there) = pair(Believes { other: Role::ReadOnly, ..BOTH }, BOTH);
    here.write("shared", "first");
    until([&here, &there], "told", async || there.files().len() == 1).await;
    there.write("shared", "against its role");
    there.write("more", "of it");
    let refused = async || {
        let facts = here.facts().await;
        facts.troubles.iter().any(|trouble| trouble.what.starts_with("refuses what"))
    };
    until([&here, &there], "refused", refused).await;
    here.write("after", "it goes on");
    until([&here, &there], "going on", async || there.files().contains_key("after")).await;
    assert_eq!(here.files(), texts(&[("after", "it goes on"), ("shared", "first")]));
    here.believe(BOTH).await;
    let all = [("after", "it goes on"), ("more", "of it"), ("shared", "against its role")];
    until([&here, &there], "taken in", async || here.files() == texts(&all)).await;
    here.stop().await;
    there.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_takes_nothing_and_a_sink_gives_nothing() {
    let source = Believes { own: Role::SourceOnly, other: Role::SinkOnly, brake: None };
    let sink = Believes { own: Role::SinkOnly, other: Role::SourceOnly, brake: None };
    let (here, there) = pair(source, sink);
    here.write("a", "from the source");
    there.write("b", "at the sink");
    until([&here, &there], "told", async || there.files().len() == 2).await;
    here.write("c", "later");
    here.remove("a");
    let after = texts(&[("b", "at the sink"), ("c", "later")]);
    until([&here, &there], "followed", async || there.files() == after).await;
    assert_eq!(here.files(), texts(&[("c", "later")]));
    here.stop().await;
    there.stop().await;
}

/// A mass deletion at one site, whose own brake is off: held at the other, shown with figures, done
/// once it is confirmed; another one is refused and undone at both.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mass_deletion_by_a_peer_is_held_shown_confirmed_and_refused() {
    let brake = Some(BrakeLimits::default());
    let (here, there) = pair(BOTH, Believes { brake, ..BOTH });
    for n in 0..60 {
        here.write(&format!("file {n}"), &format!("text {n}"));
    }
    until([&here, &there], "told", async || there.files().len() == 60).await;
    let asker = there.control.asker();
    let trips = async || there.facts().await.trips;
    for (left, refuses) in [(30, false), (0, true)] {
        let before = there.files();
        for n in left..left + 30 {
            here.remove(&format!("file {n}"));
        }
        until([&here, &there], "held", async || !trips().await.is_empty()).await;
        // Time to do it, were it not held.
        for _ in 0..5 {
            there.control.rescan().await.expect("it runs");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What was told before it was a mass is done: fewer than a mass begins with.
        let kept = there.files();
        assert!(kept.len() + FEW > before.len(), "{} of {}", kept.len(), before.len());
        let held = trips().await;
        assert_eq!((held.len(), held[0].0), (1, Origin::Site(there.peer)));
        assert!((kept.len() - left..=30).contains(&count(held[0].1.deleted)), "{held:?}");
        assert_eq!(held[0].1.examples.len(), 8);
        if refuses {
            asker.refuse("projects", None).await.expect("held");
            until([&here, &there], "undone", async || here.files() == kept).await;
            assert_eq!(there.files(), kept);
        } else {
            asker.confirm("projects", None).await.expect("held");
            until([&here, &there], "done", async || there.files().len() == 30).await;
        }
        assert!(trips().await.is_empty());
    }
    here.stop().await;
    there.stop().await;
}

/// And one on a site's own disk: nobody hears of it before it is confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mass_deletion_on_the_own_disk_is_held_before_it_is_published() {
    let brake = Some(BrakeLimits::default());
    let (here, there) = pair(Believes { brake, ..BOTH }, BOTH);
    for n in 0..40 {
        here.write(&format!("file {n}"), &format!("text {n}"));
    }
    until([&here, &there], "told", async || there.files().len() == 40).await;
    let all = there.files();
    all.keys().for_each(|name| here.remove(name));
    here.write("meanwhile", "all else goes on");
    until([&here, &there], "told", async || there.files().contains_key("meanwhile")).await;
    // What was found before it was a mass is gone: fewer than a mass begins with.
    let kept = there.files();
    assert!(kept.len() + FEW > 41, "{} of 41", kept.len());
    let held = here.facts().await.trips;
    assert_eq!((held.len(), held[0].0), (1, Origin::Disk));
    assert!((kept.len() - 1..=40).contains(&count(held[0].1.deleted)), "{held:?}");
    here.control.asker().refuse("projects", Some(Origin::Disk)).await.expect("held");
    until([&here, &there], "undone", async || here.files() == kept).await;
    let all: BTreeMap<String, String> =
        kept.into_iter().filter(|(name, _)| name != "meanwhile").collect();
    all.keys().for_each(|name| here.remove(name));
    let asker = here.control.asker();
    let held = async || !here.facts().await.trips.is_empty();
    until([&here, &there], "held", held).await;
    asker.confirm("projects", None).await.expect("held");
    until([&here, &there], "done", async || there.files().len() == 1).await;
    here.stop().await;
    there.stop().await;
}
