//! Figures for Prometheus, in the OpenMetrics text format. Labels are names from the configuration
//! and fixed words: no paths, nothing that a peer chose.

use super::fail::Failed;
use super::{Api, Shared, status};
use crate::site::Shown;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use farhaul_api::{FolderState, Problem, SiteStatus};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Figures of the site, its folders and its peers.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", responses(
    (status = 200, content_type = "application/openmetrics-text", body = String),
    (status = "default", body = Problem)
))]
pub(super) async fn scrape(State(api): State<Api>) -> Result<Response, Failed> {
    let figures = Figures::of(&api, status::whole(&api).await?);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(figures));
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Failed::broken(error.to_string()))?;
    Ok(([(header::CONTENT_TYPE, KIND)], text).into_response())
}

/// Names and bits per second.
type Rates = Vec<(String, u64)>;

type OfFolder = fn(&farhaul_api::FolderStatus) -> u64;

/// Gauges of each folder that need no more than a look at its status: name, help, value.
const OF_FOLDERS: [(&str, &str, OfFolder); 11] = [
    ("farhaul_folder_waiting", "Paths of which what was found is not published", |f| f.waiting),
    ("farhaul_folder_set_aside", "Versions of neighbours that are set aside", |f| f.set_aside),
    ("farhaul_folder_held", "Mass changes that wait for a person", |f| f.held.len() as u64),
    ("farhaul_folder_unheard", "Peers that are heard first", |f| f.unheard.len() as u64),
    ("farhaul_folder_peers", "Sites that share it", |f| f.peers.len() as u64),
    ("farhaul_folder_peers_connected", "Those of them that are connected", |f| {
        f.peers.iter().filter(|peer| peer.connected).count() as u64
    }),
    ("farhaul_folder_watched", "1 where changes are heard of as they happen", |f| {
        u64::from(f.watch.watches > 0)
    }),
    ("farhaul_folder_unwatched", "Directories that there was no watch for", |f| f.watch.unwatched),
    ("farhaul_folder_kept_versions", "What was displaced and is kept", |f| f.kept.versions),
    ("farhaul_folder_kept_bytes", "Lengths of that together", |f| f.kept.bytes),
    ("farhaul_folder_damaged", "Files that the last scrub found damaged", |f| f.scrub.damaged),
];

/// What is told at one scrape.
#[derive(Debug)]
struct Figures {
    status: SiteStatus,
    loop_age: Duration,
    rounds: u64,
    events: u64,
    /// What may go over links at the moment; links without a limit have no figure.
    caps: Vec<(String, u64)>,
    /// What goes over each, of which job, and where nothing of links is said as well.
    used: Rates,
    jobs: Rates,
    /// Carrier, direction, bytes.
    bytes: Vec<(&'static str, &'static str, u64)>,
}

impl Figures {
    fn of(api: &Shared, status: SiteStatus) -> Self {
        let control = &api.sources.control;
        let traffic = api.sources.engine.upgrade().map(|engine| engine.traffic());
        let traffic = traffic.unwrap_or_default();
        let bytes = vec![
            ("udp", "sent", traffic.udp.bytes_sent),
            ("udp", "received", traffic.udp.bytes_received),
            ("tcp", "sent", traffic.tcp.bytes_sent),
            ("tcp", "received", traffic.tcp.bytes_received),
        ];
        let (loop_age, rounds) = (control.beat().age(), control.beat().rounds());
        let caps = api.sources.sites.allowed().into_iter();
        let caps = caps.filter_map(|link| Some((link.name, link.cap?.get()))).collect();
        let (used, jobs) = used(&api.sources.sites.shown());
        let events = control.log().newest();
        Self { status, loop_age, rounds, events, caps, used, jobs, bytes }
    }

