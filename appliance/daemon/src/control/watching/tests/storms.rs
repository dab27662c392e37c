//! What is done to a tree, one thing at a time and many at random.

use super::*;
use rustix::fd::OwnedFd;
use rustix::fs::inotify;
use std::mem::MaybeUninit;
use std::os::unix::fs::{PermissionsExt, symlink};

fn in_each(test: impl Fn(Scene)) {
    for mode in MODES {
        if let Some(scene) = Scene::new(mode) {
            test(scene);
        }
    }
}

/// Does something at random. Whatever cannot be done is not done.
fn act(scene: &Scene, random: &mut Random) {
    let names = ["a", "b", "c", "d-", "e"];
    let mut path = || {
        let depth = 1 + random.below(3);
        let names = (0..depth).map(|_| names[random.below(5) as usize]);
        names.collect::<Vec<_>>().join("/")
    };
    let (one, other) = (scene.at(path()), scene.at(path()));
    let number = random.below(1 << 20);
    let _ = match random.below(12) {
        0..=2 => fs::write(&one, number.to_string()),
        3 => fs::write(&one, number.to_le_bytes().repeat(50_000)),
        4 => fs::create_dir_all(&one),
        5 => fs::create_dir_all(&one).and_then(|()| fs::write(one.join("x"), b"x")),
        6 | 7 => fs::rename(&one, &other),
        8 => fs::remove_file(&one),
        9 => fs::remove_dir_all(&one),
        10 => symlink("a/b", &one),
        _ => fs::set_permissions(&one, fs::Permissions::from_mode(0o700 | (number & 0o77))),
    };
    if random.below(20) == 0 {
        std::thread::sleep(Duration::from_millis(u64::from(random.below(120))));
    }
}

#[test]
fn after_a_storm_the_index_says_what_a_scan_would_say() {
    for seed in 0..4 {
        in_each(|mut scene| {
            let mut random = Random(seed);
            for n in 0..400 {
                act(&scene, &mut random);
                if n % 25 == 0 {
                    scene.step();
                }
            }
            scene.settle();
            scene.assert_heard();
        });
    }
}

#[test]
fn a_tree_that_is_made_at_once_is_found_to_its_last_file() {
    in_each(|mut scene| {
        for n in 0..300 {
            let dir = format!("{}/{}/{}", n % 3, n % 7, n % 11);
            fs::create_dir_all(scene.at(&dir)).expect("made");
            fs::write(scene.at(format!("{dir}/{n}")), b"x").expect("written");
        }
        scene.settle();
        scene.assert_heard();
    });
}

