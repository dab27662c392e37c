//! What explains a transfer: records, pictures, measurements of the path, findings about the host.

use super::{MIB, Site, Stdio, assert_code, farhaul, json, run};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The lines of a record, as JSON.
fn lines(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).expect("a record");
    assert!(text.ends_with('\n'), "it ends within a line");
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn sum(lines: &[Value], field: &str) -> u64 {
    lines.iter().filter_map(|line| line["sample"][field].as_u64()).sum()
}

/// Bytes that do not pack.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

/// The only file of a directory, once it has one.
fn only_file(directory: &Path) -> std::path::PathBuf {
    let mut files = fs::read_dir(directory).expect("a directory");
    files.next().expect("one file").expect("readable").path()
}

#[test]
fn a_transfer_can_be_recorded_at_both_ends_and_drawn() {
    let site = Site::serve();
    let large = site.file("large", &noise(8 * MIB));
    let flight = site.path("flight.jsonl");
    let options = ["--json", "--record", flight.to_str().expect("a plain path")];
    let output = run(site.command("send", &options).arg(large).arg(site.at("")));
    assert_code(&output, 0);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(!complaints.contains("record"), "a whole record is complained about: {complaints}");
    let sent = lines(&flight);
    assert_eq!(sent[0]["farhaul_flight"], 2);
    assert_eq!((&sent[0]["role"], &sent[0]["peer"]), (&"sender".into(), &site.id.as_str().into()));
    assert!(sum(&sent, "sent") >= 8 * MIB as u64, "{}", sum(&sent, "sent"));
    assert!(sent.iter().any(|line| line["event"]["what"]["ended"]["why"] == "done"));
    let report = json(&output);
    let limited = report["limited_seconds"].as_object().expect("seconds by limit");
    assert!(limited.values().any(|seconds| seconds.as_f64() > Some(0.0)), "{report}");

    let got = site.path("got.jsonl");
    let options = ["--record", got.to_str().expect("a plain path")];
    assert_code(&site.get(&options, "large", "back"), 0);
    let got = lines(&got);
    assert_eq!(got[0]["role"], "receiver");
    assert!(sum(&got, "arrived") >= 8 * MIB as u64, "{}", sum(&got, "arrived"));

    let drawn = run(farhaul("plot").arg(&flight));
    assert_code(&drawn, 0);
    let picture = fs::read_to_string(site.path("flight.jsonl.svg")).expect("a picture");
    assert!(picture.starts_with("<svg ") && picture.contains("Limited by"), "{picture}");
    let printed = run(farhaul("plot").arg(&flight).args(["-o", "-"]));
    assert_eq!(String::from_utf8_lossy(&printed.stdout), picture);
}

#[test]
fn a_server_records_each_session_into_a_file_of_its_own() {
    let mut site = Site::serve();
    let records = site.path("records");
    // The same server again, with one option more.
    site.server.kill().expect("our own child");
    site.server.wait().expect("our own child");
    let client = run(farhaul("id").arg("--home").arg(site.path("client")));
    let client = String::from_utf8(client.stdout).expect("an id is text");
    let mut command = farhaul("serve");
    command.arg("--root").arg(site.path("root")).arg("--home").arg(site.path("server"));
    command.args(["--listen", "127.0.0.1:0", "--allow", client.trim(), "--record-dir"]);
    command.arg(&records);
    site.server = command.stdout(Stdio::piped()).spawn().expect("it starts");
    let line = super::first_line(&mut site.server);
    site.port = line.split([':', ' ']).nth(3).expect("a port").to_owned();
    let small = site.file("small", b"content");
    assert_code(&site.send(&[], &[&small], ""), 0);
    let record = only_file(&records);
    let first = fs::read_to_string(record).expect("a record");
    let header: Value =
        serde_json::from_str(first.lines().next().expect("a header")).expect("JSON");
    assert_eq!((&header["role"], &header["peer"]), (&"server".into(), &client.trim().into()));
}

#[test]
fn a_foreign_file_is_not_drawn_and_the_line_is_named() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let file = place.path().join("notes.txt");
    fs::write(&file, "hello\n").expect("a writable directory");
    let said = assert_code(&run(farhaul("plot").arg(&file)), 2);
    assert!(said.contains("line 1: no flight record"), "{said}");
    assert!(!place.path().join("notes.txt.svg").exists());
}

#[test]
fn a_record_that_cannot_be_written_fails_before_anything_is_sent() {
    let site = Site::serve();
    let small = site.file("small", b"content");
    let path = site.path("missing/flight");
    let said =
        assert_code(&site.send(&["--record", path.to_str().expect("plain")], &[&small], ""), 4);
    assert!(said.contains("missing/flight"), "{said}");
    assert!(!site.path("root/small").exists());
}

