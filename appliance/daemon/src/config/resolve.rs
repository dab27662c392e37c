//! From the sections of a file to a configuration: defaults, ranges, and what has to fit together.

mod calendars;
mod exports;
mod guards;
mod links;
mod owners;

use super::fault::{Fault, Faults, shown};
use super::host::{self, Host};
use super::places::{self, Place};
use super::quantity::{self, QuantityError};
use super::raw::{At, Document, Key, Section};
use super::{ApiPlace, Config, Folder, FolderId, Ignore, Peer, Site, Transfer};
use crate::scan::{RuleError, Rules, ScrubPlan};
use crate::store::retention::Retention;
use crate::watch::WatchMode;
use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;
use toml::de::DeTable;

const NAME: Key = Key { name: "name", example: "\"berlin\"" };
const STATE: Key = Key { name: "state", example: "\"/var/lib/farhaul\"" };
const LISTEN: Key = Key { name: "listen", example: "\"0.0.0.0:7411\"" };
const API: Key = Key { name: "api", example: "\"127.0.0.1:7412\" or \"unix:/run/farhaul/api\"" };
const BUFFERS: Key = Key { name: "buffers", example: "\"160 MiB\"" };
const WORKERS: Key = Key { name: "workers", example: "2" };
const PEER_ID: Key = Key { name: "id", example: "\"...\" with the 52 letters of the peer's id" };
const ADDRESS: Key = Key { name: "address", example: "\"tokyo.example.org:7411\"" };
const FOLDER_ID: Key = Key { name: "id", example: "\"photos\"" };
const PATH: Key = Key { name: "path", example: "\"/srv/photos\"" };
const IGNORE: Key = Key { name: "ignore", example: "[\"*.tmp\"]" };
const SCAN_EVERY: Key = Key { name: "scan-every", example: "\"1 h\"" };
const SCRUB_EVERY: Key = Key { name: "scrub-every", example: "\"30 d\" or \"off\"" };
const SCRUB_RATE: Key = Key { name: "scrub-rate", example: "\"160 Mbit/s\"" };
const VERSIONS_AGE: Key = Key { name: "versions-age", example: "\"365 d\" or \"forever\"" };
const VERSIONS_ROOM: Key = Key { name: "versions-room", example: "\"100 GiB\" or \"any\"" };
const WATCH: Key = Key { name: "watch", example: "\"auto\", \"fanotify\", \"inotify\" or \"off\"" };
const POLICY: Key = Key { name: "policy", example: "\"fair\", \"low\", \"high\" or \"fixed\"" };
const RATE: Key = Key { name: "rate", example: "\"500 Mbit/s\"" };
const RATE_MIN: Key = Key { name: "rate-min", example: "\"20 Mbit/s\"" };

/// 52 times `a`: what stands in the examples for the id of a peer.
const PLACEHOLDER: SiteId = SiteId([0; 32]);
/// The port of sites.
const PORT: u16 = 7411;
/// The port of the management API.
const API_PORT: u16 = 7412;
/// Bytes of the name of a site.
const NAME_MAX: usize = 64;
/// Folders of a site: as many as fit into one message (S-051).
const FOLDERS_MAX: usize = 4096;
/// Peers of a site: each one is a session, which takes a megabyte and more while nothing happens.
const PEERS_MAX: usize = 256;
/// Bytes of the path of a socket: what the kernel's `sun_path` holds, with a zero byte.
const SOCKET_PATH_MAX: usize = 107;
/// Bytes of a host name (RFC 1035, section 2.3.4).
const HOST_MAX: usize = 253;

