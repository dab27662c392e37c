//! `farhaul send` and `farhaul get`.

use super::args::{GetArgs, RateArg, SendArgs, TransferArgs, TuningArgs};
use super::failure::{self, Failure, Kind};
use super::report::{Attempt, Report, incomplete};
use super::target::Target;
use super::{Ended, connect, progress, setup, signals};
use farhaul_engine::engine::{EngineConfig, Peer, SessionOptions};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::Identity;
use farhaul_engine::transfer::{Outcome, Progress, ProgressSender, TransferError, pull, push};
use farhaul_proto::congestion::Policy;
use farhaul_proto::units::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// Memory for blocks under way.
pub(super) const BUFFERS: Bytes = Bytes::mib(160);
/// Threads for FEC and hashing.
pub(super) const WORKERS: usize = 2;

pub(super) fn send(args: SendArgs) -> Ended {
    let SendArgs { transfer, sources, target } = args;
    reported(&transfer, |attempt| {
        check(&transfer.tuning)?;
        let scanned = scan(&sources)?;
        let label = format!("send to {}", target.host);
        let (dest, resume) = (target.path.clone(), !transfer.no_resume);
        run(&transfer, &target, label, attempt, async |peer, progress| {
            push(peer, scanned, dest, resume, progress).await
        })
    })
}

pub(super) fn get(args: GetArgs) -> Ended {
    let GetArgs { transfer, target, dest } = args;
    reported(&transfer, |attempt| {
        check(&transfer.tuning)?;
        std::fs::create_dir_all(&dest).map_err(|error| failure::disk(dest.display(), &error))?;
        let root = Root::open(&dest)?;
        let label = format!("get from {}", target.host);
        let (path, resume) = (target.path.clone(), !transfer.no_resume);
        run(&transfer, &target, label, attempt, async |peer, progress| {
            pull(peer, path, root, resume, progress).await
        })
    })
}

/// Combinations that make no sense.
pub(super) fn check(tuning: &TuningArgs) -> Ended {
    if Policy::from(tuning.policy) == Policy::Fixed && tuning.rate == RateArg::Auto {
        let what = "--policy fixed holds a rate whatever happens, and needs to be told which";
        return Err(Failure::new(Kind::Usage, what, "add --rate, e.g. --rate 200Mbit/s"));
    }
    Ok(())
}

/// How the session of these arguments is set up.
pub(super) fn options(tuning: &TuningArgs) -> SessionOptions {
    let cap = match tuning.rate {
        RateArg::Auto => None,
        RateArg::Cap(rate) => Some(rate),
    };
    SessionOptions { policy: tuning.policy.into(), cap, fec: tuning.fec }
}

/// Attempts a transfer and reports it, however it ended.
fn reported(args: &TransferArgs, act: impl FnOnce(&mut Attempt) -> Ended) -> Ended {
    let mut attempt = Attempt::begin();
    let ended = act(&mut attempt);
    let ended =
        ended.and_then(|()| attempt.outcome.as_ref().and_then(incomplete).map_or(Ok(()), Err));
    let report = Report::new(&attempt, ended.as_ref().err());
    if args.json {
        report.print_json();
    } else if !args.quiet && attempt.outcome.is_some() {
        report.print_text();
    }
    ended
}

fn run<F>(
    args: &TransferArgs,
    target: &Target,
    label: String,
    attempt: &mut Attempt,
    carry: F,
) -> Ended
where
    F: AsyncFnOnce(Peer, &ProgressSender) -> Result<Outcome, TransferError>,
{
    let identity = setup::identity(args.home.home.as_ref())?;
    let quiet = args.quiet || args.json;
    setup::block_on(async {
        let addresses = connect::resolve(target)?;
        let engine = connect::engine_towards(&addresses, |any| config(any, &identity, args))?;
        let engine = Arc::new(engine);
        attempt.disk = engine.disk_name();
        let (progress, watcher) = watch::channel(Progress::default());
        let shown = tokio::spawn(progress::show(watcher, label, quiet));
        let carried = interruptible(async {
            let options = options(&args.tuning);
            let peer = connect::connect(&engine, &addresses, target.id, options).await?;
            Ok(carry(peer, &progress).await?)
        })
        .await;
        attempt.took = attempt.begun.elapsed();
        attempt.progress = progress.borrow().clone();
        drop(progress);
        let _ = shown.await;
        engine.close().await;
        attempt.outcome = Some(carried?);
        Ok(())
    })
}

/// Ends with a failure at SIGINT or SIGTERM; what was carried stays for the next attempt.
async fn interruptible<T>(carry: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let advice = "run the same command again to continue where it stopped";
    tokio::select! {
        carried = carry => carried,
        () = signals::stop() => Err(Failure::new(Kind::Transfer, "interrupted", advice)),
    }
}

fn config(listen: SocketAddr, identity: &Identity, args: &TransferArgs) -> EngineConfig {
    EngineConfig {
        listen,
        identity: identity.clone(),
        allow: None,
        disk: args.disk.into(),
        buffers: BUFFERS,
        workers: WORKERS,
    }
}
