//! Index entries: those that break a rule, and those that break none and are as bad as may be.

use super::said::{By, DIR, GONE, Said};
use super::sites::{Cast, SHARED};
use farhaul_sync::message::{Carrier, Message, Records, SealedRun};
use farhaul_sync::version::Serial;
use std::fs;

/// Records that no honest site makes (T-13, T-16, T-18): what is wrong, and the record.
fn wrong() -> Vec<(&'static str, Said)> {
    let dir = |path: &[u8]| Said::of(path, DIR);
    let manifest = [9; 32];
    let file = Said::file(b"f", manifest, 1);
    let deep = b"d/".repeat(256).into_iter().chain(*b"e").collect::<Vec<u8>>();
    let ours = ([0; 32], 0);
    vec![
        ("up", dir(b"../x")),
        ("up within", dir(b"sub/../../x")),
        ("absolute", dir(b"/tmp/x")),
        ("zero byte", dir(b"a\0b")),
        ("empty", dir(b"")),
        ("here", dir(b"./x")),
        ("empty name", dir(b"a//b")),
        ("slash at the end", dir(b"a/")),
        ("reserved", dir(b".farhaul")),
        ("reserved in capitals", dir(b".FARHAUL/versions/x")),
        ("long name", dir(&[b'n'; 256])),
        ("long path", dir(&b"name/".repeat(900))),
        ("deep", dir(&deep)),
        ("size", Said::file(b"f", manifest, (1 << 50) + 1)),
        ("size of all numbers", Said::file(b"f", manifest, u64::MAX)),
        ("name of a content", Said { manifest: Some(vec![9; 31]), ..file.clone() }),
        ("file without a content", Said { manifest: None, ..file.clone() }),
        ("directory with a content", Said { kind: DIR, ..file.clone() }),
        ("tombstone with a content", Said { kind: GONE, ..file.clone() }),
        ("device", Said { kind: 7, ..file.clone() }),
        ("set-user-id", Said { mode: 0o4755, ..file.clone() }),
        ("type in the mode", Said { mode: 0o100_644, ..file.clone() }),
        ("nanoseconds", Said { nanos: 1_000_000_000, ..file.clone() }),
        ("dated directory", Said { secs: 1, ..dir(b"d") }),
        ("link to nothing", Said::link(b"l", b"")),
        ("link with a zero byte", Said::link(b"l", b"a\0b")),
        ("long link", Said::link(b"l", &[b'x'; 4096])),
        ("owner", Said { owner: Some(b"a:b".to_vec()), ..file.clone() }),
        ("owner with an escape", Said { owner: Some(b"\x1b[2J".to_vec()), ..file.clone() }),
        ("number 0 seen", Said { context: vec![(ours, vec![0, 1])], ..file.clone() }),
        ("runs backwards", Said { context: vec![(ours, vec![9, 2])], ..file.clone() }),
        ("half a run", Said { context: vec![(ours, vec![9])], ..file.clone() }),
        ("runs that touch", Said { context: vec![(ours, vec![1, 2, 3, 4])], ..file.clone() }),
        ("an author twice", Said { context: vec![(ours, vec![1, 1]); 2], ..file.clone() }),
        ("never given", Said { context: vec![(ours, vec![1, u64::MAX])], ..file.clone() }),
        (
            "too many runs",
            Said { context: vec![(ours, (0..2050).map(|n| n * 2 + 2).collect())], ..file },
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_break_a_rule_are_taken_from_nobody_and_the_next_good_one_is() {
    let mut cast = Cast::meet().await;
    let mut refused = Vec::new();
    for (what, said) in wrong() {
        let said = cast.member.next(said);
        let run = cast.member.run(&said);
        refused.push((what, cast.member.try_on(vec![run]).await));
    }
    let member = &mut cast.member;
    let good = member.next(Said::of(b"forged", DIR));
    for (what, run) in forgeries(&good, |said| member.run(said)) {
        refused.push((what, member.try_on(vec![run]).await));
    }
    let garbage = Message::Records {
        folder: SHARED,
        epoch: cast.member.life,
        after: 0,
        to: 1 << 40,
        carrier: Carrier::Inline(vec![0xff; 999]),
    };
    cast.member.say(&garbage).await;
    refused.push(("no records", 1 << 40));
    let mut troubles = Vec::new();
    for _ in 0..600 {
        troubles = cast.victim.facts().await.troubles;
        if !troubles.is_empty() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert!(
        troubles.iter().any(|trouble| trouble.what == "records cannot be taken in"),
        "{troubles:?}"
    );
    let good = cast.member.next(Said::of(b"good", DIR));
    let run = cast.member.run(&good);
    let stored = cast.member.tell(vec![run]).await;
    for (what, number) in refused {
        assert!(!stored.contains(&number), "{what}: was called durable");
    }
    cast.until("the good one is at both", || {
        cast.victim.at("good").is_dir() && cast.friend.at("good").is_dir()
    })
    .await;
    assert!(!cast.victim.at("forged").exists());
    cast.goes_on("after what breaks rules").await;
    cast.part().await;
}

/// A good record under seals that its author did not make.
fn forgeries(
    good: &Said,
    mut run: impl FnMut(&Said) -> SealedRun,
) -> Vec<(&'static str, SealedRun)> {
    let right = run(good);
    let mut signature = right.clone();
    signature.signature[7] ^= 1;
    let mut other_key = right.clone();
    other_key.key[7] ^= 1;
    let mut other_site = right.clone();
    other_site.statement.author.site.0[7] ^= 1;
    let mut head = right.clone();
    head.statement.head = Serial::FIRST;
    let mut record = right.clone();
    record.records[0].1[5] ^= 1;
    let mut count = right;
    count.statement.count = 256;
    let by_another: By = ([4; 32], 1);
    vec![
        ("a signature", signature),
        ("somebody else's key", other_key),
        ("somebody else's word", other_site),
        ("a head that was not signed", head),
        ("a record that was not signed", record),
        ("a length that was not signed", count),
        ("somebody else's record", run(&Said { by: by_another, ..good.clone() })),
        ("a number beyond the head", {
            let mut said = good.clone();
            said.serial += 1;
            let mut run = run(good);
            run.records[0].1 = said.encode();
            run
        }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_at_the_edge_of_every_rule_does_no_harm() {
    let mut cast = Cast::meet().await;
    let outside = cast.victim.outside().into_os_string().into_encoded_bytes();
    let member = &mut cast.member;
    let deep = b"deep/".repeat(255).into_iter().chain(*b"end").collect::<Vec<u8>>();
    let latest = |said: Said| Said { millis: u64::MAX, count: u32::MAX.into(), ..said };
    let said = [
        // Nobody has these bytes, and no disk here has the room.
        Said::file(b"huge", [8; 32], 1 << 50),
        Said { secs: i64::MIN, ..Said::link(b"early", b"x") },
        Said { secs: i64::MAX, nanos: 999_999_999, ..Said::link(b"late", b"x") },
        Said::of(&deep, DIR),
        Said::of(&[0xff; 255], DIR),
        Said::of(b"-rf \x1b[2J\n", DIR),
        // A link out of the folder, and things beneath and in the place of what is here.
        Said::link(b"out", &outside),
        Said::of(b"out/inside", DIR),
        Said::link(b"out/canary", b"x"),
        latest(Said::link(b"sub", &outside)),
        latest(Said::link(b"sub/kept/beneath", b"x")),
        // Nobody who wrote this saw what it deletes.
        latest(Said::of(b"report", GONE)),
        latest(Said::link(b"report", b"/etc/passwd")),
        Said::link(b"twin", b"one"),
    ];
    let said: Vec<Said> = said.into_iter().map(|said| member.next(said)).collect();
    // Another version under the same number, which honest sites never make.
    let twin = Said { target: Some(b"other".to_vec()), ..said[13].clone() };
    let last = Said { by: (member.me().0, 78), serial: u64::MAX, ..Said::of(b"last", DIR) };
    let runs: Vec<SealedRun> =
        said.iter().chain([&twin, &last]).map(|said| member.run(said)).collect();
    member.tell(runs.clone()).await;
    // Once more, as if it was new.
    member.tell(runs).await;
    cast.until("what can be shown is shown", || {
        cast.victim.at("out/inside").is_dir() && cast.friend.at("last").is_dir()
    })
    .await;
    assert!(cast.victim.at("sub/kept").symlink_metadata().is_ok());
    assert!(!cast.victim.at("huge").exists());
    cast.goes_on("after the edges").await;
    assert!(cast.victim.control.conditions().iter().all(|condition| !condition.is_full));
    cast.part().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_a_hundred_lives_deleted_can_be_written_to() {
    let mut cast = Cast::meet().await;
    let member = &mut cast.member;
    let site = member.me().0;
    let runs: Vec<SealedRun> = (0..100)
        .map(|life| {
            let said = Said { by: (site, 1000 + life), serial: 1, ..Said::of(b"crowd", GONE) };
            member.run(&said)
        })
        .collect();
    member.tell(runs).await;
    fs::write(cast.victim.at("crowd"), b"written").expect("written");
    cast.until("it is at both", || {
        fs::read(cast.friend.at("crowd")).is_ok_and(|read| read == b"written")
    })
    .await;
    cast.goes_on("after the crowd").await;
    cast.part().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_member_overwrites_with_its_rights_stays_among_the_versions() {
    let mut cast = Cast::meet().await;
    // So that one file of the folder is few of them.
    for n in 0..20 {
        fs::write(cast.victim.at(format!("other {n}")), n.to_string()).expect("written");
    }
    cast.until("the others are at both", || cast.friend.at("other 19").exists()).await;
    let member = &mut cast.member;
    // It takes in what the victim tells, as a member does.
    let opened = member
        .wait(|message| match message {
            Message::Records { carrier: Carrier::Inline(bytes), .. } => {
                let records = Records::decode(&bytes, SHARED);
                let runs = records.expect("it is honest").runs;
                let opened: Vec<_> = runs
                    .iter()
                    .flat_map(|run| run.open().expect("it is honest"))
                    .filter(|record| record.path.as_bytes() == b"report")
                    .collect();
                opened.first().map(|record| record.version.dot)
            }
            _ => None,
        })
        .await;
    let seen = (opened.author.site.0, opened.author.incarnation.get());
    let serial = opened.serial.get();
    let (context, millis) = (vec![(seen, vec![serial, serial])], 1_900_000_000_000);
    let said = member.next(Said { context, millis, ..Said::link(b"report", b"encrypted") });
    let run = member.run(&said);
    member.tell(vec![run]).await;
    cast.until("what it says stands there", || {
        cast.victim.at("report").is_symlink() && cast.friend.at("report").is_symlink()
    })
    .await;
    // `goes_on` looks for the bytes among versions as well.
    cast.goes_on("after the overwriting").await;
    cast.part().await;
}
