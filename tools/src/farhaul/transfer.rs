//! `farhaul send` and `farhaul get`.

use super::args::{GetArgs, RateArg, SendArgs, TransferArgs, TuningArgs};
use super::failure::{Failure, Kind};
use super::report::Report;
use super::target::Target;
use super::{Ended, progress, setup};
use farhaul_engine::engine::{Engine, EngineConfig, Peer, SessionOptions};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::Identity;
use farhaul_engine::transfer::{Outcome, Progress, ProgressSender, TransferError, pull, push};
use farhaul_proto::congestion::Policy;
use farhaul_proto::units::Bytes;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;
use tokio::sync::watch;

/// Memory for blocks under way.
pub(super) const BUFFERS: Bytes = Bytes::mib(160);
/// Threads for FEC and hashing.
pub(super) const WORKERS: usize = 2;

pub(super) fn send(args: SendArgs) -> Ended {
    let SendArgs { transfer, sources, target } = args;
    check(&transfer.tuning)?;
    let scanned = scan(&sources).map_err(|error| Failure::new(Kind::Disk, error))?;
    let label = format!("send to {}", target.host);
    let (dest, resume) = (target.path.clone(), !transfer.no_resume);
    run(&transfer, &target, label, async |peer, progress| {
        push(peer, scanned, dest, resume, progress).await
    })
}

pub(super) fn get(args: GetArgs) -> Ended {
    let GetArgs { transfer, target, dest } = args;
    check(&transfer.tuning)?;
    let created = std::fs::create_dir_all(&dest);
    created.map_err(|error| Failure::new(Kind::Disk, format!("{}: {error}", dest.display())))?;
    let root = Root::open(&dest).map_err(|error| Failure::new(Kind::Disk, error))?;
    let label = format!("get from {}", target.host);
    let (path, resume) = (target.path.clone(), !transfer.no_resume);
    run(&transfer, &target, label, async |peer, progress| {
        pull(peer, path, root, resume, progress).await
    })
}

/// Combinations that make no sense.
pub(super) fn check(tuning: &TuningArgs) -> Ended {
    if Policy::from(tuning.policy) == Policy::Fixed && tuning.rate == RateArg::Auto {
        let what = "--policy fixed holds a rate whatever happens, and needs to be told which";
        return Err(Failure::new(Kind::Usage, what).advise("add --rate, e.g. --rate 200Mbit/s"));
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

fn run<F>(args: &TransferArgs, target: &Target, label: String, carry: F) -> Ended
where
    F: AsyncFnOnce(Peer, &ProgressSender) -> Result<Outcome, TransferError>,
{
    let identity = setup::identity(args.home.home.as_ref())?;
    let runtime = setup::runtime()?;
    let quiet = args.quiet || args.json;
    let report = runtime.block_on(async {
        let begun = Instant::now();
        let addr = resolve(target)?;
        let engine = start(addr, identity, args)?;
        let (progress, watcher) = watch::channel(Progress::default());
        let shown = tokio::spawn(progress::show(watcher, label, quiet));
        let carried = interruptible(async {
            let peer = engine.connect(addr, target.id, options(&args.tuning)).await?;
            Ok(carry(peer, &progress).await?)
        })
        .await;
        drop(progress);
        let _ = shown.await;
        let report =
            carried.map(|outcome| Report::new(&outcome, begun.elapsed(), engine.disk_name()));
        engine.stop().await;
        report
    })?;
    if args.json {
        report.print_json();
    } else if !args.quiet {
        report.print_text();
    }
    report.failure().map_or(Ok(()), Err)
}

/// Ends with a failure at SIGINT or SIGTERM; what was carried stays for the next attempt.
async fn interruptible<T>(carry: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let stopped = Failure::new(Kind::Transfer, "interrupted")
        .advise("run the same command again to continue where it stopped");
    tokio::select! {
        carried = carry => carried,
        () = super::serve::stop_signal() => Err(stopped),
    }
}

fn resolve(target: &Target) -> Result<SocketAddr, Failure> {
    target.resolve().map_err(|error| {
        Failure::new(Kind::Transfer, format!("{}: {error}", target.host))
            .advise("check the host name, or give an address")
    })
}

fn start(to: SocketAddr, identity: Identity, args: &TransferArgs) -> Result<Engine, Failure> {
    let any = match to.ip() {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    Ok(Engine::start(EngineConfig {
        listen: SocketAddr::new(any, 0),
        identity,
        allow: None,
        disk: args.disk.into(),
        buffers: BUFFERS,
        workers: WORKERS,
    })?)
}
