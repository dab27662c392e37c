//! The TCP half of `farhaul demo`, seen from the parent: starts `farhaul demo-tcp`, waits for its
//! answer, and makes sure that it is gone afterwards.
//!
//! What the child does is in `demo_tcp`; nothing here touches a namespace or a socket.

pub(super) use crate::farhaul::demo_tcp::NotMeasured;

use crate::farhaul::demo_tcp::{Delivery, Outcome, Request};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::profile::LinkProfile;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// What the child may take beyond the limit: bringing the link up takes some 100 ms of an idle
/// machine.
const GRACE: Duration = Duration::from_millis(4000);
/// How long a killed child may take to end; the kernel takes down its devices meanwhile.
const REAP_MAX: Duration = Duration::from_millis(900);
/// An outcome is one short line.
const OUTCOME_MAX: u64 = 64 << 10;

/// What the kernel's TCP did on the link.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct TcpFigure {
    /// From before the connection to the acknowledgement, or until it was given up.
    pub(super) seconds: f64,
    /// Payload delivered by then.
    pub(super) bytes: u64,
    /// True if everything was delivered and acknowledged.
    pub(super) finished: bool,
    /// Payload delivered per time.
    pub(super) goodput: BitRate,
}

impl From<Delivery> for TcpFigure {
    fn from(delivery: Delivery) -> Self {
        let span = Duration::from_nanos(delivery.nanos);
        Self {
            seconds: span.as_secs_f64(),
            bytes: delivery.size_bytes,
            finished: delivery.finished,
            goodput: Bytes::new(delivery.size_bytes).rate_over(span),
        }
    }
}

/// Transfers `bytes` over the kernel's TCP with `congestion` on a link that is `link` both ways,
/// giving up after `limit`. Blocks for at most 5 s more than that. The calling thread must live
/// meanwhile: the child dies with it.
///
/// # Errors
/// [`NotMeasured`], to be shown to the user as it is.
pub(super) fn measure(
    link: &LinkProfile,
    bytes: Bytes,
    congestion: &str,
    limit: Duration,
) -> Result<TcpFigure, NotMeasured> {
    let request = Request {
        link: link.to_toml().map_err(|error| NotMeasured::Link { cause: error.to_string() })?,
        size_bytes: bytes.get(),
        congestion: congestion.to_owned(),
        limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        parent: std::process::id(),
    };
    let program = std::env::current_exe()
        .map_err(|error| NotMeasured::system("find this program", &error))?;
    let mut command = Command::new(program);
    command.arg("demo-tcp");
    ask(command, &request, limit.saturating_add(GRACE)).map(TcpFigure::from)
}

/// Starts `command`, hands it the request and takes its outcome.
fn ask(
    mut command: Command,
    request: &Request,
    patience: Duration,
) -> Result<Delivery, NotMeasured> {
    let text = serde_json::to_vec(request)
        .map_err(|error| NotMeasured::system("write the request", &error.into()))?;
    // The emulator's remarks on standard error would stand amid the demo's own output.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child =
        command.spawn().map_err(|error| NotMeasured::system("start the process", &error))?;
    if let Some(mut input) = child.stdin.take() {
        // Shorter than a pipe, so this does not block; a child that is gone already says nothing.
        drop(input.write_all(&text));
    }
    let outcome = match child.stdout.take() {
        Some(output) => await_outcome(output, patience),
        None => Err(NotMeasured::Silent),
    };
    end(child);
    match outcome? {
        Outcome::Measured(delivery) => Ok(delivery),
        Outcome::NotMeasured(reason) => Err(reason),
    }
}

fn await_outcome(output: ChildStdout, patience: Duration) -> Result<Outcome, NotMeasured> {
    let (tell, wait) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut line = String::new();
        // What cannot be read is no outcome, as is an empty line.
        drop(BufReader::new(output.take(OUTCOME_MAX)).read_line(&mut line));
        drop(tell.send(line));
    });
    match wait.recv_timeout(patience) {
        Ok(line) => serde_json::from_str(&line).map_err(|_| NotMeasured::Silent),
        Err(RecvTimeoutError::Timeout) => Err(NotMeasured::Late),
        Err(RecvTimeoutError::Disconnected) => Err(NotMeasured::Silent),
    }
}

/// Kills the child with all it made and waits until it is gone, but not for ever.
fn end(mut child: Child) {
    // It may have ended by itself.
    drop(child.kill());
    let (tell, wait) = mpsc::sync_channel(1);
    thread::spawn(move || {
        drop(child.wait());
        let _ = tell.send(());
    });
    let _ = wait.recv_timeout(REAP_MAX);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    fn request() -> Request {
        Request {
            link: String::new(),
            size_bytes: 8,
            congestion: "bbr".to_owned(),
            limit_ms: 0,
            parent: std::process::id(),
        }
    }

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn the_child_gets_the_request_and_its_answer_is_the_figure() {
        let script = r#"
            grep -q '"congestion":"bbr"' || exit 1
            echo '{"measured":{"nanos":2000000000,"size_bytes":1000,"finished":false}}'
        "#;
        let delivery = ask(shell(script), &request(), LONG).expect("an answer");
        let figure = TcpFigure::from(delivery);
        let goodput = BitRate::bps(4000);
        assert_eq!(figure, TcpFigure { seconds: 2.0, bytes: 1000, finished: false, goodput });
    }

    #[test]
    fn a_reason_survives_the_way_from_the_child() {
        let reason = NotMeasured::Congestion { name: "bbr".to_owned(), cause: "none".to_owned() };
        let sentence = reason.to_string();
        let line = serde_json::to_string(&Outcome::NotMeasured(reason)).expect("plain text");
        let mut command = shell("cat > /dev/null; printf '%s\\n' \"$LINE\"");
        command.env("LINE", line);
        let error = ask(command, &request(), LONG);
        assert_eq!(error.expect_err("no figure").to_string(), sentence);
    }

    #[test]
    fn a_child_that_says_nothing_or_nonsense_is_told_from_one_that_hangs() {
        for script in ["exit 3", "echo nonsense", "echo '{}'"] {
            let error = ask(shell(script), &request(), LONG).expect_err("no figure");
            assert!(matches!(error, NotMeasured::Silent), "{script}: {error}");
        }
        let hanging = ask(shell("exec tail -f /dev/null"), &request(), Duration::ZERO);
        assert!(matches!(hanging.expect_err("no figure"), NotMeasured::Late));
    }

    #[test]
    fn a_program_that_is_not_there_is_a_reason_too() {
        let error = ask(Command::new("/nowhere/farhaul"), &request(), LONG);
        assert!(matches!(error.expect_err("no figure"), NotMeasured::System { .. }));
    }
}
