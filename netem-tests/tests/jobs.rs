//! Jobs among three whole sites on loopback, ordered by the `farhaul` command. No lab is needed.

use farhaul_netem_tests::require::{binary, binary_of};
use serde_json::Value;
use std::fs::{self, File};
use std::net::UdpSocket;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

mod jobs {
    mod hooks;
    mod times;
}

/// Longer than any machine that is only busy needs.
const PATIENCE: Duration = Duration::from_secs(600);
/// Lines of the log of a site that are printed when a test fails.
const TOLD_LINES: usize = 200;
const NAMES: [&str; 3] = ["berlin", "tokyo", "austin"];

struct Site {
    dir: TempDir,
    child: Option<Child>,
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.tell();
        }
        self.kill();
    }
}

impl Site {
    fn config(&self) -> PathBuf {
        self.dir.path().join("farhauld.toml")
    }

    /// Beneath its export.
    fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join("images").join(path)
    }

    fn start(&mut self) {
        let mut command = Command::new(binary_of("farhauld", "farhauld"));
        let log = File::options().create(true).append(true).open(self.dir.path().join("log"));
        command.arg("--config").arg(self.config()).stdout(Stdio::null());
        command.stderr(log.expect("a file"));
        self.child = Some(command.spawn().expect("it starts"));
        until("it answers", || self.run(&["status"]).status.success());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Prints what it shows and said last: a test fails, and somebody wants to know why.
    fn tell(&self) {
        let shown = self.run(&["job", "list", "--json"]);
        let log = fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        let last = lines[lines.len().saturating_sub(TOLD_LINES)..].join("\n");
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        eprintln!("=== {}:\n{shown}\n{last}", self.config().display());
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(binary("farhaul"));
        command.args(words).arg("--config").arg(self.config());
        command.output().expect("it starts")
    }

    fn order(&self, words: &[&str]) {
        let Output { status, stderr, .. } = self.run(words);
        assert!(status.success(), "{words:?}: {}", String::from_utf8_lossy(&stderr));
    }

    fn show(&self, job: &str) -> Value {
        let Output { status, stdout, stderr } = self.run(&["job", "show", job, "--json"]);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).expect("an object")
    }

    /// A file with a job.
    fn job(&self, name: &str, rest: &str) -> String {
        let path = self.dir.path().join(format!("{name}.toml"));
        fs::write(&path, format!("[job]\nname = \"{name}\"\n{rest}")).expect("written");
        path.to_str().expect("text").to_owned()
    }

    /// Waits until a job is so, in its run of that number.
    fn until(&self, job: &str, run: u64, state: &str) -> Value {
        let began = Instant::now();
        loop {
            let last = self.show(job);
            if last["state"] == state && last["run"] == run {
                return last;
            }
            assert!(began.elapsed() < PATIENCE, "{job} is not {state} in run {run}: {last:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Bytes that nothing makes shorter.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        state.to_be_bytes()[0]
    });
    noise.take(len).collect()
}

/// Berlin may be read by the others, and may write at them.
fn three() -> [Site; 3] {
    let write = "write = [\"berlin\"]";
    three_with(["read = [\"tokyo\", \"austin\"]", write, write])
}

