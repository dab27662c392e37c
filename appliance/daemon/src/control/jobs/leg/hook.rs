//! Programs of this host that run around what a job does here (spec: S-242). Which ones only the local
//! configuration says, as argument vectors: no shell reads what others wrote.

use super::super::JobsSetup;
use super::super::root::export_path;
use super::retry::{Cause, Undone};
use crate::config::Hooks;
use farhaul_engine::files::stop::Stop;
use farhaul_proto::ids::SiteId;
use farhaul_sync::job::{Leg, Spec};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, geteuid, kill_process_group, waitid};
use rustix::thread::clear_ambient_capability_set;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::io::{self, ErrorKind, PipeReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Where a hook finds the programs that it calls by name.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How often it is looked whether a hook has ended, or is to end.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long a hook that is asked to end has for that.
const GRACE: Duration = Duration::from_secs(5);
/// Of what a hook prints the log has this much, its end.
const TAIL_MAX: usize = 4096;
/// What is read of it between two looks.
const READ_MAX: usize = 64 << 10;

/// On which side of what is done a hook runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Before,
    After,
}

impl Side {
    const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::After => "after",
        }
    }
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// A source's tree is read.
    Read,
    /// What came becomes visible.
    Switch,
    /// What stood before stands again.
    Back,
    /// What was switched to stands again.
    Forth,
}

impl Act {
    const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Switch => "switch",
            Self::Back => "back",
            Self::Forth => "forth",
        }
    }
}