/// Reads a configuration, with a look at so much of the host.
///
/// # Errors
/// Every fault, by position; of a text that is no TOML only those of its form.
pub(super) fn resolve(text: &str, host: Host) -> Result<Config, Vec<Fault>> {
    let (top, broken) = DeTable::parse_recoverable(text);
    let mut faults = Faults::default();
    for error in broken {
        let at = error.span().map_or(0, |span| span.start);
        faults.add(at, error.message(), "write it as TOML (https://toml.io) wants it");
    }
    if !faults.is_empty() {
        return Err(faults.placed(text));
    }
    let document = Document::of(top.get_ref(), &mut faults);
    let mut places = Vec::new();
    let site = site(document.site, &mut places, &mut faults);
    let known = peers(document.peers, site.as_ref(), host, &mut faults);
    let folders = folders(document.folders, &known, &mut places, &mut faults);
    let exports = exports::exports(document.exports, &known, &mut places, &mut faults);
    let transfer = transfer(document.transfer, &mut faults);
    let lists = calendars::holidays(document.holidays, &mut faults);
    let calendars = calendars::calendars(document.calendars, &lists, host, &mut faults);
    let links = links::links(document.links, &known, &calendars, &mut faults);
    if host.is_checked {
        host::check(site.as_ref(), &places, &mut faults);
    }
    places::check_apart(places, &host.real, &mut faults);
    match site {
        Some(site) if faults.is_empty() => {
            let peers = known.into_values().flatten().collect();
            Ok(Config { site, peers, folders, exports, transfer, calendars, links })
        }
        _ => Err(faults.placed(text)),
    }
}

/// The site; `None` if something that it needs is wrong.
fn site(mut section: Section<'_>, places: &mut Vec<Place>, faults: &mut Faults) -> Option<Site> {
    if section.is_absent() {
        let advice = "begin with [site] and its keys `name` and `state`";
        faults.add(section.at(), "there is no section [site]", advice);
        return None;
    }
    let name = section.required(NAME, faults);
    let name = name.and_then(|name| site_name(NAME, name, faults));
    let state = section.required(STATE, faults);
    let state = state.and_then(|state| place(STATE, state, places::THE_STATE, places, faults));
    let listen = section.text(LISTEN, faults);
    let listen = listen.map_or(Some((Ipv4Addr::UNSPECIFIED, PORT).into()), |listen| {
        address_of_ours(LISTEN, listen, faults)
    });
    let api_at = section.text(API, faults);
    let api = api_at.map_or(Some(ApiPlace::Tcp((Ipv4Addr::LOCALHOST, API_PORT).into())), |api| {
        api_place(api, faults)
    });
    let range = (Bytes::mib(32), Bytes::mib(64 << 10), "32 MiB to 64 GiB");
    let buffers = quantity(&mut section, BUFFERS, quantity::size, range, faults);
    let workers = section.count(WORKERS, faults);
    if let Some(workers) = workers.filter(|workers| !(1..=64).contains(&workers.value)) {
        faults.add(workers.at, "`workers` is out of range", "write a number from 1 to 64");
    }
    if let (Some(listen), Some(ApiPlace::Tcp(api))) = (listen, &api) {
        let shares_ip =
            listen.ip() == api.ip() || listen.ip().is_unspecified() || api.ip().is_unspecified();
        if listen.port() == api.port() && listen.port() > 0 && shares_ip {
            let at = api_at.map_or(section.at(), |api| api.at);
            let what = format!("`listen` and `api` both want TCP port {}", api.port());
            faults.add(at, what, "give `api` another port");
        }
    }
    section.end(faults);
    let workers = workers.and_then(|workers| usize::try_from(workers.value).ok()).unwrap_or(2);
    Some(Site {
        name: name?,
        state: state?,
        listen: listen?,
        api: api?,
        buffers: buffers.unwrap_or(Bytes::mib(160)),
        workers,
    })
}

/// Peers by name; `None` for one that is known by its name and wrong otherwise.
type Known = BTreeMap<String, Option<Peer>>;

