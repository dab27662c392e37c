//! The `farhaul` command as scripts see it, over loopback: exit codes, JSON, omissions, signals.
//!
//! Transfers over links that lose and delay are tested in `netem-tests`.

use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;
use tempfile::TempDir;

const FARHAUL: &str = env!("CARGO_BIN_EXE_farhaul");
/// Nothing here takes a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

/// A directory, a server of its `root`, and a client.
struct Site {
    directory: TempDir,
    server: Child,
    id: String,
    port: String,
}

impl Site {
    fn serve() -> Self {
        Self::serve_at("127.0.0.1:0")
    }

    fn serve_at(listen: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("root")).expect("a fresh directory");
        let client = run(farhaul("id").arg("--home").arg(path("client")));
        let client = String::from_utf8(client.stdout).expect("an id is text");
        let mut command = farhaul("serve");
        command.arg("--root").arg(path("root")).arg("--home").arg(path("server"));
        command.args(["--listen", listen, "--allow", client.trim()]);
        let mut server = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let line = first_line(&mut server);
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["listening", "on", addr, "as", id] = words[..] else { panic!("{line}") };
        let port = addr.rsplit_once(':').expect("ADDR:PORT").1.to_owned();
        Self { id: id.to_owned(), port, server, directory }
    }

    fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a writable directory");
        path
    }

    fn at(&self, path: impl AsRef<OsStr>) -> OsString {
        self.at_host("127.0.0.1", path)
    }

    fn at_host(&self, host: &str, path: impl AsRef<OsStr>) -> OsString {
        let mut target = OsString::from(format!("{}@{host}:{}:", self.id, self.port));
        target.push(path);
        target
    }

    fn command(&self, verb: &str, options: &[&str]) -> Command {
        let mut command = farhaul(verb);
        command.arg("--home").arg(self.path("client")).args(options);
        command
    }

    fn send(&self, options: &[&str], sources: &[&Path], path: &str) -> Output {
        run(self.command("send", options).args(sources).arg(self.at(path)))
    }

    fn get(&self, options: &[&str], path: impl AsRef<OsStr>, dest: &str) -> Output {
        run(self.command("get", options).arg(self.at(path)).arg(self.path(dest)))
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn farhaul(verb: &str) -> Command {
    let mut command = Command::new(FARHAUL);
    command.arg(verb).stdin(Stdio::null());
    command
}

/// Runs a command to its end, with its output captured.
#[track_caller]
fn run(command: &mut Command) -> Output {
    finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"))
}

#[track_caller]
fn finish(child: Child) -> Output {
    let pid = pid_of(&child);
    let (tell, ended) = mpsc::sync_channel(1);
    thread::spawn(move || drop(tell.send(child.wait_with_output())));
    let output = ended.recv_timeout(LIMIT).unwrap_or_else(|_| {
        // Nobody has waited for it yet, so the pid is still its own.
        let _ = kill_process(pid, Signal::KILL);
        panic!("no end within {LIMIT:?}");
    });
    output.expect("its output is readable")
}

fn pid_of(child: &Child) -> Pid {
    i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process has a pid")
}

fn first_line(child: &mut Child) -> String {
    let mut line = String::new();
    let out = child.stdout.as_mut().expect("it was piped");
    // What is read beyond the line is lost; there is none before the test goes on.
    BufReader::new(out).read_line(&mut line).expect("readable");
    line
}

#[track_caller]
fn assert_code(output: &Output, code: i32) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{said}");
    said
}

/// The one JSON object on standard output.
#[track_caller]
fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).expect("one JSON object")
}

/// Asserts an exit code, and that the JSON object tells the same, with advice.
#[track_caller]
fn assert_told(output: &Output, code: i32) -> Value {
    assert_code(output, code);
    let report = json(output);
    assert_eq!(report["error"]["exit_code"], code, "{report}");
    assert!(report["error"]["what"].as_str().is_some_and(|what| !what.is_empty()), "{report}");
    assert!(report["error"]["advice"].as_str().is_some_and(|what| !what.is_empty()), "{report}");
    assert!(report["seconds"].is_number(), "{report}");
    report
}