/// Why a hook did not do what it is for.
#[derive(Debug, thiserror::Error)]
enum HookError {
    #[error("{program} {why}")]
    Unsafe { program: String, why: &'static str },
    #[error("cannot be run: {0}")]
    Run(#[from] io::Error),
    #[error("took longer than its `hook-limit` and was ended")]
    Limit,
    #[error("was ended, because nobody waits for it any more")]
    Stopped,
    #[error("ended with {0}; the log of that site has what it printed")]
    Status(ExitStatus),
}

/// The hooks of an export, and what they are told.
#[derive(Clone, Debug)]
pub(super) struct Around {
    hooks: Hooks,
    export: PathBuf,
    /// What comes from peers is put here: no program of these directories is run.
    foreign: Vec<PathBuf>,
    told: Vec<(&'static str, Vec<u8>)>,
}

impl Around {
    /// Those of the place that a leg has here, if there are any.
    pub(super) fn of(
        setup: &JobsSetup,
        (spec, leg, run): (&Spec, &Leg, u64),
        (me, act): (SiteId, Act),
    ) -> Option<Self> {
        let place = leg.place_of(me)?;
        let export = setup.exports.iter().find(|export| export.name == place.export)?;
        if !export.hooks.are_any() {
            return None;
        }
        let root = export_path(setup, place).ok()?;
        let path = place.path.as_ref();
        let path =
            path.map_or_else(|| root.clone(), |path| root.join(OsStr::from_bytes(path.as_bytes())));
        let role = if leg.source.site == me { "source" } else { "target" };
        let told = vec![
            ("FARHAUL_JOB", spec.name.clone().into_bytes()),
            ("FARHAUL_RUN", run.to_string().into_bytes()),
            ("FARHAUL_ROLE", role.into()),
            ("FARHAUL_ACT", act.name().into()),
            ("FARHAUL_SOURCE", leg.source.site.to_string().into_bytes()),
            ("FARHAUL_PATH", path.into_os_string().as_bytes().to_vec()),
        ];
        let exports = setup.exports.iter().map(|export| &export.path);
        let foreign = exports.chain(&setup.folders).cloned().collect();
        Some(Self { hooks: export.hooks.clone(), export: root, foreign, told })
    }

    /// Whether there is one of that side.
    pub(super) fn has(&self, side: Side) -> bool {
        !self.argv(side).is_empty()
    }

    fn argv(&self, side: Side) -> &[String] {
        match side {
            Side::Before => &self.hooks.before,
            Side::After => &self.hooks.after,
        }
    }

    /// Who has it locked is the only one that does something around which hooks of this export run.
    pub(super) fn turn(&self) -> Arc<Mutex<()>> {
        static TURNS: Mutex<BTreeMap<PathBuf, Arc<Mutex<()>>>> = Mutex::new(BTreeMap::new());
        let mut turns = TURNS.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(self.export.clone()).or_default())
    }

    /// Runs the hook of one side, if there is one, and waits for it; a thread of its own does that, for
    /// what it gives up of its rights it does not get back.
    ///
    /// # Errors
    /// Why it did not do what it is for.
    pub(super) fn run(&self, side: Side, stop: &Stop) -> Result<(), Undone> {
        let began = Instant::now();
        let mut tail = Tail::default();
        let ended = self.run_inner(side, stop, &mut tail);
        let (hook, printed) = (side.name(), tail.text());
        let took = began.elapsed();
        match ended {
            Ok(()) if self.has(side) => {
                tracing::info!(hook, ?took, %printed, "a hook has ended");
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) => {
                tracing::warn!(hook, ?took, %printed, %error, "a hook did not do what it is for");
                Err(Undone { cause: Cause::Hook, why: format!("its `{hook}` hook: {error}") })
            }
        }
    }

    fn run_inner(&self, side: Side, stop: &Stop, tail: &mut Tail) -> Result<(), HookError> {
        let Some((program, args)) = self.argv(side).split_first() else { return Ok(()) };
        let real = checked(Path::new(program), &self.foreign)?;
        if stop.is_set() {
            return Err(HookError::Stopped);
        }
        let (output, input) = io::pipe()?;
        rustix::io::ioctl_fionbio(&output, true).map_err(io::Error::from)?;
        // What a hook may it may by itself: rights that were given to this process are not passed on.
        match clear_ambient_capability_set() {
            // Kernels that know of no such set have passed nothing on.
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(HookError::Run(errno.into())),
        }
        let mut command = Command::new(real);
        command.arg0(program).args(args);
        command.env_clear().env("PATH", PATH).env("FARHAUL_HOOK", side.name());
        command.envs(self.told.iter().map(|(name, value)| (name, OsStr::from_bytes(value))));
        command.current_dir("/").stdin(Stdio::null());
        command.stdout(input.try_clone()?).stderr(input).process_group(0);
        let mut child = command.spawn()?;
        // Its ends of the pipe are the hook's alone from here on.
        drop(command);
        let status = watch(&mut child, (output, tail), (self.hooks.limit, stop))?;
        if status.success() { Ok(()) } else { Err(HookError::Status(status)) }
    }
}

/// Waits for a hook, and ends it with all that it started where it takes too long or is to stop.
fn watch(
    child: &mut Child,
    (mut output, tail): (PipeReader, &mut Tail),
    (limit, stop): (Duration, &Stop),
) -> Result<ExitStatus, HookError> {
    let began = Instant::now();
    loop {
        wait_readable(&output);
        let is_open = tail.take(&mut output);
        if let Some(status) = child.try_wait()? {
            tail.take(&mut output);
            return Ok(status);
        }
        if stop.is_set() || began.elapsed() >= limit {
            let is_stopped = stop.is_set();
            end(child, (&mut output, tail))?;
            return Err(if is_stopped { HookError::Stopped } else { HookError::Limit });
        }
        if !is_open {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Asks a hook and what it started to end, and kills them if they do not.
fn end(child: &mut Child, (output, tail): (&mut PipeReader, &mut Tail)) -> io::Result<()> {
    let group = Pid::from_child(child);
    kill_process_group(group, Signal::TERM)?;
    let asked = Instant::now();
    // Nobody takes its exit code meanwhile: until then its number is nobody else's.
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    while waitid(WaitId::Pid(group), look)?.is_none() && asked.elapsed() < GRACE {
        wait_readable(output);
        if !tail.take(output) {
            std::thread::sleep(LOOK_EVERY);
        }
    }
    kill_process_group(group, Signal::KILL)?;
    child.wait().map(drop)
}

/// Waits until something was printed, for a moment.
fn wait_readable(output: &PipeReader) {
    let span = Timespec { tv_sec: 0, tv_nsec: LOOK_EVERY.subsec_nanos().into() };
    // Whether there was something the next read says.
    let _ = poll(&mut [PollFd::new(output, PollFlags::IN)], Some(&span));
}

/// The end of what a hook printed.
#[derive(Default)]
struct Tail(VecDeque<u8>);

impl Tail {
    /// Takes what is there, a part of it if it is much. Whether there may be more some time.
    fn take(&mut self, output: &mut PipeReader) -> bool {
        let mut buffer = [0; 4096];
        let mut taken = 0;
        while taken < READ_MAX {
            match output.read(&mut buffer) {
                Ok(0) => return false,
                Ok(len) => {
                    taken += len;
                    self.0.extend(&buffer[..len]);
                    let over = self.0.len().saturating_sub(TAIL_MAX);
                    self.0.drain(..over);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// As one line of a log.
    fn text(&self) -> String {
        let bytes: Vec<u8> = self.0.iter().copied().collect();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> =
            text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join(" | ").chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

/// The program itself, if nobody but root and the user of this process can have put it there.
fn checked(program: &Path, foreign: &[PathBuf]) -> Result<PathBuf, HookError> {
    let name = || program.display().to_string();
    let is_unsafe = |why| HookError::Unsafe { program: name(), why };
    let real = program.canonicalize()?;
    let lies_in = |place: &PathBuf| place.canonicalize().is_ok_and(|place| real.starts_with(place));
    if foreign.iter().any(lies_in) {
        return Err(is_unsafe("lies in a folder or an export, where peers put what they like"));
    }
    if !real.metadata()?.is_file() {
        return Err(is_unsafe("is no file"));
    }
    let mine = geteuid().as_raw();
    for (depth, part) in real.ancestors().enumerate() {
        let meta = part.metadata()?;
        if meta.uid() != 0 && meta.uid() != mine {
            return Err(is_unsafe("belongs, or a directory above it, to some other user"));
        }
        // In a directory with that bit nobody moves what is of others.
        let is_sticky = depth > 0 && meta.mode() & 0o1000 != 0;
        let by_group = meta.mode() & 0o020 != 0 && meta.gid() != 0;
        if (meta.mode() & 0o002 != 0 || by_group) && !is_sticky {
            return Err(is_unsafe("may be written, or a directory above it, by other users"));
        }
    }
    Ok(real)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;
    use tempfile::TempDir;

    /// A hook with that script, which is told where it is.
    fn hook(script: &str) -> (TempDir, Around) {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("hook");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&program, Permissions::from_mode(0o755)).expect("made executable");
        let at = dir.path().to_str().expect("text").to_owned();
        let before = vec![program.to_str().expect("text").to_owned(), at];
        let hooks = Hooks { before, after: Vec::new(), limit: Duration::from_secs(600) };
        let told = vec![("FARHAUL_JOB", b"a \"b\" $(c)".to_vec())];
        let export = dir.path().join("export");
        (dir, Around { hooks, export, foreign: Vec::new(), told })
    }

    fn run(around: &Around, stop: &Stop) -> Result<(), String> {
        // A test thread keeps its rights.
        let run = || around.run(Side::Before, stop).map_err(|undone| undone.why);
        std::thread::scope(|scope| scope.spawn(run).join().expect("no panic"))
    }

    #[test]
    fn a_hook_is_told_what_it_is_for_and_nothing_else() {
        let (dir, around) = hook("env > \"$1/env\"; pwd >> \"$1/env\"; cat >> \"$1/env\"");
        assert_eq!(run(&around, &Stop::default()), Ok(()));
        let told = fs::read_to_string(dir.path().join("env")).expect("written");
        assert!(told.contains("FARHAUL_JOB=a \"b\" $(c)\n"), "{told}");
        assert!(told.contains("FARHAUL_HOOK=before\n") && told.ends_with("\n/\n"), "{told}");
        assert!(!told.contains("CARGO"), "{told}");
        assert!(around.run(Side::After, &Stop::default()).is_ok());
    }

    #[test]
    fn a_hook_that_fails_says_how_and_not_what_it_printed() {
        let (_dir, around) = hook("echo secret; exit 3");
        let why = run(&around, &Stop::default()).expect_err("it failed");
        assert!(why.starts_with("its `before` hook: ended with exit status: 3"), "{why}");
        assert!(!why.contains("secret"), "{why}");
        let (dir, around) = hook("");
        fs::remove_file(dir.path().join("hook")).expect("removed");
        let why = run(&around, &Stop::default()).expect_err("it is not there");
        assert!(why.contains("cannot be run: No such file"), "{why}");
    }

    #[test]
    fn a_hook_that_takes_too_long_ends_with_all_that_it_started() {
        for is_stop in [false, true] {
            let (dir, mut around) =
                hook("sleep 3000 & echo $! > \"$1/pid.new\"\nmv \"$1/pid.new\" \"$1/pid\"; wait");
            let (pid, stop) = (dir.path().join("pid"), Stop::default());
            let why = std::thread::scope(|scope| {
                if is_stop {
                    scope.spawn(|| {
                        while !pid.exists() {
                            std::thread::sleep(LOOK_EVERY);
                        }
                        stop.set();
                    });
                } else {
                    around.hooks.limit = Duration::from_secs(2);
                }
                run(&around, &stop).expect_err("it was ended")
            });
            let expected = if is_stop { "nobody waits" } else { "`hook-limit`" };
            assert!(why.contains(expected), "{why}");
            let Ok(pid) = fs::read_to_string(pid) else { continue };
            let stat = format!("/proc/{}/stat", pid.trim());
            // Gone, or dead and not yet collected.
            let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
            while !is_gone() {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    #[test]
    fn a_hook_that_prints_without_end_is_read_and_not_kept() {
        let (_dir, around) = hook("head -c 10000000 /dev/zero | tr '\\0' 'x'; echo; echo last");
        let mut tail = Tail::default();
        let ended = around.run_inner(Side::Before, &Stop::default(), &mut tail);
        assert!(ended.is_ok(), "{ended:?}");
        assert!(tail.0.len() == TAIL_MAX && tail.text().ends_with("x | last"), "{}", tail.text());
        let (_dir, around) = hook("exec >&- 2>&-; exit 4");
        assert!(run(&around, &Stop::default()).expect_err("it failed").contains("status: 4"));
    }

    #[test]
    fn no_program_is_run_that_others_may_have_put_there() {
        let (dir, mut around) = hook("");
        let program = dir.path().join("hook");
        for (mode, is_safe) in [(0o757, false), (0o755, true)] {
            fs::set_permissions(&program, Permissions::from_mode(mode)).expect("set");
            let ended = run(&around, &Stop::default());
            assert_eq!(ended.is_ok(), is_safe, "{mode:o}: {ended:?}");
        }
        let inner = dir.path().join("open");
        fs::create_dir(&inner).expect("made");
        fs::copy(&program, inner.join("hook")).expect("copied");
        fs::set_permissions(&inner, Permissions::from_mode(0o777)).expect("set");
        around.hooks.before[0] = inner.join("hook").to_str().expect("text").to_owned();
        let why = run(&around, &Stop::default()).expect_err("others may put it there");
        assert!(why.contains("by other users"), "{why}");
        fs::set_permissions(&inner, Permissions::from_mode(0o1777)).expect("set");
        assert_eq!(run(&around, &Stop::default()), Ok(()));
        // Not by way of a link either.
        let link = dir.path().join("link");
        std::os::unix::fs::symlink(inner.join("hook"), &link).expect("made");
        around.hooks.before[0] = link.to_str().expect("text").to_owned();
        around.foreign = vec![inner];
        let why = run(&around, &Stop::default()).expect_err("peers may put it there");
        assert!(why.contains("lies in a folder or an export"), "{why}");
    }
}