#[test]
fn progress_for_programs_is_one_object_a_line() {
    let site = Site::serve();
    let large = site.file("large", &noise(2 * MIB));
    let options = ["--json-progress", "--rate", "6Mbit/s"];
    let output = run(site.command("send", &options).arg(large).arg(site.at("")));
    assert_code(&output, 0);
    let text = String::from_utf8(output.stdout).expect("JSON is text");
    let lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    let (report, progress) = lines.split_last().expect("a report");
    assert_eq!(report["bytes"], 2 * MIB);
    assert!(!progress.is_empty() && progress.iter().all(|line| line["progress"] == true), "{text}");
    assert!(progress.iter().all(|line| line["limited_by"].is_string()), "{text}");
    assert_eq!(report["limited_by"], "cap", "{text}");
}

#[test]
fn a_least_rate_is_taken_and_one_above_the_rate_is_refused() {
    let site = Site::serve();
    let small = site.file("small", b"data");
    let least = ["--json", "--policy", "low", "--rate-min", "20Mbit/s", "--rate"];
    for (rate, code) in [("20Mbit/s", 0), ("auto", 0), ("10Mbit/s", 2)] {
        let mut command = site.command("send", &least);
        let output = run(command.arg(rate).arg(&small).arg(site.at(rate.trim_end_matches("/s"))));
        let said = assert_code(&output, code);
        assert_eq!(said.contains("--rate-min"), code == 2, "{said}");
        assert_eq!(said.contains("20.0 Mbit/s"), code == 2, "{said}");
    }
    let nothing = run(site.command("send", &["--rate-min", "auto"]).arg(&small).arg(site.at("")));
    assert_code(&nothing, 2);
}

#[test]
fn a_path_is_measured_both_ways_and_nothing_is_written() {
    let site = Site::serve();
    let target = format!("{}@127.0.0.1:{}", site.id, site.port);
    let options = ["--json", "--time", "2s", "--size", "4MiB", "--rate", "50Mbit/s"];
    let output = run(site.command("probe", &options).arg(&target));
    assert_code(&output, 0);
    let report = json(&output);
    for way in ["forward", "reverse"] {
        let way = &report[way];
        assert!(way["rtt_min_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{report}");
        assert_eq!(way["large_packets_pass"], true, "{report}");
        let budget = 4 * MIB as u64 + 50_000;
        assert!(way["wire_bytes"].as_u64().is_some_and(|bytes| bytes <= budget), "{report}");
    }
    assert_eq!(fs::read_dir(site.path("root")).expect("a directory").count(), 0);
    // The server still serves.
    let small = site.file("small", b"content");
    assert_code(&site.send(&[], &[&small], ""), 0);
    let said = assert_code(&run(site.command("probe", &[]).arg(format!("{target}:data"))), 2);
    assert!(said.contains("without a path"), "{said}");
}

#[test]
fn a_probe_of_a_stranger_is_refused() {
    let site = Site::serve();
    let mut stranger = farhaul("probe");
    stranger.arg("--home").arg(site.path("stranger"));
    stranger.arg(format!("{}@127.0.0.1:{}", site.id, site.port));
    assert_code(&run(&mut stranger), 3);
}

#[test]
fn a_doctor_names_each_finding_with_what_mends_it() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let home = place.path().join("home");
    let disk = place.path().join("disk");
    fs::create_dir(&disk).expect("a fresh directory");
    run(farhaul("id").arg("--home").arg(&home));
    let examine = || run(farhaul("doctor").arg("--json").arg("--home").arg(&home).arg(&disk));
    let output = examine();
    let report = json(&output);
    let findings = report["findings"].as_array().expect("findings");
    let named = |check: &str| {
        let found = findings.iter().find(|finding| finding["check"] == check);
        found.unwrap_or_else(|| panic!("no {check} in {report}"))
    };
    for check in ["net.core.rmem_max", "UDP receive buffer", "io_uring", "disk write", "clock"] {
        assert!(named(check)["found"].as_str().is_some_and(|found| !found.is_empty()));
    }
    assert_eq!(named("private key")["level"], "good", "{report}");
    for finding in findings.iter().filter(|f| f["level"] == "slow" || f["level"] == "broken") {
        assert!(finding["why"].as_str().is_some_and(|why| !why.is_empty()), "{finding}");
        assert!(finding["mend"].as_str().is_some_and(|mend| !mend.is_empty()), "{finding}");
    }
    assert_eq!(fs::read_dir(&disk).expect("a directory").count(), 0);
    let key = home.join("identity.key");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&key, open).expect("our own file");
    assert_code(&examine(), 11);
    let text = run(farhaul("doctor").arg("--home").arg(&home).arg(&disk));
    let text = String::from_utf8(text.stdout).expect("text");
    assert!(text.contains("BROKEN  private key") && text.contains("chmod 600"), "{text}");
}