/// A process with files of at most 256 or 512 KiB stands for one whose disk fails meanwhile: the
/// limit lies beneath what is checked beforehand. Its signal is ignored, so writes fail.
fn on_a_failing_disk(command: &Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 512; exec \"$0\" \"$@\""]);
    limited.arg(command.get_program()).args(command.get_args());
    limited
}

#[test]
fn getting_onto_a_disk_that_fails_is_a_fault_of_this_host() {
    let site = Site::serve();
    fs::write(site.path("root/large"), vec![7; 4 * MIB]).expect("a fresh file");
    let mut command = site.command("get", &["--json"]);
    command.arg(site.at("large")).arg(site.path("back"));
    let output = run(&mut on_a_failing_disk(&command));
    let report = assert_told(&output, 4);
    assert_eq!(report["files_failed"], 1, "{report}");
    assert!(!site.path("back/large").exists());
}

#[test]
fn sending_to_a_disk_that_fails_is_a_failed_transfer() {
    let site = Site::serve();
    let large = site.file("large", &vec![7; 4 * MIB]);
    let mut command = farhaul("serve");
    command.arg("--root").arg(site.path("root")).arg("--home").arg(site.path("server"));
    let client = run(farhaul("id").arg("--home").arg(site.path("client")));
    let client = String::from_utf8(client.stdout).expect("an id is text");
    command.args(["--listen", "127.0.0.1:0", "--allow", client.trim()]);
    let mut limited = on_a_failing_disk(&command);
    let mut server = limited.stdout(Stdio::piped()).spawn().expect("it starts");
    let line = first_line(&mut server);
    let port = line.split([':', ' ']).nth(3).expect("a port").to_owned();
    let target = format!("{}@127.0.0.1:{port}:", site.id);
    let output = run(site.command("send", &["--json"]).arg(large).arg(target));
    server.kill().expect("our own child");
    server.wait().expect("our own child");
    assert_told(&output, 1);
}

#[test]
fn sources_that_cannot_be_meant_are_mistakes_of_usage() {
    let site = Site::serve();
    fs::create_dir(site.path("a")).expect("a fresh directory");
    let (one, other) = (site.file("same", b"1"), site.file("a/same", b"2"));
    let pipe = site.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).expect("a fresh name");
    assert_told(&site.send(&["--json"], &[&one, &other], ""), 2);
    assert_told(&site.send(&["--json"], &[&pipe], ""), 2);
    assert_told(&site.send(&["--json", "--policy", "fixed"], &[&one], ""), 2);
    let missing = site.path("no-such");
    assert_told(&site.send(&["--json"], &[&missing], ""), 4);
    assert_eq!(fs::read_dir(site.path("root")).expect("served").count(), 0);
}

#[test]
fn a_transfer_that_is_refused_says_so_in_json_too() {
    let site = Site::serve();
    let report = assert_told(&site.get(&["--json"], "no/such", "back"), 3);
    assert_eq!(report["bytes"], 0, "{report}");
    assert_eq!(report["goodput_bps"], 0, "{report}");
    assert!(!site.path("back").exists(), "nothing was offered");
}

#[test]
fn a_failure_before_anything_began_has_a_time_and_no_rate() {
    let site = Site::serve();
    let report = assert_told(&site.send(&["--json"], &[&site.path("no-such")], ""), 4);
    assert_eq!(report["goodput_bps"], 0, "{report}");
    assert!(report["seconds"].as_f64().expect("a number") > 0.0, "{report}");
}

#[test]
fn a_destination_at_the_peer_that_is_a_file_is_refused_with_words_that_help() {
    let site = Site::serve();
    let source = site.file("file", b"data");
    fs::write(site.path("root/taken"), "other").expect("a fresh file");
    let report = assert_told(&site.send(&["--json"], &[&source], "taken"), 3);
    let error = &report["error"];
    assert!(error["what"].as_str().expect("text").contains("not a directory"), "{report}");
    assert!(error["advice"].as_str().expect("text").contains("name a directory"), "{report}");
    assert_eq!(fs::read(site.path("root/taken")).expect("there"), b"other");
}