fn peers(
    sections: Vec<Section<'_>>,
    site: Option<&Site>,
    host: Host,
    faults: &mut Faults,
) -> Known {
    if let Some(section) = sections.get(PEERS_MAX) {
        // (spec: S-166)
        let what = format!("there are {} peers", sections.len());
        let advice = format!(
            "name {PEERS_MAX} at most, and have the others keep their folders with one of these (a \
             hub): sites pass on what they have"
        );
        faults.add(section.at(), what, advice);
    }
    let mut known = Known::new();
    let mut ids: BTreeMap<SiteId, String> = BTreeMap::new();
    for mut section in sections {
        let at = section.at();
        let name = section.required(NAME, faults);
        let name_at = name.map_or(at, |name| name.at);
        let name = name.and_then(|name| site_name(NAME, name, faults));
        let id = section.required(PEER_ID, faults);
        let id = id.and_then(|id| match id.value.parse::<SiteId>() {
            Ok(PLACEHOLDER) if host.is_checked => {
                let what = "`id` is a placeholder and belongs to nobody";
                faults.add(id.at, what, "write the id that `farhaul id --home STATE` prints there");
                None
            }
            Ok(value) => Some(At { at: id.at, value }),
            Err(error) => {
                let advice = "write the id that the peer logs at its start";
                faults.add(id.at, format!("`id` is no site id: {error}"), advice);
                None
            }
        });
        let address = section.text(ADDRESS, faults);
        if let Some(address) = address.filter(|address| !is_address(address.value)) {
            let what = format!("`address` = \"{}\" is no HOST:PORT", shown(address.value));
            let advice = format!("{}, or \"[IPv6 address]:7411\"", ADDRESS.advice());
            faults.add(address.at, what, advice);
        }
        section.end(faults);
        let Some(name) = name else { continue };
        if site.is_some_and(|site| site.name == name) || known.contains_key(&name) {
            let what = format!("a site is called `{name}` already");
            faults.add(name_at, what, "give each site a name of its own");
            continue;
        }
        if let Some(id) = id
            && let Some(other) = ids.insert(id.value, name.clone())
        {
            let what = format!("`{name}` has the id of `{other}`");
            faults.add(id.at, what, "name each peer once");
        }
        let address = address.map(|address| address.value.to_owned());
        let peer = id.map(|id| Peer { name: name.clone(), id: id.value, address });
        known.insert(name, peer);
    }
    known
}

fn folders(
    sections: Vec<Section<'_>>,
    known: &Known,
    places: &mut Vec<Place>,
    faults: &mut Faults,
) -> Vec<Folder> {
    if let Some(section) = sections.get(FOLDERS_MAX) {
        let what = format!("there are {} folders", sections.len());
        faults.add(section.at(), what, format!("a site keeps at most {FOLDERS_MAX}"));
    }
    let mut folders = Vec::new();
    let mut ids = BTreeSet::new();
    for mut section in sections {
        let id = section.required(FOLDER_ID, faults).and_then(|id| folder_id(id, faults));
        if let Some(id) = id.as_ref().filter(|id| !ids.insert(id.value.clone())) {
            let what = format!("there is a folder `{}` already", id.value);
            faults.add(id.at, what, "give each folder an id of its own");
        }
        let called = id.as_ref().map_or("a folder".to_owned(), |id| format!("folder {}", id.value));
        let path = section.required(PATH, faults);
        let path = path.and_then(|path| place(PATH, path, &called, places, faults));
        let peers = guards::peers(&mut section, known, faults);
        let role = guards::role(&mut section, faults);
        let keeps_deleted = guards::keeps_deleted(&mut section, role, faults);
        let brake = guards::brake(&mut section, faults);
        let ignore = ignore(&mut section, faults);
        let range = (Duration::from_secs(1), Duration::from_hours(30 * 24), "1 s to 30 d");
        let scan_every = quantity(&mut section, SCAN_EVERY, quantity::span, range, faults);
        let watch = section.text(WATCH, faults).map_or(Some(WatchMode::default()), |watch| {
            let named = WatchMode::ALL.into_iter().find(|one| one.name() == watch.value);
            or_fault(WATCH, watch, named, faults)
        });
        let scrub = scrub(&mut section, faults);
        let retention = retention(&mut section, faults);
        let root_owned = guards::root_owned(&mut section, faults);
        let map_users = owners::users(&mut section, faults);
        let map_groups = owners::groups(&mut section, faults);
        section.end(faults);
        if let (Some(id), Some(path), Some(role), Some(watch)) = (id, path, role, watch) {
            let (id, scan_every) = (id.value, scan_every.unwrap_or(Duration::from_hours(1)));
            folders.push(Folder {
                id,
                path,
                peers,
                role,
                keeps_deleted,
                brake,
                ignore,
                scan_every,
                watch,
                scrub,
                retention,
                root_owned,
                map_users,
                map_groups,
            });
        }
    }
    folders.sort_by(|a, b| a.id.cmp(&b.id));
    folders
}

