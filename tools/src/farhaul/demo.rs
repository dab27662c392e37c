//! `farhaul demo`: two real endpoints on this machine, an emulated link between their sockets,
//! real data, verified; and kernel TCP beside it where namespaces are permitted.

mod tcp;

use super::args::DemoArgs;
use super::failure::{Failure, Kind};
use super::relay::Relay;
use super::transfer::{BUFFERS, WORKERS};
use super::{Ended, progress, setup};
use farhaul_engine::disk::DiskKind;
use farhaul_engine::engine::{Engine, EngineConfig, SessionOptions};
use farhaul_engine::files::{Root, scan};
use farhaul_engine::identity::{Identity, SiteId};
use farhaul_engine::tls::Allow;
use farhaul_engine::transfer::{Outcome, Progress, push, serving};
use farhaul_proto::congestion::Policy;
use farhaul_proto::fec::FecPolicy;
use farhaul_proto::limits::{SYMBOL_SIZE, UDP_IP_OVERHEAD};
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sim::profile::{LinkProfile, Loss, QueueLimit};
use farhaul_sim::rng::Rng;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Drop-tail queue of the emulated link.
const QUEUE: Duration = Duration::from_millis(50);
/// TCP gets this many times as long as Farhaul took, and then counts by what it delivered.
const TCP_PATIENCE: u32 = 4;
/// Pieces in which data is made and compared.
const PIECE: usize = 1 << 20;

pub(super) fn run(args: &DemoArgs) -> Ended {
    let stage = Stage::make().map_err(disk("cannot make a temporary directory"))?;
    let source = match &args.file {
        Some(file) => file.clone(),
        None => stage.make_data(args.size).map_err(disk("cannot make the data"))?,
    };
    let size = fs::metadata(&source).map_err(disk(&source.display().to_string()))?.len();
    let link = profile(args);
    if !args.json {
        let delay = args.rtt.as_millis();
        let (loss, bytes) = (args.loss.get() * 100.0, Bytes::new(size));
        println!(
            "{bytes} over an emulated link of {}, {delay} ms round trip, {loss:.1} % loss:",
            args.rate
        );
    }
    let carried = setup::runtime()?.block_on(carry(&stage, &source, &link, args.json))?;
    verify(&source, &stage.arrived(&source))?;
    let mut rows = vec![Row::farhaul(&carried, size, args)];
    if !args.no_tcp {
        let limit = carried.took.max(Duration::from_secs(2)) * TCP_PATIENCE;
        for congestion in ["bbr", "cubic"] {
            rows.push(Row::tcp(congestion, &link, size, limit, args));
        }
    }
    print(&rows, args.json);
    Ok(())
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
    let (us, them) = (ephemeral()?, ephemeral()?);
    let (ours, theirs) = (us.id(), them.id());
    let allow: Allow = Arc::new(move |site: &SiteId| *site == ours);
    let receiver = Arc::new(engine(them, Some(allow))?);
    let serving = tokio::spawn(serve_once(Arc::clone(&receiver), stage.received()));
    let relay = Relay::start(receiver.local_addr(), link, 1).map_err(disk("cannot emulate"))?;
    let sender = engine(us, None)?;
    let scanned = scan(&[source.to_path_buf()]).map_err(|error| Failure::new(Kind::Disk, error))?;
    let (progress, watcher) = watch::channel(Progress::default());
    let shown = tokio::spawn(progress::show(watcher, "farhaul".to_owned(), quiet));
    let begun = Instant::now();
    let peer = sender.connect(relay.addr(), theirs, OPTIONS).await?;
    let outcome = push(peer, scanned, Vec::new(), false, &progress).await;
    let took = begun.elapsed();
    drop(progress);
    let _ = shown.await;
    sender.stop().await;
    serving.abort();
    receiver.close().await;
    Ok(Carried { outcome: outcome?, took })
}

