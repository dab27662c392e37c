//! What guards the files of a folder on a real disk: roles, brakes over restarts, patterns that come
//! and go.

use super::*;
use farhaul_sync::folder::{BrakeLimits, Origin, Policy, Rights, Role, Why};

impl Bench {
    fn govern(&mut self, policy: Policy) {
        self.folder().setup.policy = Arc::new(policy);
        self.folder().take_up_guards().unwrap();
    }

    /// Another configuration leaves out something else.
    fn ignore(&mut self, patterns: &[&str]) {
        self.folder().setup.rules = Rules::parse(patterns).unwrap();
        self.folder().take_up_guards().unwrap();
        self.scan();
    }

    fn waiting(&mut self) -> Vec<(String, Why)> {
        let looks = self.folder().index.read().looks(None, 999).unwrap();
        looks.into_iter().map(|(path, look)| (path.to_string(), look.why)).collect()
    }
}

fn braking() -> Policy {
    Policy { brake: Some(BrakeLimits::default()), ..Policy::default() }
}

fn of_role(role: Role) -> Policy {
    Policy { rights: Rights::new(role, []), ..Policy::default() }
}

#[test]
fn a_mass_deletion_is_held_over_a_restart_and_done_once_it_is_confirmed() {
    let mut bench = Bench::new();
    bench.govern(braking());
    fs::create_dir(bench.root("dir")).unwrap();
    for n in 0..30 {
        fs::write(bench.root(&format!("dir/{n}")), n.to_string()).unwrap();
    }
    bench.scan();
    fs::remove_dir_all(bench.root("dir")).unwrap();
    bench.scan();
    let trips = bench.folder().trips().unwrap();
    assert_eq!((trips.len(), trips[0].0), (1, Origin::Disk));
    assert_eq!((trips[0].1.deleted, trips[0].1.of), (30, 31));
    assert_eq!(bench.folder().state(), farhaul_api::FolderState::Waiting);
    assert!(bench.item("dir/7").versions.is_live() && bench.item("dir").versions.is_live());
    let (home, identity) = bench.killed();
    let mut bench = Bench::empty(home, &identity);
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    bench.govern(braking());
    bench.scan();
    assert_eq!(bench.folder().trips().unwrap(), trips);
    assert!(bench.item("dir/7").versions.is_live());
    bench.folder().confirm(None).unwrap();
    bench.settle();
    assert!(!bench.item("dir/7").versions.is_live() && !bench.item("dir").versions.is_live());
    assert!(!bench.root("dir").exists(), "nor was it made again in between");
    assert_eq!(bench.waiting(), []);
    bench.folder().setup.peers.clear();
    assert_eq!(bench.folder().state(), farhaul_api::FolderState::InSync);
}

#[test]
fn what_does_not_work_or_is_not_published_is_not_called_in_sync() {
    use farhaul_api::FolderState::{InSync, Waiting};
    let mut bench = Bench::new();
    bench.scan();
    assert_eq!(bench.folder().state(), Waiting, "for a peer to be there");
    bench.folder().setup.peers.clear();
    assert_eq!(bench.folder().state(), InSync);
    bench.folder().health.went("something", Some("it fails".to_owned()));
    assert_eq!(bench.folder().state(), Waiting);
    bench.folder().health.went("something", None);
    assert_eq!(bench.folder().state(), InSync);
    bench.govern(of_role(Role::ReadOnly));
    fs::write(bench.root("edit"), "of a user").unwrap();
    bench.scan();
    assert_eq!(bench.waiting().len(), 1);
    assert_eq!(bench.folder().state(), Waiting);
}

/// S-26: emptied, with its marker left. Without it the folder halts.
#[test]
fn a_root_that_is_emptied_around_its_marker_deletes_nothing() {
    let mut bench = Bench::new();
    bench.govern(braking());
    for n in 0..12 {
        fs::write(bench.root(&n.to_string()), n.to_string()).unwrap();
    }
    bench.scan();
    for n in 0..12 {
        fs::remove_file(bench.root(&n.to_string())).unwrap();
    }
    bench.scan();
    assert_eq!(bench.folder().trips().unwrap().len(), 1);
    assert!((0..12).all(|n| bench.item(&n.to_string()).versions.is_live()));
    // What comes back is what stood there, and nobody did anything.
    for n in 0..12 {
        fs::write(bench.root(&n.to_string()), n.to_string()).unwrap();
    }
    bench.scan();
    bench.folder().reweigh().unwrap();
    bench.settle();
    assert_eq!(bench.folder().trips().unwrap(), []);
}

