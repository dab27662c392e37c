//! Whole transfers between two engines over the loopback: what is resumed, what is reported.

#[path = "kit/files.rs"]
mod kit;
#[path = "kit/tiny_disk.rs"]
mod tiny_disk;

use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, Peer, SessionOptions, SessionProbe, TcpPort};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::{Identity, SiteId};
use farhaul_engine::transfer::supersede::Sessions;
use farhaul_engine::transfer::{Outcome, Progress, Pull, Side, TransferError, pull, push, serving};
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::ids::TransferId;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::{Accept, EntryRange, FailCode, Message, Request, Wishes};
use kit::{BLOCK, Transfer, contents_of, noise, set_mtime};
use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tiny_disk::tiny_disk;
use tokio::sync::{mpsc, watch};

const OPTIONS: SessionOptions = SessionOptions {
    policy: Policy::Fair,
    bounds: Bounds::FREE,
    fec: FecPolicy::Auto,
    pack: PackPolicy::Auto,
};
/// Longer than any of these transfers takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with its directory, and a client.
struct Pair {
    home: tempfile::TempDir,
    client: Arc<Engine>,
    client_identity: Identity,
    server_addr: SocketAddr,
    server_id: SiteId,
    options: SessionOptions,
    /// What the server reported.
    served: Arc<Mutex<Vec<Outcome>>>,
    /// The session that the server serves now.
    probe: Arc<Mutex<Option<SessionProbe>>>,
    /// How the server's sessions ended.
    ends: tokio::sync::Mutex<mpsc::UnboundedReceiver<Result<(), TransferError>>>,
}

impl Pair {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), OPTIONS)
    }

    fn start_in(home: tempfile::TempDir, options: SessionOptions) -> Self {
        fs::create_dir(home.path().join("from")).unwrap();
        fs::create_dir(home.path().join("to")).unwrap();
        let (ours, theirs) = (Identity::ephemeral().unwrap(), Identity::ephemeral().unwrap());
        let (client_id, server_id) = (ours.id(), theirs.id());
        let server = Arc::new(engine(theirs, Some(client_id)));
        let client = Arc::new(engine(ours.clone(), None));
        let server_addr = server.local_addr();
        let served = Arc::new(Mutex::new(Vec::new()));
        let (root, log) = (Root::open(&home.path().join("to")).unwrap(), Arc::clone(&served));
        let probe = Arc::new(Mutex::new(None));
        let seen = Arc::clone(&probe);
        let (tell, ends) = mpsc::unbounded_channel();
        let ends = tokio::sync::Mutex::new(ends);
        tokio::spawn(async move {
            let sessions = Sessions::new();
            while let Some(incoming) = server.accept().await {
                let (root, log, sessions) = (root.clone(), Arc::clone(&log), sessions.clone());
                let (server, seen, tell) = (Arc::clone(&server), Arc::clone(&seen), tell.clone());
                tokio::spawn(async move {
                    let site = incoming.id();
                    let peer = server.welcome(incoming, options).await.unwrap();
                    *seen.lock().unwrap() = Some(peer.probe());
                    let admitted = sessions.admit(site, peer.probe()).await;
                    let ended = |_, outcome: &Outcome| log.lock().unwrap().push(outcome.clone());
                    if let Some(ended) = admitted.run(serving::serve(peer, &root, ended)).await {
                        let _ = tell.send(ended);
                    }
                });
            }
        });
        let client_identity = ours;
        Self { home, client, client_identity, server_addr, server_id, options, served, probe, ends }
    }

    fn from(&self, name: &str) -> PathBuf {
        self.home.path().join("from").join(name)
    }

    fn to(&self, name: &str) -> PathBuf {
        self.home.path().join("to").join(name)
    }

    async fn connect(&self) -> Peer {
        self.client.connect(self.server_addr, self.server_id, self.options).await.unwrap()
    }

    /// Pushes what is in `from`.
    async fn push(&self) -> Result<Outcome, TransferError> {
        self.push_as(self.connect().await).await
    }

    async fn push_as(&self, peer: Peer) -> Result<Outcome, TransferError> {
        let (progress, _) = watch::channel(Progress::default());
        let scanned = scan(&[contents_of(&self.from("."))]).unwrap();
        let pushed = push(peer, scanned, Vec::new(), true, &progress);
        tokio::time::timeout(PATIENCE, pushed).await.expect("the transfer hangs")
    }

    /// Gets all that the server has into `back`.
    async fn pull(&self, back: &Path) -> Result<Outcome, TransferError> {
        let (progress, _) = watch::channel(Progress::default());
        let dest = back.to_owned();
        let what = Pull { path: Vec::new(), dest, resume: true, wishes: Wishes::default() };
        let pulled = pull(self.connect().await, what, &progress);
        tokio::time::timeout(PATIENCE, pulled).await.expect("the transfer hangs")
    }

    /// What an earlier attempt of this client left at the server: `blocks` of the one file.
    fn stage(&self, blocks: &[u32]) {
        let sources = [contents_of(&self.from("."))];
        let transfer =
            Transfer::try_open(&sources, &self.to("."), None, self.client_identity.id().0).unwrap();
        let staged = transfer.receiver.stage(0).unwrap();
        for &block in blocks {
            transfer.carry(&staged, 0, block);
        }
    }
}

