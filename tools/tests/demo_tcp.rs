//! The hidden verb `farhaul demo-tcp`, as a process: transfers over an emulated link, limits, and
//! what is left when its parent goes. Where the system permits no lab the tests say so by name.

use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Output, Stdio};

const FARHAUL: &str = env!("CARGO_BIN_EXE_farhaul");
const RATE_BPS: f64 = 50e6;
/// 50 Mbit/s and 40 ms there and back, no loss.
const LINK: &str = "rate = \"50Mbit/s\"\ndelay = \"20ms\"\n";
const MIB: u64 = 1 << 20;

fn request(size_bytes: u64, congestion: &str, limit_ms: u64) -> Value {
    json!({
        "link": LINK,
        "size_bytes": size_bytes,
        "congestion": congestion,
        "limit_ms": limit_ms,
        "parent": std::process::id(),
    })
}

fn run(request: &str) -> Output {
    let mut child = Command::new(FARHAUL)
        .arg("demo-tcp")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program of this build starts");
    let mut input = child.stdin.take().expect("it was piped");
    input.write_all(request.as_bytes()).expect("the child reads its request");
    drop(input);
    child.wait_with_output().expect("the child ends")
}

/// The one line that the verb prints.
fn outcome(request: &Value) -> Value {
    let output = run(&request.to_string());
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).expect("one JSON value")
}

/// What was delivered; `None` where this machine gives no lab, which is printed by name.
fn delivery(request: &Value) -> Option<Value> {
    let mut outcome = outcome(request);
    let reason = &outcome["not_measured"];
    for missing in ["namespaces", "tun", "congestion"] {
        if let Some(details) = reason.get(missing) {
            skipped(format_args!("{missing}: {details}"));
            return None;
        }
    }
    assert!(reason.is_null(), "{reason}");
    Some(outcome["measured"].take())
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("{key} is missing in {value}"))
}

#[test]
fn two_mebibytes_arrive_no_faster_than_the_link() {
    for congestion in ["cubic", "bbr"] {
        let Some(delivery) = delivery(&request(2 * MIB, congestion, 30_000)) else { continue };
        println!("{congestion}: {delivery}");
        assert_eq!(delivery["finished"], true, "{delivery}");
        assert_eq!(delivery["size_bytes"], 2 * MIB);
        let goodput_bps = number(&delivery, "size_bytes") * 8e9 / number(&delivery, "nanos");
        assert!(goodput_bps < RATE_BPS, "{goodput_bps} bit/s did not take the emulated link");
    }
}

#[test]
fn what_does_not_fit_the_limit_is_reported_as_far_as_it_came() {
    let Some(delivery) = delivery(&request(1024 * MIB, "cubic", 300)) else { return };
    assert_eq!(delivery["finished"], false, "{delivery}");
    assert!(number(&delivery, "nanos") >= 300e6, "given up before the limit: {delivery}");
    let delivered = delivery["size_bytes"].as_u64().expect("a number of bytes");
    assert!(delivered < 1024 * MIB, "{delivery}");
}

#[test]
fn nothing_to_send_is_still_acknowledged() {
    let Some(delivery) = delivery(&request(0, "cubic", 30_000)) else { return };
    assert_eq!(delivery["finished"], true, "{delivery}");
    assert_eq!(delivery["size_bytes"], 0);
}

#[test]
fn an_unknown_congestion_control_is_named_in_the_reason() {
    let outcome = outcome(&request(MIB, "none-such", 30_000));
    let reason = &outcome["not_measured"];
    if reason.get("namespaces").or(reason.get("tun")).is_some() {
        skipped(format_args!("{reason}"));
        return;
    }
    assert_eq!(reason["congestion"]["name"], "none-such", "{outcome}");
}

#[test]
fn a_request_that_is_none_is_a_mistake_of_usage() {
    let unknown_key = json!({ "speed": 1 }).to_string();
    let mut bad_link = request(1, "cubic", 1);
    bad_link["link"] = "rate = 5".into();
    for bad in ["", "{", &unknown_key, &bad_link.to_string()] {
        let output = run(bad);
        assert_eq!(output.status.code(), Some(2), "{bad:?} was accepted");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_request_of_somebody_else_is_not_carried_out() {
    let mut request = request(MIB, "cubic", 30_000);
    // The first process is never the parent of this one's child.
    request["parent"] = 1.into();
    let outcome = outcome(&request);
    assert!(outcome["measured"].is_null(), "{outcome}");
}

/// Waits until the process `pid` transfers, or is gone: the emulator has two threads, each end one.
fn await_threads(pid: &str) {
    while fs::read_dir(format!("/proc/{pid}/task")).is_ok_and(|tasks| tasks.count() < 5) {
        std::thread::yield_now();
    }
}

/// The shell stands for a demo that is killed. Its child would take an hour; standard output stays
/// open as long as that lives, so reading it to its end waits for exactly that.
#[test]
fn the_child_dies_with_its_parent() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("request");
    let mut request = request(1 << 50, "cubic", 3_600_000);
    request["parent"] = Value::Null;
    fs::write(&path, request.to_string()).expect("written");
    let script = r#"
        sed "s/\"parent\":null/\"parent\":$$/" "$1" > "$1.own"
        "$0" demo-tcp < "$1.own" &
        echo $!
        wait
    "#;
    let mut shell = Command::new("sh")
        .args(["-c", script, FARHAUL])
        .arg(&path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut output = BufReader::new(shell.stdout.take().expect("it was piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("the shell names its child");
    await_threads(line.trim());
    shell.kill().expect("it waits for its child");
    shell.wait().expect("it was killed");
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("readable to the end");
    assert!(!rest.contains("\"measured\""), "the child went on: {rest}");
}

/// Says so past the harness, which keeps to itself what a test that passes prints.
fn skipped(because: std::fmt::Arguments<'_>) {
    let line = format!("skipped by name: {because}\n");
    std::io::stderr().write_all(line.as_bytes()).expect("standard error");
}
