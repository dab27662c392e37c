//! Every state that a stop can leave an intent in, one by one.

use super::*;
use crate::index::Durability;
use crate::sample::{dot, file, path, version};
use crate::store::Prepared;
use crate::store::tests::{Site, WholeFile, text};
use farhaul_sync::version::Meta;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// A site with a file `a` that is known, if `old`, and a change that puts another one there.
fn prepared(site: &mut Site, old: bool) -> (Version, Prepared) {
    let old = old.then(|| site.known("a", b"old", 1));
    let new = version(dot(2, 3), &[], file(b"new"));
    let ready = site.ready("a", b"new", &new.meta);
    let prepared = site.store.prepare_put(&path("a"), &ready, &new, old.as_ref()).unwrap();
    (new, prepared)
}

/// Does it, without a word to the index.
fn swap(site: &mut Site, prepared: Prepared) {
    let recorded = site.index.record(&[prepared.intent()]).unwrap().remove(0);
    drop(prepared.swap(&recorded).unwrap());
}

/// Recovers the one intent there is, after a kill.
fn recover(site: &mut Site) -> Recovered {
    recover_after(site, None)
}

/// The same, after a power cut behind everything that stands there.
fn recover_after_cut(site: &mut Site) -> Recovered {
    recover_after(site, Some(i128::MAX))
}

fn recover_after(site: &mut Site, cut: Option<i128>) -> Recovered {
    let (id, intent) = site.index.read().intents().unwrap().remove(0);
    let recovered = site.store.recover(id, &intent, cut, &mut WholeFile).unwrap();
    let mut settling = site.index.begin(Durability::Now).unwrap();
    settling.settle(recovered.committed(), 1000).unwrap();
    settling.commit().unwrap();
    assert_eq!(site.index.read().intents().unwrap(), []);
    recovered
}

fn site() -> (tempfile::TempDir, Site) {
    let home = tempfile::tempdir().unwrap();
    let site = Site::new(home.path());
    (home, site)
}

#[test]
fn an_intent_of_which_nothing_was_done_is_undone_and_what_was_staged_is_there() {
    for old in [false, true] {
        let (_home, mut site) = site();
        let (_, prepared) = prepared(&mut site, old);
        site.index.record(&[prepared.intent()]).unwrap();
        assert!(matches!(recover(&mut site), Recovered::Undone(_)));
        assert_eq!(site.placed("a").is_some(), old);
        assert_eq!(site.store.incoming.names().unwrap().len(), 1);
    }
}

#[test]
fn a_change_that_was_done_is_done() {
    for old in [false, true] {
        let (_home, mut site) = site();
        let (new, prepared) = prepared(&mut site, old);
        swap(&mut site, prepared);
        assert!(matches!(recover(&mut site), Recovered::Done(_)));
        assert_eq!(site.placed("a").unwrap().version, new);
        assert!(site.is_settled("a"));
        assert_eq!(site.kept("a"), if old { vec![("old".to_owned(), true)] } else { vec![] });
    }
}

/// Gives a file its time back.
fn set_time(site: &Site, mtime: std::time::SystemTime) {
    File::options().write(true).open(site.at("a")).unwrap().set_modified(mtime).unwrap();
}

/// What a power cut leaves of the file `new`, and whether its time is still the one that it was given.
const DAMAGE: [(&[u8], bool); 4] =
    [(b"\0\0\0", true), (b"", true), (b"ne", false), (b"no\0", true)];

#[test]
fn a_file_that_is_ours_and_broken_is_never_an_edit() {
    for (old, (left, keeps_time)) in
        [false, true].into_iter().flat_map(|old| DAMAGE.map(|d| (old, d)))
    {
        let (_home, mut site) = site();
        let (_, prepared) = prepared(&mut site, old);
        swap(&mut site, prepared);
        let mtime = fs::metadata(site.at("a")).unwrap().modified().unwrap();
        fs::write(site.at("a"), left).unwrap();
        if keeps_time {
            set_time(&site, mtime);
        }
        assert!(matches!(recover_after_cut(&mut site), Recovered::Broken(_)));
        let broken = (String::from_utf8(left.to_vec()).unwrap(), false);
        assert_eq!(site.kept("a"), [broken]);
        assert_eq!(site.placed("a").is_some(), old);
        assert!(site.is_settled("a"));
        if old {
            assert_eq!(text(site.at("a")), "old");
        } else {
            assert!(!site.at("a").exists());
        }
    }
}

