//! `farhaul demo`: two real endpoints on this machine, an emulated link between their sockets,
//! real data, verified; and kernel TCP beside it where namespaces are permitted.

mod tcp;

use super::args::DemoArgs;
use super::failure::{self, Failure, Kind};
use super::progress::Shown;
use super::relay::Relay;
use super::report::incomplete;
use super::setup::blocking;
use super::transfer::{BUFFERS, WORKERS};
use super::{Ended, progress, setup, signals, text};
use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, SessionOptions, TcpPort};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::{Identity, SiteId};
use farhaul_engine::net::Traffics;
use farhaul_engine::tls::Allow;
use farhaul_engine::transfer::{Outcome, Progress, TransferError, push, serving};
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::limits::{SYMBOL_SIZE, UDP_IP_OVERHEAD};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_proto::wire::control::{FailCode, RefuseCode};
use farhaul_sim::profile::{LinkProfile, Loss, QueueLimit};
use farhaul_sim::rng::Rng;
use serde::Serialize;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tcp::{NotMeasured, TcpFigure};
use tempfile::TempDir;
use tokio::sync::watch;

/// Drop-tail queue of the emulated link.
const QUEUE: Duration = Duration::from_millis(50);
/// TCP gets this many times as long as Farhaul took, and then counts by what it delivered.
const TCP_PATIENCE: u32 = 4;
/// Pieces in which data is made and compared.
const PIECE: usize = 1 << 20;

pub(super) fn run(args: &DemoArgs) -> Ended {
    let ended = stage_and_show(args);
    if let (true, Err(failure)) = (args.json, &ended) {
        text::tell(serde_json::json!({ "rows": [], "error": failure }));
    }
    ended
}

fn stage_and_show(args: &DemoArgs) -> Ended {
    let given = args.file.as_deref().map(given).transpose()?;
    let stage = Stage::make()?;
    // What was staged goes when nobody can write there any more, however it ended.
    setup::block_on(async {
        tokio::select! {
            shown = show(args, &stage, given) => shown,
            () = signals::stop() => {
                Err(Failure::new(Kind::Transfer, "interrupted", "run it again"))
            }
        }
    })
}

async fn show(args: &DemoArgs, stage: &Stage, given: Option<Source>) -> Ended {
    let source = match given {
        Some(source) => {
            stage.has_room(source.size)?;
            source
        }
        None => {
            stage.has_room(args.size + args.size)?;
            let (stage, size) = (stage.clone(), args.size);
            blocking(move || stage.make_data(size)).await?
        }
    };
    let size = source.size;
    let link = profile(args);
    if !args.json {
        let (delay, loss) = (args.rtt.as_millis(), args.loss.get() * 100.0);
        let link = format!("{}, {delay} ms round trip, {loss:.1} % loss", args.rate);
        text::tell(format_args!("{size} over an emulated link of {link}:"));
    }
    let carried = carry(stage, &source.path, &link, args.json).await?;
    let arrived = stage.arrived(&source.path);
    blocking(move || verify(&source.path, &arrived)).await?;
    let mut rows = vec![Row::farhaul(&carried, size, args)];
    if !args.no_tcp {
        let limit = carried.took.max(Duration::from_secs(2)) * TCP_PATIENCE;
        for congestion in ["bbr", "cubic"] {
            let link = link.clone();
            let measured = blocking(move || Ok(tcp::measure(&link, size, congestion, limit)));
            rows.push(Row::tcp(congestion, measured.await?, limit, args));
        }
    }
    print(&rows, args.json);
    Ok(())
}

/// What is carried: a regular file, named without links.
struct Source {
    path: PathBuf,
    size: Bytes,
}

/// The file that the user gave.
fn given(file: &Path) -> Result<Source, Failure> {
    let at = |error| failure::disk(file.display(), &error);
    let path = fs::canonicalize(file).map_err(at)?;
    let meta = fs::metadata(&path).map_err(at)?;
    if !meta.is_file() {
        let what = format!("{}: is no regular file", file.display());
        let advice = "give a file, or leave it out; `farhaul send` carries whole directories";
        return Err(Failure::new(Kind::Usage, what, advice));
    }
    Ok(Source { path, size: Bytes::new(meta.len()) })
}

/// What Farhaul did.
struct Carried {
    outcome: Outcome,
    took: Duration,
}

fn profile(args: &DemoArgs) -> LinkProfile {
    LinkProfile {
        rate: Some(args.rate),
        delay: args.rtt / 2,
        queue: QueueLimit::Time(QUEUE),
        loss: if args.loss.get() > 0.0 { Loss::Bernoulli(args.loss) } else { Loss::None },
        ..LinkProfile::default()
    }
}

