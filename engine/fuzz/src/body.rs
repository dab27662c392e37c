//! What must hold for bytes that meet the body of the engine: journals on disk, certificates, the
//! kernel's records of changes.
//!
//! As `checks`, used by the fuzzer and by the test that replays the corpora.

use farhaul_engine::files::journal::{Binding, Digest, Journal, Resumed};
use farhaul_engine::files::notify::{Record, Records};
use farhaul_engine::tls::site_of;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

/// A target's name, which is that of its corpus, and its check.
pub type Check = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: [Check; 3] =
    [("journal", journal), ("certificate", certificate), ("fanotify", fanotify)];

/// What the journals of the corpus belong to.
pub const BINDING: Binding = Binding { key: [7; 32], inode: 99, blocks: 70 };

/// What every true record of the corpus says of a block.
pub fn digest(block: u32) -> Digest {
    [block.to_le_bytes()[0] ^ 0x5a; 32]
}

/// A journal claims what its whole records say and nothing else, whatever became of the file; it can
/// be gone on with, and what is noted then is found behind all that was found before.
pub fn journal(input: &[u8]) {
    let file = memory_file();
    file.write_all_at(input, 0).expect("memory is writable");
    let Some((journal, before)) = resumed(&file) else {
        let journal = Journal::create(own(&file), &BINDING).expect("memory is writable");
        assert_eq!(journal.missing(), BINDING.blocks);
        return;
    };
    assert_eq!(before, records(input));
    assert_eq!(journal.missing(), BINDING.blocks, "a claim is no proof");
    let last = BINDING.blocks - 1;
    journal.append(last, &digest(last)).expect("memory is writable");
    journal.append(BINDING.blocks, &digest(0)).expect("what is out of range is no error");
    assert_eq!((journal.is_done(last), journal.missing()), (true, last));
    // One record more may be one too many, which starts the journal anew.
    if let Some((_, mut after)) = resumed(&file) {
        assert_eq!(after.remove(&last), Some(digest(last)));
        after.extend(before.get(&last).map(|&said| (last, said)));
        assert_eq!(after, before);
    }
}

/// The records behind a head of 64 bytes, 44 each, whose check is right: the fuzzer finds out how to
/// make one. The last one about a block counts.
fn records(journal: &[u8]) -> BTreeMap<u32, Digest> {
    let (head, records) = journal.split_at(64);
    let key = *blake3::hash(head).as_bytes();
    let whole = records.chunks_exact(44).filter_map(|record| {
        let (said, check) = record.split_at(36);
        let is_whole = blake3::keyed_hash(&key, said).as_bytes()[..8] == *check;
        let (block, digest) = said.split_first_chunk()?;
        let block = u32::from_le_bytes(*block);
        (is_whole && block < BINDING.blocks).then_some((block, digest.try_into().ok()?))
    });
    whole.collect()
}

fn resumed(file: &File) -> Option<(Journal, BTreeMap<u32, Digest>)> {
    match Journal::resume(own(file), &BINDING).expect("memory is readable") {
        Resumed::Journal(journal, claims) => Some((journal, claims)),
        Resumed::Foreign(_) => None,
    }
}

fn own(file: &File) -> File {
    file.try_clone().expect("descriptors are to be had")
}

fn memory_file() -> File {
    let made = rustix::fs::memfd_create("journal", rustix::fs::MemfdFlags::CLOEXEC);
    made.expect("the kernel has files in memory").into()
}

/// A certificate names one site or none; with anything behind it, or with company, none.
pub fn certificate(der: &[u8]) {
    let Some(site) = site_of(&[der.into()]) else { return };
    assert_eq!(site_of(&[der.into()]), Some(site));
    assert_eq!(site_of(&[der.into(), der.into()]), None);
    assert_eq!(site_of(&[[der, &[0]].concat().into()]), None);
    assert_eq!(site_of(&[der[..der.len() - 1].into()]), None);
}

/// Records end, names are names, and whatever is cut off begins as the whole does.
pub fn fanotify(input: &[u8]) {
    let records: Vec<_> = Records::new(input).collect();
    assert!(records.len() <= input.len() / 24 + 1);
    for record in &records {
        let entries = match record {
            Ok(Record::Changed { at, .. }) => [Some(*at), None],
            Ok(Record::Renamed { from, to, .. }) => [*from, *to],
            Ok(Record::Overflow | Record::Nameless) | Err(_) => [None, None],
        };
        for entry in entries.into_iter().flatten() {
            assert!(!entry.name.is_empty() && !entry.name.contains(&b'/'));
            assert!(!entry.name.contains(&0) && entry.dir.bytes.len() <= 128);
        }
    }
    let cut = Records::new(&input[..input.len() / 2]).filter(Result::is_ok);
    assert!(cut.zip(&records).all(|(one, other)| one == *other));
}
