//! What neighbours claim to have of this index, and to have for it.

use super::*;
use crate::site::Outbox;
use farhaul_sync::message::{Followed, Shared};

const PEER: SiteId = SiteId([2; 32]);

/// A neighbour shares the folder, and says how far it follows this index in the life `epoch`.
fn share(bench: &mut Bench, epoch: u64, up_to: u64) {
    let (outbox, _heard) = Outbox::to_test(PEER, false);
    let followed = Some(Followed { epoch, up_to });
    let theirs = Shared { folder: FOLDER, epoch: 9, head: 0, followed };
    bench.folder().shared(PEER, &theirs, outbox);
}

#[test]
fn who_claims_more_than_was_given_costs_one_new_incarnation_and_no_more() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), b"written").unwrap();
    bench.scan();
    let life = |bench: &mut Bench| bench.folder().index.author().incarnation.get();
    let first = life(&mut bench);
    share(&mut bench, first, u64::MAX);
    let second = life(&mut bench);
    assert_ne!(second, first, "an old copy of the index would have to do so");
    for _ in 0..3 {
        share(&mut bench, second, u64::MAX);
        assert_eq!(life(&mut bench), second);
    }
    bench.settle();
    fs::write(bench.root("b"), b"written").unwrap();
    bench.scan();
    let published = bench.placed("b").version.dot.author.incarnation.get();
    assert_eq!(published, second, "the site goes on");
}