async fn carry(
    stage: &Stage,
    source: &Path,
    link: &LinkProfile,
    quiet: bool,
) -> Result<Carried, Failure> {
    let (us, them) = (Identity::ephemeral()?, Identity::ephemeral()?);
    let (ours, theirs) = (us.id(), them.id());
    let allow: Allow = Arc::new(move |site: &SiteId| *site == ours);
    let receiver = Arc::new(engine(them, Some(allow))?);
    let root = Root::open(&stage.received())?;
    let serving = tokio::spawn(serve_once(Arc::clone(&receiver), root));
    let relay = Relay::start(receiver.local_addr(), link, 1).map_err(|error| {
        let what = format!("cannot emulate a link: {error}");
        Failure::new(Kind::Transfer, what, "check that this machine has a loopback interface")
    })?;
    let sender = engine(us, None)?;
    let scanned = scan(&[source.to_path_buf()])?;
    let (progress, watcher) = watch::channel(Progress::default());
    let shown = if quiet { Shown::Nobody } else { Shown::People };
    let shown =
        tokio::spawn(progress::show(watcher, "farhaul".to_owned(), shown, Traffics::default));
    let begun = Instant::now();
    let peer =
        sender.connect(relay.addr(), theirs, OPTIONS).await.map_err(|error| too_bad(&error))?;
    let outcome = push(peer, scanned, Vec::new(), false, &progress).await;
    let took = begun.elapsed();
    drop(progress);
    let _ = shown.await;
    sender.stop().await;
    serving.abort();
    receiver.close().await;
    let outcome = outcome.map_err(|error| match error {
        TransferError::Refused { code: RefuseCode::NoSpace, reason } => stage.full(reason),
        error => too_bad(&error),
    })?;
    match outcome.failed.iter().find(|entry| entry.code == FailCode::NoSpace) {
        Some(entry) => Err(stage.full(&entry.reason)),
        None => incomplete(&outcome).map_or(Ok(Carried { outcome, took }), Err),
    }
}

/// Both ends and what lies between them are the demo's own: what fails is the link that was asked
/// for.
fn too_bad(error: &dyn fmt::Display) -> Failure {
    let what = format!("the transfer over the emulated link failed: {error}");
    Failure::new(Kind::Transfer, what, "try a lower --loss, a shorter --rtt or a higher --rate")
}

const OPTIONS: SessionOptions = SessionOptions {
    policy: Policy::Fair,
    bounds: Bounds::FREE,
    fec: FecPolicy::Auto,
    pack: PackPolicy::Off,
};

fn engine(identity: Identity, allow: Option<Allow>) -> Result<Engine, Failure> {
    Ok(Engine::start(EngineConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        tcp: TcpPort::Off,
        identity,
        allow,
        paths: None,
        disk: DiskKind::Auto,
        buffers: BUFFERS,
        workers: WORKERS,
    })?)
}

async fn serve_once(engine: Arc<Engine>, root: Root) {
    while let Some(incoming) = engine.accept().await {
        let Ok(peer) = engine.welcome(incoming, OPTIONS).await else { continue };
        if let Err(error) = serving::serve(peer, &root, |_, _| {}).await {
            tracing::debug!(%error, "the demo's session ended");
        }
    }
}

/// A temporary directory that only this user can look into, and that goes with its last owner.
#[derive(Clone)]
struct Stage(Arc<TempDir>);

impl Stage {
    fn make() -> Result<Self, Failure> {
        let private = fs::Permissions::from_mode(0o700);
        let made = tempfile::Builder::new().prefix("farhaul-demo-").permissions(private).tempdir();
        let stage = made.and_then(|dir| {
            fs::create_dir(dir.path().join("received"))?;
            Ok(Self(Arc::new(dir)))
        });
        stage.map_err(|error| {
            let what = format!("no temporary directory: {error}");
            Failure::new(Kind::Disk, what, "set TMPDIR to a directory that can be written to")
        })
    }

    fn received(&self) -> PathBuf {
        self.0.path().join("received")
    }

    fn arrived(&self, source: &Path) -> PathBuf {
        self.received().join(source.file_name().unwrap_or_default())
    }

    /// Checks that `size` fits.
    fn has_room(&self, size: Bytes) -> Ended {
        // Where the system cannot say, writing will tell.
        let Ok(disk) = rustix::fs::statvfs(self.0.path()) else { return Ok(()) };
        let free = Bytes::new(disk.f_bavail.saturating_mul(disk.f_frsize));
        if disk.f_blocks == 0 || free >= size {
            return Ok(());
        }
        Err(self.full(format_args!("{size} are needed, {free} are free")))
    }

    fn full(&self, why: impl fmt::Display) -> Failure {
        let directory = self.0.path().parent().unwrap_or(Path::new("/")).display();
        let what = format!("no room for the demo's data in {directory}: {why}");
        let advice = "carry less with --size, or set TMPDIR to a directory with more room";
        Failure::new(Kind::Disk, what, advice)
    }

