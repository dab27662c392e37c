//! Two whole sites on loopback, managed by the `farhaul` command: over TCP and over a socket, in words
//! and in JSON. No lab is needed.

use farhaul_netem_tests::require::{binary, binary_of};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

mod managed_sites {
    mod aside;
    mod calendar;
}

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(120);

struct Site {
    dir: TempDir,
    child: Child,
    /// Its log is read, or it would wait.
    log: BufReader<ChildStderr>,
}

impl Drop for Site {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two ports that are free at this moment.
fn ports() -> [u16; 2] {
    let sockets = [0, 1].map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    sockets.map(|socket| socket.local_addr().expect("bound").port())
}

impl Site {
    fn config(&self) -> PathBuf {
        self.dir.path().join("farhauld.toml")
    }

    fn tree(&self, name: &str) -> PathBuf {
        self.dir.path().join("tree").join(name)
    }

    fn farhaul(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary("farhaul"));
        command.args(words).arg("--config").arg(self.config());
        command.output().expect("it starts")
    }

    /// What a verb prints, as JSON objects, one a line.
    fn json(&self, words: &[&str]) -> Vec<Value> {
        let Output { status, stdout, stderr } = self.farhaul(&[words, &["--json"]].concat());
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "{words:?}: {out}{err}");
        out.lines().map(|line| serde_json::from_str(line).expect("an object")).collect()
    }

    fn text(&self, words: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.farhaul(words);
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
        String::from_utf8(stdout).expect("text")
    }

    fn code(&self, words: &[&str]) -> Option<i32> {
        self.farhaul(words).status.code()
    }

    /// Asks until the answer is as wanted; every site looks through its tree meanwhile.
    fn until(&self, other: &Self, what: &str, mut is_so: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is_so() {
            assert!(began.elapsed() < PATIENCE, "{what}: {}", self.text(&["status"]));
            for site in [self, other] {
                let _ = site.code(&["folder", "scan", "docs"]);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn holds(&self, name: &str, content: &str) -> bool {
        fs::read_to_string(self.tree(name)).is_ok_and(|found| found == content)
    }

    fn line_with(&mut self, what: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).expect("text");
            assert!(read > 0, "it ended without a line with {what:?}");
            if line.contains(what) {
                return line;
            }
        }
    }
}

/// Berlin, with its API at a port, and tokyo, with its API at a socket; they share a folder.
fn pair() -> (Site, Site) {
    let dirs = [0, 1].map(|_| tempfile::tempdir().expect("a directory"));
    let [berlin_port, tokyo_port] = ports();
    let ids: Vec<String> = dirs
        .iter()
        .map(|dir| {
            fs::create_dir(dir.path().join("tree")).expect("made");
            let mut command = Command::new(binary("farhaul"));
            let told = command.arg("id").arg("--home").arg(dir.path().join("state")).output();
            String::from_utf8(told.expect("it starts").stdout).expect("text").trim().to_owned()
        })
        .collect();
    let socket = format!("unix:{}", dirs[1].path().join("api").display());
    let apis = [format!("127.0.0.1:{}", free_tcp_port()), socket];
    let names = ["berlin", "tokyo"];
    let ports = [berlin_port, tokyo_port];
    let mut sites = dirs.into_iter().enumerate().map(|(at, dir)| {
        let other = 1 - at;
        let (state, tree) = (dir.path().join("state"), dir.path().join("tree"));
        let text = format!(
            "[site]\nname = \"{}\"\nstate = {state:?}\nlisten = \"127.0.0.1:{}\"\napi = \"{}\"\n\
             buffers = \"32 MiB\"\n[[peer]]\nname = \"{}\"\nid = \"{}\"\n\
             address = \"127.0.0.1:{}\"\n[[folder]]\nid = \"docs\"\npath = {tree:?}\n\
             peers = [\"{}\"]\n",
            names[at], ports[at], apis[at], names[other], ids[other], ports[other], names[other],
        );
        let config = dir.path().join("farhauld.toml");
        fs::write(&config, text).expect("written");
        let mut command = Command::new(binary_of("farhauld", "farhauld"));
        command.arg("--config").arg(&config).env_remove("FARHAUL_LOG").stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("piped"));
        let mut site = Site { dir, child, log };
        site.line_with("kept");
        site
    });
    (sites.next().expect("two"), sites.next().expect("two"))
}

