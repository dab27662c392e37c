//! Replays the fuzz corpora: what a fuzzer once found interesting stays checked in every run.

#[path = "../../fuzz/src/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file as a library")]
mod checks;
#[path = "../../fuzz/src/corpus.rs"]
#[expect(unreachable_pub, reason = "both crates use the same file")]
mod corpus;

#[test]
fn every_input_of_every_corpus_keeps_what_its_target_checks() {
    corpus::replay(&checks::ALL);
}

#[test]
fn the_corpora_reach_past_the_first_refusal() {
    use farhaul_proto::manifest::Manifest;
    use farhaul_proto::path::memory::PathMemory;
    use farhaul_proto::path_name::RelPath;
    use farhaul_proto::wire::{control::Message, feedback::Feedback, header::Header};
    type Accepts = (&'static str, fn(&[u8]) -> bool);
    let parsers: [Accepts; 6] = [
        ("header", |input| Header::decode(input).is_ok()),
        ("feedback", |input| Feedback::decode(input).is_ok()),
        ("control", |input| Message::decode(input).is_ok()),
        ("manifest", |input| Manifest::decode(input).is_ok()),
        ("path", |input| RelPath::parse(input).is_ok()),
        ("memory", |input| PathMemory::decode(input).is_ok()),
    ];
    for (target, accepts) in parsers {
        let accepted = corpus::corpus(target).iter().filter(|(_, input)| accepts(input)).count();
        assert!(accepted >= 4, "{target}: {accepted} valid inputs");
    }
}