const OPTIONS: SessionOptions =
    SessionOptions { policy: Policy::Fair, cap: None, fec: FecPolicy::Auto };

fn ephemeral() -> Result<Identity, Failure> {
    Identity::ephemeral().map_err(|error| Failure::new(Kind::Disk, error))
}

fn engine(identity: Identity, allow: Option<Allow>) -> Result<Engine, Failure> {
    Ok(Engine::start(EngineConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        identity,
        allow,
        disk: DiskKind::Auto,
        buffers: BUFFERS,
        workers: WORKERS,
    })?)
}

async fn serve_once(engine: Arc<Engine>, root: PathBuf) {
    let Ok(root) = Root::open(&root) else { return };
    while let Some(incoming) = engine.accept().await {
        let Ok(peer) = engine.welcome(incoming, OPTIONS).await else { continue };
        if let Err(error) = serving::serve(peer, &root, |_| {}).await {
            tracing::debug!(%error, "the demo's session ended");
        }
    }
}

/// A temporary directory that goes with its owner.
struct Stage(PathBuf);

impl Stage {
    fn make() -> io::Result<Self> {
        let name = format!("farhaul-demo-{}", std::process::id());
        let stage = Self(std::env::temp_dir().join(name));
        fs::create_dir(&stage.0)?;
        fs::create_dir(stage.received())?;
        Ok(stage)
    }

    fn received(&self) -> PathBuf {
        self.0.join("received")
    }

    fn arrived(&self, source: &Path) -> PathBuf {
        self.received().join(source.file_name().unwrap_or_default())
    }

    /// Data that neither compresses nor repeats.
    fn make_data(&self, size: Bytes) -> io::Result<PathBuf> {
        let path = self.0.join("image.bin");
        let mut out = BufWriter::with_capacity(PIECE, File::create(&path)?);
        let mut rng = Rng::new(size.get());
        let mut left = size.get();
        while left > 0 {
            let word = rng.next_u64().to_le_bytes();
            let len = left.min(word.len() as u64);
            out.write_all(&word[..usize::try_from(len).unwrap_or(word.len())])?;
            left -= len;
        }
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn verify(source: &Path, arrived: &Path) -> Ended {
    let same = same_bytes(source, arrived).map_err(disk("cannot compare what arrived"))?;
    if same {
        return Ok(());
    }
    Err(Failure::new(Kind::Transfer, "what arrived differs from what was sent: please report it"))
}

fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let mut one = BufReader::with_capacity(PIECE, File::open(one)?);
    let mut other = BufReader::with_capacity(PIECE, File::open(other)?);
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

fn disk(what: &str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::new(Kind::Disk, format!("{what}: {error}"))
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
    fn farhaul(carried: &Carried, size: u64, args: &DemoArgs) -> Self {
        let goodput = Bytes::new(size).rate_over(carried.took);
        let lost = carried.outcome.stats.as_ref().map_or(0.0, |s| s.counters.loss().get());
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
        link: &LinkProfile,
        size: u64,
        limit: Duration,
        args: &DemoArgs,
    ) -> Self {
        let who = format!("kernel TCP, {congestion}");
        match tcp::measure(link, Bytes::new(size), congestion, limit) {
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
        match serde_json::to_string(rows) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("farhaul: the table cannot be written as JSON: {error}"),
        }
        return;
    }
    println!("{:<22} {:>8} {:>14} {:>9}  remark", "", "seconds", "goodput", "of limit");
    for row in rows {
        let seconds = row.seconds.map_or("-".to_owned(), |s| format!("{s:.1}"));
        let goodput = row.goodput_bps.map_or("-".to_owned(), |r| BitRate::bps(r).to_string());
        let share = row.share_of_limit.map_or("-".to_owned(), |s| format!("{:.0} %", s * 100.0));
        println!("{:<22} {seconds:>8} {goodput:>14} {share:>9}  {}", row.who, row.remark);
    }
}