fn free_tcp_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

#[test]
fn a_pair_of_sites_is_told_what_to_do_and_says_how_it_is() {
    let (berlin, tokyo) = pair();
    fs::write(berlin.tree("a"), "one").expect("written");
    berlin.until(&tokyo, "a file arrives", || tokyo.holds("a", "one"));
    berlin.until(&tokyo, "both are in sync", || {
        let state = |site: &Site| site.json(&["folder", "show", "docs"])[0]["state"].clone();
        state(&berlin) == "in-sync" && state(&tokyo) == "in-sync"
    });
    let status = &berlin.json(&["status"])[0];
    assert_eq!(
        (&status["name"], &status["peers"][0]["connected"]),
        (&"berlin".into(), &true.into())
    );
    assert_eq!(tokyo.json(&["peer", "list"])[0][0]["site"]["name"], "berlin");
    let why = &tokyo.json(&["why", "docs", "./a"])[0];
    assert_eq!((&why["in_sync"], &why["path"]), (&true.into(), &"a".into()), "{why}");
    assert!(tokyo.text(&["why", "docs", "a"]).starts_with("a: in sync\n"));
    // A paused site takes nothing, and says why.
    tokyo.text(&["folder", "pause", "docs"]);
    fs::write(berlin.tree("b"), "two").expect("written");
    berlin.until(&tokyo, "tokyo heard of it", || {
        let why = &tokyo.json(&["why", "docs", "b"])[0];
        why["task"] == "place"
    });
    assert!(!tokyo.tree("b").exists());
    assert!(tokyo.text(&["why", "docs", "b"]).contains("the folder is paused"));
    assert_eq!(tokyo.json(&["folder", "missing", "docs"])[0]["path"], "b");
    assert_eq!(tokyo.code(&["folder", "scan", "docs"]), Some(1));
    tokyo.text(&["folder", "resume", "docs"]);
    berlin.until(&tokyo, "it goes on", || tokyo.holds("b", "two"));
    // What cannot be is told with an exit code, and as an object to who asked for one.
    assert_eq!(berlin.code(&["folder", "show", "nothing"]), Some(2));
    assert_eq!(berlin.code(&["why", "docs", "../x"]), Some(2));
    let failed = berlin.farhaul(&["folder", "show", "nothing", "--json"]);
    let failed: Value = serde_json::from_slice(&failed.stdout).expect("an object");
    assert_eq!(failed["error"]["exit_code"], 2);
    fs::write(berlin.dir.path().join("wrong"), "not the token, but long enough for one")
        .expect("written");
    let wrong = berlin.dir.path().join("wrong");
    let wrong = wrong.to_str().expect("text");
    assert_eq!(berlin.code(&["status", "--token-file", wrong]), Some(3));
}

