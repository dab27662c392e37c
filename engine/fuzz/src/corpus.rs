//! The corpora, as ordinary tests replay them: those of each crate whose parsers have targets include
//! this file.

use std::path::Path;

/// The files of one target's corpus, in the order of their names.
pub fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
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

/// A target's name, which is that of its corpus, and its check.
pub type Check = (&'static str, fn(&[u8]));

/// Every input of every corpus keeps what its target checks.
pub fn replay(targets: &[Check]) {
    for (target, check) in targets {
        let inputs = corpus(target);
        assert!(inputs.len() >= 4, "the corpus of {target} is gone");
        for (name, input) in inputs {
            let outcome = std::panic::catch_unwind(|| check(&input));
            assert!(outcome.is_ok(), "{target} breaks on {name}");
        }
    }
}
