//! Kills: a worker is traced, stopped before and after each syscall of the product's threads, and
//! killed at one of them; what it leaves is judged. The same tracer leaves out syncs, for mutants.

use crate::KitError;
use crate::judge::{Judge, Violations, count_panics};
use crate::ledger::{Duties, Line, Stamped, hear};
use crate::mutant::Mutant;
use crate::peer::Contents;
use crate::power::spawn;
use crate::script::{contents, three_operations};
use crate::site::{Home, Identities, runtime};
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Syscalls that wait, take memory or look at clocks: nothing of a folder changes at them.
const IDLE: [i64; 14] = [
    libc::SYS_futex,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_sched_yield,
    libc::SYS_rt_sigprocmask,
    libc::SYS_sigaltstack,
    libc::SYS_gettid,
    libc::SYS_getrandom,
    libc::SYS_sched_getaffinity,
];
/// What the threads of the product are called.
const THREADS: &str = "farhaul";

/// What is done to a worker that is traced.
pub struct Trace {
    /// Killed at this stop, counted from 1 once `begins` is set.
    kill_at: Option<u64>,
    begins: Arc<AtomicBool>,
    mutant: Option<Mutant>,
}

/// How a traced worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was killed.
    Killed,
    /// It came to its end, after so many stops.
    Done(u64),
}

impl Trace {
    /// One that leaves out syncs.
    pub fn dropping(mutant: Mutant) -> Self {
        Self { kill_at: None, begins: Arc::default(), mutant: Some(mutant) }
    }

    /// Traces a worker that waits for a byte until it ends, or is killed.
    ///
    /// # Errors
    /// [`KitError::Forbidden`]: no tracing here.
    pub fn run(&self, child: &Child) -> Result<Ended, KitError> {
        let main = Pid::from_raw(child.id().cast_signed());
        let forbidden =
            |errno| KitError::Forbidden(format!("this worker cannot be traced: {errno}"));
        let options = Options::PTRACE_O_TRACECLONE
            | Options::PTRACE_O_TRACESYSGOOD
            | Options::PTRACE_O_EXITKILL;
        ptrace::seize(main, options).map_err(forbidden)?;
        ptrace::interrupt(main).map_err(forbidden)?;
        self.follow(main).map_err(|errno| KitError::io("tracing")(errno.into()))
    }

    fn follow(&self, main: Pid) -> nix::Result<Ended> {
        let mut threads = Threads::default();
        let (mut stops, mut is_killed) = (0, false);
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Err(nix::Error::ECHILD) => {
                    return Ok(if is_killed { Ended::Killed } else { Ended::Done(stops) });
                }
                status => status?,
            };
            let (stopped, signal) = match status {
                WaitStatus::PtraceSyscall(pid) => {
                    if !is_killed && self.stops_at(pid, &mut threads)? {
                        stops += 1;
                        if self.kill_at == Some(stops) {
                            is_killed = true;
                            nix::sys::signal::kill(main, Signal::SIGKILL)?;
                        }
                    }
                    (pid, None)
                }
                WaitStatus::PtraceEvent(pid, ..) => (pid, None),
                WaitStatus::Stopped(pid, Signal::SIGTRAP | Signal::SIGSTOP) => (pid, None),
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            match ptrace::syscall(stopped, signal) {
                Ok(()) | Err(nix::Error::ESRCH) => {}
                Err(errno) => return Err(errno),
            }
        }
    }

    /// Whether a stop counts. Does what the mutant does at it.
    fn stops_at(&self, pid: Pid, threads: &mut Threads) -> nix::Result<bool> {
        if !threads.is_product(pid) {
            return Ok(false);
        }
        let regs = match ptrace::getregs(pid) {
            Err(nix::Error::ESRCH) => return Ok(false),
            regs => regs?,
        };
        let number = regs.orig_rax.cast_signed();
        if let Some(mutant) = self.mutant {
            return drop_sync(mutant, pid, regs, threads).map(|()| false);
        }
        Ok(self.begins.load(Ordering::SeqCst) && !IDLE.contains(&number))
    }
}