    fn of_folders(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let folders = &self.status.folders;
        let each = |pick: fn(&farhaul_api::FolderStatus) -> u64| {
            folders.iter().map(move |folder| ([("folder", folder.id.as_str())], pick(folder)))
        };
        gauges(
            encoder,
            ("farhaul_folder_missing", "Paths at which something is to be done"),
            each(|f| f.missing),
        )?;
        gauges(encoder, ("farhaul_folder_fetching", "Files on their way"), each(|f| f.fetching))?;
        let help = ("farhaul_folder_fetching_bytes", "Lengths of the files on their way");
        gauges(encoder, help, each(|folder| folder.fetching_bytes))?;
        gauges(encoder, ("farhaul_folder_conflicts", "Conflict copies"), each(|f| f.conflicts))?;
        let help = ("farhaul_folder_troubles", "Things that do not work");
        gauges(encoder, help, each(|folder| folder.troubles.len() as u64))?;
        for (name, help, read) in OF_FOLDERS {
            gauges(encoder, (name, help), each(read))?;
        }
        let scanned = folders.iter().filter_map(|folder| {
            let ended = crate::moment::secs_of(folder.scan.ended.as_deref()?)?;
            Some(([("folder", folder.id.as_str())], ended))
        });
        let help = "When it was last looked through, in seconds since 1970";
        gauges(encoder, ("farhaul_folder_scan_ended_seconds", help), scanned)?;
        let mut overflows = encoder.encode_descriptor(
            "farhaul_folder_watch_overflows",
            "How often more changed than could be heard of, so that all was scanned",
            None,
            MetricType::Counter,
        )?;
        for folder in folders {
            let labels = [("folder", folder.id.as_str())];
            ConstCounter::new(folder.watch.overflows).encode(overflows.encode_family(&labels)?)?;
        }
        let outstanding = folders.iter().flat_map(|folder| {
            folder.peers.iter().filter_map(|peer| {
                let name = peer.site.name.as_deref().unwrap_or_default();
                Some(([("folder", folder.id.as_str()), ("peer", name)], peer.outstanding?))
            })
        });
        let help = "Records of ours that a connected peer has not called durable";
        gauges(encoder, ("farhaul_folder_outstanding", help), outstanding)?;
        let files = |f: &farhaul_api::FolderStatus| f.contents.as_ref().map_or(0, |c| c.files);
        gauges(encoder, ("farhaul_folder_files", "Files that stand in it"), each(files))?;
        let bytes = |f: &farhaul_api::FolderStatus| f.contents.as_ref().map_or(0, |c| c.bytes);
        gauges(encoder, ("farhaul_folder_bytes", "Lengths of these files"), each(bytes))?;
        let lacking = folders.iter().flat_map(|folder| {
            let lacking = &folder.lacking;
            let kinds = [
                ("owner", lacking.owner),
                ("group", lacking.group),
                ("mode", lacking.mode),
                ("attributes", lacking.attributes),
                ("unsaid", lacking.unsaid),
            ];
            kinds.map(|(kind, count)| ([("folder", folder.id.as_str()), ("kind", kind)], count))
        });
        let help = "Paths of which the disk or this site did not take that of the metadata";
        gauges(encoder, ("farhaul_folder_lacking", help), lacking)?;
        let states = folders.iter().flat_map(|folder| {
            FolderState::ALL.map(|state| {
                let labels = [("folder", folder.id.as_str()), ("state", state.name())];
                (labels, u64::from(folder.state == state))
            })
        });
        gauges(encoder, ("farhaul_folder_state", "1 for what the folder is at"), states)
    }

    fn of_peers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let name = |peer: &farhaul_api::PeerStatus| peer.site.name.clone().unwrap_or_default();
        let names: Vec<String> = self.status.peers.iter().map(name).collect();
        let peers = || names.iter().zip(&self.status.peers);
        let connected =
            peers().map(|(n, peer)| ([("peer", n.as_str())], u64::from(peer.connected)));
        gauges(encoder, ("farhaul_peer_connected", "Whether there is a session"), connected)?;
        let help = ("farhaul_peer_outstanding", "Records of ours that it has not called durable");
        gauges(encoder, help, peers().map(|(n, peer)| ([("peer", n.as_str())], peer.outstanding)))
    }
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let build = [([("version", self.status.version.as_str())], 1)];
        gauges(encoder, ("farhaul_build", "Which release runs"), build.into_iter())?;
        let age = ConstGauge::new(self.loop_age.as_secs_f64());
        let help = "Time since the control loop last went round";
        let name = "farhaul_control_loop_age_seconds";
        age.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        counter(encoder, ("farhaul_control_loop_rounds", "How often it did"), self.rounds)?;
        counter(encoder, ("farhaul_events", "Events so far"), self.events)?;
        let help = "What carriers moved";
        let mut bytes =
            encoder.encode_descriptor("farhaul_network_bytes", help, None, MetricType::Counter)?;
        for (carrier, direction, count) in &self.bytes {
            let labels = [("carrier", *carrier), ("direction", *direction)];
            ConstCounter::new(*count).encode(bytes.encode_family(&labels)?)?;
        }
        let caps = self.caps.iter().map(|(link, cap)| ([("link", link.as_str())], *cap));
        let help = "What this site sends over it at most, in bits per second";
        gauges(encoder, ("farhaul_link_cap_bps", help), caps)?;
        let used = self.used.iter().map(|(link, bps)| ([("link", link.as_str())], *bps));
        let help = "What this site sends over it, in bits per second of wire bytes";
        gauges(encoder, ("farhaul_link_used_bps", help), used)?;
        let jobs = self.jobs.iter().map(|(job, bps)| ([("job", job.as_str())], *bps));
        let help = "What this site sends of a job, in bits per second of wire bytes";
        gauges(encoder, ("farhaul_job_sent_bps", help), jobs)?;
        self.of_folders(encoder)?;
        self.of_peers(encoder)
    }
}

/// What goes over each link, and of each job over all of them. The names of jobs are those that sites
/// whom this one lets order jobs here gave them.
fn used(shown: &Shown) -> (Rates, Rates) {
    let links = shown.links.iter().filter_map(|it| Some((it.name.clone()?, it.rate.get())));
    let sessions = shown.links.iter().flat_map(|link| &link.sessions);
    let mut jobs = BTreeMap::<String, u64>::new();
    for flow in sessions.flat_map(|session| &session.flows) {
        if let Some(job) = &flow.job {
            *jobs.entry(job.clone()).or_default() += flow.rate.get();
        }
    }
    (links.collect(), jobs.into_iter().collect())
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    count: u64,
) -> fmt::Result {
    ConstCounter::new(count).encode(encoder.encode_descriptor(
        name,
        help,
        None,
        MetricType::Counter,
    )?)
}

/// A family of gauges with these labels.
fn gauges<'l, const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help): (&str, &str),
    values: impl Iterator<Item = ([(&'static str, &'l str); N], u64)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in values {
        let value = i64::try_from(value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}