/// With these lines in the exports of each.
fn three_with(grants: [&str; 3]) -> [Site; 3] {
    let dirs = NAMES.map(|_| tempfile::tempdir().expect("a directory"));
    let sockets = NAMES.map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"));
    let ports = sockets.each_ref().map(|socket| socket.local_addr().expect("bound").port());
    drop(sockets);
    let ids = dirs.each_ref().map(|dir| {
        fs::create_dir(dir.path().join("images")).expect("made");
        let mut command = Command::new(binary("farhaul"));
        let told = command.arg("id").arg("--home").arg(dir.path().join("state")).output();
        String::from_utf8(told.expect("it starts").stdout).expect("text").trim().to_owned()
    });
    let mut at = 0;
    dirs.map(|dir| {
        let (state, images) = (dir.path().join("state"), dir.path().join("images"));
        let api = format!("unix:{}", dir.path().join("api").display());
        let mut text = format!(
            "[site]\nname = \"{}\"\nstate = {state:?}\nlisten = \"127.0.0.1:{}\"\napi = \"{api}\"\n\
             buffers = \"32 MiB\"\n",
            NAMES[at], ports[at]
        );
        for other in (0..3).filter(|other| *other != at) {
            text += &format!(
                "[[peer]]\nname = \"{}\"\nid = \"{}\"\naddress = \"127.0.0.1:{}\"\n",
                NAMES[other], ids[other], ports[other]
            );
        }
        let grants = grants[at];
        text += &format!("[[export]]\nname = \"images\"\npath = {images:?}\n{grants}\n");
        at += 1;
        let mut site = Site { dir, child: None };
        fs::write(site.config(), text).expect("written");
        site.start();
        site
    })
}

/// What of a job goes to a peer, as a site says of its links.
fn flow(site: &Site, job: &str, peer: &str) -> Option<Value> {
    let Output { status, stdout, stderr } = site.run(&["links", "--json"]);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let view: Value = serde_json::from_slice(&stdout).expect("an object");
    let sessions = view["links"][0]["over"].as_array().expect("a list").clone();
    let session = sessions.into_iter().find(|session| session["peer"]["name"] == peer)?;
    let flows = session["flows"].as_array().expect("a list").clone();
    flows.into_iter().find(|flow| flow["job"] == job)
}

fn part<'a>(job: &'a Value, site: &str) -> &'a Value {
    let sites = job["sites"].as_array().expect("a list");
    sites.iter().find(|part| part["site"] == site).expect("it takes part")
}

const GOLDEN: &str = "kind = \"distribute\"\nsource = \"berlin:images/golden\"\n\
     targets = [\"tokyo:images/golden\", \"austin:images/in/golden\"]\n";

#[test]
fn a_tree_becomes_visible_at_all_sites_run_by_run_and_back() {
    let [berlin, tokyo, austin] = three();
    fs::create_dir_all(berlin.at("golden/sub")).expect("made");
    fs::write(berlin.at("golden/sub/a"), vec![7; 3 << 20]).expect("written");
    fs::write(berlin.at("golden/b"), "one").expect("written");
    fs::create_dir(tokyo.at("golden")).expect("made");
    fs::write(tokyo.at("golden/mine"), "mine").expect("written");
    let file = berlin.job("golden", &format!("{GOLDEN}activate = \"together\"\n"));
    berlin.order(&["job", "create", &file]);
    let done = berlin.until("golden", 1, "done");
    let live = [tokyo.at("golden"), austin.at("in/golden")];
    for tree in &live {
        assert_eq!(fs::read(tree.join("sub/a")).expect("there"), vec![7; 3 << 20]);
        assert!(!tree.join("mine").exists() && !tree.join(".farhaul").exists());
    }
    let roots = ["tokyo", "austin"].map(|site| part(&done, site)["receipt"]["root"].clone());
    assert!(roots[0].is_string() && roots[0] == roots[1], "{done}");
    assert_eq!(part(&done, "tokyo")["bytes_done"], (3 << 20) + 3);
    // What a run brings is what stood when it began: nothing is seen of a change before.
    fs::write(berlin.at("golden/b"), "two").expect("written");
    fs::remove_file(berlin.at("golden/sub/a")).expect("removed");
    assert_eq!(fs::read_to_string(live[0].join("b")).expect("there"), "one");
    berlin.order(&["job", "run", "golden"]);
    berlin.until("golden", 2, "done");
    for tree in &live {
        assert_eq!(fs::read_to_string(tree.join("b")).expect("there"), "two");
        assert!(!tree.join("sub/a").exists());
    }
    for (order, content) in [("back", "one"), ("forth", "two")] {
        berlin.order(&["job", order, "golden"]);
        until("all went", || {
            live.iter().all(|tree| fs::read_to_string(tree.join("b")).is_ok_and(|b| b == content))
        });
    }
    // Over is over, and what is visible stays.
    berlin.order(&["job", "stop", "golden"]);
    until("tokyo heard", || tokyo.run(&["job", "show", "golden"]).status.code() == Some(2));
    assert_eq!(fs::read_to_string(live[0].join("b")).expect("there"), "two");
    assert_eq!(berlin.run(&["job", "resume", "golden"]).status.code(), Some(1));
    until("its mark is gone", || !berlin.at("golden/.farhaul").exists());
}

