//! Marks and sums follow whatever happens to versions.

use super::*;
use crate::index::Inserted;
use crate::sample::{dot, file, index, path, store, version};
use farhaul_sync::reconcile::{Answer, Answerer, Asker, Outcome};
use farhaul_sync::version::Content;

pub(in crate::index) fn fill(index: &mut Index, count: u64) {
    for n in 1..=count {
        let at = path(&format!("dir {}/{n}", n % 7));
        store(index, &at, &version(dot(2, n), &[], file(&n.to_be_bytes())));
    }
}

/// What the second lacks of the first, and the first of the second.
pub(in crate::index) fn compare(here: &mut Index, there: &mut Index) -> (Vec<u64>, Vec<u64>) {
    here.sum_up().unwrap();
    there.sum_up().unwrap();
    let (here, there) = (here.read(), there.read());
    let mut asker = Asker::new([5; 32], i64::MAX as u64);
    let mut answerer = Answerer::new([5; 32], i64::MAX as u64);
    loop {
        let turn = asker.ask(&here).unwrap().expect("each is answered at once");
        match answerer.answer(&turn, &there).unwrap() {
            Answer::Say(turns) => {
                turns.iter().for_each(|turn| asker.hear(turn, &here).unwrap());
            }
            Answer::Over => break,
        }
    }
    let seqs = |outcome| match outcome {
        Outcome::Lacking(lacking) => lacking.seqs.to_vec(),
        Outcome::Everything => panic!("so much is not there"),
    };
    (seqs(asker.outcome()), seqs(answerer.outcome()))
}

#[test]
fn two_indexes_find_what_each_lacks_of_the_other() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (mut here, mut there) = (index(home.path()), index(other.path()));
    fill(&mut here, 300);
    fill(&mut there, 300);
    assert_eq!(compare(&mut here, &mut there), (vec![], vec![]));
    let over = version(dot(3, 1), &[dot(2, 9)], Content::Gone);
    let stored = store(&mut here, &path("dir 2/9"), &over);
    assert!(matches!(stored, Inserted::New { seq: Seq(301), .. }));
    store(&mut there, &path("top"), &version(dot(4, 1), &[], Content::Dir));
    // What is covered here is what the other one has and this one lacks, until it hears of that.
    assert_eq!(compare(&mut here, &mut there), (vec![301], vec![9, 301]));
    store(&mut there, &path("dir 2/9"), &over);
    store(&mut here, &path("top"), &version(dot(4, 1), &[], Content::Dir));
    assert_eq!(compare(&mut here, &mut there), (vec![], vec![]));
    here.check().unwrap();
    there.check().unwrap();
}

#[test]
fn sums_are_read_as_they_were_until_they_are_brought_up_to_date() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    fill(&mut index, 20);
    let count = |index: &Index| {
        let mut count = 0;
        index.read().buckets(0, u16::MAX, &mut |_, sum| count += sum.count).unwrap();
        count
    };
    assert_eq!(count(&index), 0);
    index.sum_up().unwrap();
    assert_eq!(count(&index), 20);
    for n in 1..=20 {
        let at = path(&format!("dir {}/{n}", n % 7));
        let mut removing = index.begin(Durability::Now).unwrap();
        let dropped = dot(2, n);
        farhaul_sync::folder::Index::drop_version(&mut removing, &at, dropped).unwrap();
        removing.commit().unwrap();
    }
    index.sum_up().unwrap();
    assert_eq!(count(&index), 0);
    index.check().unwrap();
}

#[test]
fn a_mark_or_a_sum_that_is_wrong_is_found() {
    let home = tempfile::tempdir().unwrap();
    let mut index = index(home.path());
    fill(&mut index, 50);
    index.sum_up().unwrap();
    index.check().unwrap();
    let faults = [
        "DELETE FROM marks WHERE seq = 7",
        "INSERT INTO marks(place, seq) VALUES(zeroblob(32), 7)",
        "UPDATE marks SET seq = 8 WHERE seq = 7",
        "DELETE FROM sums WHERE bucket = (SELECT min(bucket) FROM sums)",
        "UPDATE sums SET value = (SELECT max(value) FROM sums)",
    ];
    for fault in faults {
        index.db.execute_batch("SAVEPOINT fault").unwrap();
        index.db.execute_batch(fault).unwrap();
        assert!(index.check().is_err_and(|error| error.is_damage()), "{fault}");
        index.db.execute_batch("ROLLBACK TO fault; RELEASE fault").unwrap();
    }
    index.check().unwrap();
}
