//! `farhaul send` and `farhaul get`.

use super::args::{GetArgs, PolicyArg, RateArg, SendArgs, TransferArgs, TuningArgs};
use super::carrier::{self, Choice, Chosen, Path, Reason};
use super::connect::Goal;
use super::failure::{Failure, Kind};
use super::report::{Attempt, Report, incomplete};
use super::target::Target;
use super::{Ended, connect, progress, record, setup, signals, text};
use farhaul_engine::control::CLOSE_SHUTDOWN;
use farhaul_engine::engine::{Engine, EngineConfig, Peer, SessionOptions, TcpPort};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::Identity;
use farhaul_engine::record::FlightPen;
use farhaul_engine::transfer::{
    Outcome, Progress, ProgressSender, Pull, TransferError, pull, push,
};
use farhaul_proto::congestion::Bounds;
use farhaul_proto::trace::flight::Role;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::Wishes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;
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
        let job = Job { transfer: &transfer, target: &target, label, sends: true };
        job.run(attempt, list, &async |scanned, peer, progress| {
            push(peer, scanned, dest.clone(), resume, progress).await
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
        let job = Job { transfer: &transfer, target: &target, label, sends: false };
        job.run(attempt, look, &async |(), peer, progress| pull(peer, what.clone(), progress).await)
    })
}

/// Combinations that make no sense.
pub(super) fn check(tuning: &TuningArgs) -> Ended {
    if tuning.policy == Some(PolicyArg::Fixed) && tuning.rate == RateArg::Auto {
        let what = "--policy fixed holds a rate whatever happens, and needs to be told which";
        return Err(Failure::new(Kind::Usage, what, "add --rate, e.g. --rate 200Mbit/s"));
    }
    bounds(tuning).map(|_| ())
}

/// How slow and how fast.
fn bounds(tuning: &TuningArgs) -> Result<Bounds, Failure> {
    Bounds::new(tuning.rate_min, tuning.rate.cap()).map_err(|error| {
        let what = format!("--rate-min and --rate leave no rate between them: {error}");
        Failure::new(Kind::Usage, what, "lower --rate-min, or raise --rate")
    })
}

/// How the session of these arguments is set up, which were checked.
pub(super) fn options(tuning: &TuningArgs) -> SessionOptions {
    SessionOptions {
        policy: tuning.policy.map(Into::into).unwrap_or_default(),
        bounds: Bounds::of_wishes(tuning.rate_min, tuning.rate.cap()),
        fec: tuning.fec.unwrap_or_default(),
        pack: tuning.compress.unwrap_or_default(),
    }
}

/// What these arguments ask of a peer that sends; nothing where none was given.
fn wishes(tuning: &TuningArgs) -> Wishes {
    Wishes {
        rate_max: tuning.rate.cap().map(BitRate::get),
        policy: tuning.policy.map(Into::into),
        fec: tuning.fec,
        pack: tuning.compress,
        rate_min: tuning.rate_min.map(BitRate::get),
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

/// A transfer as it was asked for.
struct Job<'a> {
    transfer: &'a TransferArgs,
    target: &'a Target,
    /// Which end of the data this host is, and what is shown of the transfer.
    label: (Role, String),
    /// This host gives.
    sends: bool,
}

/// What a transfer is carried with, on whichever carrier.
#[derive(Clone, Copy)]
struct Way<'a> {
    engine: &'a Arc<Engine>,
    goal: &'a Goal,
    progress: &'a ProgressSender,
    pen: Option<&'a FlightPen>,
}

