//! How much of a file crosses the network, and what becomes of contents that do not come.

use crate::*;
use farhaul_proto::wire::control::Message as Greeting;
use farhaul_sync::message::{FEATURE_FORM, FEATURE_SITES, Message};
use std::io::{Seek, SeekFrom, Write};

const MIB: usize = 1 << 20;

/// Bytes that do not compress, the same for the same seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Scans the first until the second has what it has: names, kinds and lengths, then bytes.
async fn until_same((here, there): (&Site, &Site)) {
    let began = Instant::now();
    let lens = |site: &Site| -> BTreeMap<String, u64> {
        let meta = |name: &str| fs::symlink_metadata(site.tree().join(name)).map(|m| m.len());
        let names = fs::read_dir(site.tree()).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let names = names.filter(|name| name != ".farhaul");
        names.map(|name| (name.clone(), meta(&name).unwrap_or(u64::MAX))).collect()
    };
    loop {
        if lens(here) == lens(there) && tree_of(&here.tree()) == tree_of(&there.tree()) {
            return;
        }
        let (a, b) = (lens(here), lens(there));
        assert!(began.elapsed() < PATIENCE, "after all patience: {a:?} / {b:?}");
        here.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Bytes of contents that came at a site, of which `before` had, and of all datagrams.
fn moved(site: &Site, before: (u64, u64)) -> (u64, u64) {
    let (content, wire) = so_far(site);
    (content - before.0, wire - before.1)
}

/// Datagrams that a site sent, and their bytes.
fn sent(site: &Site) -> (u64, u64) {
    let udp = site.engine.traffic().udp;
    (udp.packets_sent, udp.bytes_sent)
}

fn so_far(site: &Site) -> (u64, u64) {
    (site.control.content_counts().received, site.engine.traffic().udp.bytes_received)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_large_file_only_what_changed_crosses_the_network() {
    const LEN: usize = 256 * MIB;
    let (here, there) = pair();
    let mut bytes = noise(1, LEN);
    fs::write(here.tree().join("large"), &bytes).expect("written");
    until_same((&here, &there)).await;
    let whole = so_far(&there);
    // The list has 37 bytes for each chunk of 24.5 KB.
    assert!(whole.0 >= LEN as u64 && whole.0 < (LEN + LEN / 640) as u64, "{whole:?}");

    // A MiB in the middle is overwritten.
    let at = 100 * MIB + 12_345;
    bytes[at..at + MIB].copy_from_slice(&noise(2, MIB));
    let mut file = fs::File::options().write(true).open(here.tree().join("large")).expect("there");
    file.seek(SeekFrom::Start(at as u64)).expect("inside");
    file.write_all(&bytes[at..at + MIB]).expect("written");
    drop(file);
    let (before, said) = (so_far(&there), sent(&there));
    until_same((&here, &there)).await;
    let (content, wire) = moved(&there, before);
    println!("1 MiB overwritten in 256 MiB: {content} bytes of contents, {wire} of datagrams");
    let back = sent(&there);
    println!("back: {} bytes in {} datagrams", back.1 - said.1, back.0 - said.0);
    assert!(content <= (MIB + MIB * 8 / 100) as u64, "{content}");

    // A byte is put in front of everything.
    bytes.insert(0, 7);
    fs::write(here.tree().join("large"), &bytes).expect("written");
    let before = so_far(&there);
    until_same((&here, &there)).await;
    let (content, wire) = moved(&there, before);
    println!("a byte in front of 256 MiB: {content} bytes of contents, {wire} of datagrams");
    assert!(content <= (MIB / 10) as u64, "{content}");

    // It moves, and a copy of it is made: nothing of it crosses the network.
    fs::rename(here.tree().join("large"), here.tree().join("moved")).expect("renamed");
    fs::copy(here.tree().join("moved"), here.tree().join("copied")).expect("copied");
    let before = so_far(&there);
    until_same((&here, &there)).await;
    assert_eq!(moved(&there, before).0, 0);

    // A file of others' parts: nothing but the seams and the list.
    let parts = [&bytes[40 * MIB..60 * MIB], &bytes[..20 * MIB]].concat();
    fs::write(here.tree().join("parts"), &parts).expect("written");
    let before = so_far(&there);
    until_same((&here, &there)).await;
    let (content, _) = moved(&there, before);
    println!("40 MiB of parts of another file: {content} bytes of contents");
    assert!(content <= MIB as u64, "{content}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn holes_stay_holes_and_what_repeats_in_a_file_comes_once() {
    use std::os::unix::fs::MetadataExt;
    let (here, there) = pair();
    let sparse = fs::File::create(here.tree().join("sparse")).expect("made");
    sparse.set_len(1 << 34).expect("a hole");
    (&sparse).write_all(&noise(3, MIB)).expect("written");
    drop(sparse);
    let piece = noise(4, 2 * MIB);
    fs::write(here.tree().join("repeats"), piece.repeat(16)).expect("written");
    let began = Instant::now();
    let is_there = |name: &str, len: u64| {
        fs::metadata(there.tree().join(name)).is_ok_and(|meta| meta.len() == len)
    };
    while !(is_there("sparse", 1 << 34) && is_there("repeats", 32 * MIB as u64)) {
        assert!(began.elapsed() < PATIENCE);
        here.control.rescan().await.expect("it runs");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let sparse = fs::metadata(there.tree().join("sparse")).expect("there");
    assert!(sparse.blocks() * 512 <= 4 * MIB as u64, "{} blocks", sparse.blocks());
    assert_eq!(fs::read(there.tree().join("repeats")).expect("there"), piece.repeat(16));
    let came = so_far(&there).0;
    assert!(came <= 8 * MIB as u64, "{came}");
}

/// Waits until so much of contents came at a site.
async fn until_came(site: &Site, bytes: u64) {
    let began = Instant::now();
    while site.control.content_counts().received < bytes {
        assert!(began.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_site_stopped_is_not_fetched_again() {
    const LEN: usize = 256 * MIB;
    let (here, there) = pair();
    fs::write(here.tree().join("large"), noise(5, LEN)).expect("written");
    here.control.rescan().await.expect("it runs");
    until_came(&there, 64 * MIB as u64).await;
    let (caller, port) = (here.home.identity.id(), there.engine.local_addr().port());
    let before = there.control.content_counts();
    let down = there.stop().await;
    assert!(!down.tree().join("large").exists(), "it came before it could be stopped");

    let answers = engine(&down.identity, caller, port);
    let there = site(down, answers, caller, None);
    until_same((&here, &there)).await;
    let after = there.control.content_counts();
    println!("came before the stop: {before:?}; after it: {after:?}");
    assert!(after.resumed * 10 >= before.received * 9, "{before:?} {after:?}");
    assert!(after.received <= (LEN as u64 - after.resumed) * 101 / 100, "{after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_before_a_session_ended_is_not_fetched_again() {
    const LEN: usize = 256 * MIB;
    let (here, there) = pair();
    fs::write(there.tree().join("large"), noise(6, LEN)).expect("written");
    there.control.rescan().await.expect("it runs");
    until_came(&here, 32 * MIB as u64).await;
    let (caller, port) = (here.home.identity.id(), there.engine.local_addr().port());
    let down = there.stop().await;
    assert!(!here.tree().join("large").exists(), "it came before it could be stopped");
    let answers = engine(&down.identity, caller, port);
    let there = site(down, answers, caller, None);
    until_same((&there, &here)).await;
    let counts = here.control.content_counts();
    println!("over two sessions: {counts:?}");
    assert!(counts.received <= (LEN + LEN / 3) as u64, "{counts:?}");
}

/// How many live versions the index of a site that is down has.
fn published(home: &Home) -> u64 {
    let place = home.dir.path().join("state/index");
    let opened = farhauld::index::Index::open(&place, FolderKey([5; 32]), home.identity.id());
    let Ok(index) = opened else { return 0 };
    let live = index.read().counts().expect("whole").live;
    index.close().expect("closed");
    live
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_do_not_come_keep_no_others_waiting() {
    let (here, there) = (Home::new(), Home::new());
    let (caller, answerer) = (here.identity.id(), there.identity.id());
    for n in 0..8_u64 {
        fs::write(here.tree().join(format!("gone large {n}")), noise(n, MIB)).expect("written");
        fs::write(here.tree().join(format!("gone small {n}")), noise(n, 999)).expect("written");
    }
    for n in 0..300_u64 {
        fs::write(here.tree().join(format!("small {n}")), noise(n, 5000)).expect("written");
    }
    fs::write(here.tree().join("whole large"), noise(9, 3 * MIB)).expect("written");
    let mut here = here;
    while published(&here) < 317 {
        let alone = engine(&here.identity, answerer, 0);
        // Alone, it has nobody to hear before it publishes.
        let running = site(here, alone, caller, None);
        tokio::time::sleep(Duration::from_millis(500)).await;
        here = running.stop().await;
    }
    // What cannot travel stands in their places: nobody says that they are deleted.
    for n in 0..8 {
        for kind in ["large", "small"] {
            let path = here.tree().join(format!("gone {kind} {n}"));
            fs::remove_file(&path).expect("removed");
            std::os::unix::net::UnixListener::bind(&path).expect("a socket");
        }
    }
    let mut expected = tree_of(&here.tree());
    expected.retain(|name, _| !name.starts_with("gone"));
    let calls = engine(&here.identity, answerer, 0);
    let at = calls.local_addr();
    let _here = site(here, calls, answerer, None);
    let answers = engine(&there.identity, caller, 0);
    let there = site(there, answers, caller, Some(at));
    assert_eq!(expected.len(), 301);
    let began = Instant::now();
    while tree_of(&there.tree()) != expected {
        let count = tree_of(&there.tree()).len();
        assert!(began.elapsed() < PATIENCE, "{count} of 301");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!("301 files beside 16 that nobody has: {:?}", began.elapsed());
}

/// spec: S-115
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_that_cuts_files_otherwise_is_told_so_and_nothing_else() {
    let (home, other) = (Home::new(), Identity::ephemeral().expect("made"));
    let (me, answers) = (home.identity.id(), engine(&home.identity, other.id(), 0));
    let at = answers.local_addr();
    let _site = site(home, answers, other.id(), None);
    let calls = engine(&other, me, 0);
    for features in [FEATURE_SITES, FEATURE_SITES | FEATURE_FORM] {
        let mut peer = calls.connect(at, me, options()).await.expect("it is a peer");
        let hello = Greeting::Hello { features, agent: "of another version".to_owned() };
        peer.sender.send(&hello.encode_body()).await.expect("it listens");
        // A session that ends at once may end before its hello has left.
        let mut heard = Vec::new();
        let why = loop {
            match peer.receiver.recv().await {
                Ok(Some(frame)) if features & FEATURE_FORM != 0 && !heard.is_empty() => {
                    assert!(matches!(Message::decode(&frame), Ok(Message::Share { .. })));
                    break None;
                }
                Ok(Some(frame)) => heard.push(frame),
                Ok(None) => panic!("it ends without a word"),
                Err(why) => break Some(why.to_string()),
            }
        };
        let is_hello = |frame: &Vec<u8>| {
            let hello = Greeting::decode(frame);
            matches!(hello, Ok(Greeting::Hello { features, .. }) if features & FEATURE_FORM != 0)
        };
        assert!(heard.len() <= 1 && heard.iter().all(is_hello), "{heard:?}");
        let is_told = why.is_some_and(|why| why.contains("cuts files otherwise"));
        assert_eq!(is_told, features & FEATURE_FORM == 0);
    }
}
