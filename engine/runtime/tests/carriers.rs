//! The same transfers over both carriers: what holds over UDP holds over TCP.

#[path = "kit/files.rs"]
mod kit;

use farhaul_engine::control::ControlError;
use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, Peer, SessionOptions, TcpPort};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::{Identity, SiteId};
use farhaul_engine::tls::{FoundSite, carrier_client_config};
use farhaul_engine::transfer::supersede::Sessions;
use farhaul_engine::transfer::{Outcome, Progress, Pull, TransferError, pull, push, serving};
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::Wishes;
use kit::{BLOCK, contents_of, noise};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const OPTIONS: SessionOptions = SessionOptions {
    policy: Policy::Fair,
    bounds: Bounds::FREE,
    fec: FecPolicy::Auto,
    pack: PackPolicy::Auto,
};
/// Longer than any of these transfers takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const CARRIERS: [Carrier; 2] = [Carrier::Udp, Carrier::Tcp];

/// A server with its directory, and a client that reaches it over one carrier.
struct Pair {
    home: tempfile::TempDir,
    carrier: Carrier,
    client: Engine,
    client_identity: Identity,
    server: Arc<Engine>,
    server_id: SiteId,
}

impl Pair {
    fn start(carrier: Carrier) -> Self {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("from")).unwrap();
        fs::create_dir(home.path().join("to")).unwrap();
        let (ours, theirs) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let server_id = theirs.id();
        let server = Arc::new(engine(theirs, Some(ours.id())));
        let client = engine(ours.clone(), None);
        tokio::spawn(serve(Arc::clone(&server), Root::open(&home.path().join("to")).unwrap()));
        Self { home, carrier, client, client_identity: ours, server, server_id }
    }

    fn from(&self, name: &str) -> PathBuf {
        self.home.path().join("from").join(name)
    }

    fn to(&self, name: &str) -> PathBuf {
        self.home.path().join("to").join(name)
    }

    async fn connect_as(&self, client: &Engine) -> Result<Peer, ControlError> {
        self.connect_with(client, OPTIONS).await
    }

    async fn connect_with(
        &self,
        client: &Engine,
        options: SessionOptions,
    ) -> Result<Peer, ControlError> {
        match self.carrier {
            Carrier::Udp => client.connect(self.server.local_addr(), self.server_id, options).await,
            Carrier::Tcp => {
                let addr = self.server.tcp_addr().expect("it listens");
                client.connect_over_tcp(addr, self.server_id, options).await
            }
        }
    }

    async fn connect(&self) -> Peer {
        let peer = self.connect_as(&self.client).await.unwrap();
        assert_eq!(peer.connection.carrier, self.carrier);
        peer
    }

    async fn push(&self) -> Result<Outcome, TransferError> {
        let (progress, _) = watch::channel(Progress::default());
        let scanned = scan(&[contents_of(&self.from("."))]).unwrap();
        let pushed = push(self.connect().await, scanned, Vec::new(), true, &progress);
        tokio::time::timeout(PATIENCE, pushed).await.expect("the transfer hangs")
    }
}

fn engine(identity: Identity, allowed: Option<SiteId>) -> Engine {
    let allow = allowed.map(|allowed| Arc::new(move |id: &SiteId| *id == allowed) as _);
    Engine::start(EngineConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tcp: TcpPort::At(0),
        identity,
        allow,
        paths: None,
        disk: DiskKind::Auto,
        buffers: Bytes::mib(48),
        workers: 2,
    })
    .unwrap()
}

async fn serve(server: Arc<Engine>, root: Root) {
    let sessions = Sessions::new();
    while let Some(incoming) = server.accept().await {
        let (server, root, sessions) = (Arc::clone(&server), root.clone(), sessions.clone());
        tokio::spawn(async move {
            let site = incoming.id();
            let Ok(peer) = server.welcome(incoming, OPTIONS).await else { return };
            let admitted = sessions.admit(site, peer.probe()).await;
            let _ = admitted.run(serving::serve(peer, &root, |_, _| ())).await;
        });
    }
}

/// One large file, many small ones, an empty one and a link.
fn plant(pair: &Pair) {
    fs::write(pair.from("large"), noise(1, 9 * BLOCK + 4711)).unwrap();
    fs::create_dir_all(pair.from("deep/er")).unwrap();
    for n in 0..300 {
        fs::write(pair.from(&format!("deep/er/{n}")), noise(n, 3000)).unwrap();
    }
    fs::write(pair.from("empty"), "").unwrap();
    std::os::unix::fs::symlink("large", pair.from("link")).unwrap();
}