fn engine(identity: Identity, allowed: Option<SiteId>) -> Engine {
    let allow = allowed.map(|allowed| Arc::new(move |id: &SiteId| *id == allowed) as _);
    Engine::start(EngineConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        tcp: TcpPort::Off,
        identity,
        allow,
        paths: None,
        disk: DiskKind::Auto,
        buffers: Bytes::mib(48),
        workers: 2,
    })
    .unwrap()
}

/// Says what a client says first, and then `message`.
async fn greet(peer: &mut Peer, message: &Message) {
    let hello = Message::Hello { features: 0, agent: "test".to_owned() };
    peer.sender.send(&hello.encode_body()).await.unwrap();
    peer.sender.send(&message.encode_body()).await.unwrap();
}

fn request(wishes: Option<Wishes>) -> Message {
    let (transfer, path) = (TransferId::new(1), Vec::new());
    Message::Request(Request { transfer, path, resume: true, wishes })
}

/// The rate and the law of a server that was started with `--policy fixed --rate 400Mbit/s`, once
/// it has offered what was asked for.
async fn asked_with(wishes: Option<Wishes>) -> (BitRate, &'static str) {
    let options = SessionOptions {
        policy: Policy::Fixed,
        bounds: Bounds::capped(Some(BitRate::mbps(400))),
        ..OPTIONS
    };
    let pair = Pair::start_in(tempfile::tempdir().unwrap(), options);
    let mut peer = pair.connect().await;
    greet(&mut peer, &request(wishes)).await;
    for _ in ["hello", "offer"] {
        let said = tokio::time::timeout(PATIENCE, peer.receiver.recv()).await.unwrap().unwrap();
        Message::decode(&said.unwrap()).unwrap();
    }
    let probe = pair.probe.lock().unwrap().clone().unwrap();
    let view = probe.stats().await.expect("the server waits for an answer").view;
    (view.rate, view.phase)
}

/// They only shaped what the one who asked sends, which is next to nothing.
#[tokio::test(flavor = "multi_thread")]
async fn who_gets_chooses_rate_and_policy_within_what_the_server_allows() {
    let rate = |mbps| Some(BitRate::mbps(mbps).get());
    let wishes = Wishes { rate_max: rate(3), ..Wishes::default() };
    let (server, fixed) = asked_with(None).await;
    assert_eq!(server, BitRate::mbps(400));
    assert_eq!(asked_with(Some(wishes)).await, (BitRate::mbps(3), fixed));
    assert_eq!(asked_with(Some(Wishes { rate_max: rate(900), ..wishes })).await, (server, fixed));
    let (_, seeking) = asked_with(Some(Wishes { policy: Some(Policy::Low), ..wishes })).await;
    assert_ne!(seeking, fixed);
}

/// A wish for a least rate was dropped without a word. spec: W-138
#[tokio::test(flavor = "multi_thread")]
async fn who_wishes_for_a_least_rate_hears_in_the_offer_what_is_held() {
    let mbps = |rate| BitRate::mbps(rate).get();
    let allowed = Bounds::new(Some(BitRate::mbps(5)), None).unwrap();
    for (bounds, wished, said) in [
        (Bounds::FREE, None, None),
        (Bounds::FREE, Some(mbps(20)), Some(0)),
        (allowed, Some(mbps(20)), Some(mbps(5))),
        (allowed, Some(mbps(2)), Some(mbps(2))),
    ] {
        let options = SessionOptions { bounds, ..OPTIONS };
        let pair = Pair::start_in(tempfile::tempdir().unwrap(), options);
        let mut peer = pair.connect().await;
        let wishes = Wishes { rate_min: wished, ..Wishes::default() };
        greet(&mut peer, &request(Some(wishes))).await;
        let mut offered = None;
        while offered.is_none() {
            let frame = tokio::time::timeout(PATIENCE, peer.receiver.recv()).await.unwrap();
            if let Message::Offer(offer) = Message::decode(&frame.unwrap().unwrap()).unwrap() {
                offered = Some(offer);
            }
        }
        assert_eq!(offered.unwrap().rate_min, said, "{bounds:?}, {wished:?} is wished");
    }
}

