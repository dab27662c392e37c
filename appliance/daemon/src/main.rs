//! The `farhauld` command: arguments in, exit code out. The work is in the library.
//!
//! Exit codes are a contract: 0 done, 1 failed while starting or running, 2 the command line or the
//! configuration is wrong (another start would end the same way), 4 the state directory cannot be
//! used.

mod args;
mod check;

use args::{Cli, LogFormat, Verb};
use check::check;
use clap::Parser;
use farhaul_engine::identity::Identity;
use farhauld::config::{Config, ConfigError};
use farhauld::run::{Reloads, RunError};
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

const FAILED: u8 = 1;
const WRONG: u8 = 2;
const STATE: u8 = 4;

/// Without `FARHAUL_LOG`.
const LOG: &str = "warn,farhauld=info";
/// Threads for conversations; packets have one of their own.
const THREADS: usize = 2;
/// How long calls that block may take to end after everything else has: whatever they do may be
/// cut short at any point, as by a crash.
const LEAVE_MAX: Duration = Duration::from_millis(300);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // Help and version go to standard output and are no mistake.
            return if error.use_stderr() { WRONG.into() } else { ExitCode::SUCCESS };
        }
    };
    match (cli.verb, cli.run.config) {
        (Some(Verb::Check { file, json }), _) => check(&file, json),
        (Some(Verb::Openapi), _) => {
            let _ = io::stdout().write_all(farhauld::http::openapi().as_bytes());
            ExitCode::SUCCESS
        }
        (None, Some(file)) => {
            log_as(cli.run.log_format);
            match run(&file) {
                Ok(()) => ExitCode::SUCCESS,
                Err(code) => code.into(),
            }
        }
        // The command line does not permit it.
        (None, None) => WRONG.into(),
    }
}

/// A line; who does not listen misses it.
fn tell(to: &mut dyn Write, what: impl Display) {
    let _ = writeln!(to, "{what}");
}

fn log_as(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("FARHAUL_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(LOG));
    if format == LogFormat::Journald {
        // Where there is no journal, standard error is read.
        if let Ok(journal) = tracing_journald::layer() {
            let _ = tracing_subscriber::registry().with(journal).with(filter).try_init();
            return;
        }
    }
    let logger = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    // A log that cannot be written is not worth a panic.
    let logger = logger.with_ansi(io::stderr().is_terminal()).log_internal_errors(false);
    let _ = match format {
        LogFormat::Text | LogFormat::Journald => logger.try_init(),
        LogFormat::Json => logger.json().try_init(),
    };
}

/// Runs a site to its end; what ended it is in the log.
fn run(file: &Path) -> Result<(), u8> {
    let config = Config::load(file).map_err(|error| {
        tell_faults(&error);
        WRONG
    })?;
    let identity = Identity::load_or_create(&config.site.state).map_err(|error| {
        tracing::error!(%error, "there is no identity in the state directory");
        STATE
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("farhauld-talk")
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        tracing::error!(%error, "cannot start threads; raise the limit of processes");
        FAILED
    })?;
    let ended = runtime.block_on(async {
        let stop = stopped();
        let reloads = Reloads { file: Some(file.to_owned()), asked: asked_to_reload() };
        farhauld::run::run(config, identity, stop, reloads).await
    });
    runtime.shutdown_timeout(LEAVE_MAX);
    ended.map_err(|error| {
        tracing::error!(advice = error.advice(), "{error}");
        code(&error)
    })
}

/// Each fault in a line of its own.
fn tell_faults(error: &ConfigError) {
    let ConfigError::Faults { path, faults } = error else {
        tracing::error!("{error}");
        return;
    };
    for fault in faults {
        tracing::error!("{}:{fault}", path.display());
    }
}

const fn code(error: &RunError) -> u8 {
    if error.is_config() {
        WRONG
    } else if error.is_state() {
        STATE
    } else {
        FAILED
    }
}

/// Says so for each SIGHUP from this call on; those that come while one is followed are one.
fn asked_to_reload() -> mpsc::Receiver<()> {
    let (asks, asked) = mpsc::channel(1);
    if let Ok(mut hangup) = signal(SignalKind::hangup()) {
        tokio::spawn(async move {
            while hangup.recv().await.is_some() && !asks.is_closed() {
                let _ = asks.try_send(());
            }
        });
    }
    asked
}

/// Listens for SIGINT and SIGTERM from this call on; the future ends with the first of them. From
/// then on a second one ends the process at once, so that whatever hangs on the way out can be cut
/// short.
fn stopped() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            // Without listeners both signals end the process by themselves.
            return std::future::pending().await;
        };
        either(&mut interrupt, &mut terminate).await;
        tokio::spawn(async move {
            either(&mut interrupt, &mut terminate).await;
            std::process::exit(FAILED.into());
        });
    }
}

async fn either(interrupt: &mut Signal, terminate: &mut Signal) {
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