impl Job<'_> {
    /// Prepares what needs no peer, then connects and carries; on another carrier again, where
    /// that is better.
    fn run<T, F>(
        self,
        attempt: &mut Attempt,
        prepare: impl Fn() -> Result<T, Failure> + Clone + Send + 'static,
        carry: &F,
    ) -> Ended
    where
        T: Send + 'static,
        F: AsyncFn(T, Peer, &ProgressSender) -> Result<Outcome, TransferError>,
    {
        let args = self.transfer;
        let identity = setup::identity(args.home.home.as_ref())?;
        let paths = self.sends.then(|| setup::paths(args.home.home.as_ref(), &args.tuning));
        let paths = paths.transpose()?.flatten();
        let (role, title) = &self.label;
        let (shown, options) = (progress::Shown::of(args), options(&args.tuning));
        let (site, peer) = (identity.id(), self.target.id);
        let named = record::Named { role: *role, title, site, peer };
        let recording = args.record.as_ref().map(|path| record::begin(path, &named, options));
        let recording = recording.transpose()?;
        let pen = recording.as_ref().map(|recording| recording.pen.clone());
        let ended = setup::block_on(async {
            let (named, first) = (self.target.clone(), prepare.clone());
            let (prepared, addresses) = interruptible(setup::blocking(move || {
                let prepared = first()?;
                Ok((prepared, connect::resolve(&named)?))
            }))
            .await?;
            let engine = connect::engine_towards(&addresses, |any| EngineConfig {
                paths: paths.clone(),
                ..config(any, &identity, args)
            })?;
            let engine = Arc::new(engine);
            attempt.disk = engine.disk_name();
            let (progress, watcher) = watch::channel(Progress::default());
            let counted = Arc::clone(&engine);
            let traffic = move || counted.traffic();
            let shown = tokio::spawn(progress::show(watcher, title.clone(), shown, traffic));
            let told = pen.clone().filter(|_| *role == Role::Receiver);
            let told = told.map(|pen| tokio::spawn(record::tell(progress.subscribe(), pen)));
            let (id, tcp_port) = (self.target.id, args.tcp_port);
            let goal = Goal { id, addresses, tcp_port, options };
            let way = Way { engine: &engine, goal: &goal, progress: &progress, pen: pen.as_ref() };
            let carried =
                interruptible(self.carry_on(attempt, way, prepared, &prepare, carry)).await;
            attempt.took = attempt.begun.elapsed();
            attempt.progress = progress.borrow().clone();
            drop(progress);
            let _ = shown.await;
            if let Some(told) = told {
                let _ = told.await;
            }
            engine.close().await;
            attempt.traffic = engine.traffic();
            attempt.outcome = Some(carried?);
            Ok(())
        });
        // The driver is gone: this is the last pen, and a record ends with that.
        drop(pen);
        if let Some(recording) = recording {
            recording.end();
        }
        ended
    }

    /// Connects and carries, until it is done or no other carrier would help.
    async fn carry_on<T, F>(
        &self,
        attempt: &mut Attempt,
        way: Way<'_>,
        prepared: T,
        prepare: &(impl Fn() -> Result<T, Failure> + Clone + Send + 'static),
        carry: &F,
    ) -> Result<Outcome, Failure>
    where
        T: Send + 'static,
        F: AsyncFn(T, Peer, &ProgressSender) -> Result<Outcome, TransferError>,
    {
        let Way { engine, goal, progress, pen } = way;
        let (mut choice, mut prepared) = (self.choice(), Some(prepared));
        let mut before = None;
        loop {
            let ready = match prepared.take() {
                Some(ready) => ready,
                // The sources may have changed since.
                None => setup::blocking(prepare.clone()).await?,
            };
            let begun = Instant::now();
            let connected = choice.connect(engine, goal).await;
            let (peer, chosen) = connected.map_err(|failure| before.take().unwrap_or(failure))?;
            self.note(attempt, chosen);
            attempt.connecting = begun.elapsed();
            // Who gets hears from the peer what that began with.
            attempt.hint = peer.session.start_hint().filter(|_| self.sends);
            if let Some(pen) = pen {
                peer.session.record(pen.clone());
            }
            let path = self.path(&peer, progress);
            let connection = peer.connection.clone();
            tokio::select! {
                carried = carry(ready, peer, progress) => match carried {
                    Ok(outcome) => return Ok(outcome),
                    Err(error) if choice.rescues(&error, chosen) => before = Some(error.into()),
                    Err(error) => return Err(error.into()),
                },
                reason = choice.until_change(engine, goal, chosen, path) => {
                    connection.close(CLOSE_SHUTDOWN, reason.text());
                }
            }
            drop(connection);
            carrier::settle().await;
        }
    }

    fn choice(&self) -> Choice {
        Choice::new(self.transfer.carrier, self.transfer.udp_again)
    }

    fn path(&self, peer: &Peer, progress: &ProgressSender) -> Path {
        Path {
            probe: peer.probe(),
            progress: progress.subscribe(),
            sends: self.sends,
            cap: self.transfer.tuning.rate.cap(),
        }
    }

    /// Says what carries the transfer where that is not the usual.
    fn note(&self, attempt: &mut Attempt, chosen: Chosen) {
        let changed = attempt.chosen.is_some();
        attempt.chosen = Some(chosen);
        let usual = matches!(chosen.reason, Reason::Asked | Reason::UdpAnswers);
        let TransferArgs { quiet, json, json_progress, .. } = self.transfer;
        if !(usual || *quiet || *json || *json_progress) {
            let carrier = chosen.carrier.name().to_uppercase();
            let goes = if changed { "goes on" } else { "travels" };
            text::complain(format_args!(
                "farhaul: {goes} over {carrier}: {}",
                chosen.reason.text()
            ));
        }
    }
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
        tcp: TcpPort::Off,
        identity: identity.clone(),
        allow: None,
        paths: None,
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
    use farhaul_proto::fec::{FecPolicy, PackPolicy};

    fn typed(options: &str) -> TuningArgs {
        let target = format!("{}@h:x", SiteId::of_public_key(b"some key"));
        let words = ["farhaul", "get"].into_iter().chain(options.split_whitespace());
        match Cli::parse_from(words.chain([target.as_str(), "."])).verb {
            Verb::Get(args) => args.transfer.tuning,
            other => panic!("{other:?}"),
        }
    }

    fn wishes_of(options: &str) -> Wishes {
        wishes(&typed(options))
    }

    #[test]
    fn a_get_asks_for_what_was_typed_and_for_nothing_else() {
        assert_eq!(wishes_of(""), Wishes::default());
        assert_eq!(wishes_of("--rate auto"), Wishes::default());
        let typed = "--rate 5Mbit/s --policy low --fec off --compress always";
        let (rate_max, policy) = (Some(5_000_000), Some(Policy::Low));
        let (fec, pack) = (Some(FecPolicy::Off), Some(PackPolicy::Always));
        let wished = Wishes { rate_max, policy, fec, pack, rate_min: None };
        assert_eq!(wishes_of(typed), wished);
        let rate_min = Some(2_000_000);
        assert_eq!(
            wishes_of(&format!("{typed} --rate-min 2Mbit/s")),
            Wishes { rate_min, ..wished }
        );
    }

    #[test]
    fn a_least_rate_bounds_what_this_side_sends() {
        let bounds = options(&typed("--rate-min 2Mbit/s --rate 5Mbit/s")).bounds;
        assert_eq!(bounds.floor(), Some(BitRate::mbps(2)));
        assert_eq!(bounds.cap(), Some(BitRate::mbps(5)));
        assert_eq!(options(&typed("")).bounds, Bounds::FREE);
    }

    #[test]
    fn a_least_rate_above_the_rate_is_refused() {
        assert!(check(&typed("--rate-min 5Mbit/s --rate 5Mbit/s")).is_ok());
        assert!(check(&typed("--rate-min 5Mbit/s")).is_ok());
        let refused = check(&typed("--rate-min 6Mbit/s --rate 5Mbit/s")).unwrap_err();
        let text = format!("{refused:?}");
        for part in ["--rate-min", "6.0 Mbit/s", "5.0 Mbit/s", "raise --rate", "Usage"] {
            assert!(text.contains(part), "{text}");
        }
    }
}