/// Whether a scan would look at a path: the index says another state than it is in.
fn is_to_be_looked_at(site: &Site, at: &str) -> bool {
    let found = identity_of(&site.store.root.stat(&path(at)).unwrap());
    site.placed(at).is_some_and(|placed| placed.identity != found)
}

#[test]
fn what_a_user_wrote_into_the_new_file_after_a_kill_stays_as_an_edit_of_it() {
    let edits: [(&[u8], bool); 4] =
        [(b"new and more", false), (b"ne", false), (b"", false), (b"two", true)];
    for (old, (edit, keeps_time)) in
        [false, true].into_iter().flat_map(|old| edits.map(|e| (old, e)))
    {
        let (_home, mut site) = site();
        let (new, prepared) = prepared(&mut site, old);
        swap(&mut site, prepared);
        let mtime = fs::metadata(site.at("a")).unwrap().modified().unwrap();
        fs::write(site.at("a"), edit).unwrap();
        if keeps_time {
            set_time(&site, mtime);
        }
        let recovered = recover(&mut site);
        assert!(matches!(recovered, Recovered::Edited(_)), "{recovered:?}");
        assert_eq!(fs::read(site.at("a")).unwrap(), edit);
        // A scan finds it, and publishes it over what the user saw.
        assert_eq!(site.placed("a").unwrap().version, new);
        assert!(is_to_be_looked_at(&site, "a"));
        assert_eq!(site.kept("a"), if old { vec![("old".to_owned(), true)] } else { vec![] });
    }
}

#[test]
fn what_a_user_wrote_after_the_machine_started_again_is_no_damage() {
    let (_home, mut site) = site();
    let (_, prepared) = prepared(&mut site, true);
    swap(&mut site, prepared);
    fs::write(site.at("a"), "").unwrap();
    let written = identity_of(&site.store.root.stat(&path("a")).unwrap()).ctime;
    assert!(matches!(recover_after(&mut site, Some(written)), Recovered::Edited(_)));
    assert_eq!(
        (text(site.at("a")), site.kept("a")),
        (String::new(), vec![("old".to_owned(), true)])
    );
}

#[test]
fn what_a_user_did_to_the_old_file_before_the_exchange_is_left_to_a_scan() {
    for after_cut in [false, true] {
        let (_home, mut site) = site();
        let (new, prepared) = prepared(&mut site, true);
        site.index.record(&[prepared.intent()]).unwrap();
        // Of the length and time that the new file was to have.
        let before = site.placed("a");
        let time = std::time::SystemTime::UNIX_EPOCH
            + std::time::Duration::new(new.meta.mtime.secs.unsigned_abs(), new.meta.mtime.nanos);
        fs::write(site.at("a"), if after_cut { "old" } else { "two" }).unwrap();
        set_time(&site, time);
        let recovered = if after_cut { recover_after_cut(&mut site) } else { recover(&mut site) };
        assert!(matches!(recovered, Recovered::Foreign(_)), "{recovered:?}");
        assert!(site.at("a").exists());
        assert_eq!((site.placed("a"), site.kept("a")), (before, vec![]));
        assert!(is_to_be_looked_at(&site, "a"));
    }
}

#[test]
fn a_mode_or_time_that_a_user_gave_the_new_file_is_found_by_a_scan() {
    for is_mode in [false, true] {
        let (_home, mut site) = site();
        let (new, prepared) = prepared(&mut site, true);
        swap(&mut site, prepared);
        if is_mode {
            fs::set_permissions(site.at("a"), fs::Permissions::from_mode(0o600)).unwrap();
        } else {
            set_time(&site, std::time::SystemTime::now());
        }
        assert!(matches!(recover(&mut site), Recovered::Done(_)));
        assert_eq!(site.placed("a").unwrap().version, new);
        assert!(is_to_be_looked_at(&site, "a"));
    }
}

#[test]
fn a_mode_or_time_that_a_user_gave_what_was_to_be_described_stays() {
    for is_mode in [false, true] {
        let (_home, mut site) = site();
        let old = site.known("a", b"old", 1);
        let mut new = version(dot(2, 3), &[], file(b"old"));
        new.meta.mode = 0o660;
        let prepared = site.store.prepare_describe(&path("a"), &new, &old).unwrap();
        site.index.record(&[prepared.intent()]).unwrap();
        if is_mode {
            fs::set_permissions(site.at("a"), fs::Permissions::from_mode(0o600)).unwrap();
        } else {
            set_time(&site, std::time::SystemTime::now());
        }
        let users = fs::metadata(site.at("a")).unwrap();
        assert!(matches!(recover(&mut site), Recovered::Foreign(_)));
        let now = fs::metadata(site.at("a")).unwrap();
        assert_eq!(
            (now.mode(), now.modified().unwrap()),
            (users.mode(), users.modified().unwrap())
        );
        assert_eq!(site.placed("a"), Some(old));
    }
}