#[test]
fn a_place_that_may_not_be_written_to_is_called_so_on_either_side() {
    let site = Site::serve();
    fs::write(site.path("root/large"), vec![7; 2 * MIB]).expect("a fresh file");
    let source = site.file("source", &vec![7; 2 * MIB]);
    for place in ["locked", "root/locked"] {
        fs::create_dir(site.path(place)).expect("a fresh directory");
    }
    for place in ["locked", "root"] {
        let closed = fs::Permissions::from_mode(0o555);
        fs::set_permissions(site.path(place), closed).expect("our own directory");
    }
    if fs::write(site.path("locked/probe"), "").is_ok() {
        skipped(format_args!("this user may write everywhere"));
        return;
    }
    let got = assert_told(&site.get(&["--json"], "large", "locked"), 4);
    let beneath = assert_told(&site.get(&["--json"], "large", "locked/deeper"), 4);
    let sent = assert_told(&site.send(&["--json"], &[&source], ""), 3);
    fs::set_permissions(site.path("root"), fs::Permissions::from_mode(0o755)).expect("ours");
    for report in [got, beneath, sent] {
        let error = &report["error"];
        assert!(error["what"].as_str().expect("text").contains("permission denied"), "{report}");
        let advice = error["advice"].as_str().expect("text");
        assert!(!advice.contains("dmesg") && !advice.contains("logs it"), "{report}");
    }
}

/// Waits until `done`, as long as the child runs.
fn while_running(mut child: Child, done: impl Fn() -> bool) -> Child {
    while !done() {
        if child.try_wait().expect("our own child").is_some() {
            panic!("it ended too soon: {:?}", child.wait_with_output());
        }
        thread::sleep(Duration::from_millis(5));
    }
    child
}