    /// Data that neither compresses nor repeats.
    fn make_data(&self, size: Bytes) -> Result<Source, Failure> {
        let path = self.0.path().join("image.bin");
        match fill(&path, size) {
            Ok(()) => Ok(Source { path, size }),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => Err(self.full(error)),
            Err(error) => Err(failure::disk(path.display(), &error)),
        }
    }
}

fn fill(path: &Path, size: Bytes) -> io::Result<()> {
    let mut out = BufWriter::with_capacity(PIECE, File::create_new(path)?);
    let mut rng = Rng::new(size.get());
    let mut left = size.get();
    while left > 0 {
        let word = rng.next_u64().to_le_bytes();
        let len = left.min(word.len() as u64);
        out.write_all(&word[..usize::try_from(len).unwrap_or(word.len())])?;
        left -= len;
    }
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(())
}

fn verify(source: &Path, arrived: &Path) -> Ended {
    let same = same_bytes(source, arrived)
        .map_err(|error| failure::disk("what arrived cannot be compared", &error))?;
    if same {
        return Ok(());
    }
    let what = "what arrived differs from what was sent";
    Err(Failure::new(Kind::Transfer, what, "unless somebody changed the file, please report it"))
}

/// Compares two regular files; what arrived must not be a link to what was sent.
fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let mut one = BufReader::with_capacity(PIECE, open_regular(one)?);
    let mut other = BufReader::with_capacity(PIECE, open_regular(other)?);
    let (mut a, mut b) = (vec![0; PIECE], vec![0; PIECE]);
    loop {
        let len = read_piece(&mut one, &mut a)?;
        if len != read_piece(&mut other, &mut b)? || a[..len] != b[..len] {
            return Ok(false);
        }
        if len == 0 {
            return Ok(true);
        }
    }
}

fn open_regular(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn read_piece(from: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match from.read(&mut piece[filled..])? {
            0 => break,
            len => filled += len,
        }
    }
    Ok(filled)
}

/// One line of the table at the end.
#[derive(Debug, Serialize)]
struct Row {
    who: String,
    seconds: Option<f64>,
    goodput_bps: Option<u64>,
    /// Share of the most that any scheme can carry over this link.
    share_of_limit: Option<f64>,
    remark: String,
}

impl Row {
    fn farhaul(carried: &Carried, size: Bytes, args: &DemoArgs) -> Self {
        let goodput = size.rate_over(carried.took);
        let lost = carried.outcome.figures.as_ref().map_or(0.0, |figures| figures.loss.get());
        Self {
            who: "Farhaul (encrypted)".to_owned(),
            seconds: Some(carried.took.as_secs_f64()),
            goodput_bps: Some(goodput.get()),
            share_of_limit: Some(goodput.as_f64() / limit(args).as_f64()),
            remark: format!("byte-exact; {:.1} % of its packets were lost", lost * 100.0),
        }
    }

    fn tcp(
        congestion: &str,
        measured: Result<TcpFigure, NotMeasured>,
        limit: Duration,
        args: &DemoArgs,
    ) -> Self {
        let who = format!("kernel TCP, {congestion}");
        match measured {
            Ok(figure) => Self {
                who,
                seconds: figure.finished.then_some(figure.seconds),
                goodput_bps: Some(figure.goodput.get()),
                share_of_limit: Some(figure.goodput.as_f64() / self::limit(args).as_f64()),
                remark: if figure.finished {
                    String::new()
                } else {
                    let (got, span) = (Bytes::new(figure.bytes), progress::span(limit));
                    format!("stopped after {span} with {got}")
                },
            },
            Err(why) => Self {
                who,
                seconds: None,
                goodput_bps: None,
                share_of_limit: None,
                remark: format!("not measured: {why}"),
            },
        }
    }
}

/// G*: link rate, times what is not lost, times payload per packet.
fn limit(args: &DemoArgs) -> BitRate {
    let payload = f64::from(SYMBOL_SIZE);
    #[expect(clippy::cast_precision_loss, reason = "a small constant")]
    let packet = payload + 37.0 + UDP_IP_OVERHEAD as f64;
    args.rate.mul_f64((1.0 - args.loss.get()) * payload / packet)
}

fn print(rows: &[Row], json: bool) {
    if json {
        return text::tell(serde_json::json!({ "rows": rows, "error": null }));
    }
    text::tell(format_args!(
        "{:<22} {:>8} {:>14} {:>9}  remark",
        "", "seconds", "goodput", "of limit"
    ));
    for row in rows {
        let seconds = row.seconds.map_or("-".to_owned(), |s| format!("{s:.1}"));
        let goodput = row.goodput_bps.map_or("-".to_owned(), |r| BitRate::bps(r).to_string());
        let share = row.share_of_limit.map_or("-".to_owned(), |s| format!("{:.0} %", s * 100.0));
        let (who, remark) = (&row.who, &row.remark);
        text::tell(format_args!("{who:<22} {seconds:>8} {goodput:>14} {share:>9}  {remark}"));
    }
}

#[cfg(test)]
mod memory_tests;