/// S-27: it stood here, was left out, went away, and is left out no more.
#[test]
fn what_is_gone_while_it_was_left_out_comes_back_when_it_is_not_and_nothing_is_deleted() {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "text").unwrap();
    fs::write(bench.root("a.tmp"), "text").unwrap();
    fs::write(bench.root("b.tmp"), "stays").unwrap();
    bench.scan();
    let before: Vec<Version> = bench.item("a.tmp").versions.iter().cloned().collect();
    bench.ignore(&["*.tmp"]);
    assert!(bench.item("a.tmp").placed.is_none(), "it is nobody's business now");
    assert!(bench.root("a.tmp").exists(), "and is not touched");
    fs::remove_file(bench.root("a.tmp")).unwrap();
    fs::write(bench.root("b.tmp"), "edited meanwhile").unwrap();
    bench.scan();
    assert_eq!(bench.item("a.tmp").versions.iter().cloned().collect::<Vec<_>>(), before);
    bench.ignore(&[]);
    bench.scan();
    let now: Vec<Version> = bench.item("a.tmp").versions.iter().cloned().collect();
    assert_eq!(now, before, "no deletion was published");
    assert_eq!(fs::read(bench.root("a.tmp")).unwrap(), b"text", "and it is there again");
    // What was written meanwhile is there, and so is what it was.
    assert_eq!(bench.item("b.tmp").versions.iter().count(), 2);
}

#[test]
fn patterns_that_changed_while_the_site_was_down_delete_nothing() {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "text").unwrap();
    fs::write(bench.root("a.tmp"), "text").unwrap();
    bench.ignore(&["*.tmp"]);
    bench.ignore(&[]);
    let before = bench.placed("a.tmp").version;
    bench.ignore(&["*.tmp"]);
    fs::remove_file(bench.root("a.tmp")).unwrap();
    let (home, identity) = bench.killed();
    let mut bench = Bench::empty(home, &identity);
    // Opened without any pattern.
    bench.open(FOLDER, "tree", Arc::new(Unnamed));
    bench.scan();
    bench.scan();
    assert!(bench.item("a.tmp").versions.get(before.dot).is_some());
    assert_eq!(fs::read(bench.root("a.tmp")).unwrap(), b"text");
}

/// S-28, F-38: a neighbour deletes a directory in which this site leaves something out.
#[test]
fn a_directory_with_something_that_is_left_out_stays_and_is_explained() {
    let mut bench = Bench::new();
    bench.ignore(&["*.tmp"]);
    fs::create_dir(bench.root("dir")).unwrap();
    fs::write(bench.root("dir/file"), "text").unwrap();
    fs::write(bench.root("dir/mine.tmp"), "mine").unwrap();
    bench.scan();
    bench.say_next("dir/file", 1, Content::Gone);
    bench.settle();
    bench.say_next("dir", 2, Content::Gone);
    bench.settle();
    assert!(!bench.root("dir/file").exists());
    assert_eq!(fs::read(bench.root("dir/mine.tmp")).unwrap(), b"mine");
    let why = bench.folder().why(&path("dir")).unwrap();
    assert!(why.reasons.iter().any(|reason| reason.contains("mine.tmp")), "{:?}", why.reasons);
    // Once it is empty it goes.
    fs::remove_file(bench.root("dir/mine.tmp")).unwrap();
    bench.scan();
    assert!(!bench.root("dir").exists());
}

