//! What every verb needs: logging, the home directory, the identity, a runtime.

use super::Ended;
use super::args::{GetArgs, SendArgs, TuningArgs, Verb};
use super::failure::{Failure, Kind};
use farhaul_engine::identity::Identity;
use farhaul_engine::remember::PathStore;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long calls that block may take to end after everything else has: whatever they do may be
/// cut short at any point, as by a crash.
const LEAVE_MAX: Duration = Duration::from_millis(300);

/// Logs go to standard error; `FARHAUL_LOG` chooses how much, e.g. `debug`, else `verb`.
pub(super) fn logging(verb: &Verb) {
    let usual = match verb {
        // A line for each transfer: the log is all that its operator sees.
        Verb::Serve(_) => "warn,farhaul_tools=info",
        Verb::Send(SendArgs { transfer, .. }) | Verb::Get(GetArgs { transfer, .. })
            if transfer.quiet =>
        {
            "error"
        }
        _ => "warn",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("FARHAUL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(usual));
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let logger = logger.with_ansi(std::io::stderr().is_terminal());
    // A log that cannot be written is not worth a panic.
    let _ = logger.log_internal_errors(false).try_init();
}

/// The directory of this host's state: as asked for, or the XDG place.
pub(super) fn home(asked: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    if let Some(home) = asked {
        return Ok(home.clone());
    }
    let absolute =
        |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|p| p.is_absolute());
    if let Some(state) = absolute("XDG_STATE_HOME") {
        return Ok(state.join("farhaul"));
    }
    absolute("HOME").map(|home| home.join(".local/state/farhaul")).ok_or_else(|| {
        let what = "neither XDG_STATE_HOME nor HOME is set to an absolute path";
        Failure::new(Kind::Usage, what, "give the directory of this host's state with --home")
    })
}

/// This host's identity, made at first use.
pub(super) fn identity(home: Option<&PathBuf>) -> Result<Identity, Failure> {
    Ok(Identity::load_or_create(&self::home(home)?)?)
}

/// What paths carried before, for who sends; after [`identity`], which makes the directory.
pub(super) fn paths(
    home: Option<&PathBuf>,
    tuning: &TuningArgs,
) -> Result<Option<Arc<PathStore>>, Failure> {
    let home = (!tuning.no_memory).then(|| self::home(home)).transpose()?;
    Ok(home.map(|home| Arc::new(PathStore::open(&home))))
}

/// Runs conversations to their end; packets have a thread of their own. What still blocks then
/// is left behind.
pub(super) fn block_on(work: impl Future<Output = Ended>) -> Ended {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("farhaul-talk")
        .enable_all()
        .build()
        .map_err(|error| {
            let what = format!("cannot start threads: {error}");
            Failure::new(Kind::Transfer, what, "raise the limit of processes (ulimit -u, cgroup)")
        })?;
    let ended = runtime.block_on(work);
    runtime.shutdown_timeout(LEAVE_MAX);
    ended
}

/// Runs something that may block, where signals can still be heard.
pub(super) async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    tokio::task::spawn_blocking(job).await.unwrap_or_else(|error| {
        Err(Failure::new(Kind::Transfer, format!("internal error: {error}"), "please report it"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    /// A read of a disk that hangs kept the command from ending.
    #[test]
    fn a_call_that_blocks_does_not_hold_up_the_end() {
        let (_never, blocked) = mpsc::channel::<()>();
        let ended = block_on(async {
            tokio::task::spawn_blocking(move || blocked.recv());
            Ok(())
        });
        assert_eq!(ended, Ok(()));
    }
}
