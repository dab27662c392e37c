//! The files of `configs/` are what they say.

use farhauld::config::{ApiPlace, Config};
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(path(name)).expect("a file of the source")
}

fn load(name: &str) -> Config {
    Config::load(&path(name)).unwrap_or_else(|error| panic!("{error}"))
}

/// The text with some of its commented lines as if they were none: those that begin with `mark` and
/// a key; and how many those were.
fn uncommented(text: &str, mark: &str) -> (String, usize) {
    let is_setting = |rest: &str| {
        let key = rest.split_once(" = ").map(|(key, _)| key);
        key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
    };
    let mut count = 0;
    let mut lines = Vec::new();
    for line in text.lines() {
        match line.strip_prefix(mark).filter(|rest| is_setting(rest)) {
            Some(rest) => {
                count += 1;
                lines.push(rest);
            }
            None => lines.push(line),
        }
    }
    (lines.join("\n"), count)
}

#[test]
fn the_commented_values_of_the_full_file_are_the_defaults() {
    let text = text("farhauld.toml");
    let bare = Config::parse(&text).expect("it is a configuration");
    let (with_defaults, count) = uncommented(&text, "#");
    assert_eq!(count, 30);
    assert_eq!(Config::parse(&with_defaults).expect("defaults are allowed"), bare);
    let (with_examples, count) = uncommented(&text, "#  ");
    assert_eq!(count, 12);
    let examples = Config::parse(&with_examples).expect("examples are allowed");
    assert!(examples.transfer.bounds.cap().is_some());
    assert!(examples.transfer.bounds.floor().is_some());
    assert!(examples.peers[0].address.is_some());
    assert!(examples.links[0].up.is_some() && examples.links[0].calendar.is_some());
    assert_eq!(bare.calendars.len(), 1);
}

/// What the reader knows is what it names when a key is unknown.
#[test]
fn the_full_file_has_every_key_that_is_known() {
    let text = text("farhauld.toml");
    let mut known = Vec::new();
    let headers = [
        "[site]",
        "[transfer]",
        "[[peer]]",
        "[[folder]]",
        "[[export]]",
        "[[holidays]]",
        "[[calendar]]",
        "[[calendar.rule]]",
        "[[link]]",
        "[link.class.normal]",
    ];
    for header in headers {
        let wrong = text.replacen(&format!("\n{header}\n"), &format!("\n{header}\nx = 1\n"), 1);
        let faults = Config::parse(&wrong).expect_err("x is no key");
        let list = faults[0].advice.split("one of ").nth(1).expect("a list of keys");
        known.extend(list.split(", ").map(str::to_owned));
    }
    assert_eq!(known.len(), 59, "{known:?}");
    for key in known {
        let shows =
            |line: &str| line.trim_start_matches(['#', ' ']).starts_with(&format!("{key} = "));
        // What has keys of its own is shown as a section.
        let is_section = |line: &str| line.starts_with('[') && line.contains(&format!(".{key}"));
        let shown = text.lines().any(shows) || text.lines().any(is_section);
        assert!(shown, "`{key}` is not shown");
    }
}

/// What the reader of jobs takes, it takes of this file with and without its defaults and examples.
#[test]
fn the_file_of_a_job_has_every_key() {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Written {
        job: farhaul_api::JobSpec,
    }
    let text = text("job.toml");
    let read = |text: &str| toml::from_str::<Written>(text).expect("a job").job;
    let bare = read(&text);
    assert_eq!((bare.kind.as_str(), bare.targets.len()), ("distribute", 2));
    let (with_defaults, count) = uncommented(&text, "#");
    assert_eq!(count, 3);
    assert_eq!(read(&with_defaults).activate.as_deref(), Some("each"));
    let (with_examples, count) = uncommented(&text, "#  ");
    assert_eq!(count, 4);
    let examples = read(&with_examples);
    assert!(examples.cap.is_some() && examples.start.is_some() && examples.deadline.is_some());
    for key in ["source", "sources", "target", "targets", "class", "weight", "calendar"] {
        assert!(text.contains(&format!("{key} = ")), "`{key}` is not shown");
    }
}

#[test]
fn the_minimal_file_keeps_one_folder_with_one_peer() {
    let config = load("minimal.toml");
    assert_eq!((config.peers.len(), config.folders.len()), (1, 1));
}

#[test]
fn the_sites_of_the_lab_call_each_other_and_share_a_folder_and_nothing_else() {
    let (berlin, tokyo) = (load("lab/berlin.toml"), load("lab/tokyo.toml"));
    for (one, other) in [(&berlin, &tokyo), (&tokyo, &berlin)] {
        assert_eq!(one.peers[0].name, other.site.name);
        assert_eq!(one.peers[0].address, Some(other.site.listen.to_string()));
        assert!(one.site.listen.ip().is_loopback());
        assert!(matches!(one.site.api, ApiPlace::Tcp(addr) if addr.ip().is_loopback()));
    }
    assert_eq!(berlin.folders[0].id, tokyo.folders[0].id);
    assert_ne!(berlin.folders[0].path, tokyo.folders[0].path);
    assert_ne!(berlin.site.state, tokyo.site.state);
    assert_ne!(berlin.site.api, tokyo.site.api);
}
