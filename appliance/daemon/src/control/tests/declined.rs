//! A neighbour that does not say whether it has what it is asked for.

use super::*;
use crate::control::givers::HERE;
use crate::site::{GatherSink, NoAnswer, Outbox, Outgoing, Question};
use farhaul_engine::objects::BlockSink;
use farhaul_proto::ids::ObjectId;
use farhaul_proto::objects;
use farhaul_proto::units::Bytes;
use farhaul_sync::chunk::{ContentKeys, Manifest, ManifestBuilder};
use farhaul_sync::message::Wanted;

const PEER: SiteId = SiteId([2; 32]);

/// Answers with these bytes.
fn give(mut question: Question, bytes: &[u8]) {
    let sink: Arc<GatherSink> = question.begin(&[Some(bytes.len() as u64)]).expect("as asked");
    let (offset, len) = (Bytes::ZERO, Bytes::of_len(bytes.len()));
    let placed = objects::Placed { object: ObjectId::new(0), position: 0, offset, len };
    assert!(sink.store(placed, bytes).is_ok());
    question.end(Ok(sink));
}

/// spec: S-163
#[test]
fn what_is_declined_several_times_is_not_lacked_and_comes_as_soon_as_it_is_given() {
    const DECLINED: usize = 3;
    let mut bench = Bench::new();
    let bytes: Vec<u8> =
        (0..600_000_u32).map(|n| blake3::hash(&n.to_be_bytes()).as_bytes()[0]).collect();
    let keys = ContentKeys::of(&FOLDER);
    let list = Manifest::of(&keys, &bytes);
    let mut pages = Vec::new();
    let mut builder = ManifestBuilder::new(&keys, list.class);
    let mut keep = |_, page: &[u8]| pages.push(page.to_vec());
    list.entries.iter().for_each(|entry| builder.push(*entry, &mut keep));
    let manifest = builder.finish(&mut keep);
    assert_eq!(pages.len(), 1);
    bench.say("large", &version(dot(2, 1), &[], Content::File { manifest, size: list.size() }));
    let (outbox, mut said) = Outbox::to_test(PEER, false);
    let theirs = Shared { folder: FOLDER, epoch: 9, head: 0, followed: None };
    bench.folder().shared(PEER, &theirs, outbox);
    let (began, mut asked) = (Instant::now(), Vec::new());
    while bench.item("large").placed.is_none() {
        assert!(began.elapsed() < PATIENCE, "after all patience: asked {} times", asked.len());
        bench.body.take(Event::More);
        while let Ok(event) = bench.queue.try_recv() {
            bench.body.take(event);
        }
        bench.body.folders.values_mut().for_each(Folder::go_on);
        while let Ok(outgoing) = said.try_recv() {
            let Outgoing::Ask { wanted, question, .. } = outgoing else { continue };
            asked.push(Instant::now());
            let givers = bench.folder().fetching.givers();
            for site in [PEER, HERE] {
                assert!(!givers.was_missed(manifest, site), "asked {} times", asked.len());
            }
            match &wanted[..] {
                _ if asked.len() <= DECLINED => question.end(Err(NoAnswer::Halted)),
                [Wanted::Page { .. }] => give(question, &pages[0]),
                [Wanted::Ranges { ranges, .. }] => {
                    let at = |byte: u64| Bytes::new(byte).as_len();
                    let ranges = ranges
                        .iter()
                        .map(|part| &bytes[at(part.offset)..at(part.offset + part.len)]);
                    give(question, &ranges.collect::<Vec<_>>().concat());
                }
                other => panic!("{other:?}"),
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(fs::read(bench.root("large")).unwrap(), bytes);
    println!("asked after {:?}", asked.iter().map(|at| *at - began).collect::<Vec<_>>());
}
