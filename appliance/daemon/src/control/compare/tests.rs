//! Who is told at once, who when a comparison is over, and who after all when it comes to nothing.

use super::super::health::Health;
use super::*;
use crate::control::opening::Progress;
use crate::events::Events;
use crate::index::Durability;
use crate::sample::{file, path};
use crate::site::Outbox;
use farhaul_engine::identity::Identity;
use farhaul_sync::folder::{FileIdentity, Found};
use farhaul_sync::reconcile::{Holdings, Place, Range, Sum};
use farhaul_sync::version::Meta;
use tokio::sync::mpsc;

/// Ids above and below any that is drawn.
const ASKED: SiteId = SiteId([0xff; 32]);
const ASKING: SiteId = SiteId([0; 32]);

/// A folder with some records, a neighbour that follows it nowhere, and what that is told.
fn folder(peer: SiteId, compares: bool) -> (tempfile::TempDir, Folder, mpsc::Receiver<Outgoing>) {
    let home = tempfile::tempdir().expect("a directory");
    for dir in ["tree", "state"] {
        std::fs::create_dir(home.path().join(dir)).expect("made");
    }
    let setup = crate::sample::setup(home.path(), peer);
    let identity = Identity::ephemeral().expect("made");
    let (events, _) = mpsc::channel(9);
    let mut folder =
        Folder::open(setup, &identity, events, unsaid(), &Progress::default()).expect("its own");
    // It would listen for its neighbour first.
    folder.publisher = folder.publisher.clone().silent(false);
    let published = folder.change(Durability::Now, |state| {
        for n in 0..20_u8 {
            let (content, identity) = (file(&[n]), FileIdentity::default());
            let found = Found { content, meta: Meta::default(), identity };
            state.observe(&path(&format!("file {n}")), Some(found), 1000)?;
        }
        Ok(())
    });
    published.expect("new files");
    let (outbox, said) = Outbox::to_test(peer, compares);
    let theirs = Shared { folder: folder.setup.key, epoch: 77, head: 0, followed: None };
    folder.shared(peer, &theirs, outbox);
    (home, folder, said)
}

fn unsaid() -> (Health, u64) {
    (Health::new("tree", Events::default()), 1)
}

/// Up to which number records are told, from 0.
fn told(folder: &mut Folder, said: &mut mpsc::Receiver<Outgoing>) -> Option<u64> {
    folder.go_on();
    let mut up_to = None;
    while let Ok(outgoing) = said.try_recv() {
        if let Outgoing::Records { after, to, .. } = outgoing {
            assert_eq!(after, up_to.unwrap_or(0));
            up_to = Some(to);
        }
    }
    up_to
}

fn question(said: &mut mpsc::Receiver<Outgoing>) -> Option<([u8; 32], Turn)> {
    match said.try_recv() {
        Ok(Outgoing::Say(Message::Compare { salt, is_answer: false, turn, .. })) => {
            Some((salt, turn))
        }
        _ => None,
    }
}

#[test]
fn a_neighbour_that_compares_nothing_is_told_everything_at_once() {
    for peer in [ASKED, ASKING] {
        let (_home, mut folder, mut said) = folder(peer, false);
        assert_eq!(told(&mut folder, &mut said), Some(20));
    }
}

#[test]
fn who_is_asked_is_told_what_it_lacks_when_the_comparison_is_over() {
    let (_home, mut folder, mut said) = folder(ASKED, true);
    let (salt, turn) = question(&mut said).expect("the first");
    assert_eq!(told(&mut folder, &mut said), None);
    // It holds the same: to it every print is that of its own.
    let answer = Turn { number: turn.number, is_last: true, parts: vec![] };
    folder.compared(ASKED, [1; 32], true, &answer);
    assert_eq!(question(&mut said), None, "an answer of another comparison");
    folder.compared(ASKED, salt, true, &answer);
    let (_, last) = question(&mut said).expect("the last");
    assert!(last.is_last);
    folder.go_on();
    let Ok(Outgoing::Records { after: 0, to: 20, bytes, .. }) = said.try_recv() else {
        panic!("it is told up to where it has everything");
    };
    assert!(bytes.len() < 10, "and no record");
}

