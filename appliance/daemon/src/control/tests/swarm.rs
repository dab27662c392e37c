//! Large files of a leg among a source and its targets, piece by piece.

use super::*;

mod mesh;

use mesh::Mesh;

const MIB: usize = 1 << 20;

/// Bytes that no chunk has twice.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut bytes);
    bytes
}

/// A source with such a file, published.
fn with(targets: usize, content: &[u8]) -> Mesh {
    let mut mesh = Mesh::new(targets);
    fs::write(mesh.benches[0].root("disk"), content).unwrap();
    mesh.benches[0].scan();
    mesh
}

fn counts(mesh: &mut Mesh, site: usize) -> ContentCounts {
    mesh.benches[site].folder().fetching.counts().now()
}

/// spec: S-222
#[test]
fn each_byte_leaves_the_source_about_once_and_targets_have_it_from_each_other() {
    let content = noise(64 * MIB);
    let mut mesh = with(3, &content);
    mesh.connect(&[0, 1, 2, 3]);
    mesh.until("all have it", |mesh| (1..=3).all(|site| mesh.has(site, "disk", &content)));
    let size = content.len() as u64;
    assert!(mesh.gave[0] <= size * 12 / 10, "{:?}", mesh.gave);
    assert!(mesh.gave[1..].iter().all(|gave| *gave > size / 8), "{:?}", mesh.gave);
    // It is said how much that is.
    let given = counts(&mut mesh, 0).given;
    assert!((given..given + size / 8).contains(&mesh.gave[0]), "{given} {:?}", mesh.gave);
}

/// spec: S-226
#[test]
fn a_source_that_does_not_know_pieces_is_asked_as_ever() {
    let content = noise(3 * MIB);
    let mut mesh = with(2, &content);
    mesh.knows = false;
    mesh.connect(&[0, 1, 2]);
    mesh.until("all have it", |mesh| (1..=2).all(|site| mesh.has(site, "disk", &content)));
}

/// spec: S-224
#[test]
fn who_gives_something_else_is_named_and_the_file_is_right() {
    let content = noise(24 * MIB);
    let mut mesh = with(2, &content);
    mesh.liar = Some(1);
    mesh.connect(&[0, 1, 2]);
    mesh.until("all have it", |mesh| (1..=2).all(|site| mesh.has(site, "disk", &content)));
    assert!(counts(&mut mesh, 2).accused > 0);
    let liar = mesh.id(1);
    let said = mesh.benches[2].body.log.since(crate::events::From::OtherRun, 1000);
    let named = said
        .events
        .iter()
        .find(|event| event.peer.as_ref().is_some_and(|it| it.id == liar.to_string()));
    assert!(named.is_some(), "{said:?}");
    assert_eq!(counts(&mut mesh, 1).accused, 0, "nobody lied to it");
}

/// spec: S-226
#[test]
fn targets_that_have_everything_together_finish_without_their_source() {
    let content = noise(24 * MIB);
    let mut mesh = with(2, &content);
    mesh.is_held = true;
    mesh.connect(&[0, 1, 2]);
    let size = content.len() as u64;
    mesh.until("the source gave all", |mesh| mesh.first.values().sum::<u64>() == size);
    mesh.cut(0);
    assert!((1..=2).all(|site| !mesh.has(site, "disk", &content)));
    mesh.is_held = false;
    mesh.until("all have it", |mesh| (1..=2).all(|site| mesh.has(site, "disk", &content)));
}

/// spec: S-072, S-226
#[test]
fn a_target_and_a_source_that_are_started_again_go_on_with_what_there_is() {
    let content = noise(24 * MIB);
    let mut mesh = with(2, &content);
    mesh.connect(&[0, 1, 2]);
    let size = content.len() as u64;
    mesh.until("some is here", |mesh| mesh.gave[0] > size / 3);
    mesh.restart(1);
    mesh.connect(&[0, 1, 2]);
    mesh.until("more is here", |mesh| mesh.gave[0] > size / 2);
    mesh.restart(0);
    mesh.connect(&[0, 1, 2]);
    mesh.until("all have it", |mesh| (1..=2).all(|site| mesh.has(site, "disk", &content)));
    assert!(counts(&mut mesh, 1).resumed > size / 8);
    assert!(mesh.gave[0] < size * 2, "{:?}", mesh.gave);
}

/// spec: S-225
#[test]
fn who_comes_late_is_served_by_those_that_have_it() {
    let content = noise(24 * MIB);
    let mut mesh = with(2, &content);
    mesh.connect(&[0, 1]);
    mesh.until("one has it", |mesh| mesh.has(1, "disk", &content));
    let before = mesh.gave[0];
    mesh.connect(&[0, 1, 2]);
    mesh.until("both have it", |mesh| mesh.has(2, "disk", &content));
    let size = content.len() as u64;
    assert!(mesh.gave[0] - before < size / 8, "{:?}", mesh.gave);
}

/// spec: S-225
#[test]
fn what_changed_since_is_given_to_nobody_and_its_giver_is_not_accused() {
    let content = noise(24 * MIB);
    let mut mesh = with(2, &content);
    mesh.connect(&[0, 1]);
    mesh.until("one has it", |mesh| mesh.has(1, "disk", &content));
    // Nobody looks through it meanwhile.
    fs::write(mesh.benches[1].root("disk"), vec![1; content.len()]).unwrap();
    mesh.connect(&[0, 1, 2]);
    mesh.until("both have it", |mesh| mesh.has(2, "disk", &content));
    assert_eq!(counts(&mut mesh, 2).accused, 0);
}
