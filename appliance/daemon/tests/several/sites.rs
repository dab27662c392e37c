//! Sites with real disks, indexes and engines, each with any peers.

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
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(300);

/// What of a site stays when it stops.
pub(super) struct Home {
    pub(super) identity: Identity,
    dir: tempfile::TempDir,
}

/// A site that runs.
pub(super) struct Site {
    sites: Sites,
    pub(super) control: Control,
    engine: Arc<Engine>,
    home: Home,
}

impl Home {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        fs::create_dir(dir.path().join("tree")).expect("made");
        fs::create_dir(dir.path().join("state")).expect("made");
        Self { identity: Identity::ephemeral().expect("made"), dir }
    }

    /// A copy of the whole machine.
    pub(super) fn copy(&self) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        for part in ["tree", "state"] {
            let copied = std::process::Command::new("cp")
                .arg("-a")
                .args([self.dir.path().join(part), dir.path().join(part)])
                .status();
            assert!(copied.is_ok_and(|status| status.success()), "copied");
        }
        Self { identity: self.identity.clone(), dir }
    }

    /// Runs it with these peers: each is called at its address, if it has one here.
    pub(super) fn start(self, peers: &[(SiteId, Option<SocketAddr>)]) -> Site {
        let allowed: BTreeSet<SiteId> = peers.iter().map(|(peer, _)| *peer).collect();
        let setup = FolderSetup {
            name: "shared".to_owned(),
            key: FolderKey([5; 32]),
            path: self.dir.path().join("tree"),
            state: self.dir.path().join("state"),
            peers: allowed.clone(),
            policy: Arc::default(),
            rules: Rules::default(),
            scan_every: Duration::from_secs(3600),
            watch: WatchMode::Off,
            scrub: ScrubPlan::default(),
            retention: farhauld::store::retention::Retention::default(),
            watch_limits: Limits::default(),
            principals: Arc::new(Unnamed),
        };
        let allow: Allow = Arc::new(move |site: &SiteId| allowed.contains(site));
        let engine = Engine::start(EngineConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tcp: TcpPort::Off,
            identity: self.identity.clone(),
            allow: Some(allow),
            paths: None,
            disk: DiskKind::Threads,
            buffers: Bytes::mib(64),
            workers: 1,
        });
        let engine = Arc::new(engine.expect("a port that the kernel chooses"));
        let control = Control::start(&self.identity, vec![setup]).expect("its own folder");
        let places = peers.iter().map(|(peer, at)| PeerPlace {
            name: peer.to_string()[..8].to_owned(),
            id: *peer,
            address: at.map(|at| at.to_string()),
        });
        let options = SessionOptions {
            policy: Policy::Fair,
            bounds: Bounds::FREE,
            fec: FecPolicy::Auto,
            pack: PackPolicy::Auto,
        };
        let (heard, me) = (control.hears_sessions(), self.identity.id());
        let sites = Sites::start(Arc::clone(&engine), me, options, places.collect(), heard);
        Site { sites, control, engine, home: self }
    }
}

impl Site {
    pub(super) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.dir.path().join("tree").join(name)
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.engine.local_addr()
    }

    pub(super) fn write(&self, name: &str, text: &str) {
        fs::write(self.at(name), text).expect("written");
    }

    /// Everything that a user sees.
    pub(super) fn tree(&self) -> BTreeMap<String, Vec<u8>> {
        let names = fs::read_dir(self.at("")).expect("a directory").flatten();
        let files = names.filter(|entry| entry.file_name() != ".farhaul");
        let text = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        files.map(|entry| (text(&entry), fs::read(entry.path()).unwrap_or_default())).collect()
    }

    /// Whether that is what does not work at the moment.
    pub(super) async fn has_trouble(&self, what: &str) -> bool {
        let folders = self.control.asker().folders().await.expect("it runs");
        folders.iter().any(|folder| folder.troubles.iter().any(|trouble| trouble.what == what))
    }

    pub(super) async fn stop(self) -> Home {
        let Self { sites, control, engine, home } = self;
        sites.stop().await;
        engine.close().await;
        tokio::task::spawn_blocking(move || drop((control, engine))).await.expect("it ends");
        home
    }
}

/// Scans all sites until it is so, until patience ends.
pub(super) async fn until(what: &str, sites: &[&Site], mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        let trees = || sites.iter().map(|site| site.tree()).collect::<Vec<_>>();
        assert!(began.elapsed() < PATIENCE, "after all patience: {what}: {:?}", trees());
        for site in sites {
            site.control.rescan().await.expect("it runs");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("{what}: after {:.1} s", began.elapsed().as_secs_f64());
}
