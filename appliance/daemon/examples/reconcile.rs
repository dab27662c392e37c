//! Measures comparisons of real indexes: `cargo run --release -p farhauld --example reconcile -- DIR [ITEMS]`.
//!
//! Makes two indexes in DIR with the same ITEMS records, compares them as two sites do, then takes
//! some from the second and compares again. Bytes are those of the frames of both directions; a step
//! is a message that has to wait for another one.

use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::{Bytes, FileTime};
use farhaul_sync::folder::Index as _;
use farhaul_sync::message::Message;
use farhaul_sync::reconcile::{Answer, Answerer, Asker, Outcome, Turn};
use farhaul_sync::record::Record;
use farhaul_sync::seal::{FolderKey, Proof, RUN_MAX, Statement, leaf, root};
use farhaul_sync::version::{
    Author, Content, Context, Dot, Incarnation, ManifestId, Meta, Serial, Stamp, Version,
};
use farhauld::index::{Durability, Index, Run, Signature};
use std::error::Error;
use std::path::Path;
use std::time::Instant;

const FOLDER: FolderKey = FolderKey([7; 32]);
/// Items in a transaction.
const BATCH: u64 = 50 * RUN_MAX as u64;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().ok_or("usage: reconcile DIR [ITEMS]")?;
    let items: u64 = args.next().as_deref().unwrap_or("1000000").parse()?;
    let place = |name: &str| Path::new(&dir).join(name);
    let mut here = Index::create(&place("here"), FOLDER, SiteId([1; 32]))?;
    let mut there = Index::create(&place("there"), FOLDER, SiteId([2; 32]))?;
    for index in [&mut here, &mut there] {
        let began = Instant::now();
        fill(index, items)?;
        println!("filled: {items} in {:.1} s", began.elapsed().as_secs_f64());
    }
    for index in [&mut here, &mut there] {
        let began = Instant::now();
        index.sum_up()?;
        println!("all sums: {:.3} s", began.elapsed().as_secs_f64());
    }
    println!("items\tdiffer\tbytes\tmessages\tsteps\tseconds at both");
    let mut gone = 0;
    for count in [0, 1, 10, 1_000, 100_000].into_iter().filter(|count| count * 2 <= items) {
        while gone < count {
            gone += take(&mut there, gone, count, items)?;
        }
        compare(&mut here, &mut there, items, count)?;
    }
    Ok(())
}

/// Takes the records from number `from` to `to` of an order in which neighbours are far apart.
fn take(index: &mut Index, from: u64, to: u64, items: u64) -> Result<u64, Box<dyn Error>> {
    let mut taking = index.begin(Durability::Later)?;
    let to = to.min(from + BATCH);
    for n in from..to {
        // A stride that is prime to any number of items that is no multiple of it.
        let n = n * 7_919 % items;
        taking.drop_version(&path_of(n)?, dot_of(n)?)?;
    }
    taking.commit()?;
    Ok(to - from)
}

fn len(turn: &Turn) -> usize {
    let salt = [9; 32];
    // Four bytes are the frame's.
    4 + Message::Compare { folder: FOLDER, salt, is_answer: true, turn: turn.clone() }
        .encode()
        .len()
}

fn compare(
    here: &mut Index,
    there: &mut Index,
    items: u64,
    differ: u64,
) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    here.sum_up()?;
    there.sum_up()?;
    let (mut bytes, mut messages, mut steps) = (0, 0, 0);
    let mut asker = Asker::new([9; 32], u64::MAX);
    let mut answerer = Answerer::new([9; 32], u64::MAX);
    let (here, there) = (here.read(), there.read());
    'comparing: loop {
        let mut answers = Vec::new();
        steps += 2;
        while let Some(turn) = asker.ask(&here)? {
            (bytes, messages) = (bytes + len(&turn), messages + 1);
            match answerer.answer(&turn, &there)? {
                Answer::Say(turns) => answers.extend(turns),
                Answer::Over => break 'comparing,
            }
        }
        for turn in answers {
            (bytes, messages) = (bytes + len(&turn), messages + 1);
            asker.hear(&turn, &here)?;
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let Outcome::Lacking(lacking) = asker.outcome() else {
        return Err("so much does not differ".into());
    };
    if lacking.seqs.len() as u64 != differ {
        return Err(format!("{} of {differ} were found", lacking.seqs.len()).into());
    }
    println!("{items}\t{differ}\t{bytes}\t{messages}\t{}\t{seconds:.3}", steps - 2);
    Ok(())
}

fn fill(index: &mut Index, items: u64) -> Result<(), Box<dyn Error>> {
    let mut n = 0;
    while n < items {
        let until = items.min(n + BATCH);
        let mut filling = index.begin(Durability::Later)?;
        while n < until {
            let records: Vec<Record> =
                (n..until.min(n + RUN_MAX as u64)).map(record_of).collect::<Result<_, _>>()?;
            let bytes: Vec<Vec<u8>> = records.iter().map(Record::encode).collect();
            let leaves: Vec<_> = bytes.iter().map(|bytes| leaf(bytes)).collect();
            let (count, root) = (u16::try_from(records.len())?, root(&leaves)?);
            n += u64::from(count);
            let head = Serial::new(n).ok_or("no number")?;
            let statement = Statement { folder: FOLDER, author: author(), head, count, root };
            let leaves = (0..count).zip(leaves).collect();
            let signature = Signature([0; 64]);
            let run = Run { statement, signature, leaves, proof: Proof::default() };
            let run = filling.add_run(&run)?;
            for (position, bytes) in (0..).zip(&bytes) {
                filling.insert(bytes, run, position)?;
            }
        }
        filling.commit()?;
    }
    Ok(index.begin(Durability::Now)?.commit()?)
}

/// A third site's: both indexes hold the same records.
fn author() -> Author {
    Author { site: SiteId([3; 32]), incarnation: Incarnation::new(5) }
}

fn dot_of(n: u64) -> Result<Dot, Box<dyn Error>> {
    Ok(Dot { author: author(), serial: Serial::new(n + 1).ok_or("no number")? })
}

/// 100 files in a directory.
fn path_of(n: u64) -> Result<RelPath, Box<dyn Error>> {
    let text = format!("projects/{:04}/{:04}/recording-{n:012}.dat", n / 10_000, n / 100 % 100);
    Ok(RelPath::parse(text.as_bytes())?)
}

fn record_of(n: u64) -> Result<Record, Box<dyn Error>> {
    let manifest = ManifestId(*blake3::hash(&n.to_be_bytes()).as_bytes());
    let content = Content::File { manifest, size: Bytes::new(n * 77) };
    let mtime = FileTime { secs: 1_795_000_000, nanos: 123_456_789 };
    let meta = Meta { mode: 0o644, mtime, ..Meta::default() };
    let stamp = Stamp { millis: 1_795_000_000_000 + n, count: 0 };
    let version = Version { dot: dot_of(n)?, context: Context::new(), stamp, content, meta };
    Ok(Record { path: path_of(n)?, version })
}