#[test]
fn a_job_outlives_kills_of_all_of_its_sites() {
    let [mut berlin, mut tokyo, mut austin] = three();
    fs::create_dir(berlin.at("golden")).expect("made");
    let content: Vec<u8> =
        (0..24_u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(berlin.at("golden/disk"), &content).expect("written");
    let file = berlin.job("golden", GOLDEN);
    berlin.order(&["job", "create", &file]);
    for site in [&mut tokyo, &mut berlin, &mut austin] {
        site.kill();
        std::thread::sleep(Duration::from_millis(300));
        site.start();
    }
    berlin.until("golden", 1, "done");
    for path in [tokyo.at("golden/disk"), austin.at("in/golden/disk")] {
        assert!(fs::read(path).expect("there") == content);
    }
    // A site that was away is served when it returns.
    austin.kill();
    fs::write(berlin.at("golden/more"), "more").expect("written");
    berlin.order(&["job", "run", "golden"]);
    until("tokyo has it", || tokyo.at("golden/more").exists());
    let job = berlin.show("golden");
    assert_ne!(job["state"], "done", "{job}");
    austin.start();
    berlin.until("golden", 2, "done");
    assert!(austin.at("in/golden/more").exists());
    // What changed at the source since is of no run before somebody asks for one.
    fs::write(berlin.at("golden/later"), "later").expect("written");
    berlin.kill();
    berlin.start();
    let job = berlin.until("golden", 2, "done");
    assert_eq!(part(&job, "tokyo")["state"], "done");
    assert!(!tokyo.at("golden/later").exists());
    berlin.order(&["job", "run", "golden"]);
    berlin.until("golden", 3, "done");
    assert!(tokyo.at("golden/later").exists());
    // What was stopped stays so over a restart, and takes no place.
    berlin.order(&["job", "stop", "golden"]);
    until("tokyo heard", || tokyo.run(&["job", "show", "golden"]).status.code() == Some(2));
    berlin.kill();
    berlin.start();
    assert_eq!(berlin.show("golden")["state"], "failed");
    let file = berlin.job("golden", GOLDEN);
    berlin.order(&["job", "create", &file]);
    berlin.until("golden", 1, "done");
}

#[test]
fn a_site_gives_and_takes_only_what_its_own_configuration_lets_it() {
    let [berlin, tokyo, austin] = three();
    fs::write(tokyo.at("secret"), "s").expect("written");
    let file = berlin.job(
        "steal",
        "kind = \"copy\"\nsource = \"tokyo:images/secret\"\ntarget = \"austin:images/secret\"\n",
    );
    berlin.order(&["job", "create", &file]);
    let job = berlin.until("steal", 1, "failed");
    for (site, word) in [("tokyo", "`read`"), ("austin", "`write`")] {
        let reason = part(&job, site)["reason"].as_str().expect("a reason").to_owned();
        assert!(reason.contains(word), "{reason}");
    }
    assert!(!austin.at("secret").exists() && !tokyo.at(".farhaul").exists());
    // What is refused takes no place from anybody.
    fs::write(berlin.at("given"), "given").expect("written");
    let file = berlin.job(
        "give",
        "kind = \"copy\"\nsource = \"berlin:images/given\"\ntarget = \"tokyo:images/secret\"\n",
    );
    berlin.order(&["job", "create", &file]);
    berlin.until("give", 1, "done");
    assert_eq!(fs::read_to_string(tokyo.at("secret")).expect("there"), "given");
    berlin.order(&["job", "back", "give"]);
    until("it is as it was", || fs::read_to_string(tokyo.at("secret")).is_ok_and(|is| is == "s"));
    // What cannot be is refused before anybody hears of it.
    for wrong in [
        "kind = \"copy\"\nsource = \"rome:images/a\"\ntarget = \"austin:images/a\"\n",
        "kind = \"copy\"\nsource = \"berlin:images/../a\"\ntarget = \"austin:images/a\"\n",
        "kind = \"copy\"\nsource = \"berlin:images/a\"\ntarget = \"austin:images\"\n",
        "kind = \"copy\"\nsource = \"berlin:images/a\"\ntarget = \"austin:images/a\"\ncap = \"5\"\n",
        "kind = \"move\"\nsource = \"berlin:images/a\"\ntarget = \"austin:images/a\"\n",
    ] {
        let file = berlin.job("wrong", wrong);
        assert_eq!(berlin.run(&["job", "create", &file]).status.code(), Some(2), "{wrong}");
    }
}

#[test]
fn a_single_file_is_copied_paused_and_edited() {
    let [berlin, tokyo, austin] = three();
    fs::write(berlin.at("one.img"), vec![3; 1 << 20]).expect("written");
    fs::write(berlin.at("other"), "not this").expect("written");
    let to = |targets: &str| {
        format!(
            "kind = \"distribute\"\nsource = \"berlin:images/one.img\"\ntargets = [{targets}]\n"
        )
    };
    let file = berlin.job("one", &to("\"tokyo:images/one.img\""));
    berlin.order(&["job", "create", &file]);
    berlin.until("one", 1, "done");
    assert_eq!(fs::read(tokyo.at("one.img")).expect("there"), vec![3; 1 << 20]);
    assert!(!tokyo.at("other").exists());
    berlin.order(&["job", "pause", "one"]);
    assert_eq!(berlin.show("one")["state"], "paused");
    let file = berlin.job("one", &to("\"tokyo:images/one.img\", \"austin:images/two.img\""));
    berlin.order(&["job", "edit", &file]);
    assert_eq!(berlin.run(&["job", "edit", &file, "--revision", "1"]).status.code(), Some(1));
    std::thread::sleep(Duration::from_secs(1));
    assert!(!austin.at("two.img").exists(), "it is paused");
    berlin.order(&["job", "resume", "one"]);
    berlin.until("one", 1, "done");
    let before = tokyo.at("one.img").metadata().expect("there").ino();
    assert_eq!(fs::read(austin.at("two.img")).expect("there"), vec![3; 1 << 20]);
    assert_eq!(tokyo.at("one.img").metadata().expect("there").ino(), before, "of the same run");
}

#[test]
fn an_image_longer_than_the_disk_comes_where_there_is_room_for_what_is_in_it() {
    const LENGTH: u64 = 1 << 40;
    let [berlin, tokyo, austin] = three();
    let islands = [0, 1 << 39, LENGTH - 65_536];
    let image = File::create(berlin.at("sparse.img")).expect("made");
    image.set_len(LENGTH).expect("its file system takes such files");
    for at in islands {
        image.write_all_at(&[7; 65_536], at).expect("written");
    }
    let file = berlin.job(
        "sparse",
        "kind = \"distribute\"\nsource = \"berlin:images/sparse.img\"\n\
         targets = [\"tokyo:images/sparse.img\", \"austin:images/sparse.img\"]\n",
    );
    until("all are connected", || {
        let planned = berlin.run(&["job", "plan", &file, "--json"]).stdout;
        serde_json::from_slice(&planned).is_ok_and(|plan: Value| plan["is_possible"] == true)
    });
    berlin.order(&["job", "create", &file]);
    berlin.until("sparse", 1, "done");
    for site in [&tokyo, &austin] {
        let came = File::open(site.at("sparse.img")).expect("there");
        let meta = came.metadata().expect("asked");
        assert!(meta.len() == LENGTH && meta.blocks() * 512 < 16 << 20, "{meta:?}");
        for at in islands {
            let mut island = [0; 65_536];
            came.read_exact_at(&mut island, at).expect("read");
            assert!(island == [7; 65_536], "what is at {at}");
        }
    }
}

#[test]
fn what_is_planned_is_done_and_nothing_else() {
    let [berlin, tokyo, austin] = three();
    fs::create_dir(berlin.at("golden")).expect("made");
    fs::write(berlin.at("golden/a"), vec![7; 1 << 20]).expect("written");
    let file = berlin.job("golden", &format!("{GOLDEN}cap = \"8 Mbit/s\"\n"));
    let plan = || -> Value {
        let Output { status, stdout, stderr } = berlin.run(&["job", "plan", &file, "--json"]);
        assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
        serde_json::from_slice(&stdout).expect("an object")
    };
    let id = |plan: &Value| plan["id"].as_str().expect("text").to_owned();
    until("all are connected", || plan()["is_possible"] == true);
    let first = plan();
    let all = |plan: &Value, key: &str, expected: u64| {
        for site in ["tokyo", "austin"] {
            assert_eq!(part(plan, site)[key], expected, "{key} of {plan}");
        }
    };
    all(&first, "files_new", 1);
    all(&first, "bytes_to_come", 1 << 20);
    all(&first, "rate_bps", 8_000_000);
    assert!(part(&first, "tokyo")["expected"].is_string() && first["is_rerun"] == false);
    // Nothing was made anywhere.
    for path in [berlin.at("golden/.farhaul"), tokyo.at(".farhaul"), austin.at(".farhaul")] {
        assert!(!path.exists());
    }
    assert_eq!(berlin.run(&["job", "show", "golden"]).status.code(), Some(2));
    // The source is another one by now.
    fs::write(berlin.at("golden/b"), "more").expect("written");
    let late = berlin.run(&["job", "apply", &id(&first)]);
    let why = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(!late.status.success() && why.contains("berlin: what stands there"), "{why}");
    assert_eq!(berlin.run(&["job", "show", "golden"]).status.code(), Some(2));
    berlin.order(&["job", "apply", &id(&plan())]);
    berlin.until("golden", 1, "done");
    assert_eq!(fs::read_to_string(tokyo.at("golden/b")).expect("there"), "more");
    // Of the next run what is there is known.
    fs::write(berlin.at("golden/b"), "other").expect("written");
    fs::write(berlin.at("golden/c"), "new").expect("written");
    let next = plan();
    assert_eq!(next["is_rerun"], true);
    for (key, expected) in [("files_new", 1), ("bytes_new", 3), ("files_changed", 1)] {
        all(&next, key, expected);
    }
    all(&next, "bytes_to_come", 8);
    all(&next, "bytes_reused", 1 << 20);
    berlin.order(&["job", "apply", &id(&next)]);
    berlin.until("golden", 2, "done");
    assert_eq!(fs::read_to_string(austin.at("in/golden/c")).expect("there"), "new");
    assert!(!berlin.run(&["job", "apply", &id(&next)]).status.success(), "it was done");
    // Who may not says so, and nothing is applied.
    let file = berlin.job(
        "steal",
        "kind = \"copy\"\nsource = \"tokyo:images/golden\"\ntarget = \"austin:images/x\"\n",
    );
    let Output { stdout, .. } = berlin.run(&["job", "plan", &file, "--json"]);
    let stolen: Value = serde_json::from_slice(&stdout).expect("an object");
    assert_eq!(stolen["is_possible"], false);
    let refused = part(&stolen, "tokyo")["refused"].as_str().expect("a reason");
    assert!(refused.contains("`read`"), "{refused}");
    assert!(!berlin.run(&["job", "apply", &id(&stolen)]).status.success());
}

#[test]
fn receipts_outlive_their_leader_and_who_was_away_hears_what_is_over() {
    let [mut berlin, mut tokyo, mut austin] = three();
    fs::create_dir(berlin.at("golden")).expect("made");
    fs::write(berlin.at("golden/a"), "a").expect("written");
    let file = berlin.job("golden", GOLDEN);
    berlin.order(&["job", "create", &file]);
    let before = berlin.until("golden", 1, "done");
    for site in [&mut tokyo, &mut austin, &mut berlin] {
        site.kill();
    }
    berlin.start();
    let job = berlin.show("golden");
    assert_eq!(job["state"], "done", "{job}");
    for site in ["tokyo", "austin"] {
        let receipt = &part(&job, site)["receipt"];
        assert!(receipt.is_object() && *receipt == part(&before, site)["receipt"], "{job}");
    }
    // One has no part in it any more, then there is another job of the name, and nobody has heard.
    let one = "kind = \"distribute\"\nsource = \"berlin:images/golden\"\n\
               targets = [\"austin:images/in/golden\"]\n";
    let file = berlin.job("golden", one);
    berlin.order(&["job", "edit", &file]);
    berlin.order(&["job", "stop", "golden"]);
    berlin.kill();
    berlin.start();
    berlin.order(&["job", "create", &file]);
    berlin.kill();
    berlin.start();
    tokyo.start();
    until("tokyo heard", || tokyo.run(&["job", "show", "golden"]).status.code() == Some(2));
    assert_eq!(fs::read_to_string(tokyo.at("golden/a")).expect("there"), "a");
    austin.start();
    berlin.until("golden", 1, "done");
    let Output { stdout, .. } = austin.run(&["job", "list", "--json"]);
    let jobs: Value = serde_json::from_slice(&stdout).expect("a list");
    assert_eq!(jobs.as_array().map(Vec::len), Some(1), "{jobs}");
}

#[test]
fn trees_of_many_sites_come_to_one_each_beneath_its_name() {
    let read = "read = [\"berlin\"]";
    let [berlin, tokyo, austin] = three_with(["write = [\"tokyo\", \"austin\"]", read, read]);
    for (site, content) in [(&tokyo, "t"), (&austin, "a")] {
        fs::create_dir(site.at("logs")).expect("made");
        fs::write(site.at("logs/app"), content).expect("written");
    }
    let file = berlin.job(
        "logs",
        "kind = \"consolidate\"\nsources = [\"tokyo:images/logs\", \"austin:images/logs\"]\n\
         target = \"berlin:images/all\"\n",
    );
    berlin.order(&["job", "create", &file]);
    let job = berlin.until("logs", 1, "done");
    let read = |path: &str| fs::read_to_string(berlin.at(path)).expect("there");
    assert_eq!((read("all/tokyo/app"), read("all/austin/app")), ("t".to_owned(), "a".to_owned()));
    let sites = job["sites"].as_array().expect("a list");
    let signed =
        |from: &str| sites.iter().any(|part| part["from"] == from && part["receipt"]["run"] == 1);
    assert!(signed("tokyo") && signed("austin"), "a receipt for each source: {job}");
    // What one of them changes says nothing of the other.
    fs::write(tokyo.at("logs/app"), "t2").expect("written");
    fs::remove_file(austin.at("logs/app")).expect("removed");
    fs::write(austin.at("logs/other"), "o").expect("written");
    berlin.order(&["job", "run", "logs"]);
    berlin.until("logs", 2, "done");
    assert_eq!(
        (read("all/tokyo/app"), read("all/austin/other")),
        ("t2".to_owned(), "o".to_owned())
    );
    assert!(!berlin.at("all/austin/app").exists());
}

#[test]
fn a_third_site_has_two_others_copy_if_both_let_it() {
    let [berlin, tokyo, austin] =
        three_with(["", "read = [\"austin\", \"berlin\"]", "write = [\"tokyo\", \"berlin\"]"]);
    fs::create_dir(tokyo.at("golden")).expect("made");
    fs::write(tokyo.at("golden/a"), vec![5; 2 << 20]).expect("written");
    let file = berlin.job(
        "between",
        "kind = \"copy\"\nsource = \"tokyo:images/golden\"\ntarget = \"austin:images/golden\"\n",
    );
    berlin.order(&["job", "create", &file]);
    let job = berlin.until("between", 1, "done");
    assert_eq!(fs::read(austin.at("golden/a")).expect("there"), vec![5; 2 << 20]);
    assert_eq!(part(&job, "austin")["receipt"]["bytes"], 2 << 20);
    assert_eq!(part(&job, "austin")["from"], "tokyo");
    assert!(!berlin.at(".farhaul").exists(), "nothing of it comes by the leader");
}

/// What comes at 100 kbit/s takes minutes, so that there is time to look.
///
/// spec: S-208, S-209
#[test]
fn class_weight_cap_calendar_and_pause_of_a_job_hold_while_it_sends() {
    let [mut berlin, tokyo, austin] = three();
    let mut text = fs::read_to_string(berlin.config()).expect("there");
    text += "[[calendar]]\nname = \"never\"\nzone = \"UTC\"\notherwise = \"pause\"\n\
             [[link]]\nname = \"wan\"\nup = \"80 Mbit/s\"\n";
    fs::write(berlin.config(), text).expect("written");
    berlin.kill();
    berlin.start();
    let noise = noise(4 << 20);
    fs::write(berlin.at("one.img"), &noise).expect("written");
    let to = "kind = \"distribute\"\nsource = \"berlin:images/one.img\"\n\
              targets = [\"tokyo:images/one.img\"]\n";
    let job = |rest: &str| berlin.job("one", &format!("{to}{rest}"));
    // Of a calendar that is not there nobody could say when it holds.
    let unknown = berlin.run(&["job", "create", &job("calendar = \"gone\"\n")]);
    assert_eq!(unknown.status.code(), Some(2));
    let why = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(why.contains("no calendar of that name"), "{why}");
    let file = job("class = \"urgent\"\nweight = 7\ncap = \"100 kbit/s\"\n");
    berlin.order(&["job", "create", &file]);
    let is = |what: &str, wanted: &Value| {
        let flow = flow(&berlin, "one", "tokyo");
        flow.is_some_and(|flow| flow[what] == *wanted)
    };
    until("it goes in a flow of its own", || is("class", &"urgent".into()));
    assert!(is("weight", &7.into()) && is("cap_bps", &100_000.into()));
    until("its cap is what limits it", || is("limited_by", &"cap".into()));
    let told = |wanted: &str| part(&berlin.show("one"), "tokyo")["limited_by"] == wanted;
    until("the leader hears of it", || told("cap"));
    berlin.order(&["job", "edit", &job("class = \"background\"\ncap = \"90 kbit/s\"\n")]);
    until("it is edited", || is("class", &"background".into()) && is("cap_bps", &90_000.into()));
    berlin.order(&["job", "pause", "one"]);
    until("it is paused", || is("limited_by", &"paused".into()));
    berlin.order(&["job", "resume", "one"]);
    until("it goes on", || is("limited_by", &"cap".into()));
    assert!(!tokyo.at("one.img").exists());
    // Tokyo, which may give as well, knows no such calendar.
    berlin.order(&["job", "edit", &job("calendar = \"never\"\n")]);
    until("its calendar is what limits it", || is("limited_by", &"calendar".into()));
    until("who lacks it says so", || {
        let reason = part(&berlin.show("one"), "tokyo")["reason"].clone();
        reason.as_str().is_some_and(|reason| reason.contains("no calendar `never`"))
    });
    berlin.order(&["job", "edit", &job("")]);
    berlin.until("one", 1, "done");
    assert_eq!(fs::read(tokyo.at("one.img")).expect("there"), noise);
    until("its flow has nothing to send", || {
        flow(&berlin, "one", "tokyo").is_none_or(|flow| flow["limited_by"].is_null())
    });
    drop(austin);
}