/// Leaves out a sync that the mutant leaves out: the kernel gets a syscall that does not exist, and
/// the product hears that it went well.
fn drop_sync(
    mutant: Mutant,
    pid: Pid,
    mut regs: libc::user_regs_struct,
    threads: &mut Threads,
) -> nix::Result<()> {
    if threads.dropped.remove(&pid) {
        regs.rax = 0;
        return ptrace::setregs(pid, regs);
    }
    let syncs = [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_syncfs];
    let is_entry = regs.rax.cast_signed() == -i64::from(libc::ENOSYS);
    if !is_entry || !syncs.contains(&regs.orig_rax.cast_signed()) {
        return Ok(());
    }
    let target = fs::read_link(format!("/proc/{pid}/fd/{}", regs.rdi)).unwrap_or_default();
    if mutant.leaves_out(&target.to_string_lossy(), target.is_dir()) {
        threads.dropped.insert(pid);
        regs.orig_rax = u64::MAX;
        ptrace::setregs(pid, regs)?;
    }
    Ok(())
}

/// The threads of a worker.
#[derive(Default)]
struct Threads {
    product: BTreeSet<Pid>,
    dropped: BTreeSet<Pid>,
}

impl Threads {
    /// A thread gets its name early in its life.
    fn is_product(&mut self, pid: Pid) -> bool {
        if self.product.contains(&pid) {
            return true;
        }
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let is_product = name.starts_with(THREADS) && name.trim() != "farhaul-faults";
        if is_product {
            self.product.insert(pid);
        }
        is_product
    }
}

/// What came of killing.
#[derive(Clone, Debug, Default)]
pub struct Kills {
    /// Stops at which the worker was killed and what it left was judged.
    pub kills: u64,
    /// Each with its stop.
    pub violations: Vec<(u64, Violations)>,
}

/// Kills a worker that does three operations at every `stride`th stop from `first` on, until one
/// comes to its end; `first` only with a stride of 0.
///
/// # Errors
/// [`KitError`]: there is no verdict.
pub fn kill_everywhere(scratch: &Path, first: u64, stride: u64) -> Result<Kills, KitError> {
    count_panics();
    let keys = scratch.join("keys");
    let judge = Judge {
        identities: Identities::of(&keys)?,
        contents: Arc::new(Contents::new(contents(&three_operations()))),
        runtime: runtime()?,
    };
    let mut kills = Kills::default();
    let mut at = first;
    loop {
        let home = tempfile::tempdir_in(scratch).map_err(KitError::io("a home"))?;
        let (ended, lines) = kill_one(home.path(), &keys, at)?;
        if ended != Ended::Killed {
            return Ok(kills);
        }
        let duties = Duties::at(&lines, usize::MAX);
        let found = judge.judge(&Home::at(home.path()), &duties, at % 2 == 1);
        kills.kills += 1;
        if !found.is_empty() {
            kills.violations.push((at, found));
        }
        if stride == 0 {
            return Ok(kills);
        }
        at += stride;
    }
}

fn kill_one(home: &Path, keys: &Path, at: u64) -> Result<(Ended, Stamped), KitError> {
    Home::at(home).make()?;
    let own = std::env::current_exe().map_err(KitError::io("its own path"))?;
    let mut worker = Command::new(own);
    worker.args(["worker", "--three", "--held", "--home"]).arg(home).arg("--keys").arg(keys);
    let mut child = spawn(worker)?;
    let (out, heard) = (child.stdout.take(), child.stdin.take());
    let (Some(out), Some(mut heard)) = (out, heard) else {
        return Err(KitError::Failed("the worker has no pipes".to_owned()));
    };
    let begins = Arc::new(AtomicBool::new(false));
    let trace = Trace { kill_at: Some(at), begins: Arc::clone(&begins), mutant: None };
    let hearing = std::thread::spawn(move || {
        heard.write_all(&[1]).map_err(KitError::io("a worker"))?;
        hear_until(out, heard, &begins)
    });
    let ended = trace.run(&child)?;
    let lines = hearing.join().map_err(|_| KitError::Failed("nobody heard".to_owned()))??;
    Ok((ended, lines))
}

/// Hears a worker, and has stops counted from the end of its first step on.
fn hear_until(
    out: impl std::io::Read,
    heard: impl Write,
    begins: &AtomicBool,
) -> Result<Stamped, KitError> {
    let mut lines = 0;
    let watched = Watched { out, begins };
    hear(watched, heard, || {
        lines += 1;
        lines
    })
}

/// What a worker says, looked at on its way.
struct Watched<'a, R> {
    out: R,
    begins: &'a AtomicBool,
}

impl<R: std::io::Read> std::io::Read for Watched<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = self.out.read(into)?;
        let settled = format!("{}\n", Line::Settled);
        // It waits for an answer behind each line, so a line comes whole.
        if into[..len].ends_with(settled.as_bytes()) {
            self.begins.store(true, Ordering::SeqCst);
        }
        Ok(len)
    }
}
