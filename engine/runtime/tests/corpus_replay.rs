//! Replays the fuzz corpora of the body: what a fuzzer once found interesting stays checked.

#[path = "../../fuzz/src/body.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file as a library")]
mod body;

use farhaul_engine::files::journal::{Journal, Resumed};
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
    for (target, check) in body::ALL {
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
    let claims = |input: &[u8]| {
        let file = tempfile::tempfile().expect("a temporary file");
        std::os::unix::fs::FileExt::write_all_at(&file, input, 0).expect("it is writable");
        let resumed = Journal::resume(file, &body::BINDING).expect("it is readable");
        matches!(resumed, Resumed::Journal(_, claims) if !claims.is_empty())
    };
    let accepted = corpus("journal").iter().filter(|(_, input)| claims(input)).count();
    assert!(accepted >= 4, "{accepted} journals with claims");
    let names_a_site = |der: &[u8]| farhaul_engine::tls::site_of(&[der.into()]).is_some();
    assert!(corpus("certificate").iter().any(|(_, der)| names_a_site(der)));
}
