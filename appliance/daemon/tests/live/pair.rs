//! Two sites with real disks, indexes and engines on loopback that hear of changes.

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
use farhauld::site::{PeerPlace, Sites, SitesView};
use farhauld::store::Unnamed;
use farhauld::watch::{Limits, WatchMode, Watching};
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const FOLDER: FolderKey = FolderKey([5; 32]);

/// What of a site stays when it stops.
struct Home {
    identity: Identity,
    dir: tempfile::TempDir,
}

/// A site that runs. Fields end in this order.
pub(crate) struct Site {
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
}

impl Site {
    fn start(
        home: Home,
        engine: Arc<Engine>,
        peers: &[(SiteId, Option<SocketAddr>)],
        watch: WatchMode,
    ) -> Self {
        let setup = FolderSetup {
            name: "projects".to_owned(),
            key: FOLDER,
            path: home.dir.path().join("tree"),
            state: home.dir.path().join("state"),
            peers: peers.iter().map(|(peer, _)| *peer).collect(),
            policy: Arc::default(),
            rules: Rules::default(),
            scan_every: Duration::from_secs(24 * 3600),
            watch,
            scrub: ScrubPlan::default(),
            retention: farhauld::store::retention::Retention::default(),
            watch_limits: Limits::default(),
            principals: Arc::new(Unnamed),
        };
        let control = Control::start(&home.identity, vec![setup]).expect("its own folder");
        let place = |(peer, at): &(SiteId, Option<SocketAddr>)| PeerPlace {
            name: "the other".to_owned(),
            id: *peer,
            address: at.map(|at| at.to_string()),
        };
        let places = peers.iter().map(place).collect();
        let heard = control.hears_sessions();
        let options = SessionOptions {
            policy: Policy::Fair,
            bounds: Bounds::FREE,
            fec: FecPolicy::Auto,
            pack: PackPolicy::Auto,
        };
        let me = home.identity.id();
        let sites = Sites::start(Arc::clone(&engine), me, options, places, heard);
        Self { sites, control, engine, home }
    }

    /// Where its tree stands.
    pub(crate) fn tree(&self) -> PathBuf {
        self.home.dir.path().join("tree")
    }

    /// Its sessions.
    #[allow(dead_code, reason = "the example that shares this file holds nothing back")]
    pub(crate) fn sessions(&self) -> SitesView {
        self.sites.view()
    }

    /// How its folder is watched.
    pub(crate) fn watching(&self) -> Watching {
        self.control.watching(FOLDER).expect("its folder")
    }

    /// Ends it, and removes what it had.
    pub(crate) async fn stop(self) {
        let Self { sites, control, engine, home } = self;
        sites.stop().await;
        engine.close().await;
        let ended = tokio::task::spawn_blocking(move || drop((control, engine, home)));
        ended.await.expect("it ends");
    }
}

fn engine(identity: &Identity, peers: &[SiteId]) -> Arc<Engine> {
    let peers: BTreeSet<SiteId> = peers.iter().copied().collect();
    let allow: Allow = Arc::new(move |site: &SiteId| peers.contains(site));
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

/// Two sites of which the first calls the second, watched in a given way.
pub(crate) fn pair(watch: WatchMode) -> (Site, Site) {
    let (here, there) = (Home::new(), Home::new());
    let (caller, answerer) = (here.identity.id(), there.identity.id());
    let answers = engine(&there.identity, &[caller]);
    let addr = answers.local_addr();
    let second = Site::start(there, answers, &[(caller, None)], watch);
    let calls = engine(&here.identity, &[answerer]);
    (Site::start(here, calls, &[(answerer, Some(addr))], watch), second)
}

/// Two sites that do not know each other and call a third, which passes on what it hears.
pub(crate) fn through_a_hub(watch: WatchMode) -> (Site, Site, Site) {
    let [here, hub, there] = [(); 3].map(|()| Home::new());
    let callers = [here.identity.id(), there.identity.id()];
    let middle = hub.identity.id();
    let answers = engine(&hub.identity, &callers);
    let addr = answers.local_addr();
    let hub = Site::start(hub, answers, &callers.map(|caller| (caller, None)), watch);
    let calls = |home: Home| {
        let engine = engine(&home.identity, &[middle]);
        Site::start(home, engine, &[(middle, Some(addr))], watch)
    };
    (calls(here), hub, calls(there))
}
