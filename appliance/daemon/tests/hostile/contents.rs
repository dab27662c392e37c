//! Contents: those that a member asks for, and those that it gives.

use super::said::Said;
use super::sites::{Cast, SECRET, SHARED};
use farhaul_sync::chunk::{ContentKeys, Manifest};
use farhaul_sync::message::{Message, Wanted};
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::ManifestId;
use std::fs;

/// What these bytes are called in a folder.
fn named(folder: &FolderKey, bytes: &[u8]) -> ManifestId {
    let keys = ContentKeys::of(folder);
    Manifest::of(&keys, bytes).id(&keys)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_given_what_its_folders_hold_and_nothing_of_others() {
    let mut cast = Cast::meet().await;
    let plans = b"nobody else's";
    let asked = [
        (SECRET, named(&SECRET, plans)),
        (SHARED, named(&SECRET, plans)),
        (SECRET, named(&SHARED, b"the report")),
        (FolderKey([99; 32]), named(&SHARED, b"the report")),
        (SHARED, named(&SHARED, plans)),
        (SHARED, named(&SHARED, b"the report")),
    ];
    let mut given = Vec::new();
    for (id, (folder, manifest)) in (0..).zip(asked) {
        let wanted = vec![Wanted::Whole { manifest }];
        cast.member.say(&Message::Ask { id, folder, wanted }).await;
        let answer = |message| match message {
            Message::Give { id: of, lens } if of == id => Some(lens),
            _ => None,
        };
        given.push(cast.member.wait(answer).await);
    }
    assert_eq!(given[..5], vec![vec![None]; 5]);
    assert_eq!(given[5], [Some(10)], "what it may have it is given");
    cast.goes_on("after the questions").await;
    cast.part().await;
}

/// The member is asked for a content: the number of the question. It lacks whatever else it is asked
/// for meanwhile, as it is for what the honest sites write.
async fn asked(cast: &mut Cast, manifest: ManifestId) -> u64 {
    loop {
        let question = |message| match message {
            Message::Ask { id, wanted, .. } => Some((id, wanted)),
            _ => None,
        };
        let (id, wanted) = cast.member.wait(question).await;
        if wanted == [Wanted::Whole { manifest }] {
            return id;
        }
        cast.member.give(id, vec![None; wanted.len()], Vec::new()).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_that_are_not_what_was_asked_for_reach_no_file_and_the_right_ones_do() {
    let mut cast = Cast::meet().await;
    let bait = vec![0x5a; 1000];
    let manifest = named(&SHARED, &bait);
    let said = cast.member.next(Said::file(b"bait", manifest.0, 1000));
    let run = cast.member.run(&said);
    cast.member.tell(vec![run]).await;
    // Its folder halts, then it has nothing, then other bytes, and then the truth.
    let id = asked(&mut cast, manifest).await;
    cast.member.give(id, Vec::new(), Vec::new()).await;
    let id = asked(&mut cast, manifest).await;
    cast.member.give(id, vec![None], Vec::new()).await;
    let id = asked(&mut cast, manifest).await;
    cast.member.give(id, vec![Some(1000)], vec![0xa5; 1000]).await;
    cast.goes_on("while it lies").await;
    let id = asked(&mut cast, manifest).await;
    assert!(!cast.victim.at("bait").exists(), "it was lied to");
    cast.member.give(id, vec![Some(1000)], bait.clone()).await;
    cast.until("the truth is at both", || {
        let read = |path| fs::read(path).is_ok_and(|read| read == bait);
        read(cast.victim.at("bait")) && read(cast.friend.at("bait"))
    })
    .await;
    // An answer of another length leaves no place for its bytes: the session is over, and no other.
    let other = named(&SHARED, b"other");
    let said = cast.member.next(Said::file(b"other bait", other.0, 5));
    let run = cast.member.run(&said);
    cast.member.tell(vec![run]).await;
    let id = asked(&mut cast, other).await;
    cast.member.give(id, vec![Some(1 << 50)], vec![0x5a; 1000]).await;
    cast.member.is_left().await;
    cast.goes_on("after the last lie").await;
    assert!(!cast.victim.at("other bait").exists());
    cast.part().await;
}
