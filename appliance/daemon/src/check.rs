//! `farhauld check`: what is wrong with a configuration, or what it means; for people, or as JSON.

use crate::{WRONG, tell};
use farhaul_proto::units::BitRate;
use farhauld::config::{Config, ConfigError, Folder, Link};
use serde::Serialize;
use std::io;
use std::path::Path;
use std::process::ExitCode;

/// Says what is wrong with a configuration, or what it means.
pub(crate) fn check(file: &Path, json: bool) -> ExitCode {
    let checked = Config::check(file);
    let code = if checked.is_ok() { ExitCode::SUCCESS } else { WRONG.into() };
    match checked {
        outcome if json => {
            let told = serde_json::to_string(&Told::of(&outcome)).unwrap_or_default();
            tell(&mut io::stdout(), told);
        }
        Ok(config) => tell(&mut io::stdout(), summary(&config)),
        Err(error) => tell(&mut io::stderr(), &error),
    }
    code
}

/// As JSON: one object.
#[derive(Debug, Default, Serialize)]
struct Told {
    ok: bool,
    /// What is wrong, by position.
    faults: Vec<Wrong>,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<Site>,
    peers: Vec<Peer>,
    folders: Vec<Kept>,
    calendars: Vec<Calendar>,
    links: Vec<Line>,
}

/// Something that is wrong; of a file that cannot be read, without a place in it.
#[derive(Debug, Serialize)]
struct Wrong {
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    column: Option<usize>,
    what: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

#[derive(Debug, Serialize)]
struct Site {
    name: String,
    state: String,
    listen: String,
    api: String,
}

#[derive(Debug, Serialize)]
struct Peer {
    name: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
}

#[derive(Debug, Serialize)]
struct Kept {
    id: String,
    path: String,
    role: String,
    peers: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Calendar {
    name: String,
    zone: String,
    rules: usize,
}

#[derive(Debug, Serialize)]
struct Line {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    up_bps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    down_bps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    calendar: Option<String>,
    /// Who is reached over it.
    peers: Vec<String>,
}

impl Told {
    fn of(checked: &Result<Config, ConfigError>) -> Self {
        match checked {
            Err(ConfigError::Faults { faults, .. }) => {
                let wrong = faults.iter().map(|fault| Wrong {
                    line: Some(fault.line),
                    column: Some(fault.column),
                    what: fault.what.clone(),
                    advice: Some(fault.advice.clone()),
                });
                Self { faults: wrong.collect(), ..Self::default() }
            }
            Err(error) => {
                let what = error.to_string();
                let wrong = Wrong { line: None, column: None, what, advice: None };
                Self { faults: vec![wrong], ..Self::default() }
            }
            Ok(config) => Self::meant(config),
        }
    }

    fn meant(config: &Config) -> Self {
        let site = Site {
            name: config.site.name.clone(),
            state: config.site.state.display().to_string(),
            listen: config.site.listen.to_string(),
            api: config.site.api.to_string(),
        };
        let peer = |peer: &farhauld::config::Peer| Peer {
            name: peer.name.clone(),
            id: peer.id.to_string(),
            address: peer.address.clone(),
        };
        let folder = |folder: &Folder| Kept {
            id: folder.id.to_string(),
            path: folder.path.display().to_string(),
            role: folder.role.name().to_owned(),
            peers: names(config, folder).into_iter().map(str::to_owned).collect(),
        };
        Self {
            ok: true,
            faults: Vec::new(),
            site: Some(site),
            peers: config.peers.iter().map(peer).collect(),
            folders: config.folders.iter().map(folder).collect(),
            calendars: calendars(config).collect(),
            links: config.links.iter().map(|link| line(config, link)).collect(),
        }
    }
}

fn calendars(config: &Config) -> impl Iterator<Item = Calendar> {
    config.calendars.iter().map(|(name, calendar)| Calendar {
        name: name.clone(),
        zone: calendar.zone().iana_name().unwrap_or("UTC").to_owned(),
        rules: calendar.rules().len(),
    })
}

fn line(config: &Config, link: &Link) -> Line {
    let over = config.peers.iter().filter(|peer| config.link_of(peer.id) == Some(link));
    Line {
        name: link.name.clone(),
        up_bps: link.up.map(BitRate::get),
        down_bps: link.down.map(BitRate::get),
        calendar: link.calendar.clone(),
        peers: over.map(|peer| peer.name.clone()).collect(),
    }
}

/// A line that says "ok", and one for each thing that is configured.
fn summary(config: &Config) -> String {
    let site = &config.site;
    let (state, policy) = (site.state.display(), config.transfer.policy.name());
    let mut lines = vec![
        "ok".to_owned(),
        format!("site {}, state {state}, at {}, API at {}", site.name, site.listen, site.api),
        format!("{} buffers, {} workers, policy {policy}", site.buffers, site.workers),
    ];
    for peer in &config.peers {
        let place = peer.address.as_deref().unwrap_or("where it calls from");
        lines.push(format!("peer {}, {}, at {place}", peer.name, peer.id));
    }
    lines.extend(config.folders.iter().map(|folder| folder_line(config, folder)));
    for Calendar { name, zone, rules } in calendars(config) {
        lines.push(format!("calendar {name}, {zone}, {rules} rules"));
    }
    lines.extend(config.links.iter().map(|link| link_line(config, link)));
    lines.join("\n")
}

fn folder_line(config: &Config, folder: &Folder) -> String {
    let names = names(config, folder);
    let with = if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
    let (path, role) = (folder.path.display(), folder.role.name());
    format!("folder {}, {path}, {role}, with {with}", folder.id)
}

fn link_line(config: &Config, link: &Link) -> String {
    let Line { name, peers, .. } = line(config, link);
    let up = link.up.map_or("as much as goes".to_owned(), |up| up.to_string());
    let by = link.calendar.as_ref().map_or(String::new(), |name| format!(" by {name}"));
    let to = if peers.is_empty() { "nobody".to_owned() } else { peers.join(", ") };
    format!("link {name}, {up}{by}, to {to}")
}

fn names<'a>(config: &'a Config, folder: &Folder) -> Vec<&'a str> {
    folder.peers.keys().filter_map(|id| config.peer_name(*id)).collect()
}
