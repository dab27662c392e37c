//! Programs inside a site: started, bounded in time and output, and measured.

use farhaul_tools::sys::{self, Usage};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a program may take unless the test says otherwise.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Bytes of output that are kept; a program that prints more is not read further, which ends it.
const OUTPUT_MAX: u64 = 16 << 20;

/// A program that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit code, CPU time, memory; children that it waited for are included.
    pub usage: Usage,
    /// From start to end.
    pub elapsed: Duration,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Finished {
    /// Itself if the program succeeded.
    ///
    /// # Errors
    /// `Other` with the program's complaints if not.
    pub fn succeeded(self) -> io::Result<Self> {
        match self.usage.exit_code {
            0 => Ok(self),
            code => Err(io::Error::other(format!("exit code {code}: {}", self.stderr.trim()))),
        }
    }

    /// CPU seconds, user and system.
    pub fn cpu_seconds(&self) -> f64 {
        (self.usage.user + self.usage.system).as_secs_f64()
    }
}

/// A program that runs; it is killed when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    started: Instant,
    stdout: Option<BufReader<io::Take<ChildStdout>>>,
    stderr: Option<JoinHandle<String>>,
    ended: Option<Receiver<io::Result<Usage>>>,
}

impl Running {
    /// Starts `command` with captured output and no input.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().map(|out| BufReader::new(out.take(OUTPUT_MAX)));
        let stderr = child.stderr.take().map(|err| thread::spawn(move || read_all(err)));
        Ok(Self { child, started, stdout, stderr, ended: None })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line it prints, without the line break; waits for it.
    ///
    /// # Errors
    /// `UnexpectedEof` if it prints no more.
    pub fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        let out = self.stdout.as_mut().ok_or(io::ErrorKind::UnexpectedEof)?;
        if out.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        line.truncate(line.trim_end_matches(['\r', '\n']).len());
        Ok(line)
    }

    /// How long ago it was started.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// True once it has ended, though nobody waited for it yet.
    pub fn has_ended(&self) -> bool {
        // The third word of `stat` is the state; the name before it is in parentheses.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()));
        let state = stat.ok().and_then(|stat| stat.rsplit(") ").next()?.chars().next());
        state.is_none_or(|state| matches!(state, 'Z' | 'X'))
    }

    /// Asks it to end (SIGTERM), without waiting for that.
    ///
    /// # Errors
    /// If it has no process id, or the system refuses.
    pub fn terminate(&self) -> io::Result<()> {
        // It is reaped by `finish`, `kill` and `drop` only, so the pid is still its own.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        Ok(kill_process(pid.ok_or(io::ErrorKind::NotFound)?, Signal::TERM)?)
    }

    /// Kills it (SIGKILL) and tells what it used until then.
    ///
    /// # Errors
    /// As [`Running::finish`].
    pub fn kill(mut self) -> io::Result<Finished> {
        self.child.kill()?;
        self.finish(TIME_LIMIT)
    }

    /// Waits for its end, at most until `limit` after its start.
    ///
    /// # Errors
    /// `TimedOut` if it does not end by then; it is killed and its complaints are in the error.
    pub fn finish(mut self, limit: Duration) -> io::Result<Finished> {
        let reader = self.stdout.take().map(|out| thread::spawn(move || read_all(out)));
        let left = limit.saturating_sub(self.started.elapsed());
        let (in_time, usage) = self.wait(left)?;
        let elapsed = self.started.elapsed();
        let text = |reader: Option<JoinHandle<String>>| {
            reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (text(reader), text(self.stderr.take()));
        if !in_time {
            let words = format!("no end within {limit:?}; it said: {}", stderr.trim());
            return Err(io::Error::new(io::ErrorKind::TimedOut, words));
        }
        Ok(Finished { usage, elapsed, stdout, stderr })
    }

    /// Waits, kills if the time is up, reaps. True if it ended by itself in time.
    fn wait(&mut self, left: Duration) -> io::Result<(bool, Usage)> {
        let (answer, ended) = sync_channel(1);
        let pid = self.child.id();
        thread::spawn(move || {
            // The receiver may have gone with a failed test.
            drop(answer.send(sys::wait_usage(pid)));
        });
        let first = ended.recv_timeout(left);
        let late = matches!(first, Err(RecvTimeoutError::Timeout));
        let ended = self.ended.insert(ended);
        let usage = match first {
            Ok(usage) => usage,
            Err(_) => {
                // Not reaped yet, so the pid is still its own.
                self.child.kill()?;
                ended.recv().map_err(io::Error::other)?
            }
        }?;
        Ok((!late, usage))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once `wait` has begun, the child is reaped there and its pid may belong to another.
        if self.ended.is_none() {
            drop(self.child.kill());
            drop(self.child.wait());
        }
    }
}

fn read_all(input: impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read before an error still helps to understand it.
    drop(input.take(OUTPUT_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_exit_code_and_usage_are_kept() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let finished =
            Running::spawn(&mut command).and_then(|r| r.finish(TIME_LIMIT)).expect("it ends");
        assert_eq!(finished.usage.exit_code, 3);
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("out\n", "err\n"));
        assert!(finished.usage.resident_bytes_max > 0);
        assert!(finished.succeeded().is_err());
    }

    #[test]
    fn a_program_that_does_not_end_is_killed_and_reaped() {
        let mut command = Command::new("sleep");
        let running = Running::spawn(command.arg("1000")).expect("it starts");
        let pid = running.pid();
        let error = running.finish(Duration::ZERO).expect_err("it does not end");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn a_program_can_be_asked_to_end() {
        let mut command = Command::new("sh");
        let script = "trap 'exit 5' TERM; echo ready; while :; do read never; done";
        let mut running = Running::spawn(command.args(["-c", script])).expect("it starts");
        assert_eq!(running.line().expect("a line"), "ready");
        running.terminate().expect("it runs");
        assert_eq!(running.finish(TIME_LIMIT).expect("it ends").usage.exit_code, 5);
    }

    #[test]
    fn lines_come_as_they_are_printed() {
        let mut command = Command::new("sh");
        let mut running =
            Running::spawn(command.args(["-c", "echo first; exec sleep 1000"])).expect("it starts");
        assert_eq!(running.line().expect("a line"), "first");
        assert!(!running.has_ended());
        assert_eq!(running.kill().expect("reaped").usage.exit_code, 128 + 9);
    }
}