#[test]
fn what_was_displaced_comes_back_at_both_sites_and_elsewhere() {
    let (berlin, tokyo) = pair();
    fs::create_dir(berlin.tree("d")).expect("made");
    fs::write(berlin.tree("d/a"), "one").expect("written");
    fs::write(berlin.tree("d/b"), "stays").expect("written");
    berlin
        .until(&tokyo, "files arrive", || tokyo.holds("d/a", "one") && tokyo.holds("d/b", "stays"));
    // Times of versions are whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    let then = now();
    std::thread::sleep(Duration::from_millis(1100));
    fs::write(berlin.tree("d/a"), "two, longer").expect("written");
    fs::write(berlin.tree("d/c"), "came later").expect("written");
    berlin.until(&tokyo, "edits arrive", || {
        tokyo.holds("d/a", "two, longer") && tokyo.holds("d/c", "came later")
    });
    let kept = &tokyo.json(&["version", "list", "docs", "d/a"])[0];
    assert_eq!(kept["kept"].as_array().map(Vec::len), Some(1), "{kept}");
    // A dry run changes nothing.
    let dry = tokyo.json(&["restore", "docs", "d", "--at", &then, "--dry-run"]);
    let actions: Vec<(&str, &str)> = dry
        .iter()
        .filter_map(|item| Some((item["path"].as_str()?, item["action"].as_str()?)))
        .collect();
    assert_eq!(actions, [("d/a", "restore"), ("d/c", "newer")]);
    assert!(tokyo.holds("d/a", "two, longer"));
    // To another place: the whole tree as it stood, and nothing over what stands there.
    let to = tokyo.dir.path().join("out");
    let to = to.to_str().expect("text");
    tokyo.text(&["restore", "docs", "d", "--at", &then, "--to", to]);
    let read = |name: &str| fs::read_to_string(tokyo.dir.path().join("out").join(name)).ok();
    assert_eq!(read("d/a").as_deref(), Some("one"));
    assert_eq!(read("d/b").as_deref(), Some("stays"));
    assert_eq!(read("d/c"), None);
    assert_eq!(tokyo.code(&["restore", "docs", "d", "--at", &then, "--to", to]), Some(4));
    assert!(tokyo.holds("d/a", "two, longer"));
    // Into the folder: an edit that both sites follow, and that keeps what it displaces.
    tokyo.text(&["restore", "docs", "d", "--at", &then, "--exact"]);
    berlin.until(&tokyo, "it is restored", || {
        [&berlin, &tokyo].iter().all(|site| site.holds("d/a", "one") && !site.tree("d/c").exists())
    });
    for site in [&berlin, &tokyo] {
        assert!(site.holds("d/b", "stays"));
    }
    let kept = &tokyo.json(&["version", "list", "docs", "d/c"])[0];
    assert_eq!(kept["kept"].as_array().map(Vec::len), Some(1), "{kept}");
}

#[test]
fn what_its_own_user_deleted_comes_back_from_the_site_that_kept_it() {
    let (berlin, tokyo) = pair();
    fs::create_dir(berlin.tree("d")).expect("made");
    fs::write(berlin.tree("d/a"), "one").expect("written");
    std::os::unix::fs::symlink("a", berlin.tree("d/link")).expect("made");
    berlin.until(&tokyo, "a file arrives", || {
        tokyo.holds("d/a", "one") && tokyo.tree("d/link").is_symlink()
    });
    std::thread::sleep(Duration::from_millis(1100));
    let then = now();
    std::thread::sleep(Duration::from_millis(1100));
    fs::remove_dir_all(berlin.tree("d")).expect("there");
    berlin.until(&tokyo, "it goes", || !tokyo.tree("d").exists());
    let known = &berlin.json(&["version", "list", "docs", "d/a"])[0];
    assert_eq!(known["kept"].as_array().map(Vec::len), Some(0), "{known}");
    assert_eq!(known["elsewhere"][0]["sites"][0]["name"], "tokyo", "{known}");
    // Who has it is said before anything is done.
    let dry = berlin.json(&["restore", "docs", "d", "--at", &then, "--dry-run"]);
    let item = dry.iter().find(|item| item["path"] == "d/a").expect("listed");
    assert_eq!((&item["action"], &item["sites"][0]["name"]), (&"restore".into(), &"tokyo".into()));
    assert!(!berlin.tree("d").exists());
    let to = berlin.dir.path().join("out");
    let aside = ["restore", "docs", "d", "--at", &then, "--to", to.to_str().expect("text")];
    // To another place too what only tokyo has comes.
    berlin.text(&aside);
    let out = |name: &str| to.join("d").join(name);
    assert_eq!(fs::read_to_string(out("a")).expect("written"), "one");
    assert_eq!(fs::read_link(out("link")).expect("a link").to_str(), Some("a"));
    assert!(!berlin.tree("d").exists(), "the folder is left alone");
    // A paused site gives what it has.
    tokyo.text(&["folder", "pause", "docs"]);
    let told = berlin.text(&["restore", "docs", "d", "--at", &then]);
    assert!(told.contains("restore  d/a  file, 3 B") && told.contains("from tokyo"), "{told}");
    tokyo.text(&["folder", "resume", "docs"]);
    berlin.until(&tokyo, "it is restored", || {
        [&berlin, &tokyo].iter().all(|site| site.holds("d/a", "one"))
    });
    assert_eq!(fs::read_link(tokyo.tree("d/link")).expect("a link").to_str(), Some("a"));
    // What is unknown is no success.
    let unknown = berlin.farhaul(&["restore", "docs", "d/aa", "--at", &then]);
    assert_eq!(unknown.status.code(), Some(2));
    let told = String::from_utf8(unknown.stderr).expect("text");
    assert!(told.contains("d/aa") && told.contains("`a`"), "{told}");
}

