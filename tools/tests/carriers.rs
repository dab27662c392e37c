//! The options about carriers as scripts see them, over loopback.
//!
//! Transfers where UDP is blocked are tested in `netem-tests`.

use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

/// A directory, a server of its `root`, and a client.
struct Site {
    directory: TempDir,
    server: Child,
    /// ID@HOST:PORT
    target: String,
    /// What the server said on standard output.
    said: BufReader<std::process::ChildStdout>,
}

impl Site {
    fn serve(listen: &str, options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = |name: &str| directory.path().join(name);
        fs::create_dir(path("root")).expect("a fresh directory");
        let client = farhaul("id").arg("--home").arg(path("client")).output().expect("it runs");
        let client = String::from_utf8(client.stdout).expect("an id is text");
        let mut command = farhaul("serve");
        command.arg("--root").arg(path("root")).arg("--home").arg(path("server"));
        command.args(["--listen", listen, "--allow", client.trim()]).args(options);
        let mut server = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let mut said = BufReader::new(server.stdout.take().expect("piped"));
        let mut line = String::new();
        said.read_line(&mut line).expect("it serves");
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["listening", "on", addr, "as", id] = words[..] else { panic!("{line}") };
        let target = format!("{id}@{addr}");
        Self { directory, server, target, said }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn send(&self, options: &[&str]) -> Output {
        fs::write(self.path("file"), "data").expect("writable");
        let mut command = farhaul("send");
        command.args(["--json", "--home"]).arg(self.path("client")).args(options);
        command.arg(self.path("file")).arg(format!("{}:in", self.target));
        command.output().expect("it runs")
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn farhaul(verb: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_farhaul"));
    command.arg(verb).env_remove("FARHAUL_LOG").stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

#[track_caller]
fn told(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error} in {said:?}"))
}

#[track_caller]
fn assert_carried(output: &Output, carrier: &str, reason: &str) {
    let json = told(output);
    assert_eq!(output.status.code(), Some(0), "{json}");
    assert_eq!((&json["carrier"], &json["carrier_reason"]), (&carrier.into(), &reason.into()));
}

#[test]
fn a_server_takes_tcp_at_another_port_and_says_which() {
    let mut site = Site::serve("127.0.0.1:0", &["--tcp", "off"]);
    assert_carried(&site.send(&[]), "udp", "UDP answers");
    let refused = site.send(&["--carrier", "tcp"]);
    let json = told(&refused);
    assert_eq!(refused.status.code(), Some(1), "{json}");
    assert!(json["error"]["advice"].as_str().unwrap().contains("--tcp"), "{json}");
    assert!(json["carrier"].is_null(), "{json}");
    // A port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    site = Site::serve("127.0.0.1:0", &["--tcp", &free]);
    let mut line = String::new();
    site.said.read_line(&mut line).expect("it serves");
    assert_eq!(line.trim(), format!("listening on 127.0.0.1:{free} for TCP"));
    let over_tcp = site.send(&["--carrier", "tcp", "--tcp-port", &free]);
    assert_carried(&over_tcp, "tcp", "asked for by --carrier");
    assert_carried(&site.send(&["--carrier", "udp"]), "udp", "asked for by --carrier");
}

/// Whoever has TCP port 443 or the like need not give it up: UDP works without.
#[test]
fn a_tcp_port_in_use_is_a_mistake_where_it_was_asked_for_and_a_warning_where_not() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let site = Site::serve(&format!("127.0.0.1:{port}"), &[]);
    assert_carried(&site.send(&[]), "udp", "UDP answers");
    let mut command = farhaul("serve");
    command.arg("--root").arg(site.path("root")).arg("--home").arg(site.path("server"));
    command.args(["--listen", "127.0.0.1:0", "--tcp", &port]);
    let refused = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("--tcp off"), "{said}");
}

#[test]
fn ports_and_carriers_that_cannot_be_are_mistakes_of_usage() {
    for words in [
        &["serve", "--root", "/", "--tcp", "0"][..],
        &["serve", "--root", "/", "--tcp", "on"],
        &["send", "--carrier", "sctp", "a", "b"],
        &["get", "--tcp-port", "0", "a", "b"],
    ] {
        let output = farhaul(words[0]).args(&words[1..]).output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
}
