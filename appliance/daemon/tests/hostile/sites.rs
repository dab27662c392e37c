//! The cast: two honest sites that share a folder with each other and with the member, and one folder
//! that the member has no part in.

use super::member::Member;
use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, SessionOptions, TcpPort};
use farhaul_engine::identity::Identity;
use farhaul_engine::tls::Allow;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::seal::FolderKey;
use farhauld::control::{Control, FolderFacts, FolderSetup};
use farhauld::scan::{Rules, ScrubPlan};
use farhauld::site::{PeerPlace, Sites};
use farhauld::store::Unnamed;
use farhauld::watch::{Limits, WatchMode};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Longer than any machine that is only busy needs.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// The folder of all three.
pub(super) const SHARED: FolderKey = FolderKey([5; 32]);
/// The folder of the two honest sites.
pub(super) const SECRET: FolderKey = FolderKey([6; 32]);

/// An honest site. Fields end in this order.
pub(super) struct Site {
    sites: Sites,
    pub(super) control: Control,
    engine: Arc<Engine>,
    home: tempfile::TempDir,
}

pub(super) fn options() -> SessionOptions {
    SessionOptions {
        policy: Policy::Fair,
        bounds: Bounds::FREE,
        fec: FecPolicy::Auto,
        pack: PackPolicy::Auto,
    }
}

pub(super) fn engine(identity: &Identity, allowed: &[SiteId]) -> Arc<Engine> {
    let allowed: BTreeSet<SiteId> = allowed.iter().copied().collect();
    let allow: Allow = Arc::new(move |site: &SiteId| allowed.contains(site));
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

impl Site {
    /// One that shares folders with these peers; `call`: whom it calls, and where.
    fn start(
        identity: &Identity,
        folders: &[(FolderKey, &str, &[SiteId])],
        allowed: &[SiteId],
        call: Option<(SiteId, SocketAddr)>,
    ) -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let setup = |(key, name, peers): &(FolderKey, &str, &[SiteId])| {
            let (path, state) = (home.path().join(name), home.path().join("state").join(name));
            fs::create_dir_all(&path).expect("made");
            fs::create_dir_all(&state).expect("made");
            FolderSetup {
                name: (*name).to_owned(),
                key: *key,
                path,
                state,
                peers: peers.iter().copied().collect(),
                rules: Rules::default(),
                scan_every: Duration::from_secs(3600),
                watch: WatchMode::Off,
                policy: Arc::default(),
                scrub: ScrubPlan::default(),
                retention: farhauld::store::retention::Retention::default(),
                watch_limits: Limits::default(),
                principals: Arc::new(Unnamed),
            }
        };
        let setups = folders.iter().map(setup).collect();
        let control = Control::start(identity, setups).expect("folders of its own");
        let engine = engine(identity, allowed);
        let places = allowed.iter().map(|peer| {
            let address = call.filter(|(called, _)| called == peer).map(|(_, at)| at.to_string());
            PeerPlace { name: peer.to_string()[..8].to_owned(), id: *peer, address }
        });
        let heard = control.hears_sessions();
        let me = identity.id();
        let sites = Sites::start(Arc::clone(&engine), me, options(), places.collect(), heard);
        Self { sites, control, engine, home }
    }

    /// Where something of the shared folder stands.
    pub(super) fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.home.path().join("shared").join(name)
    }

    pub(super) fn secret(&self, name: &str) -> PathBuf {
        self.home.path().join("secret").join(name)
    }

    pub(super) fn outside(&self) -> PathBuf {
        self.home.path().join("outside")
    }

    pub(super) async fn facts(&self) -> FolderFacts {
        let folders = self.control.asker().folders().await.expect("it runs");
        folders.into_iter().find(|folder| folder.name == "shared").expect("it is kept")
    }

    async fn stop(self) {
        let Self { sites, control, engine, home } = self;
        sites.stop().await;
        engine.close().await;
        let ended = tokio::task::spawn_blocking(move || drop((control, engine, home)));
        ended.await.expect("it ends");
    }
}