#[test]
fn a_version_that_nobody_has_is_given_up_when_somebody_says_so_and_not_before() {
    let (berlin, tokyo) = pair();
    fs::write(berlin.tree("stands"), "old").expect("written");
    berlin.until(&tokyo, "a file arrives", || tokyo.holds("stands", "old"));
    // Tokyo takes note of versions, and brings none.
    let large = vec![b'x'; 1 << 20];
    tokyo.text(&["folder", "pause", "docs"]);
    fs::write(berlin.tree("new"), &large).expect("written");
    fs::write(berlin.tree("stands"), "newer").expect("written");
    let heard = |site: &Site, at: &str| site.json(&["why", "docs", at])[0]["task"] == "place";
    berlin.until(&tokyo, "it is heard of", || heard(&tokyo, "new") && heard(&tokyo, "stands"));
    // Somebody has them: nothing is given up.
    let dry = tokyo.json(&["folder", "forget", "docs", "--dry-run"]);
    let fates: Vec<&str> = dry.iter().filter_map(|item| item["fate"].as_str()).collect();
    assert_eq!(fates, ["comes", "comes"], "{dry:?}");
    // What was never given to anybody is gone from the only disk that had it.
    berlin.text(&["folder", "pause", "docs"]);
    for name in ["new", "stands"] {
        fs::remove_file(berlin.tree(name)).expect("there");
    }
    tokyo.text(&["folder", "resume", "docs"]);
    // Who does not answer may have it.
    let pid = Pid::from_child(&berlin.child);
    kill_process(pid, Signal::STOP).expect("it runs");
    // Its threads stop one after the other, and what one of them had under way still goes out.
    std::thread::sleep(Duration::from_secs(1));
    let waits = tokyo.farhaul(&["folder", "forget", "docs"]);
    kill_process(pid, Signal::CONT).expect("it is there");
    let told = String::from_utf8_lossy(&waits.stdout).into_owned();
    assert_eq!(waits.status.code(), Some(1), "{told}");
    assert!(told.contains("wait  new  file, 1.0 MiB") && told.contains("berlin"), "{told}");
    let mut told = String::new();
    berlin.until(&tokyo, "each lacks them", || {
        told = tokyo.text(&["folder", "forget", "docs", "--dry-run"]);
        told.contains("2 would be forgotten, 0 waited for")
    });
    assert!(told.contains("forget  new  ") && told.contains("forget  stands  "), "{told}");
    assert!(heard(&tokyo, "new"), "a dry run changes nothing");
    tokyo.text(&["folder", "forget", "docs"]);
    assert_eq!(tokyo.json(&["why", "docs", "new"])[0]["task"], Value::Null);
    assert_eq!(tokyo.code(&["folder", "forget", "docs", "new"]), Some(2), "nothing waits there");
    berlin.text(&["folder", "resume", "docs"]);
    berlin.until(&tokyo, "what stood stands again", || {
        [&berlin, &tokyo]
            .iter()
            .all(|site| site.holds("stands", "old") && !site.tree("new").exists())
    });
}

fn now() -> String {
    let output = Command::new("date").args(["-u", "+%Y-%m-%dT%H:%M:%SZ"]).output();
    String::from_utf8(output.expect("date").stdout).expect("text").trim().to_owned()
}