#[test]
fn who_gives_up_or_answers_what_was_not_asked_is_told_everything() {
    let (_home, mut given_up, mut said) = folder(ASKED, true);
    let (salt, _) = question(&mut said).expect("the first");
    given_up.incomparable(ASKED, [1; 32]);
    assert_eq!(told(&mut given_up, &mut said), None);
    given_up.incomparable(ASKED, salt);
    assert_eq!(told(&mut given_up, &mut said), Some(20));

    let (_home, mut answered, mut said) = folder(ASKED, true);
    let (salt, turn) = question(&mut said).expect("the first");
    let wrong = Turn { number: turn.number + 1, is_last: true, parts: vec![] };
    answered.compared(ASKED, salt, true, &wrong);
    let given_up = said.try_recv().expect("it is told so");
    assert!(
        matches!(given_up, Outgoing::Say(Message::Incomparable { salt: of, .. }) if of == salt)
    );
    assert_eq!(told(&mut answered, &mut said), Some(20));
}

#[test]
fn who_is_to_ask_and_says_nothing_is_told_everything_after_a_while() {
    let (_home, mut folder, mut said) = folder(ASKING, true);
    assert_eq!(told(&mut folder, &mut said), None);
    folder.tick();
    assert_eq!(told(&mut folder, &mut said), None);
    let neighbour = folder.neighbours.get_mut(&ASKING).expect("it is there");
    neighbour.comparison.as_mut().expect("awaited").until = Instant::now();
    folder.tick();
    assert_eq!(told(&mut folder, &mut said), Some(20));
}

#[test]
fn a_question_of_an_unknown_comparison_is_refused_and_its_first_one_answered() {
    let (_home, mut folder, mut said) = folder(ASKING, true);
    let nothing = Part::Split { range: Range::ALL, prints: vec![0; 256] };
    let later = Turn { number: 2, is_last: false, parts: vec![nothing.clone()] };
    folder.compared(ASKING, [4; 32], false, &later);
    let refused = said.try_recv();
    assert!(
        matches!(refused, Ok(Outgoing::Say(Message::Incomparable { salt, .. })) if salt == [4; 32])
    );
    folder.compared(ASKING, [4; 32], false, &Turn { number: 1, ..later.clone() });
    let answer = said.try_recv();
    let Ok(Outgoing::Answer { message: Message::Compare { is_answer: true, .. }, .. }) = answer
    else {
        panic!("no answer");
    };
    assert_eq!(told(&mut folder, &mut said), None);
    folder.compared(ASKING, [4; 32], false, &Turn { number: 2, is_last: true, parts: vec![] });
    assert_eq!(told(&mut folder, &mut said), Some(20), "it holds nothing");
}

/// The first question of a comparison by who holds something else everywhere: how many answers there
/// were, which are held, and whether it was refused.
fn first_question(
    folder: &mut Folder,
    said: &mut mpsc::Receiver<Outgoing>,
    salt: u8,
    held: &mut Vec<Outgoing>,
) -> (usize, bool) {
    let range = Range::ALL;
    let parts = vec![Part::Split { range, prints: vec![1; 256] }];
    folder.compared(ASKING, [salt; 32], false, &Turn { number: 1, is_last: false, parts });
    let (mut answers, mut is_refused) = (0, false);
    while let Ok(outgoing) = said.try_recv() {
        match &outgoing {
            Outgoing::Answer { .. } => answers += 1,
            Outgoing::Say(Message::Incomparable { .. }) => is_refused = true,
            _ => panic!("something else is said"),
        }
        held.push(outgoing);
    }
    (answers, is_refused)
}

/// spec: S-164
#[test]
fn who_asks_and_takes_no_answers_is_answered_no_more_and_told_everything() {
    const ROOM: usize = 64 << 10;
    let (_home, mut folder, _) = folder(ASKING, true);
    let (outbox, mut said) = Outbox::to_test(ASKING, true);
    let theirs = Shared { folder: folder.setup.key, epoch: 77, head: 0, followed: None };
    folder.shared(ASKING, &theirs, outbox.with_room(ROOM as u64));
    // An answer names each of 256 ranges, and what little is here.
    let one = 256 * size_of::<Part>();
    let (mut held, mut answers, mut salt) = (Vec::new(), 0, 0);
    loop {
        salt += 1;
        let (more, is_refused) = first_question(&mut folder, &mut said, salt, &mut held);
        assert_eq!(more, usize::from(!is_refused));
        if is_refused {
            break;
        }
        answers += 1;
        assert!(answers * one < ROOM + one, "{answers} answers");
    }
    assert!(answers > 1 && (answers + 1) * (one + 1024) > ROOM, "{answers} answers");
    assert_eq!(told(&mut folder, &mut said), Some(20), "everything, without a comparison");
    // What it asks after it took them is answered.
    drop(held);
    assert_eq!(first_question(&mut folder, &mut said, salt + 1, &mut Vec::new()), (1, false));
}