#[test]
fn a_directory_that_goes_is_said_to_be_gone_after_what_was_in_it() {
    in_each(|mut scene| {
        fs::create_dir_all(scene.at("d/e")).expect("made");
        fs::write(scene.at("d/e/f"), b"x").expect("written");
        fs::write(scene.at("d/g"), b"x").expect("written");
        scene.settle();
        scene.rest();
        scene.said.clear();
        fs::rename(scene.at("d"), scene.dir.path().join("elsewhere")).expect("moved");
        scene.settle();
        scene.rest();
        let gone: Vec<_> =
            scene.said.iter().map(|(path, stands)| (path.clone(), *stands)).collect();
        let expected = ["d/e/f", "d/e", "d/g", "d"].map(|path| (rel(path), false));
        assert_eq!(gone, expected);
        // And it is heard when it comes back, with what happens in it then.
        fs::rename(scene.dir.path().join("elsewhere"), scene.at("d2")).expect("moved");
        scene.settle();
        fs::write(scene.at("d2/e/new"), b"y").expect("written");
        scene.settle();
        scene.assert_heard();
    });
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_watched_again() {
    in_each(|mut scene| {
        for round in 0..5 {
            fs::create_dir_all(scene.at("d/e")).expect("made");
            fs::write(scene.at("d/e/f"), round.to_string()).expect("written");
            if round % 2 == 0 {
                scene.settle();
            }
            fs::remove_dir_all(scene.at("d")).expect("removed");
        }
        fs::create_dir_all(scene.at("d/e")).expect("made");
        scene.settle();
        fs::write(scene.at("d/e/last"), b"x").expect("written");
        scene.settle();
        scene.assert_heard();
    });
}

#[test]
fn what_is_in_a_directory_that_was_renamed_is_not_read_again() {
    in_each(|mut scene| {
        fs::create_dir_all(scene.at("a/b")).expect("made");
        for n in 0..500 {
            fs::write(scene.at(format!("a/b/{n}")), n.to_string()).expect("written");
        }
        scene.settle();
        scene.rest();
        let known = scene.in_index();
        // Whoever reads one of them is seen.
        let reads = inotify::init(inotify::CreateFlags::NONBLOCK).expect("there is inotify");
        let flags = inotify::WatchFlags::ACCESS;
        inotify::add_watch(&reads, scene.at("a/b"), flags).expect("it can be watched");
        fs::rename(scene.at("a"), scene.at("c")).expect("moved");
        let last = [rel("c/b/499"), rel("a")];
        let has_moved =
            |index: &Tree| index.contains_key(&last[0]) && !index.contains_key(&last[1]);
        scene.until(|scene| has_moved(&scene.in_index()));
        let read = files_read(&reads);
        assert!(read.is_empty(), "{} were read", read.len());
        scene.settle();
        assert!(!files_read(&reads).is_empty(), "the test itself reads them");
        let moved = scene.in_index();
        for n in 0..500 {
            let (from, to) = (rel(&format!("a/b/{n}")), rel(&format!("c/b/{n}")));
            assert_eq!(moved.get(&to), known.get(&from));
        }
        // Watches are called by their new names.
        fs::write(scene.at("c/b/0"), b"edited").expect("written");
        scene.settle();
        scene.assert_heard();
    });
}

/// The names of files that were read, not of directories.
fn files_read(reads: &OwnedFd) -> Vec<Vec<u8>> {
    let mut buffer = [MaybeUninit::uninit(); 64 << 10];
    let mut reader = inotify::Reader::new(reads, &mut buffer);
    let mut names = Vec::new();
    while let Ok(event) = reader.next() {
        if !event.events().contains(inotify::ReadFlags::ISDIR) {
            names.extend(event.file_name().map(|name| name.to_bytes().to_vec()));
        }
    }
    names
}

#[test]
fn a_link_to_a_directory_is_a_link_and_not_followed() {
    in_each(|mut scene| {
        let outside = scene.dir.path().join("outside");
        fs::create_dir(&outside).expect("made");
        fs::write(outside.join("f"), b"x").expect("written");
        symlink(&outside, scene.at("link")).expect("made");
        scene.settle();
        fs::write(outside.join("g"), b"y").expect("written");
        fs::rename(outside.join("f"), outside.join("h")).expect("moved");
        scene.rest();
        assert_eq!(scene.in_index().keys().collect::<Vec<_>>(), [&rel("link")]);
        assert!(scene.said.iter().all(|(path, _)| *path == rel("link")));
    });
}

#[test]
fn what_is_left_out_is_not_said() {
    for mode in MODES {
        let rules = Rules::parse(&["*.tmp", "cache/"]).expect("rules");
        let Some(mut scene) = Scene::with(mode, Limits::default(), rules) else { continue };
        fs::create_dir_all(scene.at("cache/deep")).expect("made");
        fs::write(scene.at("cache/deep/f"), b"x").expect("written");
        fs::write(scene.at("a.tmp"), b"x").expect("written");
        fs::write(scene.at(".farhaul/incoming/x"), b"x").expect("written");
        fs::write(scene.at("b"), b"x").expect("written");
        scene.settle();
        scene.rest();
        assert_eq!(scene.said, [(rel("b"), true)]);
    }
}

#[test]
fn a_file_that_is_written_all_the_time_does_not_keep_others_waiting() {
    in_each(|mut scene| {
        let log = fs::File::create(scene.at("log")).expect("made");
        let stop = Stop::default();
        let writing = {
            let (mut log, stop) = (log, stop.clone());
            std::thread::spawn(move || {
                while !stop.is_set() {
                    std::io::Write::write_all(&mut log, b"line\n").expect("written");
                    std::thread::sleep(Duration::from_millis(3));
                }
            })
        };
        fs::write(scene.at("other"), b"x").expect("written");
        scene.until(|scene| scene.said.contains(&(rel("other"), true)));
        stop.set();
        writing.join().expect("it ends");
        scene.settle();
        scene.assert_heard();
    });
}
