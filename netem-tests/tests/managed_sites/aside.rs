//! What is restored to another place is what stood there, to the last hole, name and attribute, or is
//! said not to be; and what a list of versions names can be restored by that name.

use crate::{Site, now, pair};
use rustix::fs::{XattrFlags, getxattr, setxattr};
use serde_json::Value;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NOTE: &str = "user.note";
/// Longer than whoever restores it has room for.
const SPARSE: u64 = 1 << 40;

/// A moment between two seconds, which is what times of versions are told in.
fn moment() -> String {
    std::thread::sleep(Duration::from_millis(1100));
    let moment = now();
    std::thread::sleep(Duration::from_millis(1100));
    moment
}

/// Whether the file system there has attributes.
fn set_note(path: &Path) -> bool {
    setxattr(path, NOTE, b"a note", XattrFlags::empty()).is_ok()
}

fn note_of(path: &Path) -> Vec<u8> {
    let mut note = vec![0; 64];
    let len = getxattr(path, NOTE, &mut note).expect("it has one");
    note[..len].to_vec()
}

/// The paths of JSON lines with what became of each, and why.
fn outcomes(lines: &str) -> Vec<(String, String, String)> {
    let lines = lines.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
    let text = |line: &Value, key: &str| line[key].as_str().unwrap_or_default().to_owned();
    let of = |line: Value| (text(&line, "path"), text(&line, "outcome"), text(&line, "error"));
    lines.filter(|line| line["path"].is_string()).map(of).collect()
}

fn kept_in(site: &Site) -> Vec<PathBuf> {
    let versions = fs::read_dir(site.tree(".farhaul/versions")).expect("there");
    versions.map(|entry| entry.expect("read").path()).collect()
}

/// Files of all kinds at both sites, which then go: tokyo keeps them, berlin has nothing of them.
fn gone_tree(berlin: &Site, tokyo: &Site) -> (String, bool) {
    fs::create_dir(berlin.tree("d")).expect("made");
    let image = File::create(berlin.tree("d/image")).expect("made");
    image.write_all_at(b"begins", 0).expect("written");
    image.write_all_at(&[7; 300_000], 5 << 30).expect("written");
    image.set_len(SPARSE).expect("sparse");
    fs::write(berlin.tree("d/one"), "one file").expect("written");
    fs::set_permissions(berlin.tree("d/one"), Permissions::from_mode(0o640)).expect("own");
    let has_notes = set_note(&berlin.tree("d/one"));
    fs::hard_link(berlin.tree("d/one"), berlin.tree("d/two")).expect("linked");
    symlink("one", berlin.tree("d/link")).expect("made");
    fs::set_permissions(berlin.tree("d"), Permissions::from_mode(0o750)).expect("own");
    berlin.until(tokyo, "all of it arrives", || {
        tokyo.tree("d/image").metadata().is_ok_and(|image| image.len() == SPARSE)
            && tokyo.holds("d/two", "one file")
            && tokyo.holds("d/one", "one file")
            && tokyo.tree("d/link").is_symlink()
    });
    let then = moment();
    fs::remove_dir_all(berlin.tree("d")).expect("there");
    berlin.until(tokyo, "it goes", || !tokyo.tree("d").exists());
    (then, has_notes)
}

fn check(out: &Path, has_notes: bool) {
    let image = File::open(out.join("d/image")).expect("written");
    let meta = image.metadata().expect("read");
    assert_eq!(meta.len(), SPARSE);
    assert!(meta.blocks() * 512 < 16 << 20, "{} blocks are no holes", meta.blocks());
    let mut read = vec![0; 300_001];
    image.read_exact_at(&mut read, 5 << 30).expect("read");
    assert!(read[..300_000].iter().all(|&byte| byte == 7) && read[300_000] == 0);
    let one = out.join("d/one").metadata().expect("written");
    let two = out.join("d/two").metadata().expect("written");
    assert_eq!((one.ino(), one.nlink(), one.mode() & 0o777), (two.ino(), 2, 0o640));
    assert_eq!(fs::read_to_string(out.join("d/two")).expect("read"), "one file");
    assert_eq!(fs::read_link(out.join("d/link")).expect("a link").to_str(), Some("one"));
    if has_notes {
        assert_eq!(note_of(&out.join("d/two")), b"a note");
    }
}