/// Runs a `get` that is still at `large` of `back` when this returns.
fn slow_get(site: &Site) -> Child {
    fs::write(site.path("root/large"), vec![7; 64 * MIB]).expect("a fresh file");
    let mut command = site.command("get", &["--json", "--rate", "50kbit/s"]);
    command.arg(site.at("large")).arg(site.path("back"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let staging = site.path("back/.farhaul/staging");
    while_running(child, || fs::read_dir(&staging).map_or(0, Iterator::count) > 0)
}

/// The rate was the sender's own: all of it had arrived long before.
#[test]
fn a_second_transfer_of_the_same_file_waits_for_the_first_which_obeys_its_rate() {
    let site = Site::serve();
    let first = slow_get(&site);
    let second = site.get(&["--json"], "large", "back");
    kill_process(pid_of(&first), Signal::INT).expect("our own child");
    let report = assert_told(&second, 1);
    let advice = report["error"]["advice"].as_str().expect("text");
    assert!(advice.contains("wait for the other transfer"), "{report}");
    assert_eq!(assert_told(&finish(first), 1)["error"]["what"], "interrupted");
}

#[test]
fn a_mistyped_command_line_is_told_in_json_where_that_was_asked_for() {
    let site = Site::serve();
    let source = site.file("file", b"data");
    for place in ["127.0.0.1:99999:inbox", "127.0.0.1:17411", "::1:inbox"] {
        let mut command = site.command("send", &["--json"]);
        let report = assert_told(&run(command.arg(&source).arg(format!("{}@{place}", site.id))), 2);
        assert_eq!(report["goodput_bps"], 0, "{report}");
    }
    let silent = run(site.command("send", &["--rate", "fast"]).arg(&source).arg(site.at("")));
    assert_code(&silent, 2);
    assert_eq!(silent.stdout, b"");
}

#[test]
fn help_speaks_of_this_command_and_names_the_variable_for_the_log() {
    let said = |words: &[&str]| {
        let output = run(Command::new(FARHAUL).args(words));
        assert_code(&output, 0);
        String::from_utf8(output.stdout).expect("text")
    };
    let help = said(&["--help"]);
    assert!(help.starts_with("Carries files"), "{help}");
    assert!(help.contains("FARHAUL_LOG") && !help.contains("wanem"), "{help}");
    for verb in ["send", "get"] {
        let help = said(&[verb, "--help"]);
        assert!(help.contains("set-user-id") && help.contains("7 days"), "{help}");
    }
}

#[test]
fn a_server_logs_each_transfer_and_what_failed_in_it() {
    let site = Site::serve();
    let log = site.path("log");
    let mut command = farhaul("serve");
    command.arg("--root").arg(site.path("root")).arg("--home").arg(site.path("server"));
    let client = run(farhaul("id").arg("--home").arg(site.path("client")));
    let client = String::from_utf8(client.stdout).expect("an id is text");
    command.args(["--listen", "127.0.0.1:0", "--allow", client.trim()]);
    command.env_remove("FARHAUL_LOG");
    command.stdout(Stdio::piped()).stderr(fs::File::create(&log).expect("a fresh file"));
    let mut server = command.spawn().expect("it starts");
    let line = first_line(&mut server);
    let port = line.split([':', ' ']).nth(3).expect("a port").to_owned();
    fs::create_dir_all(site.path("root/in/taken")).expect("a fresh directory");
    let (good, bad) = (site.file("good", b"data"), site.file("taken", b"data"));
    let target = format!("{}@127.0.0.1:{port}:in", site.id);
    let output = run(site.command("send", &[]).args([&good, &bad]).arg(target));
    kill_process(pid_of(&server), Signal::TERM).expect("our own child");
    server.wait().expect("our own child");
    assert_code(&output, 1);
    let log = fs::read_to_string(&log).expect("its log");
    for word in ["received", "files=1", "failed=1", "1 entry failed: taken", client.trim()] {
        assert!(log.contains(word), "no {word:?} in {log}");
    }
}

#[test]
fn a_destination_that_is_a_file_is_named_with_advice() {
    let site = Site::serve();
    site.file("back", b"in the way");
    let report = assert_told(&site.get(&["--json"], "", "back"), 4);
    assert!(report["error"]["what"].as_str().expect("text").contains("back"), "{report}");
}

/// The figures of a get were those of the receiver's own packets: no symbols, no loss.
#[test]
fn figures_of_a_get_are_those_of_the_data() {
    let site = Site::serve();
    fs::write(site.path("root/large"), vec![7; 8 * MIB]).expect("a fresh file");
    let output = site.get(&["--json", "--compress", "off"], "large", "back");
    assert_code(&output, 0);
    let report = json(&output);
    let wire_bytes = report["wire_bytes_sent"].as_u64().expect("a number");
    assert!(wire_bytes > 8 * MIB as u64, "{report}");
    // Jumbo frames: the loopback carries them.
    assert!(report["symbols_source"].as_u64().expect("a number") >= 943, "{report}");
    assert!(report["rtt_min_ms"].as_f64().expect("a number") > 0.0, "{report}");
    assert!(report["error"].is_null(), "{report}");
}

#[test]
fn what_is_left_out_is_named_in_both_directions() {
    let site = Site::serve();
    for tree in [site.path("tree"), site.path("root/tree")] {
        fs::create_dir(&tree).expect("a fresh directory");
        fs::write(tree.join("file"), "data").expect("a fresh file");
        UnixListener::bind(tree.join("socket")).expect("a fresh name");
    }
    let tree = site.path("tree");
    let sent = site.send(&["--json"], &[&tree], "in");
    let got = site.get(&["--json"], "tree", "back");
    for output in [&sent, &got] {
        assert_code(output, 0);
        let report = json(output);
        assert_eq!(report["left_out_total"], 1, "{report}");
        let named = report["left_out"][0].as_str().expect("text");
        assert!(named.starts_with("tree/socket: "), "{report}");
    }
    let said = assert_code(&site.send(&[], &[&tree], "in"), 0);
    assert!(said.contains("tree/socket: "), "{said}");
    let said = assert_code(&site.get(&[], "tree", "back"), 0);
    assert!(said.contains("tree/socket: "), "{said}");
    assert_eq!(assert_code(&site.send(&["--quiet"], &[&tree], "in"), 0), "");
}

#[test]
fn what_the_source_cannot_read_is_missed_by_who_gets_it() {
    let site = Site::serve();
    let secret = site.path("root/tree/secret");
    fs::create_dir(site.path("root/tree")).expect("a fresh directory");
    fs::write(site.path("root/tree/file"), "data").expect("a fresh file");
    fs::write(&secret, "data").expect("a fresh file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).expect("our own file");
    if fs::File::open(&secret).is_ok() {
        skipped(format_args!("this user may read everything"));
        return;
    }
    let report = assert_told(&site.get(&["--json"], "tree", "back"), 1);
    assert_eq!(report["files_failed"], 1, "{report}");
    assert_eq!(report["failed"][0]["path"], "tree/secret", "{report}");
    assert_eq!(fs::read(site.path("back/tree/file")).expect("arrived"), b"data");
}

#[test]
fn paths_of_any_bytes_can_be_named_and_answered() {
    let site = Site::serve();
    let name = OsStr::from_bytes(b"caf\xe9");
    fs::write(site.path("root").join(name), "data").expect("a fresh file");
    assert_code(&site.get(&[], name, "back"), 0);
    assert_eq!(fs::read(site.path("back").join(name)).expect("arrived"), b"data");
    let source = site.path("back").join(name);
    let output =
        run(site.command("send", &[]).arg(source).arg(site.at(OsStr::from_bytes(b"\xff"))));
    assert_code(&output, 0);
    let arrived = site.path("root").join(OsStr::from_bytes(b"\xff")).join(name);
    assert_eq!(fs::read(arrived).expect("arrived"), b"data");
}

#[test]
fn output_that_nobody_reads_does_not_fail_what_succeeded() {
    let site = Site::serve();
    let source = site.file("file", b"data");
    for option in ["--json", "--rate=auto"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = site.command("send", &[option]);
        command.arg(&source).arg(site.at("")).stdout(writer).stderr(Stdio::piped());
        let output = finish(command.spawn().expect("it starts"));
        let said = assert_code(&output, 0);
        assert!(!said.contains("panicked"), "{said}");
    }
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("there is one");
    let mut command = farhaul("id");
    command.arg("--home").arg(site.path("client")).stdout(full).stderr(Stdio::piped());
    let said = assert_code(&finish(command.spawn().expect("it starts")), 4);
    assert!(said.contains("standard output"), "{said}");
}

#[test]
fn what_is_no_terminal_gets_no_control_codes() {
    let site = Site::serve();
    let source = site.file("file", &vec![7; MIB]);
    let output = site.send(&[], &[&source], "");
    assert_code(&output, 0);
    for byte in output.stderr.iter().chain(&output.stdout) {
        assert!(*byte == b'\n' || !byte.is_ascii_control(), "{output:?}");
    }
}

#[test]
fn an_interrupted_transfer_ends_soon_and_says_how_to_go_on() {
    let site = Site::serve();
    let source = site.file("large", &vec![7; 64 * MIB]);
    let mut command = site.command("send", &["--json", "--rate", "50kbit/s"]);
    command.arg(source).arg(site.at("")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let staged = site.path("root/.farhaul");
    let child = while_running(command.spawn().expect("it starts"), || staged.exists());
    kill_process(pid_of(&child), Signal::INT).expect("our own child");
    let report = assert_told(&finish(child), 1);
    assert_eq!(report["error"]["what"], "interrupted");
    assert!(report["error"]["advice"].as_str().expect("text").contains("continue"), "{report}");
}

#[test]
fn a_port_in_use_is_a_mistake_of_usage() {
    let site = Site::serve();
    let mut command = farhaul("serve");
    command.arg("--root").arg(site.path("root")).arg("--home").arg(site.path("server"));
    let output = run(command.args(["--listen", &format!("127.0.0.1:{}", site.port)]));
    let said = assert_code(&output, 2);
    assert!(said.contains("--listen"), "{said}");
}

#[test]
fn an_ipv6_wildcard_serves_both_families() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        skipped(format_args!("this machine has no IPv6"));
        return;
    }
    let site = Site::serve_at("[::]:0");
    let source = site.file("file", b"data");
    for (host, dest) in [("127.0.0.1", "v4"), ("[::1]", "v6"), ("localhost", "name")] {
        let output = run(site.command("send", &[]).arg(&source).arg(site.at_host(host, dest)));
        assert_code(&output, 0);
        let arrived = site.path("root").join(dest).join("file");
        assert_eq!(fs::read(arrived).expect("arrived"), b"data");
    }
}

/// A demo over a fast link, in a place of its own for temporary files.
fn demo(place: &Path, options: &[&str]) -> Command {
    let mut command = farhaul("demo");
    command.args(["--rtt", "2ms", "--loss", "0%", "--no-tcp"]).args(options);
    command.env("TMPDIR", place).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn assert_empty(place: &Path) {
    let names: Vec<_> = fs::read_dir(place).expect("ours").flatten().collect();
    assert!(names.is_empty(), "{names:?}");
}

/// A link was sent as a link, and compared with itself.
#[test]
fn a_demo_of_a_link_carries_the_file_behind_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (file, link) = (directory.path().join("file"), directory.path().join("link"));
    let place = directory.path().join("tmp");
    fs::create_dir(&place).expect("a fresh directory");
    fs::write(&file, vec![7; MIB]).expect("a fresh file");
    symlink(&file, &link).expect("a fresh name");
    let output = run(demo(&place, &["--json"]).arg(&link));
    assert_code(&output, 0);
    let rows = json(&output);
    assert!(rows["error"].is_null(), "{rows}");
    let rows = &rows["rows"];
    assert!(rows[0]["remark"].as_str().expect("text").contains("byte-exact"), "{rows}");
    let goodput = rows[0]["goodput_bps"].as_u64().expect("a number");
    assert!(goodput > 0, "{rows}");
    assert_empty(&place);
}

#[test]
fn a_demo_over_a_link_that_carries_nothing_is_a_mistake_of_usage() {
    for option in [["--rate", "0Mbit/s"], ["--loss", "100%"]] {
        let said = assert_code(&run(farhaul("demo").args(option)), 2);
        assert!(said.contains(option[0]) && said.contains("at "), "{said}");
    }
}

#[test]
fn a_demo_of_a_directory_is_a_mistake_of_usage() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = run(demo(directory.path(), &[]).arg(directory.path()));
    let said = assert_code(&output, 2);
    assert!(said.contains("no regular file"), "{said}");
    assert_eq!(output.stdout, b"");
}

#[test]
fn a_demo_that_does_not_fit_says_where_and_what_to_do() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let output = run(&mut demo(directory.path(), &["--size", "8000TiB"]));
    let said = assert_code(&output, 4);
    let place = directory.path().to_str().expect("a plain name");
    for word in [place, "TMPDIR", "--size"] {
        assert!(said.contains(word), "no {word:?} in {said}");
    }
    assert_empty(directory.path());
}

#[test]
fn a_demo_that_is_interrupted_leaves_nothing_and_showed_nothing_to_others() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut child = demo(directory.path(), &["--rate", "1Mbit/s"]).spawn().expect("it starts");
    first_line(&mut child);
    let stage = fs::read_dir(directory.path()).expect("ours").flatten().next();
    let stage = stage.expect("it stages its data").metadata().expect("there");
    assert_eq!(stage.permissions().mode() & 0o777, 0o700);
    kill_process(pid_of(&child), Signal::INT).expect("our own child");
    let said = assert_code(&finish(child), 1);
    assert!(said.contains("interrupted"), "{said}");
    assert_empty(directory.path());
}

/// Says so past the harness, which keeps to itself what a test that passes prints.
fn skipped(because: std::fmt::Arguments<'_>) {
    let line = format!("skipped by name: {because}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}

#[path = "cli/tools.rs"]
mod tools;
