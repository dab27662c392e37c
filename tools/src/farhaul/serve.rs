//! `farhaul serve`: accept and offer transfers below a directory.

use super::args::ServeArgs;
use super::failure::{Failure, Kind};
use super::transfer::{BUFFERS, WORKERS, check, options};
use super::{Ended, connect, setup, signals, text};
use farhaul_engine::engine::{Engine, EngineConfig, EngineError, Incoming, SessionOptions};
use farhaul_engine::files::Root;
use farhaul_engine::identity::SiteId;
use farhaul_engine::tls::Allow;
use farhaul_engine::transfer::serving;
use farhaul_engine::transfer::supersede::Sessions;
use std::collections::BTreeSet;
use std::sync::Arc;

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
    let allowed: BTreeSet<SiteId> = args.allow.iter().copied().collect();
    let allow: Allow = Arc::new(move |site: &SiteId| allowed.contains(site));
    let config = |listen| EngineConfig {
        listen,
        identity: identity.clone(),
        allow: Some(Arc::clone(&allow)),
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
        text::tell(format_args!("listening on {} as {id}", engine.local_addr()));
        let options = options(&args.tuning);
        let ended = tokio::select! {
            () = accept_all(&engine, &root, options) => {
                Err(engine.failure().unwrap_or(EngineError::Stopped).into())
            }
            () = stopped => Ok(()),
        };
        engine.close().await;
        ended
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