fn folder_id(id: At<&str>, faults: &mut Faults) -> Option<At<FolderId>> {
    let value = FolderId::new(id.value);
    if value.is_none() {
        let what = format!("`id` = \"{}\" is no id of a folder", shown(id.value));
        let advice = "write 1 to 64 of a-z, 0-9, `.`, `_` and `-`, a letter or a digit first";
        faults.add(id.at, what, advice);
    }
    value.map(|value| At { at: id.at, value })
}

fn ignore(section: &mut Section<'_>, faults: &mut Faults) -> Ignore {
    let Some(list) = section.list(IGNORE, faults) else { return Ignore::default() };
    let patterns: Vec<String> = list.value.iter().map(|one| one.value.to_owned()).collect();
    match Rules::parse(&patterns) {
        Ok(rules) => return Ignore { patterns, rules },
        Err(RuleError::Pattern { number, fault }) => {
            let at = list.value.get(number.saturating_sub(1)).map_or(list.at, |one| one.at);
            let what = format!("ignore pattern {number}: {}", shown(&fault));
            faults.add(at, what, "write it as in .gitignore");
        }
        Err(error @ RuleError::TooMany { .. }) => {
            faults.add(list.at, "`ignore` is too long", error.to_string());
        }
    }
    Ignore::default()
}

/// How files are read again.
fn scrub(section: &mut Section<'_>, faults: &mut Faults) -> ScrubPlan {
    let mut plan = ScrubPlan::default();
    let rates = (BitRate::mbps(1), BitRate::kbps(1_000_000_000), "1 Mbit/s to 1000 Gbit/s");
    plan.rate = quantity(section, SCRUB_RATE, quantity::rate, rates, faults).unwrap_or(plan.rate);
    let read = |text: &str| if text == "off" { Ok(Duration::MAX) } else { quantity::span(text) };
    let spans = (Duration::from_hours(1), Duration::MAX, "1 h or more, or \"off\"");
    if let Some(every) = quantity(section, SCRUB_EVERY, read, spans, faults) {
        plan.every = Some(every).filter(|every| *every < Duration::MAX);
    }
    plan
}

/// What is kept of what was displaced.
fn retention(section: &mut Section<'_>, faults: &mut Faults) -> Retention {
    let mut kept = Retention::default();
    let read = |text: &str| match text {
        "forever" => Ok(Duration::MAX),
        text => quantity::span(text),
    };
    let spans = (Duration::from_hours(1), Duration::MAX, "1 h or more, or \"forever\"");
    if let Some(age) = quantity(section, VERSIONS_AGE, read, spans, faults) {
        kept.age = Some(age).filter(|age| *age < Duration::MAX);
    }
    let any = Bytes::new(u64::MAX);
    let read = |text: &str| if text == "any" { Ok(any) } else { quantity::size(text) };
    let sizes = (Bytes::mib(1), any, "1 MiB or more, or \"any\"");
    if let Some(room) = quantity(section, VERSIONS_ROOM, read, sizes, faults) {
        kept.room = Some(room).filter(|room| *room < any);
    }
    kept
}

fn transfer(mut section: Section<'_>, faults: &mut Faults) -> Transfer {
    let range = (BitRate::kbps(10), BitRate::kbps(1_000_000_000), "10 kbit/s to 1000 Gbit/s");
    let policy_at = section.text(POLICY, faults);
    let rate = quantity(&mut section, RATE, quantity::rate, range, faults);
    let rate_min = quantity(&mut section, RATE_MIN, quantity::rate, range, faults);
    let has_rate = section.has(RATE.name);
    let at = policy_at.map_or(section.at(), |policy| policy.at);
    section.end(faults);
    let policy = policy_at.map_or(Some(Policy::default()), |policy| {
        let all = [Policy::Low, Policy::Fair, Policy::High, Policy::Fixed];
        let named = all.into_iter().find(|one| one.name() == policy.value);
        or_fault(POLICY, policy, named, faults)
    });
    if policy == Some(Policy::Fixed) && !has_rate {
        let what = "`policy` = \"fixed\" holds a rate, and there is no `rate`";
        faults.add(at, what, RATE.advice());
    }
    let bounds = Bounds::new(rate_min, rate).unwrap_or_else(|error| {
        faults.add(at, error.to_string(), "lower `rate-min`, or raise `rate`");
        Bounds::FREE
    });
    Transfer { policy: policy.unwrap_or_default(), bounds }
}