#[track_caller]
fn assert_same(left: &std::path::Path, right: &std::path::Path) {
    let same = std::process::Command::new("diff")
        .args(["-r", "--no-dereference", "--exclude=.farhaul"])
        .args([left, right])
        .output()
        .expect("diff runs");
    assert!(same.status.success(), "{}", String::from_utf8_lossy(&same.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_arrives_and_comes_back_whole() {
    for carrier in CARRIERS {
        let pair = Pair::start(carrier);
        plant(&pair);
        let outcome = pair.push().await.unwrap();
        assert_eq!(outcome.failed, [], "{carrier:?}");
        assert_same(&pair.from("."), &pair.to("."));
        let (progress, _) = watch::channel(Progress::default());
        let dest = pair.home.path().join("back");
        let what =
            Pull { path: Vec::new(), dest: dest.clone(), resume: true, wishes: Wishes::default() };
        let pulled = pull(pair.connect().await, what, &progress);
        tokio::time::timeout(PATIENCE, pulled).await.expect("the transfer hangs").unwrap();
        assert_same(&pair.from("."), &dest);
        assert_eq!(pair.server.counts().await.lanes.forged, 0);
    }
}

/// What was staged over one carrier is taken up over the other as well: the checkpoint knows no
/// carrier.
#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_that_was_cut_goes_on_over_either_carrier() {
    for (first, second) in [
        (Carrier::Udp, Carrier::Udp),
        (Carrier::Udp, Carrier::Tcp),
        (Carrier::Tcp, Carrier::Udp),
        (Carrier::Tcp, Carrier::Tcp),
    ] {
        let mut pair = Pair::start(first);
        let content = noise(2, 24 * BLOCK + 99);
        fs::write(pair.from("large"), &content).unwrap();
        let (progress, watcher) = watch::channel(Progress::default());
        let slowly = SessionOptions { bounds: Bounds::capped(Some(BitRate::mbps(60))), ..OPTIONS };
        let peer = pair.connect_with(&pair.client, slowly).await.unwrap();
        let scanned = scan(&[contents_of(&pair.from("."))]).unwrap();
        let some = async {
            while watcher.borrow().bytes_done < Bytes::new(6 * BLOCK as u64) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let cut = async {
            tokio::select! {
                ended = push(peer, scanned, Vec::new(), true, &progress) => panic!("{ended:?}"),
                () = some => {}
            }
        };
        tokio::time::timeout(PATIENCE, cut).await.expect("nothing arrives");
        pair.carrier = second;
        let outcome = pair.push().await.unwrap();
        assert_eq!(outcome.failed, [], "{first:?} {second:?}");
        let resumed = outcome.resumed;
        assert!(resumed >= Bytes::new(4 * BLOCK as u64), "{first:?} {second:?}: {resumed}");
        assert!(fs::read(pair.to("large")).unwrap() == content);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_and_a_server_that_is_not_the_one_is_named() {
    for carrier in CARRIERS {
        let mut pair = Pair::start(carrier);
        let stranger = engine(Identity::ephemeral().unwrap(), None);
        let refused = match pair.connect_as(&stranger).await {
            // A client of TLS 1.3 is done before it was judged.
            Ok(peer) => peer.connection.closed().await,
            Err(error) => error,
        };
        assert!(matches!(refused, ControlError::Refused { .. }), "{carrier:?}: {refused:?}");
        // The stranger hears of it before it is counted.
        let counted = async {
            while pair.server.counts().await.admission.unwelcome == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, counted).await.expect("nobody counts it");
        assert_eq!(pair.server.counts().await.admission.unwelcome, 1, "{carrier:?}");
        let expected = Identity::ephemeral().unwrap().id();
        let found = std::mem::replace(&mut pair.server_id, expected);
        let wrong = pair.connect_as(&pair.client).await.err().expect("somebody else");
        let ControlError::WrongIdentity { expected: asked, found: seen } = wrong else {
            panic!("{carrier:?}: {wrong:?}")
        };
        assert_eq!((asked, seen), (expected, found));
    }
}

/// A connection of TLS with the client's key, which speaks as it likes.
fn raw(pair: &Pair) -> StreamOwned<ClientConnection, TcpStream> {
    let config = carrier_client_config(&pair.client_identity, pair.server_id, FoundSite::default());
    let name = ServerName::try_from("farhaul").unwrap();
    let tls = ClientConnection::new(Arc::new(config.unwrap()), name).unwrap();
    let socket = TcpStream::connect(pair.server.tcp_addr().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    StreamOwned::new(tls, socket)
}

fn frame(datagram: &[u8]) -> Vec<u8> {
    let len = u16::try_from(datagram.len()).unwrap();
    [&len.to_be_bytes()[..], datagram].concat()
}

/// spec: W-030
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_that_mean_nothing_are_counted_and_change_nothing() {
    for carrier in CARRIERS {
        let pair = Pair::start(carrier);
        plant(&pair);
        let (lane, quic) = ([0x10; 1445], [0x4f; 1200]);
        let mut link = raw(&pair);
        match carrier {
            Carrier::Udp => {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                for junk in [&lane[..], &quic] {
                    socket.send_to(junk, pair.server.local_addr()).unwrap();
                }
            }
            Carrier::Tcp => link.write_all(&[frame(&lane), frame(&quic)].concat()).unwrap(),
        }
        assert_eq!(pair.push().await.unwrap().failed, []);
        assert_same(&pair.from("."), &pair.to("."));
        let lanes = pair.server.counts().await.lanes;
        // Last packets of a session that is over mean nothing either.
        assert!(
            lanes.malformed + lanes.unknown_lane > 0 && lanes.forged == 0,
            "{carrier:?}: {lanes:?}"
        );
    }
}

/// spec: W-111
#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_cannot_be_ends_its_connection_and_no_other() {
    let pair = Pair::start(Carrier::Tcp);
    fs::write(pair.from("large"), noise(3, 2 * BLOCK)).unwrap();
    let peer = pair.connect().await;
    for fault in [&[0, 0][..], &[0xff, 0xff], &1446u16.to_be_bytes()] {
        let mut link = raw(&pair);
        link.write_all(&frame(&[0x10; 64])).unwrap();
        link.write_all(fault).unwrap();
        let ended = tokio::task::spawn_blocking(move || link.read(&mut [0; 64]));
        assert!(matches!(ended.await.unwrap(), Ok(0) | Err(_)), "{fault:?}");
    }
    // What is no TLS at all gets no further either.
    let mut socket = TcpStream::connect(pair.server.tcp_addr().unwrap()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.write_all(&[b'x'; 300]).unwrap();
    let mut answer = Vec::new();
    let _ = tokio::task::spawn_blocking(move || socket.read_to_end(&mut answer)).await.unwrap();
    let (progress, _) = watch::channel(Progress::default());
    let scanned = scan(&[contents_of(&pair.from("."))]).unwrap();
    assert_eq!(push(peer, scanned, Vec::new(), true, &progress).await.unwrap().failed, []);
}

/// Whoever lost the TCP connection need not wait until the timers of QUIC have run out.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_goes_away_ends_a_transfer_at_once_and_says_so() {
    let mut pair = Pair::start(Carrier::Tcp);
    fs::write(pair.from("large"), noise(4, 24 * BLOCK)).unwrap();
    let cut = Cut::before(pair.server.tcp_addr().unwrap());
    let through = cut.addr;
    let slowly = SessionOptions { bounds: Bounds::capped(Some(BitRate::mbps(20))), ..OPTIONS };
    let peer = pair.client.connect_over_tcp(through, pair.server_id, slowly).await.unwrap();
    assert_eq!(peer.connection.addr, through);
    let (progress, watcher) = watch::channel(Progress::default());
    let scanned = scan(&[contents_of(&pair.from("."))]).unwrap();
    let some = async {
        while watcher.borrow().bytes_done == Bytes::ZERO {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cut.now();
    };
    let pushed = push(peer, scanned, Vec::new(), true, &progress);
    let (ended, ()) = tokio::join!(tokio::time::timeout(PATIENCE, pushed), some);
    let ended = ended.expect("it waits for ever").expect_err("it was cut");
    let lost = matches!(ended, TransferError::Control(ControlError::Carrier { .. }));
    assert!(lost, "{ended:?}");
    pair.carrier = Carrier::Udp;
    assert!(pair.push().await.unwrap().resumed > Bytes::ZERO);
}

/// Something on the way that can be cut.
struct Cut {
    addr: SocketAddr,
    ends: Arc<std::sync::Mutex<Vec<TcpStream>>>,
}

impl Cut {
    fn before(server: SocketAddr) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let ends = Arc::<std::sync::Mutex<Vec<TcpStream>>>::default();
        let held = Arc::clone(&ends);
        std::thread::spawn(move || {
            let (near, _) = listener.accept().unwrap();
            let far = TcpStream::connect(server).unwrap();
            held.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
            let (mut near_in, mut far_out) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut near_in, &mut far_out));
            let _ = std::io::copy(&mut &far, &mut &near);
        });
        Self { addr, ends }
    }

    fn now(&self) {
        for end in self.ends.lock().unwrap().iter() {
            let _ = end.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Who says nothing keeps his place for ten seconds, and who comes too often gets none; neither
/// keeps anybody else from being served. spec: W-115
#[tokio::test(flavor = "multi_thread")]
async fn strangers_that_say_nothing_lose_their_places_and_hold_up_nobody() {
    let pair = Pair::start(Carrier::Tcp);
    fs::write(pair.from("file"), "data").unwrap();
    // One is already there: the limits are those of a source, which all share here.
    let peer = pair.connect().await;
    let addr = pair.server.tcp_addr().unwrap();
    let crowd: Vec<TcpStream> = (0..30).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let (progress, _) = watch::channel(Progress::default());
    let scanned = scan(&[contents_of(&pair.from("."))]).unwrap();
    assert_eq!(push(peer, scanned, Vec::new(), true, &progress).await.unwrap().failed, []);
    let closed = tokio::task::spawn_blocking(move || {
        for mut stranger in crowd {
            stranger.set_read_timeout(Some(PATIENCE)).unwrap();
            // One byte now and then does not help.
            let _ = stranger.write(&[22]);
            assert!(matches!(stranger.read(&mut [0; 64]), Ok(0) | Err(_)));
        }
    });
    closed.await.expect("each was closed");
    let admission = pair.server.counts().await.admission;
    assert!(admission.refused > 0 && admission.failed > 0, "{admission:?}");
    assert_eq!(admission.unwelcome, 0);
}
