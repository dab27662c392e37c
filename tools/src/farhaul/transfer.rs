//! `farhaul send` and `farhaul get`.

use super::args::{GetArgs, PolicyArg, RateArg, SendArgs, TransferArgs, TuningArgs};
use super::failure::{Failure, Kind};
use super::report::{Attempt, Report, incomplete};
use super::target::Target;
use super::{Ended, connect, progress, record, setup, signals};
use farhaul_engine::engine::{EngineConfig, Peer, SessionOptions};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::Identity;
use farhaul_engine::transfer::{
    Outcome, Progress, ProgressSender, Pull, TransferError, pull, push,
};
use farhaul_proto::trace::flight::Role;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::Wishes;
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
        let label = (Role::Sender, format!("send to {}", target.host));
        let (dest, resume) = (target.path.clone(), !transfer.no_resume);
        let list = move || Ok(scan(&sources)?);
        run(&transfer, &target, label, attempt, list, async |scanned, peer, progress| {
            push(peer, scanned, dest, resume, progress).await
        })
    })
}

pub(super) fn get(args: GetArgs) -> Ended {
    let GetArgs { transfer, target, dest } = args;
    reported(&transfer, |attempt| {
        check(&transfer.tuning)?;
        let place = dest.clone();
        // Better now than after the peer has looked at all that it has.
        let look = move || {
            if place.exists() {
                Root::open(&place)?;
            }
            Ok(())
        };
        let label = (Role::Receiver, format!("get from {}", target.host));
        let wishes = wishes(&transfer.tuning);
        let what = Pull { path: target.path.clone(), dest, resume: !transfer.no_resume, wishes };
        run(&transfer, &target, label, attempt, look, async |(), peer, progress| {
            pull(peer, what, progress).await
        })
    })
}

/// Combinations that make no sense.
pub(super) fn check(tuning: &TuningArgs) -> Ended {
    if tuning.policy == Some(PolicyArg::Fixed) && tuning.rate == RateArg::Auto {
        let what = "--policy fixed holds a rate whatever happens, and needs to be told which";
        return Err(Failure::new(Kind::Usage, what, "add --rate, e.g. --rate 200Mbit/s"));
    }
    Ok(())
}

/// How the session of these arguments is set up.
pub(super) fn options(tuning: &TuningArgs) -> SessionOptions {
    SessionOptions {
        policy: tuning.policy.map(Into::into).unwrap_or_default(),
        cap: tuning.rate.cap(),
        fec: tuning.fec.unwrap_or_default(),
    }
}

/// What these arguments ask of a peer that sends; nothing where none was given.
fn wishes(tuning: &TuningArgs) -> Wishes {
    Wishes {
        rate_max: tuning.rate.cap().map(BitRate::get),
        policy: tuning.policy.map(Into::into),
        fec: tuning.fec,
    }
}

/// Attempts a transfer and reports it, however it ended.
fn reported(args: &TransferArgs, act: impl FnOnce(&mut Attempt) -> Ended) -> Ended {
    let mut attempt = Attempt::begin();
    let ended = act(&mut attempt);
    if attempt.took.is_zero() {
        attempt.took = attempt.begun.elapsed();
    }
    let ended =
        ended.and_then(|()| attempt.outcome.as_ref().and_then(incomplete).map_or(Ok(()), Err));
    let report = Report::new(&attempt, ended.as_ref().err());
    if args.json || args.json_progress {
        report.print_json();
    } else if !args.quiet && attempt.outcome.is_some() {
        report.print_text();
    }
    ended
}

/// Prepares what needs no peer, then connects and carries.
fn run<T, F>(
    args: &TransferArgs,
    target: &Target,
    (role, label): (Role, String),
    attempt: &mut Attempt,
    prepare: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    carry: F,
) -> Ended
where
    T: Send + 'static,
    F: AsyncFnOnce(T, Peer, &ProgressSender) -> Result<Outcome, TransferError>,
{
    let identity = setup::identity(args.home.home.as_ref())?;
    let shown = progress::Shown::of(args);
    let named = record::Named { role, title: &label, site: identity.id(), peer: target.id };
    let options = options(&args.tuning);
    let recording = args.record.as_ref().map(|path| record::begin(path, &named, options));
    let recording = recording.transpose()?;
    let pen = recording.as_ref().map(|recording| recording.pen.clone());
    let ended = setup::block_on(async {
        let named = target.clone();
        let (prepared, addresses) = interruptible(setup::blocking(move || {
            let prepared = prepare()?;
            Ok((prepared, connect::resolve(&named)?))
        }))
        .await?;
        let engine = connect::engine_towards(&addresses, |any| config(any, &identity, args))?;
        let engine = Arc::new(engine);
        attempt.disk = engine.disk_name();
        let (progress, watcher) = watch::channel(Progress::default());
        let shown = tokio::spawn(progress::show(watcher, label, shown));
        let told = pen.clone().filter(|_| role == Role::Receiver);
        let told = told.map(|pen| tokio::spawn(record::tell(progress.subscribe(), pen)));
        let carried = interruptible(async {
            let peer = connect::connect(&engine, &addresses, target.id, options).await?;
            if let Some(pen) = pen {
                peer.session.record(pen);
            }
            Ok(carry(prepared, peer, &progress).await?)
        })
        .await;
        attempt.took = attempt.begun.elapsed();
        attempt.progress = progress.borrow().clone();
        drop(progress);
        let _ = shown.await;
        if let Some(told) = told {
            let _ = told.await;
        }
        engine.close().await;
        attempt.outcome = Some(carried?);
        Ok(())
    });
    // The driver is gone, and with it the last pen.
    if let Some(recording) = recording {
        recording.end();
    }
    ended
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

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Verb};
    use super::*;
    use clap::Parser;
    use farhaul_engine::identity::SiteId;
    use farhaul_proto::congestion::Policy;
    use farhaul_proto::fec::FecPolicy;

    fn wishes_of(options: &[&str]) -> Wishes {
        let target = format!("{}@h:x", SiteId::of_public_key(b"some key"));
        let words = ["farhaul", "get"].iter().chain(options).copied();
        match Cli::parse_from(words.chain([target.as_str(), "."])).verb {
            Verb::Get(args) => wishes(&args.transfer.tuning),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_get_asks_for_what_was_typed_and_for_nothing_else() {
        assert_eq!(wishes_of(&[]), Wishes::default());
        assert_eq!(wishes_of(&["--rate", "auto"]), Wishes::default());
        let typed = ["--rate", "5Mbit/s", "--policy", "low", "--fec", "off"];
        let (rate_max, policy) = (Some(5_000_000), Some(Policy::Low));
        assert_eq!(wishes_of(&typed), Wishes { rate_max, policy, fec: Some(FecPolicy::Off) });
    }
}