#[test]
fn what_a_neighbour_does_where_it_is_left_out_here_is_not_done_until_it_is_not() {
    let mut bench = Bench::new();
    fs::write(bench.root("source"), "theirs").unwrap();
    fs::write(bench.root("old.tmp"), "mine").unwrap();
    bench.scan();
    bench.ignore(&["*.tmp"]);
    let (theirs, old) = (content_of(&mut bench, "source"), bench.item("old.tmp"));
    bench.say("new.tmp", &version(dot(2, 1), &[], theirs));
    let mut gone = version(dot(2, 2), &[], Content::Gone);
    old.versions.iter().for_each(|version| gone.context.insert(version.dot));
    bench.say("old.tmp", &gone);
    bench.settle();
    assert!(!bench.root("new.tmp").exists(), "nothing is put there");
    assert!(bench.root("old.tmp").exists(), "and nothing taken away");
    assert!(bench.folder().index.read().unsettled(None, 9).unwrap().is_empty());
    bench.ignore(&[]);
    assert_eq!(fs::read(bench.root("new.tmp")).unwrap(), b"theirs");
}

#[test]
fn an_edit_that_displaces_what_a_read_only_site_puts_in_place_is_kept_and_not_published() {
    let mut bench = Bench::new();
    fs::write(bench.root("a"), "old").unwrap();
    fs::write(bench.root("source"), "theirs").unwrap();
    bench.scan();
    bench.govern(of_role(Role::ReadOnly));
    let theirs = content_of(&mut bench, "source");
    bench.say_next("a", 1, theirs);
    let edited = bench.root("a");
    // Between the look at the path and the exchange.
    crash::at_step(2, move || fs::write(edited, "an edit").unwrap());
    bench.settle();
    crash::no_more();
    bench.folder().upkeep.look_at_loose_now();
    bench.scan();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"theirs");
    assert_eq!(bench.item("a").versions.iter().count(), 1, "nothing is published");
    let kept = bench.kept();
    let texts: Vec<Vec<u8>> = kept.iter().map(|kept| bench.kept_bytes(kept)).collect();
    assert!(texts.contains(&b"an edit".to_vec()), "{texts:?}");
}

#[test]
fn an_edit_of_a_read_only_site_is_kept_when_it_gives_way() {
    let mut bench = Bench::new();
    for name in ["a", "b", "source"] {
        fs::write(bench.root(name), name).unwrap();
    }
    bench.scan();
    bench.govern(of_role(Role::ReadOnly));
    fs::write(bench.root("a"), "mine").unwrap();
    fs::write(bench.root("new"), "mine alone").unwrap();
    fs::remove_file(bench.root("b")).unwrap();
    bench.scan();
    let waiting: Vec<String> = bench.waiting().into_iter().map(|(path, _)| path).collect();
    assert_eq!(waiting, ["a", "b", "new"]);
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"mine");
    let theirs = content_of(&mut bench, "source");
    bench.say_next("a", 1, theirs);
    bench.settle();
    assert_eq!(fs::read(bench.root("a")).unwrap(), b"source");
    assert_eq!(bench.folder().revert(Some(&path("new"))).unwrap(), 1);
    bench.settle();
    assert!(!bench.root("new").exists());
    let kept = bench.kept();
    let texts: BTreeSet<Vec<u8>> = kept.iter().map(|kept| bench.kept_bytes(kept)).collect();
    assert!(texts.contains(&b"mine"[..]) && texts.contains(&b"mine alone"[..]), "{texts:?}");
    let waiting: Vec<String> = bench.waiting().into_iter().map(|(path, _)| path).collect();
    assert_eq!(waiting, ["b"], "what nobody overtook stays");
}

#[test]
fn what_was_refused_is_told_again_when_a_role_becomes_wider() {
    let mut bench = Bench::new();
    let peer = SiteId([2; 32]);
    bench.govern(Policy {
        rights: Rights::new(Role::ReadWrite, [(peer, Role::ReadOnly)]),
        ..Policy::default()
    });
    let followed = farhaul_sync::message::Followed { epoch: 5, up_to: 7 };
    let mut following = bench.folder().index.begin(crate::index::Durability::Now).unwrap();
    following.follow(peer, followed).unwrap();
    following.commit().unwrap();
    bench.govern(Policy { keeps_deleted: true, ..of_role(Role::SinkOnly) });
    let now = bench.folder().index.read().followed(peer).unwrap();
    assert_eq!(now.map(|now| now.up_to), Some(0), "it is not named any more: read-write");
}
