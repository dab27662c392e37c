//! Programs inside a site: started, bounded in time and output, and measured.

use farhaul_tools::sys::{self, Usage};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
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
    /// Somebody waits for its end already, and will reap it.
    awaited: bool,
    /// It leads a process group of its own, which is killed with it.
    leads: bool,
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
        Ok(Self { child, started, stdout, stderr, awaited: false, leads: false })
    }

    /// The same for a program that starts others, which must not outlive it: they are killed with
    /// it. An interrupt at the terminal does not reach them.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn_group(command: &mut Command) -> io::Result<Self> {
        let mut running = Self::spawn(command.process_group(0))?;
        running.leads = true;
        Ok(running)
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

    /// True once it has no children any more, those that it has not waited for included.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn is_childless(&self) -> io::Result<bool> {
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        Ok(children.trim().is_empty())
    }

    /// Asks it to end (SIGTERM), without waiting for that.
    ///
    /// # Errors
    /// If it has no process id, or the system refuses.
    pub fn terminate(&self) -> io::Result<()> {
        // It is reaped by `finish`, `kill` and `drop` only, so the pid is still its own.
        Ok(kill_process(self.process()?, Signal::TERM)?)
    }

    fn process(&self) -> io::Result<Pid> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        pid.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Must not be called once it is reaped.
    fn kill_all(&mut self) -> io::Result<()> {
        if self.leads {
            // It is one of its group, and whoever waits for it may have reaped it right after this.
            return Ok(kill_process_group(self.process()?, Signal::KILL)?);
        }
        self.child.kill()
    }

    /// Kills it (SIGKILL) and tells what it used until then.
    ///
    /// # Errors
    /// As [`Running::finish`].
    pub fn kill(mut self) -> io::Result<Finished> {
        self.kill_all()?;
        let limit = self.age() + TIME_LIMIT;
        self.finish(limit)
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
        self.awaited = true;
        thread::spawn(move || {
            // The receiver may have gone with a failed test.
            drop(answer.send(sys::wait_usage(pid)));
        });
        let first = ended.recv_timeout(left);
        let late = matches!(first, Err(RecvTimeoutError::Timeout));
        let usage = match first {
            Ok(usage) => usage,
            Err(_) => {
                // Not reaped yet, so the pid is still its own.
                self.kill_all()?;
                ended.recv().map_err(io::Error::other)?
            }
        }?;
        Ok((!late, usage))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Once `wait` has begun, the child is reaped there and its pid may belong to another.
        if !self.awaited {
            drop(self.kill_all());
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
    fn the_children_of_a_group_are_killed_with_it() {
        let mut command = Command::new("sh");
        let script = "sleep 1000 & echo $!; wait";
        let mut running = Running::spawn_group(command.args(["-c", script])).expect("it starts");
        let child = running.line().expect("its pid");
        assert!(!running.is_childless().expect("told"));
        let error = running.finish(Duration::ZERO).expect_err("it does not end");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        // Whoever inherited it may still have to reap it.
        let state = || fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        let since = Instant::now();
        while !state().is_empty() && !state().contains(") Z ") {
            assert!(since.elapsed() < TIME_LIMIT, "{}", state());
            thread::sleep(Duration::from_millis(1));
        }
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
