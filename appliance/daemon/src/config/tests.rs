//! Configurations as people write them, right and wrong.

mod calendars;
mod hooks;
mod ids;

use super::*;
use farhaul_proto::units::BitRate;
use proptest::prelude::*;

const ID: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const OTHER_ID: &str = "baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const SITE: &str = "[site]\nname = \"berlin\"\nstate = \"/state\"\n";

/// A site with the peer `tokyo`, and more behind it.
fn with(more: &str) -> String {
    format!("{SITE}[[peer]]\nname = \"tokyo\"\nid = \"{ID}\"\n{more}")
}

fn folder(id: &str, path: &str) -> String {
    format!("[[folder]]\nid = \"{id}\"\npath = \"{path}\"\npeers = [\"tokyo\"]\n")
}

fn config(text: &str) -> Config {
    Config::parse(text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// Every fault of a text as it is told.
fn faults(text: &str) -> Vec<String> {
    let faults = Config::parse(text).expect_err("it has faults");
    faults.iter().map(ToString::to_string).collect()
}

/// The only fault of a text.
fn fault(text: &str) -> String {
    let mut faults = faults(text);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

#[test]
fn what_is_left_out_has_its_default() {
    let config = config(&with(&folder("photos", "/srv//photos/./")));
    let Site { name, state, listen, api, buffers, workers } = &config.site;
    assert_eq!((name.as_str(), state.as_path(), *workers), ("berlin", Path::new("/state"), 2));
    assert_eq!(*listen, "0.0.0.0:7411".parse().unwrap());
    assert_eq!(*api, ApiPlace::Tcp("127.0.0.1:7412".parse().unwrap()));
    assert_eq!(*buffers, Bytes::mib(160));
    assert_eq!(config.transfer, Transfer { policy: Policy::Fair, bounds: Bounds::FREE });
    assert_eq!(config.peers[0].address, None);
    let folder = &config.folders[0];
    assert_eq!(folder.path.as_os_str(), "/srv/photos");
    assert_eq!(folder.role, Role::ReadWrite);
    assert_eq!(folder.peers, BTreeMap::from([(ID.parse().unwrap(), Role::ReadWrite)]));
    assert_eq!((folder.brake, folder.keeps_deleted), (Some(BrakeLimits::default()), false));
    assert!(folder.ignore.patterns().is_empty() && folder.ignore.rules().is_empty());
    assert_eq!((folder.scan_every, folder.watch), (Duration::from_secs(3600), WatchMode::Auto));
    let every = Some(Duration::from_hours(30 * 24));
    assert_eq!(folder.scrub, ScrubPlan { every, rate: BitRate::mbps(160) });
    let age = Some(Duration::from_hours(365 * 24));
    assert_eq!(folder.retention, Retention { age, room: None });
    assert!(!folder.root_owned);
    assert_eq!((&folder.map_users, &folder.map_groups), (&NameMap::default(), &NameMap::default()));
}

#[test]
fn who_may_do_what_and_when_a_person_is_asked_is_written_with_the_folder() {
    let peer = "peers = [{ name = \"tokyo\", role = \"source-only\" }]\nrole = \"sink-only\"\n";
    let more = "deletes = \"keep\"\nbrake-files = 50\nbrake-share = \"10 %\"\n";
    let folder = |brake: &str| {
        let text = format!("[[folder]]\nid = \"a\"\npath = \"/a\"\n{peer}{more}{brake}");
        config(&with(&text)).folders.remove(0)
    };
    let (read, tokyo) = (folder("brake = \"on\"\n"), ID.parse().unwrap());
    assert_eq!(read.peers, BTreeMap::from([(tokyo, Role::SourceOnly)]));
    let policy = read.policy();
    assert_eq!((policy.rights.own(), policy.rights.of(tokyo)), (Role::SinkOnly, Role::SourceOnly));
    assert!(policy.keeps_deleted);
    let limits = policy.brake.expect("it is on");
    assert_eq!((limits.most, limits.share, limits.least), (50, 10, 20));
    assert_eq!(folder("brake = \"off\"\n").brake, None);
}

#[test]
fn what_is_written_holds() {
    let text = format!(
        "{SITE}listen = \"[::]:9\"\napi = \"unix:/run/api\"\nbuffers = \"1 GiB\"\nworkers = 8\n\
         [transfer]\npolicy = \"fixed\"\nrate = \"1 Gbit/s\"\nrate-min = \"5 Mbit/s\"\n\
         [[peer]]\nname = \"tokyo\"\nid = \"{ID}\"\naddress = \"[::1]:7411\"\n\
         [[folder]]\nid = \"a\"\npath = \"/a\"\npeers = []\nrole = \"sink-only\"\n\
         ignore = [\"*.tmp\", \"!b.tmp\"]\nscan-every = \"90 s\"\nwatch = \"inotify\"\n\
         scrub-every = \"off\"\nscrub-rate = \"8 Mbit/s\"\n\
         versions-age = \"forever\"\nversions-room = \"2 GiB\"\nroot-owned = \"as-said\"\n\
         map-users = {{ \"alice\" = \"al\", \"1000\" = \"bob\" }}\n\
         [folder.map-groups]\nstaff = \"users\"\n"
    );
    let config = config(&text);
    assert_eq!(config.site.listen, "[::]:9".parse().unwrap());
    assert_eq!(config.site.api, ApiPlace::Unix("/run/api".into()));
    assert_eq!((config.site.buffers, config.site.workers), (Bytes::mib(1024), 8));
    let options = config.transfer.options();
    assert_eq!(options.policy, Policy::Fixed);
    assert_eq!(options.bounds.cap(), Some(BitRate::mbps(1000)));
    assert_eq!(options.bounds.floor(), Some(BitRate::mbps(5)));
    assert_eq!(config.peers[0].address.as_deref(), Some("[::1]:7411"));
    let folder = &config.folders[0];
    assert_eq!((folder.role, folder.scan_every), (Role::SinkOnly, Duration::from_secs(90)));
    assert_eq!(folder.watch, WatchMode::Inotify);
    assert_eq!(folder.scrub, ScrubPlan { every: None, rate: BitRate::mbps(8) });
    assert_eq!(folder.retention, Retention { age: None, room: Some(Bytes::mib(2048)) });
    assert!(folder.root_owned);
    assert_eq!(folder.map_users.here(b"alice"), Some(&b"al"[..]));
    assert_eq!(folder.map_users.elsewhere(b"bob"), Some(&b"1000"[..]));
    assert_eq!(folder.map_groups.here(b"staff"), Some(&b"users"[..]));
    assert!(folder.ignore.rules().is_ignored(b"a.tmp", false));
    assert!(!folder.ignore.rules().is_ignored(b"b.tmp", false));
    assert_eq!(config.peer_name(ID.parse().unwrap()), Some("tokyo"));
    assert_eq!(config.places()[0].name, "tokyo");
}

/// What may stand behind a good site, and what is wrong with it.
const OF_SITE: &[(&str, &str)] = &[
    ("listen = 7411\n", "4:10: `listen` is not for a bare number; write listen = \"0.0.0.0:7411\""),
    (
        "listen = \"7411\"\n",
        "4:10: `listen` = \"7411\" is no ADDRESS:PORT; write listen = \"0.0.0.0:7411\"",
    ),
    (
        "listen = \"127.0.0.1:7412\"\napi = \"127.0.0.1:7412\"\n",
        "5:7: `listen` and `api` both want TCP port 7412; give `api` another port",
    ),
    (
        "api = \"unix:run\"\n",
        "4:7: `api`: \"run\" is no absolute path; \
             write api = \"127.0.0.1:7412\" or \"unix:/run/farhaul/api\"",
    ),
    ("buffers = \"160\"\n", "4:11: `buffers` = \"160\" has no unit; write buffers = \"160 MiB\""),
    (
        "buffers = \"1 KiB\"\n",
        "4:11: `buffers` = \"1 KiB\" is out of range; write 32 MiB to 64 GiB",
    ),
    ("workers = 0\n", "4:11: `workers` is out of range; write a number from 1 to 64"),
    ("workers = -1\n", "4:11: `workers` is out of range; write a number from 1 to 64"),
    ("workers = \"2\"\n", "4:11: `workers` is not for a text; write workers = 2"),
    (
        "lsiten = 1\n",
        "4:1: [site] has no key `lsiten`; \
             remove it, or write one of name, state, listen, api, buffers, workers",
    ),
    (
        "[transfer]\npolicy = \"fast\"\n",
        "5:10: `policy` cannot be \"fast\"; write policy = \"fair\", \"low\", \"high\" or \"fixed\"",
    ),
    (
        "[transfer]\npolicy = \"fixed\"\n",
        "5:10: `policy` = \"fixed\" holds a rate, and there is no `rate`; \
             write rate = \"500 Mbit/s\"",
    ),
    (
        "[transfer]\nrate = \"10 MB/s\"\n",
        "5:8: `rate` = \"10 MB/s\" has no unit that is known here; write rate = \"500 Mbit/s\"",
    ),
    (
        "[transfer]\nrate = \"1 Mbit/s\"\nrate-min = \"2 Mbit/s\"\n",
        "4:1: the minimum rate 2.0 Mbit/s is above the maximum rate 1.0 Mbit/s; \
             lower `rate-min`, or raise `rate`",
    ),
    (
        "[sites]\n",
        "4:2: `sites` is no section; sections are [site], [[peer]], [[folder]], [[export]], \
         [transfer], [[holidays]], [[calendar]] and [[link]]",
    ),
    ("[peer]\n", "4:1: `peer` is a section; write [[peer]] before each one"),
    ("[[transfer]]\n", "4:1: `transfer` is a list; write [transfer], once"),
    (
        "a = \n",
        "4:5: string values must be quoted, expected literal string; write it as TOML (https://toml.io) wants it",
    ),
];

/// The same of peers, behind a good one.
fn of_peers() -> Vec<(String, &'static str)> {
    vec![
        (
            format!("[[peer]]\nname = \"rome\"\nid = \"{ID}\"\n"),
            "9:6: `rome` has the id of `tokyo`; name each peer once",
        ),
        (
            format!("[[peer]]\nname = \"tokyo\"\nid = \"{OTHER_ID}\"\n"),
            "8:8: a site is called `tokyo` already; give each site a name of its own",
        ),
        (
            format!("[[peer]]\nname = \"berlin\"\nid = \"{OTHER_ID}\"\n"),
            "8:8: a site is called `berlin` already; give each site a name of its own",
        ),
        (
            format!("[[peer]]\nname = \"ro me\"\nid = \"{OTHER_ID}\"\n"),
            "8:8: `name` = \"ro me\" is no name; \
          write 1 to 64 bytes of letters, digits, `.`, `_` and `-`",
        ),
        (
            "[[peer]]\nname = \"rome\"\nid = \"abc\"\n".to_owned(),
            "9:6: `id` is no site id: a site id has 52 letters, this has 3 bytes; \
          write the id that the peer logs at its start",
        ),
        (
            format!("[[peer]]\nname = \"rome\"\nid = \"{OTHER_ID}\"\naddress = \"rome\"\n"),
            "10:11: `address` = \"rome\" is no HOST:PORT; \
          write address = \"tokyo.example.org:7411\", or \"[IPv6 address]:7411\"",
        ),
    ]
}

/// The same of folders.
fn of_folders() -> Vec<(String, &'static str)> {
    let peers = "peers = [\"tokyo\"]";
    vec![
        (
            format!("[[folder]]\nid = \"Photos\"\npath = \"/a\"\n{peers}\n"),
            "8:6: `id` = \"Photos\" is no id of a folder; \
          write 1 to 64 of a-z, 0-9, `.`, `_` and `-`, a letter or a digit first",
        ),
        (
            format!("[[folder]]\nid = \"a\"\npath = \"a\"\n{peers}\n"),
            "9:8: `path` = \"a\" is no absolute path; write path = \"/srv/photos\"",
        ),
        (
            format!("[[folder]]\nid = \"a\"\npath = \"/a/../b\"\n{peers}\n"),
            "9:8: `path` = \"/a/../b\" has `..` in it; write path = \"/srv/photos\"",
        ),
        (
            "[[folder]]\nid = \"a\"\npath = \"/a\"\n".to_owned(),
            "7:1: [[folder]] has no `peers`; write peers = [\"tokyo\"] with names of peers, or []",
        ),
        (
            "[[folder]]\nid = \"a\"\npath = \"/a\"\npeers = [\"tokyo\", \"rome\"]\n".to_owned(),
            "10:19: there is no peer `rome`; \
          add a [[peer]] of that name, or write the name of one that is there",
        ),
        (
            "[[folder]]\nid = \"a\"\npath = \"/a\"\npeers = [\"tokyo\", \"tokyo\"]\n".to_owned(),
            "10:19: `tokyo` is in the list already; name each peer once",
        ),
        (
            "[[folder]]\nid = \"a\"\npath = \"/a\"\npeers = [1]\n".to_owned(),
            "10:10: `peers` is not for a bare number; \
          write peers = [\"tokyo\"] with names of peers, or []",
        ),
        (
            "[[folder]]\nid = \"a\"\npath = \"/a\"\npeers = [{ role = \"read-only\" }]\n"
                .to_owned(),
            "10:10: a peer of a folder has no `name`; write name = \"berlin\"",
        ),
        (
            "[[folder]]\nid = \"a\"\npath = \"/a\"\npeers = [{ name = \"tokyo\", mode = 1 }]\n"
                .to_owned(),
            "10:28: a peer of a folder has no key `mode`; remove it, or write one of name, role",
        ),
    ]
}

/// And of their other keys.
fn of_owners() -> Vec<(String, &'static str)> {
    vec![
        (
            folder("a", "/a") + "map-users = { ann = \"al\", bob = \"al\" }\n",
            "11:33: `map-users`: \"al\" is two at once; give each name one that no other one has",
        ),
        (
            folder("a", "/a") + "map-groups = { staff = \"50\" }\n",
            "11:24: `map-groups`: \"50\" is no name; write one as `getent` prints it: 1 to 255 bytes, \
             no `:`, and on the right not only digits",
        ),
        (
            folder("a", "/a") + "map-users = [\"ann\"]\n",
            "11:13: `map-users` is not for a list; write map-users = { \"alice\" = \"al\" }",
        ),
    ]
}

fn of_folder_keys() -> Vec<(String, &'static str)> {
    vec![
        (
            folder("a", "/a") + "deletes = \"keep\"\n",
            "11:11: `deletes` = \"keep\" is for a site that publishes nothing; \
          write role = \"sink-only\" or \"read-only\" as well",
        ),
        (
            folder("a", "/a") + "brake = \"maybe\"\n",
            "11:9: `brake` cannot be \"maybe\"; write brake = \"on\" or \"off\"",
        ),
        (
            folder("a", "/a") + "brake-files = 0\n",
            "11:15: `brake-files` is out of range; write a number from 1 to 1000000000",
        ),
        (
            folder("a", "/a") + "brake-share = \"101 %\"\n",
            "11:15: `brake-share` = \"101 %\" is out of range; write 1 % to 100 %",
        ),
        (
            folder("a", "/a") + "role = \"writer\"\n",
            "11:8: `role` cannot be \"writer\"; \
          write role = \"read-write\", \"read-only\", \"source-only\" or \"sink-only\"",
        ),
        (
            folder("a", "/a") + "ignore = [\"a\", \"b\\n\"]\n",
            "11:16: ignore pattern 2: has a line end or a zero byte; write it as in .gitignore",
        ),
        (
            folder("a", "/a") + "scrub-every = \"never\"\n",
            "11:15: `scrub-every` = \"never\" does not begin with a number; \
          write scrub-every = \"30 d\" or \"off\"",
        ),
        (
            folder("a", "/a") + "versions-age = \"1 s\"\n",
            "11:16: `versions-age` = \"1 s\" is out of range; write 1 h or more, or \"forever\"",
        ),
        (
            folder("a", "/a") + "versions-room = \"10 %\"\n",
            "11:17: `versions-room` = \"10 %\" has no unit that is known here; \
          write versions-room = \"100 GiB\" or \"any\"",
        ),
        (
            folder("a", "/a") + "scrub-every = \"1 s\"\n",
            "11:15: `scrub-every` = \"1 s\" is out of range; write 1 h or more, or \"off\"",
        ),
        (
            folder("a", "/a") + "scan-every = \"0.1 s\"\n",
            "11:14: `scan-every` = \"0.1 s\" is out of range; write 1 s to 30 d",
        ),
        (
            folder("a", "/a") + "root-owned = \"yes\"\n",
            "11:14: `root-owned` cannot be \"yes\"; write root-owned = \"never\" or \"as-said\"",
        ),
        (
            folder("a", "/a") + "watch = \"always\"\n",
            "11:9: `watch` cannot be \"always\"; \
          write watch = \"auto\", \"fanotify\", \"inotify\" or \"off\"",
        ),
        (
            folder("a", "/a") + &folder("a", "/b"),
            "12:6: there is a folder `a` already; give each folder an id of its own",
        ),
    ]
}

#[test]
fn every_fault_is_told_with_line_column_and_advice() {
    for (more, expected) in OF_SITE {
        assert_eq!(fault(&format!("{SITE}{more}")), *expected, "{more}");
    }
    let of_folders = of_folders().into_iter().chain(of_folder_keys()).chain(of_owners());
    for (more, expected) in of_peers().into_iter().chain(of_folders) {
        assert_eq!(fault(&with(&more)), expected, "{more}");
    }
    assert_eq!(
        fault(""),
        "1:1: there is no section [site]; begin with [site] and its keys `name` and `state`"
    );
}

/// The id of the n-th peer.
fn id_of(n: usize) -> String {
    let letters = [n / 32 / 32 % 32, n / 32 % 32, n % 32].map(|digit| ALPHABET[digit] as char);
    format!("b{}{}", letters.iter().collect::<String>(), "a".repeat(48))
}
const ALPHABET: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";

/// A site with so many peers, of which a folder names so many.
fn crowded(peers: usize, named: usize) -> String {
    let peer = |n| format!("[[peer]]\nname = \"s{n}\"\nid = \"{}\"\n", id_of(n));
    let peers: String = (0..peers).map(peer).collect();
    let named: Vec<String> = (0..named).map(|n| format!("\"s{n}\"")).collect();
    let folder = format!("[[folder]]\nid = \"a\"\npath = \"/a\"\npeers = [{}]", named.join(", "));
    format!("{SITE}{peers}{folder}\n")
}

/// spec: S-166
#[test]
fn a_folder_and_a_site_have_as_many_neighbours_as_they_can_talk_to() {
    let read = config(&crowded(256, 64));
    assert_eq!((read.peers.len(), read.folders[0].peers.len()), (256, 64));
    let hub = "and have the others keep it with one of these (a hub): sites pass on what they have";
    // The first that is too many, by its line and column.
    let column = "peers = [".len() + (0..64).map(|n| format!("\"s{n}\", ").len()).sum::<usize>();
    let expected = format!(
        "{}:{}: a folder with 66 peers; name 64 at most, {hub}",
        3 + 70 * 3 + 4,
        column + 1
    );
    assert_eq!(fault(&crowded(70, 66)), expected);
    let hub = hub.replace("keep it", "keep their folders");
    let expected = format!("{}:1: there are 258 peers; name 256 at most, {hub}", 3 + 256 * 3 + 1);
    assert_eq!(fault(&crowded(258, 1)), expected);
    // Also of sections, and beside other faults.
    let named: Vec<String> = (0..65).map(|n| format!("{{ name = \"s{n}\" }}")).collect();
    let text = crowded(65, 0).replace("peers = []", &format!("peers = [{}]", named.join(", ")));
    assert!(fault(&text).contains(": a folder with 65 peers; name 64 at most"), "{}", fault(&text));
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_file() {
    let text = "[site]\nname = 7\nbuffers = \"a\"\n[[folder]]\nid = \"?\"\nrole = \"x\"\n[what]\n";
    let places: Vec<String> = faults(text)
        .iter()
        .map(|fault| fault.splitn(3, ':').take(2).collect::<Vec<_>>().join(":"))
        .collect();
    // The state and the path are missing, and so are the peers.
    assert_eq!(places, ["1:1", "2:8", "3:11", "4:1", "4:1", "5:6", "6:8", "7:2"]);
    // Of what is no TOML, every fault of form, and nothing else.
    let broken = faults("[site]\nname = \nstate = [1\n[x\n");
    assert!(broken.len() >= 2, "{broken:?}");
    assert!(broken.iter().all(|fault| fault.contains("toml.io")), "{broken:?}");
}

#[test]
fn folders_lie_neither_in_each_other_nor_in_the_state_nor_the_state_in_them() {
    let apart = "name places of which none lies in another";
    for (a, b, expected) in [
        ("/a", "/a/b/c", format!("13:8: folder b (/a/b/c) lies within folder a (/a); {apart}")),
        ("/a/b", "/a", format!("9:8: folder a (/a/b) lies within folder b (/a); {apart}")),
        (
            "/a",
            "/a/.",
            format!("13:8: folder b (/a) is the same directory as folder a (/a); {apart}"),
        ),
        (
            "/a",
            "/state/b",
            format!("13:8: folder b (/state/b) lies within the state (/state); {apart}"),
        ),
        (
            "/a",
            "/",
            "13:8: `path` = \"/\" is the root of the system; write path = \"/srv/photos\""
                .to_owned(),
        ),
    ] {
        assert_eq!(fault(&with(&(folder("a", a) + &folder("b", b)))), expected);
    }
    config(&with(&(folder("a", "/a") + &folder("b", "/ab"))));
    let text = with(&folder("a", "/var")).replace("/state", "/var/lib/farhaul");
    assert_eq!(
        fault(&text),
        format!("3:9: the state (/var/lib/farhaul) lies within folder a (/var); {apart}")
    );
}

#[test]
fn a_link_does_not_hide_that_folders_lie_in_each_other() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let top = directory.path().canonicalize().expect("it exists");
    std::fs::create_dir(top.join("a")).expect("a fresh directory");
    std::os::unix::fs::symlink(top.join("a"), top.join("link")).expect("a fresh name");
    let path = |name: &str| top.join(name).to_str().expect("text").to_owned();
    let file = top.join("farhauld.toml");
    // What is beneath the link is not there yet.
    let text = with(&(folder("a", &path("a")) + &folder("b", &path("link/b/c"))));
    assert!(Config::parse(&text).is_ok());
    std::fs::write(&file, &text).expect("written");
    let error = Config::load(&file).expect_err("one lies in the other").to_string();
    let expected = format!(
        "{}:13:8: folder b ({}, which is {}) lies within folder a ({});",
        file.display(),
        path("link/b/c"),
        path("a/b/c"),
        path("a"),
    );
    assert!(error.starts_with(&expected), "{error}");
}

#[test]
fn a_file_that_cannot_be_a_configuration_is_refused_before_it_is_read_on() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("farhauld.toml");
    assert!(matches!(Config::load(&file), Err(ConfigError::Read { .. })));
    std::fs::write(&file, b"# caf\xe9").expect("written");
    assert!(matches!(Config::load(&file), Err(ConfigError::NotText { at: 5, .. })));
    std::fs::write(&file, vec![b'#'; (1 << 20) + 1]).expect("written");
    let error = Config::load(&file).expect_err("too long");
    assert!(error.to_string().contains("1024 KiB"), "{error}");
    // The longest one that is read has all of its faults counted, and not all told.
    std::fs::write(&file, "a\n".repeat(1 << 19)).expect("written");
    let Err(ConfigError::Faults { faults, .. }) = Config::load(&file) else { panic!("faults") };
    assert_eq!(faults.len(), 100);
}

#[test]
fn changes_are_named_with_when_they_hold() {
    let old = config(&with(&(folder("a", "/a") + &folder("b", "/b"))));
    assert!(Changes::between(&old, &old).is_empty());
    let more = "role = \"read-only\"\nignore = [\"x\"]\nmap-users = { ann = \"al\" }\n";
    let text = with(&(folder("a", "/a2") + more));
    let text = text.replace("\"/state\"", "\"/state\"\nworkers = 3\napi = \"127.0.0.1:1\"");
    let rome = format!("[[peer]]\nname = \"rome\"\nid = \"{OTHER_ID}\"\n");
    let new = config(&(text + &folder("c", "/c") + &rome + "[transfer]\nrate = \"1 Mbit/s\"\n"));
    let changes = Changes::between(&old, &new);
    let (live, restart): (Vec<_>, Vec<_>) =
        (changes.live().collect(), changes.after_restart().collect());
    let expected = ["api of the site", "workers of the site", "path of folder a"];
    assert_eq!(restart, [&expected[..], &["map-users of folder a"]].concat());
    let expected = [
        "peer rome, which is new",
        "role of folder a",
        "ignore of folder a",
        "folder b, which is gone",
        "folder c, which is new",
        "rate of transfers",
    ];
    assert_eq!(live, expected);
    let lines: Vec<String> = changes.iter().map(ToString::to_string).collect();
    assert_eq!(lines[0], "api of the site: holds after the next start");
    assert_eq!(lines[2], "peer rome, which is new: holds at once");
}

#[test]
fn a_peer_is_the_same_by_its_id_whatever_it_is_called() {
    let old = config(&with(&folder("a", "/a")));
    let text = with(&folder("a", "/a")).replace("tokyo", "kyoto");
    let new = config(&text.replace("\"\n[[folder", "\"\naddress = \"h:1\"\n[[folder"));
    let changes = Changes::between(&old, &new);
    assert_eq!(changes.live().collect::<Vec<_>>(), ["name of peer tokyo", "address of peer tokyo"]);
}

/// Pieces of which texts are made that come near to configurations.
fn piece() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("\"tokyo\"".to_owned()),
        Just(format!("\"{ID}\"")),
        Just("[\"tokyo\"]".to_owned()),
        Just("\"/a/b\"".to_owned()),
        Just("\"10 min\"".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("1979-05-27".to_owned()),
        "\\PC{0,6}",
        "-?[0-9]{1,40}",
    ];
    let key = prop::sample::select(vec![
        "name",
        "state",
        "id",
        "path",
        "peers",
        "role",
        "ignore",
        "scan-every",
        "scrub-every",
        "versions-age",
        "versions-room",
        "watch",
        "rate",
        "listen",
        "site",
        "site.name",
        "peer",
        "folder",
        "x.y",
    ]);
    let header = prop::sample::select(vec!["[site]", "[[peer]]", "[[folder]]", "[transfer]", "[["]);
    prop_oneof![
        header.prop_map(str::to_owned),
        (key, value).prop_map(|(key, value)| format!("{key} = {value}")),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC*|[\\[\\]{}=\"'a-z.#\\n0-9 ]{0,200}") {
        let _ = Config::parse(&text);
    }

    #[test]
    fn nothing_that_is_nearly_a_configuration_makes_it_panic(
        pieces in prop::collection::vec(piece(), 0..20),
    ) {
        let text = pieces.join("\n");
        let lines = text.lines().count().max(1) + 1;
        if let Err(faults) = Config::parse(&text) {
            prop_assert!(!faults.is_empty() && faults.len() <= 100);
            prop_assert!(faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
        }
    }
}