/// All three.
pub(super) struct Cast {
    /// Whom the member talks to.
    pub(super) victim: Site,
    /// Who shares the folder with the victim, and never meets the member.
    pub(super) friend: Site,
    pub(super) member: Member,
    outside: BTreeMap<PathBuf, State>,
}

/// What of something outside must not change.
type State = (u32, i64, i64, Option<Vec<u8>>);

impl Cast {
    /// The two honest sites hold `report` and `sub/kept`, the member said hello and shares the folder.
    pub(super) async fn meet() -> Self {
        let identities = [(); 3].map(|()| Identity::ephemeral().expect("made"));
        let [victim_key, friend_key, member_key] = identities;
        let (friend_id, member_id) = (friend_key.id(), member_key.id());
        let victim = Site::start(
            &victim_key,
            &[(SHARED, "shared", &[friend_id, member_id]), (SECRET, "secret", &[friend_id])],
            &[friend_id, member_id],
            None,
        );
        let at = victim.engine.local_addr();
        let both: &[SiteId] = &[victim_key.id()];
        let folders = [(SHARED, "shared", both), (SECRET, "secret", both)];
        let friend = Site::start(&friend_key, &folders, both, Some((victim_key.id(), at)));
        fs::create_dir(victim.at("sub")).expect("made");
        fs::write(victim.at("report"), b"the report").expect("written");
        fs::write(victim.at("sub/kept"), b"kept").expect("written");
        fs::write(victim.secret("plans"), b"nobody else's").expect("written");
        fs::create_dir(victim.outside()).expect("made");
        fs::write(victim.outside().join("canary"), b"alive").expect("written");
        let member = Member::meet(member_key, (at, victim_key.id())).await;
        let outside = states(&victim.outside());
        let cast = Self { victim, friend, member, outside };
        cast.until("what was there is at both", || {
            cast.friend.at("sub/kept").exists() && cast.friend.secret("plans").exists()
        })
        .await;
        cast
    }

    /// Scans until it is so, until patience ends.
    pub(super) async fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "after all patience: {what}");
            self.victim.control.rescan().await.expect("it runs");
            self.friend.control.rescan().await.expect("it runs");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// That an edit at each honest site reaches the other, what they had is there, and what lies
    /// outside is as it was.
    pub(super) async fn goes_on(&self, name: &str) {
        let (here, there) = (format!("{name} here"), format!("{name} there"));
        fs::write(self.victim.at(&here), name).expect("written");
        fs::write(self.friend.at(&there), name).expect("written");
        self.until("both go on", || {
            let read = |path: PathBuf| fs::read(path).ok();
            read(self.friend.at(&here)) == Some(name.into())
                && read(self.victim.at(&there)) == Some(name.into())
        })
        .await;
        for site in [&self.victim, &self.friend] {
            assert!(site.control.conditions().iter().all(|condition| condition.halt.is_none()));
            for content in [&b"the report"[..], b"kept"] {
                assert!(holds(&site.at(""), content), "{name}: a content is gone");
            }
        }
        assert_eq!(states(&self.victim.outside()), self.outside);
    }

    pub(super) async fn part(self) {
        let Self { victim, friend, member, .. } = self;
        member.leave().await;
        victim.stop().await;
        friend.stop().await;
    }
}

/// Whether a file beneath `dir`, in the tree or among the kept versions, holds this.
fn holds(dir: &Path, content: &[u8]) -> bool {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).any(|path| match fs::symlink_metadata(&path) {
        Ok(meta) if meta.is_dir() => holds(&path, content),
        Ok(meta) => meta.is_file() && fs::read(&path).is_ok_and(|bytes| bytes == content),
        Err(_) => false,
    })
}

/// Mode, times and content of a directory and all that is in it.
fn states(dir: &Path) -> BTreeMap<PathBuf, State> {
    let mut states = BTreeMap::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).expect("it stands there");
        let content = if meta.is_dir() {
            open.extend(fs::read_dir(&path).expect("readable").flatten().map(|entry| entry.path()));
            None
        } else {
            Some(fs::read(&path).expect("readable"))
        };
        states.insert(path, (meta.mode(), meta.mtime(), meta.mtime_nsec(), content));
    }
    states
}