/// The value that a text names, or a fault with those that there are.
fn or_fault<T>(key: Key, text: At<&str>, named: Option<T>, faults: &mut Faults) -> Option<T> {
    if named.is_none() {
        let what = format!("`{}` cannot be \"{}\"", key.name, shown(text.value));
        faults.add(text.at, what, key.advice());
    }
    named
}

/// A quantity within a range; `None` if it is not written, or wrong.
fn quantity<T: PartialOrd>(
    section: &mut Section<'_>,
    key: Key,
    read: impl Fn(&str) -> Result<T, QuantityError>,
    (least, most, range): (T, T, &str),
    faults: &mut Faults,
) -> Option<T> {
    let text = section.text(key, faults)?;
    let named = || format!("`{}` = \"{}\"", key.name, shown(text.value));
    match read(text.value) {
        Ok(value) if value >= least && value <= most => return Some(value),
        Ok(_) => {
            faults.add(text.at, format!("{} is out of range", named()), format!("write {range}"));
        }
        Err(error) => faults.add(text.at, format!("{} {error}", named()), key.advice()),
    }
    None
}

fn site_name(key: Key, name: At<&str>, faults: &mut Faults) -> Option<String> {
    let fits = |c: char| c.is_alphanumeric() || "._-".contains(c);
    let is_name = (1..=NAME_MAX).contains(&name.value.len()) && name.value.chars().all(fits);
    if !is_name {
        let what = format!("`{}` = \"{}\" is no name", key.name, shown(name.value));
        let advice = format!("write 1 to {NAME_MAX} bytes of letters, digits, `.`, `_` and `-`");
        faults.add(name.at, what, advice);
    }
    is_name.then(|| name.value.to_owned())
}

/// A directory, noted among the places.
fn place(
    key: Key,
    text: At<&str>,
    called: &str,
    places: &mut Vec<Place>,
    faults: &mut Faults,
) -> Option<PathBuf> {
    match places::absolute(text.value) {
        Ok(path) => {
            places.push(Place { at: text.at, called: called.to_owned(), path: path.clone() });
            Some(path)
        }
        Err(fault) => {
            let what = format!("`{}` = \"{}\" {fault}", key.name, shown(text.value));
            faults.add(text.at, what, key.advice());
            None
        }
    }
}

fn address_of_ours(key: Key, text: At<&str>, faults: &mut Faults) -> Option<SocketAddr> {
    let addr = text.value.parse().ok();
    if addr.is_none() {
        let what = format!("`{}` = \"{}\" is no ADDRESS:PORT", key.name, shown(text.value));
        faults.add(text.at, what, key.advice());
    }
    addr
}

fn api_place(text: At<&str>, faults: &mut Faults) -> Option<ApiPlace> {
    let Some(path) = text.value.strip_prefix("unix:") else {
        let addr = address_of_ours(API, text, faults)?;
        // There is no TLS, and the token would go over the wire.
        if !addr.ip().is_loopback() {
            let what = format!("`api`: others could read what goes to {addr}");
            faults.add(text.at, what, API.advice());
            return None;
        }
        return Some(ApiPlace::Tcp(addr));
    };
    match places::absolute(path) {
        Ok(path) if path.as_os_str().len() <= SOCKET_PATH_MAX => Some(ApiPlace::Unix(path)),
        other => {
            let fault = other.err().unwrap_or("is longer than the 107 bytes of a socket's path");
            faults.add(text.at, format!("`api`: \"{}\" {fault}", shown(path)), API.advice());
            None
        }
    }
}

/// `HOST:PORT`, with brackets around an IPv6 address.
fn is_address(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_host = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let fits = |c: char| c.is_alphanumeric() || "._-".contains(c);
            (1..=HOST_MAX).contains(&host.len()) && host.chars().all(fits)
        }
    };
    is_port && is_host
}