#[test]
fn what_a_user_put_there_meanwhile_is_left_to_a_scan() {
    for old in [false, true] {
        let (_home, mut site) = site();
        let (_, prepared) = prepared(&mut site, old);
        swap(&mut site, prepared);
        let before = site.placed("a");
        fs::write(site.at("tmp"), "users").unwrap();
        fs::rename(site.at("tmp"), site.at("a")).unwrap();
        assert!(matches!(recover(&mut site), Recovered::Foreign(_)));
        assert_eq!((text(site.at("a")), site.placed("a")), ("users".to_owned(), before));
        assert_eq!(site.kept("a"), if old { vec![("old".to_owned(), true)] } else { vec![] });
    }
}

#[test]
fn what_a_user_deleted_meanwhile_stays_deleted() {
    let (_home, mut site) = site();
    let (_, prepared) = prepared(&mut site, true);
    swap(&mut site, prepared);
    fs::remove_file(site.at("a")).unwrap();
    assert!(matches!(recover(&mut site), Recovered::Foreign(_)));
    assert!(!site.at("a").exists());
    assert_eq!(site.kept("a"), [("old".to_owned(), true)]);
}

#[test]
fn a_kill_between_the_two_renames_of_a_poor_file_system_brings_the_old_file_back() {
    let (_home, mut site) = site();
    let (_, prepared) = prepared(&mut site, true);
    let kept = prepared.intent().kept.clone();
    site.index.record(&[prepared.intent()]).unwrap();
    fs::rename(site.at("a"), site.at(".farhaul/versions").join(kept)).unwrap();
    assert!(matches!(recover(&mut site), Recovered::Undone(_)));
    assert!(site.placed("a").is_some());
    assert_eq!((text(site.at("a")), site.kept("a")), ("old".to_owned(), vec![]));
}

#[test]
fn the_time_of_the_new_file_does_not_make_an_old_one_ours() {
    let (_home, mut site) = site();
    site.known("a", b"old", 1);
    let mtime = fs::metadata(site.at("a")).unwrap().modified().unwrap();
    let since = mtime.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let mut new = version(dot(2, 3), &[], file(b"new"));
    new.meta = Meta {
        mtime: farhaul_proto::units::FileTime {
            secs: i64::try_from(since.as_secs()).unwrap(),
            nanos: since.subsec_nanos(),
        },
        ..new.meta
    };
    let ready = site.ready("a", b"new", &new.meta);
    let old = site.placed("a");
    let prepared = site.store.prepare_put(&path("a"), &ready, &new, old.as_ref()).unwrap();
    site.index.record(&[prepared.intent()]).unwrap();
    assert!(matches!(recover(&mut site), Recovered::Undone(_)));
    assert_eq!((text(site.at("a")), site.placed("a")), ("old".to_owned(), old));
}

#[test]
fn removals_and_moves_are_done_or_undone() {
    for does in [false, true] {
        let (_home, mut site) = site();
        let (a, b) = (site.known("a", b"a", 1), site.known("b", b"b", 2));
        let gone = site.store.prepare_remove(&path("a"), &a).unwrap();
        let to = path("c");
        let moved = site.store.prepare_move(&path("b"), &to, &b.version, &b).unwrap();
        for prepared in [gone, moved] {
            if does {
                swap(&mut site, prepared);
            } else {
                site.index.record(&[prepared.intent()]).unwrap();
            }
            let recovered = recover(&mut site);
            let is_right = match recovered {
                Recovered::Done(_) => does,
                Recovered::Undone(_) => !does,
                _ => false,
            };
            assert!(is_right, "{recovered:?}");
        }
        for at in ["a", "b", "c"] {
            assert!(site.is_settled(at), "{at}");
        }
        assert_eq!([site.at("a").exists(), site.at("c").exists()], [!does, does]);
        assert_eq!(site.kept("a").len(), usize::from(does));
    }
}

