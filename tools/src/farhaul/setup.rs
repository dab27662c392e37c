//! What every verb needs: logging, the home directory, the identity, a runtime.

use super::failure::{Failure, Kind};
use farhaul_engine::identity::Identity;
use std::path::PathBuf;

/// Logs go to standard error; `FARHAUL_LOG` chooses how much, e.g. `debug`.
pub(super) fn logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FARHAUL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let _ =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
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
        Failure::new(Kind::Usage, "neither XDG_STATE_HOME nor HOME is set")
            .advise("give the directory of this host's state with --home")
    })
}

/// This host's identity, made at first use.
pub(super) fn identity(home: Option<&PathBuf>) -> Result<Identity, Failure> {
    let home = self::home(home)?;
    Identity::load_or_create(&home).map_err(|error| Failure::new(Kind::Disk, error))
}

/// The runtime of conversations; packets have a thread of their own.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("farhaul-talk")
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Kind::Disk, format!("cannot start threads: {error}")))
}
