//! Control messages that are none, come too early, or describe what cannot be (T-12, T-13, W-060 to
//! W-069).

use crate::table::{Seen, Table, ends};
use crate::victim::{FILE, Victim};
use farhaul_hostile::KitError;
use farhaul_hostile::peer::Ending;
use farhaul_hostile::speech::Item::{self, Bytes, List, Promise, Text, Uint};
use farhaul_hostile::speech::{self, accept, file, frame, hello, manifest, message, offer};
use std::time::Duration;

/// What is said, one after the other.
type Words = (&'static str, &'static str, fn() -> Vec<u8>);

/// Said first of all.
const BEFORE_HELLO: [Words; 2] = [
    ("W-064", "something else than hello", accept),
    ("W-063", "a frame of no length", || vec![0; 4]),
];

/// Said after `hello`.
const FATAL: [Words; 15] = [
    ("T-12", "a frame of four gigabytes", || vec![0xff; 4]),
    ("T-12", "a frame of one byte too many", || vec![1, 0, 0, 1]),
    ("W-060", "a message of an unknown type", || message(vec![Uint(99)])),
    ("W-060", "a message without its fields", || message(vec![Uint(1)])),
    ("W-061", "a list of four billion items", || frame(&Promise(u64::from(u32::MAX)).encode())),
    ("W-061", "lists in lists, two hundred deep", || frame(&[0x81; 200])),
    ("W-061", "bytes behind a message", || frame(&[0x82, 8, 0, 0])),
    ("W-061", "an integer in a longer form", || frame(&[0x82, 8, 0x18, 3])),
    ("W-064", "a second hello", hello),
    ("W-086", "accept, with nothing offered", accept),
    ("W-086", "done, with nothing begun", || {
        let done = vec![Uint(1), Uint(0), Uint(0), List(vec![]), Uint(0), Uint(0)];
        message(vec![Uint(9), List(done)])
    }),
    ("W-060", "an agent of 70 bytes", || {
        message(vec![
            Uint(0),
            Uint(0),
            Text("0123456789012345678901234567890123456789012345678901234567890123456789"),
        ])
    }),
    ("T-12", "a manifest that promises four billion entries", || {
        let bomb = List(vec![Uint(1), Promise(u64::from(u32::MAX))]).encode();
        offer(b"in", bomb, 1, 1)
    }),
    ("T-12", "a manifest that is cut short", || {
        let whole = manifest(vec![file(b"a", 9), file(b"b", 9)]);
        offer(b"in", whole[..whole.len() - 5].to_vec(), 2, 18)
    }),
    ("T-12", "an inline manifest of 40 KiB", || {
        let many = (0..2000).map(|n| file(format!("file-{n:05}-{n:05}").as_bytes(), 0)).collect();
        offer(b"in", manifest(many), 2000, 0)
    }),
];

/// Paths that lead outside; T-13.
const PATHS: [(&str, &[u8]); 7] = [
    ("..", b"../outside/planted"),
    ("a/../..", b"a/../../outside/planted"),
    ("an absolute path", b"/tmp/farhaul-escaped"),
    ("NUL", b"a\0b"),
    ("nothing", b""),
    ("//", b"a//b"),
    ("our own state", b".farhaul/staging/x"),
];

pub(crate) async fn attack(victim: &Victim, table: &mut Table) {
    for (threat, name, words) in BEFORE_HELLO {
        let seen = say(victim, &words()).await;
        table.take(threat, &format!("first word: {name}"), "session ended", seen);
    }
    for (threat, name, words) in FATAL {
        let seen = say(victim, &[hello(), words()].concat()).await;
        table.take(threat, name, "session ended", seen);
    }
    for (name, path) in PATHS {
        let words = offer(b"in", manifest(vec![file(path, 5)]), 1, 5);
        let seen = say(victim, &[hello(), words].concat()).await;
        table.take("T-13", &format!("manifest with {name} in a path"), "session ended", seen);
        let words = offer(path, manifest(vec![file(b"a", 5)]), 1, 5);
        let seen = refused(victim, &[hello(), words].concat(), path).await;
        table.take(
            "T-13",
            &format!("destination with {name} in it"),
            "refused, or beneath the root",
            seen,
        );
    }
    let seen = wants(victim).await;
    table.take("W-069", "want of more entries than 32 bits count", "session ended", seen);
    let huge = List(vec![Uint(1), Uint(1 << 40), Bytes(vec![7; 32])]);
    let seen = refused(victim, &[hello(), offer_of(huge)].concat(), b"x").await;
    table.take("T-12", "a manifest object of a terabyte", "refused", seen);
    table.take(
        "T-09",
        "half a frame, then nothing",
        "an honest transfer arrives",
        stalls(victim).await,
    );
}

fn offer_of(carrier: Item) -> Vec<u8> {
    speech::offer_of(b"in", carrier, 1, 1)
}

async fn say(victim: &Victim, words: &[u8]) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.tell(words).await;
    Ok(ends(&mut peer).await)
}

/// A `refuse`, or the end of the session; an empty destination is the root.
async fn refused(victim: &Victim, words: &[u8], path: &[u8]) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.tell(words).await;
    loop {
        match peer.message(Duration::from_secs(5)).await {
            Ok(body) => match speech::kind_and_code(&body) {
                Some((4, code)) => return Ok(Seen::new(format!("refused: {code:?}"), true)),
                Some((3, _)) => return Ok(Seen::new("accepted", path.is_empty())),
                Some((10, code)) => return Ok(Seen::new(format!("cancelled: {code:?}"), true)),
                _ => {}
            },
            Err(KitError::Silent(_)) => return Ok(Seen::new("no answer", false)),
            Err(_) => break,
        }
    }
    let ending = peer.ending(Duration::from_secs(2)).await;
    Ok(Seen::new(format!("{ending:?}"), ending != Ending::Alive))
}

/// The victim offers one file.
async fn wants(victim: &Victim) -> Result<Seen, KitError> {
    let mut peer = victim.peer().await?;
    peer.tell(&[hello(), speech::request(FILE)].concat()).await;
    peer.await_kind(1).await?;
    let range = List(vec![Uint(u64::from(u32::MAX)), Uint(u64::from(u32::MAX))]);
    let want = List(vec![Uint(1), List(vec![range]), List(vec![])]);
    peer.tell(&message(vec![Uint(3), want])).await;
    Ok(ends(&mut peer).await)
}

async fn stalls(victim: &Victim) -> Result<Seen, KitError> {
    let mut peers = Vec::new();
    for _ in 0..4 {
        let mut peer = victim.peer().await?;
        peer.tell(&[&hello()[..], &[0, 0xff, 0xff, 0xff], &[0x81; 100]].concat()).await;
        peers.push(peer);
    }
    let honest = victim.honest_transfer();
    let what = honest.as_ref().map_or_else(String::clone, |()| "it arrived".to_owned());
    Ok(Seen::new(what, honest.is_ok()))
}
