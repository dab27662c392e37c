//! Replays the fuzz corpora: what a fuzzer once found interesting stays checked in every run.

#[path = "../../fuzz/src/checks.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file as a library")]
mod checks;

use std::path::Path;

/// The files of one target's corpus, in the order of their names.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus").join(target);
    let files = std::fs::read_dir(&folder).expect("every target has a corpus");
    let mut inputs: Vec<_> = files
        .map(|file| {
            let path = file.expect("a readable folder").path();
            let input = std::fs::read(&path).expect("a readable file");
            (path.display().to_string(), input)
        })
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_input_of_every_corpus_keeps_what_its_target_checks() {
    for (target, check) in checks::ALL {
        let inputs = corpus(target);
        assert!(inputs.len() >= 4, "the corpus of {target} is gone");
        for (name, input) in inputs {
            let outcome = std::panic::catch_unwind(|| check(&input));
            assert!(outcome.is_ok(), "{target} breaks on {name}");
        }
    }
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
        let accepted = corpus(target).iter().filter(|(_, input)| accepts(input)).count();
        assert!(accepted >= 4, "{target}: {accepted} valid inputs");
    }
}
