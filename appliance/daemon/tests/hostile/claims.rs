//! What a member claims about itself and about what it has of others.

use super::said::{DIR, Said};
use super::sites::Cast;
use farhaul_sync::message::{Followed, Message};
use farhaul_sync::version::Serial;

/// The victim's life, as it shared it last.
async fn life_of_victim(cast: &mut Cast) -> u64 {
    cast.member
        .wait(|message| match message {
            Message::Share { folders } => folders.first().map(|shared| shared.epoch),
            _ => None,
        })
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_claims_to_have_more_than_there_is_silences_nobody() {
    let mut cast = Cast::meet().await;
    let first = life_of_victim(&mut cast).await;
    // As if the victim's index was an old copy: it renews itself, once.
    cast.member.share(0, Some(Followed { epoch: first, up_to: u64::MAX })).await;
    let second = life_of_victim(&mut cast).await;
    assert_ne!(second, first);
    for _ in 0..20 {
        cast.member.share(0, Some(Followed { epoch: second, up_to: u64::MAX })).await;
        let (life, member) = (cast.member.life, &mut cast.member);
        member.say(&super::member::records((life, 0, 0), Vec::new())).await;
    }
    cast.goes_on("after the claims").await;
    let said = cast.member.drain().into_iter();
    let shared = said.filter_map(|message| match message {
        Message::Share { folders } => folders.first().map(|shared| shared.epoch),
        _ => None,
    });
    assert!(shared.into_iter().all(|life| life == second), "it renewed itself again");
    cast.part().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_out_of_season_change_nothing() {
    let mut cast = Cast::meet().await;
    let (folder, salt) = (super::sites::SHARED, [3; 32]);
    let life = cast.member.life;
    let nowhere = super::member::records((life, 1 << 40, u64::MAX), Vec::new());
    let turn = farhaul_sync::reconcile::Turn { number: 9, is_last: true, parts: Vec::new() };
    for message in [
        nowhere,
        super::member::records((life ^ 1, 5, 5), Vec::new()),
        Message::Stored { folder, epoch: life, up_to: u64::MAX },
        Message::Stored { folder: super::sites::SECRET, epoch: 0, up_to: u64::MAX },
        Message::Compare { folder, salt, is_answer: true, turn: turn.clone() },
        Message::Compare { folder, salt, is_answer: false, turn },
        Message::Incomparable { folder, salt },
    ] {
        cast.member.say(&message).await;
    }
    // The head of all numbers, in its own word.
    let said = cast.member.next(Said::of(b"good", DIR));
    let run = cast.member.sealed(&[said.encode()], life, u64::MAX);
    assert_eq!(run.statement.head, Serial::new(u64::MAX).expect("not 0"));
    cast.member.tell(vec![run]).await;
    cast.until("its word counts", || cast.friend.at("good").is_dir()).await;
    cast.goes_on("after words out of season").await;
    cast.part().await;
}