#[test]
fn who_has_everything_gone_through_again_and_again_is_refused_and_told_everything() {
    let (_home, mut folder, mut said) = folder(ASKING, true);
    let all = Part::List { range: Range::ALL, ids: vec![] };
    // Each a comparison of its own, and each of a few bytes.
    let mut asks = |folder: &mut Folder, salt| {
        let turn = Turn { number: 1, is_last: false, parts: vec![all.clone()] };
        folder.compared(ASKING, salt, false, &turn);
        match said.try_recv() {
            Ok(Outgoing::Answer { message: Message::Compare { is_answer: true, .. }, .. }) => true,
            Ok(Outgoing::Say(Message::Incomparable { salt: of, .. })) => {
                assert_eq!(of, salt);
                false
            }
            _ => panic!("it is neither answered nor refused"),
        }
    };
    assert!((1..30).all(|n| asks(&mut folder, [n; 32])));
    // What that cost counts: 20 records each, once more for the sum of their bucket, and that. The
    // rest as if there were many more of them.
    let asked = folder.allowances.spent(ASKING);
    assert_eq!(asked, 29 * 20 + 20 + 1);
    folder.allowances.spend(ASKING, 1 << 40, Instant::now());
    assert!((30..60).all(|n| !asks(&mut folder, [n; 32])));
    assert_eq!(folder.allowances.spent(ASKING) >> 20, 1 << 20, "it costs nothing any more");
    assert_eq!(told(&mut folder, &mut said), Some(20));
}

/// A neighbour that holds nothing.
struct Nothing;

impl Holdings for Nothing {
    type Error = core::convert::Infallible;

    fn buckets(&self, _: u16, _: u16, _: &mut dyn FnMut(u16, Sum)) -> Result<(), Self::Error> {
        Ok(())
    }

    fn places(&self, _: Range, _: &mut dyn FnMut(Place, u64)) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// It begins a session in which it follows nobody.
fn join(folder: &mut Folder, peer: SiteId) -> mpsc::Receiver<Outgoing> {
    let (outbox, said) = Outbox::to_test(peer, true);
    let theirs = Shared { folder: folder.setup.key, epoch: 77, head: 0, followed: None };
    folder.shared(peer, &theirs, outbox);
    said
}

/// Publishes another version of a file.
fn publish(folder: &mut Folder, n: u8) {
    let published = folder.change(Durability::Now, |state| {
        let (content, identity) = (file(&[100 + n]), FileIdentity::default());
        let found = Found { content, meta: Meta::default(), identity };
        Ok(state.observe(&path("file 1"), Some(found), 2000 + u64::from(n))?)
    });
    published.expect("an edit");
}

/// spec: S-146
#[test]
fn what_this_site_reads_to_ask_and_to_sum_up_counts_as_what_it_reads_to_answer() {
    let (_home, mut folder, mut said) = folder(ASKED, true);
    // The sum of the bucket, and what the first question took.
    let mut spent = folder.allowances.spent(ASKED);
    assert_eq!(spent, (20 + 1) + 1);
    let answer = |salt, turn: &Turn| match Answerer::new(salt, 0).answer(turn, &Nothing) {
        Ok(Answer::Say(mut turns)) => turns.pop().expect("a last one"),
        other => panic!("{other:?}"),
    };
    for n in 0..3 {
        let (salt, turn) = question(&mut said).expect("the first");
        folder.compared(ASKED, salt, true, &answer(salt, &turn));
        // It is known to lack all of it: that was read to hear so.
        assert_eq!(folder.allowances.spent(ASKED), spent + 20);
        // A change, and a session that is begun anew: the bucket is summed up again.
        publish(&mut folder, n);
        said = join(&mut folder, ASKED);
        assert_eq!(folder.allowances.spent(ASKED), spent + 20 + (20 + 1) + 1);
        spent = folder.allowances.spent(ASKED);
    }
    // The rest as if there were many more records.
    let (salt, turn) = question(&mut said).expect("the first");
    folder.allowances.spend(ASKED, 1 << 40, Instant::now());
    folder.compared(ASKED, salt, true, &answer(salt, &turn));
    assert!(matches!(said.try_recv(), Ok(Outgoing::Say(Message::Incomparable { .. }))));
    assert_eq!(told(&mut folder, &mut said), Some(23), "everything, without a comparison");
    // And in the next session nothing is compared before time has passed.
    let mut said = join(&mut folder, ASKED);
    assert_eq!(question(&mut said), None);
    assert_eq!(told(&mut folder, &mut said), Some(23));
}
