//! `farhaul serve`: accept and offer transfers below a directory.

use super::args::ServeArgs;
use super::failure::{Failure, Kind};
use super::transfer::{BUFFERS, WORKERS, check, options};
use super::{Ended, setup};
use farhaul_engine::engine::{Engine, EngineConfig, Incoming, SessionOptions};
use farhaul_engine::files::Root;
use farhaul_engine::identity::SiteId;
use farhaul_engine::transfer::serving;
use farhaul_engine::transfer::supersede::Sessions;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

pub(super) fn run(args: &ServeArgs) -> Ended {
    check(&args.tuning)?;
    let root = Root::open(&args.root).map_err(|error| {
        Failure::new(Kind::Disk, error).advise("--root must be an existing directory")
    })?;
    if args.allow.is_empty() {
        eprintln!("farhaul: no site is allowed to connect; give --allow ID[,ID...]");
    }
    let identity = setup::identity(args.home.home.as_ref())?;
    let id = identity.id();
    let allowed: BTreeSet<SiteId> = args.allow.iter().copied().collect();
    let runtime = setup::runtime()?;
    runtime.block_on(async {
        let engine = Arc::new(Engine::start(EngineConfig {
            listen: args.listen,
            identity,
            allow: Some(Arc::new(move |site: &SiteId| allowed.contains(site))),
            disk: args.disk.into(),
            buffers: BUFFERS,
            workers: WORKERS,
        })?);
        // Before the line that says we are ready: whoever reads it may stop us at once.
        let stopped = stop_signal();
        println!("listening on {} as {id}", engine.local_addr());
        let _ = std::io::stdout().flush();
        let options = options(&args.tuning);
        tokio::select! {
            () = accept_all(&engine, &root, options) => {}
            () = stopped => {}
        }
        engine.close().await;
        Ok(())
    })
}

async fn accept_all(engine: &Arc<Engine>, root: &Root, options: SessionOptions) {
    let sessions = Sessions::new();
    while let Some(incoming) = engine.accept().await {
        let (engine, root, sessions) = (Arc::clone(engine), root.clone(), sessions.clone());
        tokio::spawn(async move { serve_one(&engine, incoming, &root, options, &sessions).await });
    }
}

async fn serve_one(
    engine: &Engine,
    incoming: Incoming,
    root: &Root,
    options: SessionOptions,
    sessions: &Sessions,
) {
    let (site, from) = (incoming.id(), incoming.addr());
    let served = match engine.welcome(incoming, options).await {
        Ok(peer) => {
            let admitted = sessions.admit(site, peer.probe()).await;
            let serving = serving::serve(peer, root, |outcome| {
                let (bytes, files) = (outcome.bytes, outcome.files);
                tracing::info!(%site, %from, %bytes, files, "a transfer is done");
            });
            admitted.run(serving).await.unwrap_or(Ok(()))
        }
        Err(error) => Err(error.into()),
    };
    if let Err(error) = served {
        tracing::warn!(%site, %from, %error, "a session ended");
    }
}

/// Listens for SIGINT and SIGTERM from this call on; the future ends with the first of them.
pub(super) fn stop_signal() -> impl Future<Output = ()> {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    async move {
        let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    }
}