#[test]
fn a_conflict_ends_at_both_sites_with_the_side_that_was_kept() {
    let (berlin, tokyo) = pair();
    for keep in ["keep", "drop"] {
        let name = format!("report-{keep}.txt");
        for (site, other) in [(&berlin, &tokyo), (&tokyo, &berlin)] {
            site.text(&["folder", "pause", "docs"]);
            let _ = other;
        }
        fs::write(berlin.tree(&name), "from berlin").expect("written");
        fs::write(tokyo.tree(&name), "from tokyo, longer").expect("written");
        for site in [&berlin, &tokyo] {
            site.text(&["folder", "resume", "docs"]);
        }
        let mut conflict = Value::Null;
        berlin.until(&tokyo, "a conflict", || {
            let found = tokyo.json(&["conflict", "list", "docs"]);
            let is_there = |site: &Site, copy: &Value| {
                copy.as_str().is_some_and(|copy| site.tree(copy).exists())
            };
            let both = |copy: &Value| is_there(&berlin, copy) && is_there(&tokyo, copy);
            conflict = found.into_iter().find(|found| both(&found["copy"])).unwrap_or_default();
            !conflict.is_null()
        });
        let copy = conflict["copy"].as_str().expect("a path").to_owned();
        let [copied, shown] =
            [&copy, &name].map(|at| fs::read_to_string(tokyo.tree(at)).expect("there"));
        tokyo.text(&["conflict", keep, "docs", &copy]);
        let stays = if keep == "keep" { copied } else { shown };
        berlin.until(&tokyo, "it ends", || {
            [&berlin, &tokyo]
                .iter()
                .all(|site| site.holds(&name, &stays) && !site.tree(&copy).exists())
        });
        assert!(tokyo.json(&["conflict", "list", "docs"]).is_empty());
    }
}

#[test]
fn events_are_followed_and_gone_on_with() {
    let (berlin, tokyo) = pair();
    fs::write(berlin.tree("a"), "one").expect("written");
    berlin.until(&tokyo, "a file arrives", || tokyo.holds("a", "one"));
    let placed =
        |events: &[Value]| events.iter().any(|e| e["kind"] == "placed" && e["path"] == "a");
    let mut events = Vec::new();
    berlin.until(&tokyo, "it is told", || {
        events = tokyo.json(&["events", "--since", "start", "--once"]);
        placed(&events)
    });
    assert_eq!(events[0]["kind"], "started", "{:?}", events[0]);
    let last = events.last().and_then(|event| event["id"].as_str()).expect("an id").to_owned();
    fs::write(berlin.tree("b"), "two").expect("written");
    berlin.until(&tokyo, "another arrives", || tokyo.holds("b", "two"));
    let more = tokyo.json(&["events", "--since", &last, "--once"]);
    assert!(!placed(&more), "nothing is told twice");
    let gap = &tokyo.json(&["events", "--since", "0-99", "--once"])[0];
    assert!(gap["next"].is_string() && gap["missed"].is_null(), "{gap}");
}

#[test]
fn a_configuration_is_taken_up_while_the_site_runs() {
    let (mut berlin, tokyo) = pair();
    let text = fs::read_to_string(berlin.config()).expect("there");
    let hangup = |site: &Site| {
        kill_process(Pid::from_child(&site.child), Signal::HUP).expect("it runs");
    };
    // A fault changes nothing.
    fs::write(berlin.config(), text.replace("peers = [\"tokyo\"]", "peers = [\"nobody\"]"))
        .expect("written");
    hangup(&berlin);
    assert!(berlin.line_with("goes on as it was configured").contains("nobody"));
    let more = berlin.dir.path().join("more");
    fs::create_dir(&more).expect("made");
    let new = format!("{text}[[folder]]\nid = \"more\"\npath = {more:?}\npeers = [\"tokyo\"]\n");
    fs::write(berlin.config(), new.replace("32 MiB", "64 MiB")).expect("written");
    hangup(&berlin);
    let buffers = berlin.line_with("buffers of the site");
    assert!(buffers.contains("holds after the next start"), "{buffers}");
    assert!(berlin.line_with("folder more, which is new").contains("holds at once"));
    berlin.line_with("the configuration was read again");
    let folders = &berlin.json(&["folder", "list"])[0];
    assert_eq!(folders.as_array().map(Vec::len), Some(2), "{folders}");
    // A folder that is gone is left, and the other goes on.
    fs::write(berlin.config(), &text).expect("written");
    hangup(&berlin);
    berlin.line_with("the configuration was read again");
    assert_eq!(berlin.code(&["folder", "show", "more"]), Some(2));
    fs::write(berlin.tree("a"), "one").expect("written");
    berlin.until(&tokyo, "a file arrives", || tokyo.holds("a", "one"));
}