#[test]
fn metadata_half_done_is_done() {
    let (_home, mut site) = site();
    let old = site.known("a", b"old", 1);
    let new = version(dot(2, 3), &[], file(b"old"));
    let prepared = site.store.prepare_describe(&path("a"), &new, &old).unwrap();
    site.index.record(&[prepared.intent()]).unwrap();
    assert!(matches!(recover(&mut site), Recovered::Done(_)));
    assert_eq!(site.placed("a").unwrap().version, new);
    assert!(site.is_settled("a"));
    // A user's edit meanwhile is none of it.
    let old = site.placed("a").unwrap();
    let newer = version(dot(2, 4), &[], file(b"old"));
    let prepared = site.store.prepare_describe(&path("a"), &newer, &old).unwrap();
    site.index.record(&[prepared.intent()]).unwrap();
    fs::write(site.at("a"), "users").unwrap();
    assert!(matches!(recover(&mut site), Recovered::Foreign(_)));
    assert_eq!(site.placed("a"), Some(old));
}

#[test]
fn an_intent_in_a_directory_that_is_gone_is_left_to_a_scan() {
    let (_home, mut site) = site();
    fs::create_dir(site.at("d")).unwrap();
    let old = site.known("d/a", b"a", 1);
    let prepared = site.store.prepare_remove(&path("d/a"), &old).unwrap();
    site.index.record(&[prepared.intent()]).unwrap();
    fs::remove_dir_all(site.at("d")).unwrap();
    assert!(matches!(recover(&mut site), Recovered::Foreign(_)));
    assert_eq!(site.placed("d/a"), Some(old));
}

/// A site with a directory `d` that a version describes, and a change that makes it a file. Somebody
/// put something into it and took it out since: its times are other ones.
fn dir_to_become_a_file(site: &mut Site) -> (Placed, Version, Prepared) {
    let dir = version(dot(2, 1), &[], Content::Dir);
    let ready = site.store.ready_dir(&dir.meta).unwrap();
    let made = site.store.prepare_put(&path("d"), &ready, &dir, None).unwrap();
    site.commit(made).unwrap();
    let old = site.placed("d").unwrap();
    fs::write(site.at("d/in"), "in").unwrap();
    fs::remove_file(site.at("d/in")).unwrap();
    let new = version(dot(2, 3), &[], file(b"new"));
    let ready = site.ready("d", b"new", &new.meta);
    let prepared = site.store.prepare_put(&path("d"), &ready, &new, Some(&old)).unwrap();
    (old, new, prepared)
}

#[test]
fn a_directory_that_came_out_before_a_stop_is_not_kept_and_nobody_s_edit() {
    for is_full in [false, true] {
        let (_home, mut site) = site();
        let (old, new, prepared) = dir_to_become_a_file(&mut site);
        let kept = prepared.intent().kept.clone();
        let Action::Put { staged, .. } = prepared.intent().action.clone() else { panic!() };
        site.index.record(&[prepared.intent()]).unwrap();
        // Killed between the exchange and the removal.
        let out = site.at(".farhaul/versions").join(kept);
        fs::rename(site.at("d"), &out).unwrap();
        fs::rename(site.at(".farhaul/incoming").join(staged), site.at("d")).unwrap();
        if is_full {
            fs::write(out.join("users"), "users").unwrap();
            assert!(matches!(recover(&mut site), Recovered::Broken(_)));
            assert_eq!(text(site.at("d/users")), "users");
            assert_eq!(site.placed("d"), Some(old));
            assert_eq!(site.kept("d"), [("new".to_owned(), false)]);
        } else {
            assert!(matches!(recover(&mut site), Recovered::Done(_)));
            assert_eq!(text(site.at("d")), "new");
            assert_eq!(site.placed("d").unwrap().version, new);
            assert!(site.is_settled("d"));
            assert_eq!(site.store.kept_names().unwrap(), [""; 0]);
            assert_eq!(site.index.read().kept_of(&path("d")).unwrap(), []);
        }
    }
}

#[test]
fn what_a_disk_did_not_take_of_a_directory_is_known_after_its_change_was_undone() {
    let (_home, mut site) = site();
    let (_, _, prepared) = dir_to_become_a_file(&mut site);
    let short = site.index.read().shortfall(&path("d")).unwrap();
    assert!(short.is_some(), "nobody is said to own it");
    site.index.record(&[prepared.intent()]).unwrap();
    assert!(matches!(recover(&mut site), Recovered::Undone(_)));
    assert_eq!(site.index.read().shortfall(&path("d")).unwrap(), short);
}
