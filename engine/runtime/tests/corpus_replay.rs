//! Replays the fuzz corpora of the body: what a fuzzer once found interesting stays checked.

#[path = "../../fuzz/src/body.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file as a library")]
mod body;
#[path = "../../fuzz/src/corpus.rs"]
#[expect(unreachable_pub, reason = "both crates use the same file")]
mod corpus;

use farhaul_engine::files::journal::{Journal, Resumed};

#[test]
fn every_input_of_every_corpus_keeps_what_its_target_checks() {
    corpus::replay(&body::ALL);
}

#[test]
fn the_corpora_reach_past_the_first_refusal() {
    let claims = |input: &[u8]| {
        let file = tempfile::tempfile().expect("a temporary file");
        std::os::unix::fs::FileExt::write_all_at(&file, input, 0).expect("it is writable");
        let resumed = Journal::resume(file, &body::BINDING).expect("it is readable");
        matches!(resumed, Resumed::Journal(_, claims) if !claims.is_empty())
    };
    let accepted = corpus::corpus("journal").iter().filter(|(_, input)| claims(input)).count();
    assert!(accepted >= 4, "{accepted} journals with claims");
    let names_a_site = |der: &[u8]| farhaul_engine::tls::site_of(&[der.into()]).is_some();
    assert!(corpus::corpus("certificate").iter().any(|(_, der)| names_a_site(der)));
}
