//! Replays the fuzz corpora of the brain: what a fuzzer once found interesting stays checked.

#[path = "../../fuzz/src/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file as a library")]
mod checks;
#[path = "../../../engine/fuzz/src/corpus.rs"]
#[expect(unreachable_pub, reason = "several crates use the same file")]
mod corpus;

use checks::FOLDER;
use farhaul_sync::chunk::Page;
use farhaul_sync::message::{Message, Records};
use farhaul_sync::record::Record;

#[test]
fn every_input_of_every_corpus_keeps_what_its_target_checks() {
    corpus::replay(&checks::ALL);
}

#[test]
fn the_corpora_reach_past_the_first_refusal() {
    type Accepts = (&'static str, usize, fn(&[u8]) -> bool);
    let decoders: [Accepts; 4] = [
        ("message", 9, |input| Message::decode(input).is_ok()),
        ("records", 4, |input| Records::decode(input, FOLDER).is_ok()),
        ("record", 6, |input| Record::decode(input).is_ok()),
        ("page", 4, |input| Page::decode(input).is_ok()),
    ];
    for (target, least, accepts) in decoders {
        let accepted = corpus::corpus(target).iter().filter(|(_, input)| accepts(input)).count();
        assert!(accepted >= least, "{target}: {accepted} valid inputs");
    }
}
