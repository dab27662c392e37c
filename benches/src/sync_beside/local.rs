//! Requests to a program on this machine by its Unix socket: namespaces do not hide those.

use serde_json::Value;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An answer may take so long: scans answer when they are done.
const ANSWER_MAX: Duration = Duration::from_secs(600);
/// And be so long, in bytes.
const ANSWER_LEN_MAX: u64 = 16 << 20;

/// An API at a socket.
#[derive(Clone, Debug)]
pub struct Api {
    socket: PathBuf,
    /// Whole lines, each with its end.
    headers: String,
}

impl Api {
    /// The one at `socket`, asked with further header lines.
    pub fn new(socket: &Path, headers: &str) -> Self {
        Self { socket: socket.to_owned(), headers: headers.to_owned() }
    }

    /// Asks for something.
    ///
    /// # Errors
    /// If there is no answer, or another status than 200, or no JSON.
    pub fn get(&self, path: &str) -> io::Result<Value> {
        serde_json::from_str(&self.ask("GET", path)?).map_err(io::Error::other)
    }

    /// Orders something.
    ///
    /// # Errors
    /// If there is no answer, or another status than 200.
    pub fn post(&self, path: &str) -> io::Result<()> {
        self.ask("POST", path).map(drop)
    }

    fn ask(&self, method: &str, path: &str) -> io::Result<String> {
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        let headers = &self.headers;
        // By the old version the answer ends with the connection.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Length: 0\r\n{headers}\r\n"
        )?;
        let mut answer = Vec::new();
        stream.take(ANSWER_LEN_MAX).read_to_end(&mut answer)?;
        body(&String::from_utf8_lossy(&answer))
    }
}

fn body(answer: &str) -> io::Result<String> {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) == Some("200") {
        return Ok(body.to_owned());
    }
    Err(io::Error::other(format!("{status}: {}", body.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_200_has_a_body() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nX: y\r\n\r\n{}").expect("an answer"), "{}");
        let error = body("HTTP/1.1 403 Forbidden\r\n\r\nno key\n").expect_err("forbidden");
        assert_eq!(error.to_string(), "HTTP/1.1 403 Forbidden: no key");
        assert!(body("").is_err());
    }
}
