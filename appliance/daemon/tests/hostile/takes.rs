//! A member that takes nothing of what it is given and told, and what is held for it.

use super::sites::{Cast, PATIENCE, SHARED};
use farhaul_sync::chunk::{ContentKeys, Manifest};
use farhaul_sync::message::{Carrier, Message, Records, Wanted};
use farhaul_sync::version::ManifestId;
use std::fs;
use std::os::unix::fs::symlink;
use std::time::{Duration, Instant};

/// What may be held of records for one session: the room, and a message more.
const TOLD_MAX: u64 = 40 << 20;

fn report() -> ManifestId {
    let keys = ContentKeys::of(&SHARED);
    Manifest::of(&keys, b"the report").id(&keys)
}

/// Asks for the report so many times at once. What is given: each length, or nothing.
async fn ask(cast: &mut Cast, id: u64, count: usize) -> Vec<Option<u64>> {
    let wanted = vec![Wanted::Whole { manifest: report() }; count];
    cast.member.say(&Message::Ask { id, folder: SHARED, wanted }).await;
    let answer = |message| match message {
        Message::Give { id: of, lens } if of == id => Some(lens),
        _ => None,
    };
    cast.member.wait(answer).await
}

/// spec: S-161
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_of_what_it_asked_for_is_declined_and_given_again_once_it_did() {
    const COUNT: usize = 4096;
    let mut cast = Cast::meet().await;
    let mut given = 0;
    while !ask(&mut cast, given, COUNT).await.is_empty() {
        given += 1;
        assert!(given < 10, "it is given without an end");
    }
    // Each answer counts with some 19 MiB.
    assert_eq!(given, 3);
    assert_eq!(ask(&mut cast, given + 1, COUNT).await, []);
    cast.goes_on("while it takes nothing").await;
    for _ in 0..given {
        let bytes = cast.member.take(10 * COUNT).await;
        assert_eq!(bytes, b"the report".repeat(COUNT));
    }
    // That all of it was taken is heard of a little later.
    let (began, mut id) = (Instant::now(), given + 2);
    loop {
        let lens = ask(&mut cast, id, COUNT).await;
        if !lens.is_empty() {
            assert_eq!(lens, vec![Some(10); COUNT]);
            break;
        }
        assert!(began.elapsed() < PATIENCE, "it is not given again");
        id += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cast.goes_on("after it took all").await;
    cast.part().await;
}

/// Records that were announced.
struct Told {
    epoch: u64,
    after: u64,
    to: u64,
    carrier: Carrier,
}

impl Told {
    const fn object(&self) -> Option<u64> {
        match self.carrier {
            Carrier::Inline(_) => None,
            Carrier::Object { len } => Some(len),
        }
    }
}

/// What was told before an answer to a question that was asked after it.
async fn told(cast: &mut Cast, id: &mut u64) -> Vec<Told> {
    let mut told = Vec::new();
    // Neighbours are told after all that came was dealt with: the second question came later.
    for _ in 0..2 {
        *id += 1;
        let (asked, wanted) = (*id, vec![Wanted::Whole { manifest: ManifestId([1; 32]) }]);
        cast.member.say(&Message::Ask { id: asked, folder: SHARED, wanted }).await;
        let heard = |message| match message {
            Message::Records { epoch, after, to, carrier, .. } => {
                told.push(Told { epoch, after, to, carrier });
                None
            }
            Message::Give { id: of, .. } => (of == asked).then_some(()),
            _ => None,
        };
        cast.member.wait(heard).await;
    }
    told
}

/// Takes what was told, and calls it durable. How many records that were.
async fn take(cast: &mut Cast, told: Told) -> usize {
    let Told { epoch, to, carrier, .. } = told;
    let bytes = match carrier {
        Carrier::Inline(bytes) => bytes,
        Carrier::Object { len } => cast.member.take(usize::try_from(len).expect("short")).await,
    };
    let records = Records::decode(&bytes, SHARED).expect("an honest site's");
    cast.member.say(&Message::Stored { folder: SHARED, epoch, up_to: to }).await;
    records.runs.iter().map(|run| run.records.len()).sum()
}

/// spec: S-162
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_of_what_it_is_told_is_told_no_more_and_all_of_it_once_it_does() {
    const LINKS: usize = 1000;
    let mut cast = Cast::meet().await;
    for n in 0..LINKS {
        symlink("x".repeat(4000), cast.victim.at(format!("link {n}"))).expect("made");
    }
    let all = || fs::read_dir(cast.friend.at("")).is_ok_and(|dir| dir.count() > LINKS);
    cast.until("all links are at both", all).await;
    let (mut id, mut shares) = (1000, 0);
    let mut held = told(&mut cast, &mut id).await;
    loop {
        cast.member.share(0, None).await;
        shares += 1;
        let more = told(&mut cast, &mut id).await;
        let is_all = more.is_empty();
        held.extend(more);
        let bytes: u64 = held.iter().filter_map(Told::object).sum();
        assert!(bytes <= TOLD_MAX, "after {shares} shares {} MiB are held", bytes >> 20);
        if is_all {
            println!("{bytes} bytes are held after {shares} shares");
            break;
        }
    }
    cast.goes_on("while it takes nothing").await;
    // What was told to earlier shares; behind it comes what is told to the last one, from the start.
    for told in held {
        take(&mut cast, told).await;
    }
    let (began, mut up_to, mut records) = (Instant::now(), 0, 0);
    while records < LINKS {
        assert!(began.elapsed() < PATIENCE, "{records} records were told");
        for told in told(&mut cast, &mut id).await {
            assert_eq!(told.after, up_to, "nothing is left out");
            up_to = told.to;
            records += take(&mut cast, told).await;
        }
    }
    cast.goes_on("after it took all").await;
    cast.part().await;
}
