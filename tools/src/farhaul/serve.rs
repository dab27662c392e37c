//! `farhaul serve`: accept and offer transfers below a directory.

use super::args::ServeArgs;
use super::failure::{Failure, Kind};
use super::report::counted;
use super::transfer::{BUFFERS, WORKERS, check, options};
use super::{Ended, connect, record, setup, signals, text};
use farhaul_engine::control::ControlError;
use farhaul_engine::engine::{
    Engine, EngineConfig, EngineError, Incoming, SessionOptions, TcpPort,
};
use farhaul_engine::files::Root;
use farhaul_engine::identity::SiteId;
use farhaul_engine::record::FlightFolder;
use farhaul_engine::tls::Allow;
use farhaul_engine::transfer::Outcome;
use farhaul_engine::transfer::serving::{self, Direction};
use farhaul_engine::transfer::supersede::Sessions;
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::Instrument;

/// Entries that failed that a line of the log names.
const FAILED_NAMED: usize = 3;

pub(super) fn run(args: &ServeArgs) -> Ended {
    check(&args.tuning)?;
    let root = Root::open(&args.root).map_err(|error| {
        Failure::new(Kind::Disk, error, "--root must be an existing directory that can be read")
    })?;
    if args.allow.is_empty() {
        text::complain("farhaul: no site is allowed to connect; give --allow ID[,ID...]");
    }
    let identity = setup::identity(args.home.home.as_ref())?;
    let id = identity.id();
    let paths = setup::paths(args.home.home.as_ref(), &args.tuning)?;
    let records = args.record_dir.as_ref().map(|path| record::open(path)).transpose()?;
    let records = records.map(Arc::new);
    let allowed: BTreeSet<SiteId> = args.allow.iter().copied().collect();
    let allow: Allow = Arc::new(move |site: &SiteId| allowed.contains(site));
    let config = |listen| EngineConfig {
        listen,
        tcp: args.tcp.unwrap_or(TcpPort::Same),
        identity: identity.clone(),
        allow: Some(Arc::clone(&allow)),
        paths: paths.clone(),
        disk: args.disk.into(),
        buffers: BUFFERS,
        workers: WORKERS,
    };
    setup::block_on(async {
        let engine = Arc::new(match args.listen {
            Some(listen) => Engine::start(config(listen))?,
            None => connect::engine_at_default_port(config)?,
        });
        // Before the line that says we are ready: whoever reads it may stop us at once.
        let stopped = signals::stop();
        let local = engine.local_addr();
        text::tell(format_args!("listening on {local} as {id}"));
        if let Some(tcp) = engine.tcp_addr().filter(|tcp| tcp.port() != local.port()) {
            text::tell(format_args!("listening on {tcp} for TCP"));
        }
        let options = options(&args.tuning);
        let ended = tokio::select! {
            () = accept_all(&engine, &root, (options, id, records)) => {
                Err(engine.failure().unwrap_or(EngineError::Stopped).into())
            }
            () = stopped => Ok(()),
        };
        engine.close().await;
        ended
    })
}

/// How sessions are set up, who we are, and where they are recorded.
type Setup = (SessionOptions, SiteId, Option<Arc<FlightFolder>>);

async fn accept_all(engine: &Arc<Engine>, root: &Root, (options, id, records): Setup) {
    let sessions = Sessions::new();
    while let Some(incoming) = engine.accept().await {
        let (engine, root, sessions) = (Arc::clone(engine), root.clone(), sessions.clone());
        let (site, from) = (incoming.id(), incoming.addr());
        // At the level of errors, so that whatever is logged says whom it is about.
        let span = tracing::error_span!("session", %site, %from);
        let setup = (options, id, records.clone());
        let serving = async move { serve_one(&engine, incoming, &root, setup, &sessions).await };
        tokio::spawn(serving.instrument(span));
    }
}

async fn serve_one(
    engine: &Engine,
    incoming: Incoming,
    root: &Root,
    (options, id, records): Setup,
    sessions: &Sessions,
) {
    let site = incoming.id();
    let served = match engine.welcome(incoming, options).await {
        Ok(peer) => {
            if let Some(folder) = records {
                record::serving(&folder, &peer.session, (id, site), options).await;
            }
            let admitted = sessions.admit(site, peer.probe()).await;
            admitted.run(serving::serve(peer, root, told)).await
        }
        // It only asked whether this site answers, or found another carrier to be better.
        Err(error) if has_left(&error) => {
            tracing::debug!(%error, "a site left before it said anything");
            return;
        }
        Err(error) => Some(Err(error.into())),
    };
    match served {
        Some(Ok(())) => {}
        Some(Err(error)) => tracing::warn!(%error, "a session failed"),
        None => tracing::warn!("a session ended: a newer one of the same site took its place"),
    }
}

fn has_left(error: &ControlError) -> bool {
    matches!(error, ControlError::ClosedByPeer { code: 0, .. } | ControlError::Carrier { .. })
}

/// One line about a transfer that ended, and one about what failed in it.
fn told(direction: Direction, outcome: &Outcome) {
    let direction = match direction {
        Direction::Received => "received",
        Direction::Sent => "sent",
    };
    let Outcome { files, files_skipped: skipped, failed_total: failed, .. } = outcome;
    tracing::info!(bytes = %outcome.bytes, files, skipped, failed, "{direction}");
    if *failed > 0 {
        tracing::warn!("{}", failures(outcome));
    }
}

/// The first few entries that failed.
fn failures(outcome: &Outcome) -> String {
    let mut line = counted(outcome.failed_total, "entry", "entries");
    line.push_str(" failed");
    for (index, entry) in outcome.failed.iter().take(FAILED_NAMED).enumerate() {
        line.push_str(if index == 0 { ": " } else { "; " });
        if !entry.reason.starts_with(&entry.path) {
            line.push_str(&entry.path);
            line.push_str(": ");
        }
        line.push_str(&entry.reason);
    }
    if outcome.failed_total > FAILED_NAMED as u64 {
        line.push_str("; ...");
    }
    line
}