/// Each progress report began the wait anew, so the session never ended. And who is interrupted, and
/// whose close is lost, looks like this: such a site had to wait for a minute.
#[tokio::test(flavor = "multi_thread")]
async fn a_peer_that_ends_its_words_in_mid_transfer_holds_no_session_and_may_come_again() {
    let pair = Pair::start();
    fs::write(pair.to("large"), noise(1, 3 * BLOCK)).unwrap();
    let mut peer = pair.connect().await;
    greet(&mut peer, &request(None)).await;
    let want = vec![EntryRange { first: 0, count: 1 }];
    let accept = Accept { transfer: TransferId::new(1), want, have: Vec::new() };
    peer.sender.send(&Message::Accept(accept).encode_body()).await.unwrap();
    peer.sender.finish().unwrap();
    let ended = tokio::time::timeout(PATIENCE, async { pair.ends.lock().await.recv().await }).await;
    let ended = ended.expect("the session is held").expect("the server serves");
    assert!(matches!(ended, Err(TransferError::Violation(_))), "{ended:?}");
    drop(peer);
    assert_eq!(pair.pull(&pair.home.path().join("back")).await.unwrap().failed, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_is_made_only_when_there_is_an_offer() {
    let pair = Pair::start();
    let dest = pair.home.path().join("deep/back");
    let (progress, _) = watch::channel(Progress::default());
    let path = b"no/such".to_vec();
    let what = Pull { path, dest: dest.clone(), resume: true, wishes: Wishes::default() };
    let refused = pull(pair.connect().await, what, &progress).await.unwrap_err();
    assert!(matches!(refused, TransferError::Refused { .. }), "{refused:?}");
    assert!(!dest.exists() && !dest.parent().unwrap().exists());
    fs::write(pair.to("file"), "data").unwrap();
    pair.pull(&dest).await.unwrap();
    assert_eq!(fs::read(dest.join("file")).unwrap(), b"data");
}

/// Six blocks; after `stage`, the source is rewritten in `changed`, and its time put back.
async fn resume_from(staged: &[u32], changed: &[usize]) -> (Pair, Outcome) {
    let pair = Pair::start();
    let source = pair.from("large");
    let mut content = noise(1, 5 * BLOCK + 4711);
    fs::write(&source, &content).unwrap();
    set_mtime(&source, 1_000_000, 5);
    pair.stage(staged);
    for &block in changed {
        content[block * BLOCK + 100] ^= 1;
    }
    fs::write(&source, &content).unwrap();
    set_mtime(&source, 1_000_000, 5);
    let outcome = pair.push().await.unwrap();
    assert_eq!(outcome.failed, []);
    assert_eq!(fs::read(pair.to("large")).unwrap(), content, "stale data was put in place");
    assert!(!pair.to(".farhaul").exists());
    (pair, outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_staged_whole_is_not_sent_again() {
    let (_, outcome) = resume_from(&[0, 1, 2, 3, 4, 5], &[]).await;
    assert_eq!(outcome.resumed, Bytes::new(5 * BLOCK as u64 + 4711));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_staged_whole_whose_source_was_rewritten_arrives_in_its_new_version() {
    for _ in 0..10 {
        let (pair, outcome) = resume_from(&[0, 1, 2, 3, 4, 5], &[3]).await;
        assert_eq!(outcome.resumed, Bytes::ZERO, "what was reopened was not resumed");
        assert_eq!(pair.served.lock().unwrap()[0].resumed, Bytes::ZERO);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_claims_among_right_ones_of_a_partly_staged_file_are_mended() {
    for changed in [&[0][..], &[0, 4], &[2], &[0, 2, 4], &[1, 3]] {
        let (_, outcome) = resume_from(&[0, 2, 4], changed).await;
        let right = [0, 2, 4].iter().filter(|block| !changed.contains(block)).count();
        assert_eq!(outcome.resumed, Bytes::new((right * BLOCK) as u64), "{changed:?}");
    }
}

/// spec: W-097
#[tokio::test(flavor = "multi_thread")]
async fn a_getter_hears_what_the_server_could_not_include() {
    let pair = Pair::start();
    fs::write(pair.to("good"), "good").unwrap();
    let mut deep = pair.to("deep");
    (0..260).for_each(|_| deep.push("d"));
    fs::create_dir_all(&deep).unwrap();
    let _socket = UnixListener::bind(pair.to("socket")).unwrap();
    let back = pair.home.path().join("back");
    let outcome = pair.pull(&back).await.unwrap();
    assert_eq!(fs::read(back.join("good")).unwrap(), b"good");
    assert_eq!((outcome.failed_total, outcome.failed.len()), (1, 1), "{:?}", outcome.failed);
    assert_eq!(outcome.failed[0].at, Side::Peer);
    assert!(outcome.failed[0].path.starts_with("deep/d/d/"), "{:?}", outcome.failed);
    assert!(matches!(&outcome.left_out[..], [note] if note.starts_with("socket: ")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_hears_that_what_it_gave_arrived() {
    let pair = Pair::start();
    fs::write(pair.to("large"), noise(3, 3 * BLOCK)).unwrap();
    for n in 0..5 {
        pair.pull(&pair.home.path().join(format!("back {n}"))).await.unwrap();
    }
    let arrived = async {
        while pair.served.lock().unwrap().len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, arrived).await.expect("a receipt was lost");
    assert!(pair.served.lock().unwrap().iter().all(|outcome| outcome.files == 1));
}

/// Fills the disk that `dir` is on once a file is on its way to `dir`.
fn fill_when_staged(dir: &Path) -> std::thread::JoinHandle<()> {
    let dir = dir.to_owned();
    std::thread::spawn(move || {
        let staging = dir.join(".farhaul/staging");
        let staged = || {
            let names = fs::read_dir(&staging).into_iter().flatten().flatten();
            names.map(|item| item.path()).any(|path| path.extension().is_some_and(|e| e == "part"))
        };
        while !staged() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut other = fs::File::create(dir.join("other")).unwrap();
        while other.write_all(&[1; 4096]).is_ok() {}
    })
}

/// Both directions, with a disk that others fill while files arrive on it.
async fn on_filling_disk(tiny: &Path) {
    let bounds = Bounds::capped(Some(BitRate::mbps(60)));
    for pulls in [false, true] {
        let home = tempfile::tempdir_in(tiny).unwrap();
        let pair = Pair::start_in(home, SessionOptions { bounds, ..OPTIONS });
        let (given, taken) = if pulls { ("to", "from") } else { ("from", "to") };
        let (given, taken) = (pair.home.path().join(given), pair.home.path().join(taken));
        for n in 0..3 {
            fs::write(given.join(format!("{n}")), noise(n, 4 * BLOCK)).unwrap();
        }
        let filler = fill_when_staged(&taken);
        let outcome = if pulls { pair.pull(&taken).await } else { pair.push().await }.unwrap();
        filler.join().unwrap();
        assert!((1..=3).contains(&outcome.failed_total), "{outcome:?}");
        let at = if pulls { Side::Here } else { Side::Peer };
        for failed in &outcome.failed {
            assert_eq!((failed.code, failed.at), (FailCode::NoSpace, at), "{failed:?}");
        }
        fs::remove_file(taken.join("other")).unwrap();
        let outcome = if pulls { pair.pull(&taken).await } else { pair.push().await }.unwrap();
        assert_eq!(outcome.failed, []);
        for n in 0..3 {
            let [here, there] = [&given, &taken].map(|dir| fs::read(dir.join(format!("{n}"))));
            assert!(here.unwrap() == there.unwrap());
        }
    }
}

#[test]
fn a_disk_that_fills_up_in_mid_transfer_is_told_as_full_on_the_side_that_has_it() {
    let name = "a_disk_that_fills_up_in_mid_transfer_is_told_as_full_on_the_side_that_has_it";
    if let Some(tiny) = tiny_disk(name, "64m") {
        tokio::runtime::Runtime::new().unwrap().block_on(on_filling_disk(&tiny));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_files_just_too_large_for_bundles_arrive() {
    let pair = Pair::start();
    for n in 0..100 {
        fs::write(pair.from(&format!("{n:03}")), noise(n, (1 << 20) + 1)).unwrap();
    }
    let outcome = pair.push().await.unwrap();
    assert_eq!((outcome.files, outcome.failed_total), (100, 0), "{:?}", outcome.failed);
    for n in 0..100 {
        let name = format!("{n:03}");
        assert!(fs::read(pair.from(&name)).unwrap() == fs::read(pair.to(&name)).unwrap());
    }
}

/// While a side hashes what is staged, scans or waits for its disk, it sends nothing on the lane;
/// a server took such a session for one that was left behind. spec: W-096
#[tokio::test(flavor = "multi_thread")]
async fn a_session_that_is_silent_for_seconds_survives_another_one_of_its_site() {
    let pair = Pair::start();
    fs::write(pair.from("file"), noise(1, 3 * BLOCK)).unwrap();
    let mut quiet = pair.connect().await;
    let hello = Message::Hello { features: 0, agent: "quiet".to_owned() };
    quiet.sender.send(&hello.encode_body()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let outcome = pair.push().await.unwrap();
    assert_eq!((outcome.files, outcome.failed_total), (1, 0));
    // It is served as if nothing had been.
    let transfer = TransferId::new(1);
    let request = Request { transfer, path: b"file".to_vec(), resume: true, wishes: None };
    quiet.sender.send(&Message::Request(request).encode_body()).await.unwrap();
    let mut heard = Vec::new();
    for _ in 0..2 {
        let frame = tokio::time::timeout(PATIENCE, quiet.receiver.recv()).await;
        let frame = frame.expect("no answer").unwrap().expect("it says something");
        heard.push(Message::decode(&frame).unwrap());
    }
    assert!(matches!(&heard[..], [Message::Hello { .. }, Message::Offer(_)]), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_stops_putting_files_in_place_when_the_client_is_gone() {
    const FILES: u64 = 2_000;
    let pair = Pair::start();
    for n in 0..FILES {
        fs::write(pair.from(&format!("{n}")), "").unwrap();
    }
    let client = engine(pair.client_identity.clone(), None);
    let peer = client.connect(pair.server_addr, pair.server_id, OPTIONS).await.unwrap();
    let first = async {
        pair.push_as(peer).await.unwrap();
    };
    // The directory of staged files and the first file.
    let begun = async {
        while fs::read_dir(pair.to(".")).unwrap().take(2).count() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        () = first => panic!("it ended before it could be stopped"),
        () = begun => {}
    }
    client.close().await;
    let outcome = pair.push().await.unwrap();
    assert_eq!((outcome.failed_total, outcome.files + outcome.files_skipped), (0, FILES));
    assert!(outcome.files > 0, "the first attempt went on to its end");
}

/// A large file, a bundle of small ones, and what does not pack.
#[tokio::test(flavor = "multi_thread")]
async fn what_packs_travels_packed_both_ways_and_arrives_as_it_was() {
    let always = SessionOptions { pack: PackPolicy::Always, ..OPTIONS };
    let pair = Pair::start_in(tempfile::tempdir().unwrap(), always);
    let text = "the same words again, ".repeat(120_000);
    let files = [
        ("big.log", text.clone().into_bytes()),
        ("big.zip", text.clone().into_bytes()),
        ("big.bin", noise(1, 2_000_000)),
        ("small.txt", text[..100_000].to_owned().into_bytes()),
        ("sparse", vec![0; 50_000]),
    ];
    for (name, bytes) in &files {
        fs::write(pair.from(name), bytes).unwrap();
    }
    let back = pair.home.path().join("back");
    let pushed = pair.push().await.unwrap();
    let pulled = pair.pull(&back).await.unwrap();
    for outcome in [pushed, pulled] {
        let figures = outcome.figures.expect("data was sent");
        let packed = (text.len() + 150_000) as u64;
        assert!((packed..packed + 100).contains(&figures.packed.get()), "{}", figures.packed);
        assert!(figures.packed_to < Bytes::new(packed / 20), "{}", figures.packed_to);
    }
    for (name, bytes) in &files {
        assert_eq!(&fs::read(pair.to(name)).unwrap(), bytes, "{name}");
        assert_eq!(&fs::read(back.join(name)).unwrap(), bytes, "{name}");
    }
}