#[test]
fn what_is_restored_to_another_place_has_its_holes_names_and_attributes_wherever_it_comes_from() {
    let (berlin, tokyo) = pair();
    let (then, has_notes) = gone_tree(&berlin, &tokyo);
    // From its own version store, and from a peer's.
    for site in [&tokyo, &berlin] {
        let out = site.dir.path().join("out");
        let words = ["restore", "docs", "d", "--at", &then, "--to", out.to_str().expect("text")];
        let dry = site.json(&[&words[..], &["--dry-run"]].concat());
        let image = dry.iter().find(|item| item["path"] == "d/image").expect("listed");
        assert_eq!(image["outcome"], "restore", "{image}");
        assert_eq!(image["sites"][0]["name"] == "tokyo", std::ptr::eq(site, &berlin), "{image}");
        assert!(!out.exists(), "nothing is done");
        let told = site.json(&words);
        // Of directories that others removed nothing is kept.
        let has_dir = std::ptr::eq(site, &berlin);
        assert_eq!(told.last().expect("a sum")["restored"], 4 + u64::from(has_dir), "{told:?}");
        check(&out, has_notes);
        let mode = out.join("d").metadata().expect("made").mode() & 0o777;
        assert_eq!(mode, if has_dir { 0o750 } else { 0o755 });
    }
}

#[test]
fn a_file_that_is_not_what_it_was_is_named_and_all_others_are_restored() {
    let (berlin, tokyo) = pair();
    for (name, text) in [("a", "first"), ("b", "second"), ("c", "third")] {
        fs::write(berlin.tree(name), text).expect("written");
    }
    berlin.until(&tokyo, "files arrive", || tokyo.holds("a", "first") && tokyo.holds("c", "third"));
    berlin.until(&tokyo, "files arrive", || tokyo.holds("b", "second"));
    let then = moment();
    for name in ["a", "b", "c"] {
        fs::remove_file(berlin.tree(name)).expect("there");
    }
    berlin
        .until(&tokyo, "they go", || ["a", "b", "c"].iter().all(|name| !tokyo.tree(name).exists()));
    // As a disk may give it: of the same length.
    let kept = kept_in(&tokyo);
    let second = kept.iter().find(|path| fs::read(path).is_ok_and(|text| text == b"second"));
    let second = second.expect("it is kept");
    File::options().write(true).open(second).expect("own").write_all_at(b"x", 0).expect("written");
    let out = tokyo.dir.path().join("out");
    let words = ["restore", "docs", "--at", &then, "--to", out.to_str().expect("text"), "--json"];
    let told = tokyo.farhaul(&words);
    assert_eq!(told.status.code(), Some(4));
    let told = outcomes(&String::from_utf8(told.stdout).expect("text"));
    let names: Vec<(&str, &str)> =
        told.iter().map(|(path, outcome, _)| (path.as_str(), outcome.as_str())).collect();
    assert_eq!(names, [("a", "restore"), ("b", "failed"), ("c", "restore")]);
    assert!(told[1].2.contains("not what stood there by its hash"), "{told:?}");
    assert_eq!(fs::read_to_string(out.join("a")).expect("written"), "first");
    assert_eq!(fs::read_to_string(out.join("c")).expect("written"), "third");
    assert!(!out.join("b").exists(), "nothing wrong stays behind");
}

#[test]
fn what_a_list_of_versions_names_is_restored_by_that_name() {
    let (berlin, tokyo) = pair();
    let texts = ["one", "two, longer", "three"];
    for text in texts {
        fs::write(berlin.tree("a"), text).expect("written");
        berlin.until(&tokyo, "it arrives", || tokyo.holds("a", text));
        // What went in one second is listed in any order.
        let _ = moment();
    }
    // Tokyo keeps what berlin's user wrote over, and berlin knows of it.
    for (site, key) in [(&tokyo, "kept"), (&berlin, "elsewhere")] {
        let known = &site.json(&["version", "list", "docs", "a"])[0];
        let names: Vec<&str> = known[key]
            .as_array()
            .expect("a list")
            .iter()
            .map(|one| one["name"].as_str().expect("a name"))
            .collect();
        assert_eq!(names.len(), 2, "{known}");
        let told = site.text(&["version", "list", "docs", "a"]);
        for (name, text) in names.iter().zip(texts) {
            assert!(told.contains(&format!("[{name}]")), "{told}");
            let out = site.dir.path().join(text.len().to_string());
            let to = out.to_str().expect("text");
            site.text(&["restore", "docs", "a", "--version", name, "--to", to]);
            assert_eq!(fs::read_to_string(out.join("a")).expect("written"), text);
        }
        assert_eq!(site.code(&["restore", "docs", "a", "--version", "nothing"]), Some(2));
    }
    assert!(tokyo.holds("a", "three"), "the folder was left alone");
    let known = &berlin.json(&["version", "list", "docs", "a"])[0];
    let first = known["elsewhere"][0]["name"].as_str().expect("a name");
    berlin.text(&["restore", "docs", "a", "--version", first]);
    berlin.until(&tokyo, "it is back", || berlin.holds("a", "one") && tokyo.holds("a", "one"));
    // Neither a time nor a name, or both, or a name of nothing in particular.
    for words in [
        &["restore", "docs", "a"][..],
        &["restore", "docs", "a", "--at", "1 h ago", "--version", first],
        &["restore", "docs", "--version", first],
    ] {
        assert_eq!(berlin.code(words), Some(2), "{words:?}");
    }
}
