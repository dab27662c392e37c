//! The control socket of a running lab: one JSON request per connection, one JSON answer.
//!
//! It is reachable only through a directory of mode 0700; requests are still bounded in length and
//! time, so that a stuck client cannot hold the lab.

use super::nat::NatOrder;
use super::profile::Change;
use super::site::Site;
use super::star::profile::StarChange;
use super::star::status::StarStatus;
use super::status::DirectionStatus;
use serde::{Deserialize, Serialize};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

const LINE_MAX: u64 = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Change the link.
    Set(Change),
    /// Make the link what this profile says, as TOML.
    Replace(String),
    /// Change the address translator of a site.
    Nat(Site, NatOrder),
    /// Move a site to another address.
    Readdress(Site, IpAddr),
    /// Change a star.
    Star(StarChange),
    /// Tell what happened so far.
    Status,
    /// Take the lab down.
    Stop,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// Done.
    Done,
    /// The state.
    Status(Box<LabStatus>),
    /// The state of a star.
    Star(Box<StarStatus>),
    /// Not done, and why, for a person.
    Refused(String),
}

/// The state of a lab.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabStatus {
    /// Its name.
    pub name: String,
    /// Seed of all its randomness.
    pub seed: u64,
    /// Seconds since it came up.
    pub up_seconds: f64,
    /// From A to B.
    pub a_to_b: DirectionStatus,
    /// From B to A.
    pub b_to_a: DirectionStatus,
}

/// Why a lab did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens: the lab is not up.
    #[error("the lab is not up")]
    NotUp(#[source] io::Error),
    /// The connection failed.
    #[error("the connection to the lab failed")]
    Io(#[from] io::Error),
    /// The other side does not speak this protocol.
    #[error("unreadable message on the control socket")]
    Malformed(#[from] serde_json::Error),
    /// The lab refused.
    #[error("{0}")]
    Refused(String),
}

/// Asks the lab at `socket`.
///
/// # Errors
/// [`ControlError`]; a refusal is one.
pub fn ask(socket: &Path, request: &Request) -> Result<Answer, ControlError> {
    let mut stream = UnixStream::connect(socket).map_err(ControlError::NotUp)?;
    send_line(&mut stream, request)?;
    match receive_line(&stream)? {
        Answer::Refused(why) => Err(ControlError::Refused(why)),
        answer => Ok(answer),
    }
}

/// Whether the server goes on after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Serve the next one.
    GoOn,
    /// That was the last one.
    Stop,
}

/// Answers requests until `respond` says that one was the last.
///
/// # Errors
/// If the socket itself fails; a broken connection only ends that connection.
pub fn serve(
    listener: &UnixListener,
    mut respond: impl FnMut(Request) -> (Answer, Next),
) -> io::Result<()> {
    loop {
        let (mut stream, _) = listener.accept()?;
        let (answer, next) = match receive_line(&stream) {
            Ok(request) => respond(request),
            Err(error) => (Answer::Refused(error.to_string()), Next::GoOn),
        };
        // A client that went away before its answer changes nothing.
        drop(send_line(&mut stream, &answer));
        if next == Next::Stop {
            return Ok(());
        }
    }
}

fn send_line(stream: &mut UnixStream, message: &impl Serialize) -> Result<(), ControlError> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(stream.write_all(&line)?)
}

fn receive_line<T: for<'de> Deserialize<'de>>(stream: &UnixStream) -> Result<T, ControlError> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut line = String::new();
    BufReader::new(stream.take(LINE_MAX)).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    fn with_server(client: impl FnOnce(&Path)) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let server = thread::spawn(move || {
            serve(&listener, |request| match request {
                Request::Stop => (Answer::Done, Next::Stop),
                Request::Status => (Answer::Refused("nothing runs".to_owned()), Next::GoOn),
                _ => (Answer::Done, Next::GoOn),
            })
        });
        client(&path);
        assert_eq!(ask(&path, &Request::Stop).expect("an answer"), Answer::Done);
        server.join().expect("no panic").expect("no error");
    }

    #[test]
    fn a_refusal_reaches_the_client_as_an_error() {
        with_server(|path| {
            let change = Change { both: "loss = '1%'".parse().expect("TOML"), ..Change::default() };
            assert_eq!(ask(path, &Request::Set(change)).expect("an answer"), Answer::Done);
            let error = ask(path, &Request::Status).expect_err("refused");
            assert!(matches!(error, ControlError::Refused(why) if why == "nothing runs"));
        });
    }

    #[test]
    fn nonsense_and_overlong_lines_do_not_end_the_server() {
        with_server(|path| {
            for length in [3, 200_000] {
                let mut stream = UnixStream::connect(path).expect("connected");
                // The server may hang up in the middle of an overlong line.
                drop(stream.write_all(&vec![b'x'; length]));
                drop(stream.write_all(b"\n"));
            }
        });
    }

    #[test]
    fn an_absent_lab_is_told_apart() {
        let error = ask(Path::new("/nonexistent/sock"), &Request::Status).expect_err("no lab");
        assert!(matches!(error, ControlError::NotUp(_)));
    }
}
