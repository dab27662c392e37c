//! How the site, its folders and its peers are, and orders about folders.

use super::client::{Client, of_folder, with_path};
use super::{lines, print, say};
use crate::farhaul::failure::Failure;
use crate::farhaul::{Ended, text};
use farhaul_api::{
    FolderStatus, KeptStatus, Lacking, Missing, MissingPage, PeerCompared, PeerStatus, ScrubStatus,
    SiteStatus, Task, TreePath, Trouble, WatchStatus,
};
use serde::Serialize;

const NOTHING: Option<&()> = None;

pub(super) async fn status(client: Client, json: bool) -> Ended {
    let status: SiteStatus = client.get("/api/v1/status").await?;
    if json {
        return print(&status);
    }
    let SiteStatus { name, id, version, since, listen, .. } = &status;
    text::answer(format_args!("site {name}, {version}, at {listen}, since {since}\n  {id}"))?;
    status.folders.iter().try_for_each(|folder| text::answer(folder_line(folder)))?;
    status.peers.iter().try_for_each(|peer| text::answer(peer_line(peer)))?;
    status.links.iter().try_for_each(|link| text::answer(super::calendar::link_line(link)))
}

pub(super) async fn list(client: Client, json: bool) -> Ended {
    let folders: Vec<FolderStatus> = client.get("/api/v1/folders").await?;
    if json {
        return print(&folders);
    }
    folders.iter().try_for_each(|folder| text::answer(folder_line(folder)))
}

pub(super) async fn show(client: Client, folder: &str, json: bool) -> Ended {
    let folder: FolderStatus = client.get(&of_folder(folder, "")).await?;
    if json {
        return print(&folder);
    }
    text::answer(folder_line(&folder))?;
    text::answer(format_args!("  at {}, {}", folder.path, folder.role))?;
    let ended = folder.scan.ended.as_deref().unwrap_or("never yet");
    let next = folder.scan.next_in_seconds;
    text::answer(format_args!("  last scan: {ended}, next in {next} s"))?;
    text::answer(watch_line(&folder.watch))?;
    text::answer(scrub_line(&folder.scrub))?;
    text::answer(kept_line(&folder.kept))?;
    for peer in &folder.peers {
        let state = match peer.outstanding {
            Some(0) => "connected, knows all that this site knows".to_owned(),
            Some(count) => {
                let records = lines::count(count, "record is", "records are");
                format!("connected, {records} not durable there yet")
            }
            None => "not connected".to_owned(),
        };
        let compared = peer.compared.as_ref().map_or(String::new(), compared_text);
        text::answer(format_args!("  with {}: {state}{compared}", lines::site(&peer.site)))?;
    }
    for held in &folder.held {
        text::answer(super::waiting::held_lines(held))?;
    }
    for site in &folder.unheard {
        text::answer(format_args!(
            "  {} is heard before anything is published",
            lines::site(site)
        ))?;
    }
    if folder.waiting > 0 {
        let paths = lines::count(folder.waiting, "path is", "paths are");
        let id = &folder.id;
        text::answer(format_args!("  {paths} not published: `farhaul folder waiting {id}`"))?;
    }
    if folder.set_aside > 0 {
        let versions = lines::count(folder.set_aside, "version is", "versions are");
        let id = &folder.id;
        text::answer(format_args!("  {versions} set aside: `farhaul aside list {id}`"))?;
    }
    if folder.lacking.paths > 0 {
        text::answer(lacking_line(&folder.lacking))?;
    }
    for Trouble { what, why, since } in &folder.troubles {
        text::answer(format_args!("  {what} since {since}: {why}"))?;
    }
    Ok(())
}

fn watch_line(watch: &WatchStatus) -> String {
    let WatchStatus { by, watches, unwatched, reason, overflows, last_overflow } = watch;
    let mut line = match *watches {
        0 => "  watched by nothing, changes are found by scans".to_owned(),
        watches => format!("  watched by {by}, {}", lines::count(watches, "watch", "watches")),
    };
    if *unwatched > 0 {
        let dirs = lines::count(*unwatched, "directory", "directories");
        line.push_str(&format!(", none left for {dirs}"));
    }
    if *overflows > 0 {
        let last = last_overflow.as_deref().unwrap_or("never");
        let times = lines::count(*overflows, "time", "times");
        line.push_str(&format!("; too much changed at once {times}, last at {last}"));
    }
    if let Some(reason) = reason {
        line.push_str(&format!(": {reason}"));
    }
    line
}

fn lacking_line(lacking: &Lacking) -> String {
    let Lacking { paths, owner, group, mode, attributes, unsaid } = lacking;
    let paths = lines::count(*paths, "path lacks", "paths lack");
    format!(
        "  {paths} metadata: {owner} their owner, {group} their group, {mode} bits of their \
         mode, {attributes} attributes, {unsaid} such as are more than travels; `farhaul why` says why"
    )
}

fn scrub_line(scrub: &ScrubStatus) -> String {
    let ScrubStatus { files, bytes, damaged, .. } = scrub;
    let (files, bytes) = (lines::count(*files, "file", "files"), lines::size(*bytes));
    let read = format!("{files} of {bytes} read again, {damaged} damaged");
    let next = scrub.next_in_seconds.map(|next| format!(", next in {next} s")).unwrap_or_default();
    match (&scrub.began, &scrub.ended) {
        (Some(began), None) => format!("  scrub since {began}: {read} so far"),
        (_, Some(ended)) => format!("  last scrub: {ended}, {read}{next}"),
        (None, None) => "  last scrub: never yet".to_owned(),
    }
}

fn kept_line(kept: &KeptStatus) -> String {
    let KeptStatus { versions, bytes, counted } = kept;
    match counted {
        Some(counted) => {
            let versions = lines::count(*versions, "version", "versions");
            format!("  kept at {counted}: {versions} of {}", lines::size(*bytes))
        }
        None => "  kept: not counted yet".to_owned(),
    }
}

pub(super) async fn peers(client: Client, json: bool) -> Ended {
    let peers: Vec<PeerStatus> = client.get("/api/v1/peers").await?;
    if json {
        return print(&peers);
    }
    peers.iter().try_for_each(|peer| text::answer(peer_line(peer)))
}

pub(super) async fn scan(client: Client, folder: Option<&str>, json: bool) -> Ended {
    let address = folder.map_or("/api/v1/scan".to_owned(), |folder| of_folder(folder, "/scan"));
    say(&client.post(&address, NOTHING).await?, json)
}

pub(super) async fn order(client: Client, folder: &str, what: &str, json: bool) -> Ended {
    say(&client.post(&of_folder(folder, &format!("/{what}")), NOTHING).await?, json)
}

pub(super) async fn missing(client: Client, folder: &str, json: bool) -> Ended {
    let told = |item: &Missing| {
        let task = match item.task {
            Task::Place => "place",
            Task::Describe => "set mode, time or owner",
            Task::MakeDir => "make directory",
            Task::Remove => "remove",
        };
        let wanted = item.wanted.as_ref().map(lines::version).unwrap_or_default();
        format!("{task}  {}  {wanted}", item.path).trim_end().to_owned()
    };
    let address = of_folder(folder, "/missing");
    let mut cursor: Option<TreePath> = None;
    loop {
        let page: MissingPage = client.get(&paged(&address, cursor.as_ref())).await?;
        all(&page.items, json, told)?;
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

/// The address of a page.
pub(super) fn paged(address: &str, cursor: Option<&TreePath>) -> String {
    cursor.map_or(address.to_owned(), |cursor| with_path(address, "cursor", cursor))
}

/// One line each: of text, or an object.
pub(super) fn all<T: Serialize>(
    items: &[T],
    json: bool,
    told: impl Fn(&T) -> String,
) -> Result<(), Failure> {
    items.iter().try_for_each(|item| if json { print(item) } else { text::answer(told(item)) })
}

fn folder_line(folder: &FolderStatus) -> String {
    let mut line = format!("folder {}: {}", folder.id, folder.state.name());
    if let Some(reason) = &folder.reason {
        line.push_str(&format!(" ({reason})"));
    }
    if let Some(contents) = &folder.contents {
        let bytes = lines::size(contents.bytes);
        line.push_str(&format!(", {} of {bytes}", lines::count(contents.files, "file", "files")));
    }
    if folder.missing > 0 {
        line.push_str(&format!(", {} to do", lines::count(folder.missing, "path", "paths")));
    }
    if folder.fetching > 0 {
        let bytes = lines::size(folder.fetching_bytes);
        line.push_str(&format!(
            ", {} of {bytes} on the way",
            lines::count(folder.fetching, "file", "files")
        ));
    }
    if !folder.held.is_empty() {
        line.push_str(", a mass change is held");
    }
    if folder.waiting > 0 {
        line.push_str(&format!(
            ", {} not published",
            lines::count(folder.waiting, "path", "paths")
        ));
    }
    if folder.set_aside > 0 {
        line.push_str(&format!(
            ", {} set aside",
            lines::count(folder.set_aside, "version", "versions")
        ));
    }
    if folder.conflicts > 0 {
        line.push_str(&format!(", {}", lines::count(folder.conflicts, "conflict", "conflicts")));
    }
    if folder.lacking.paths > 0 {
        let paths = lines::count(folder.lacking.paths, "path lacks", "paths lack");
        line.push_str(&format!(", {paths} metadata"));
    }
    if !folder.troubles.is_empty() {
        line.push_str(&format!(
            ", {}",
            lines::count(folder.troubles.len() as u64, "trouble", "troubles")
        ));
    }
    line
}

/// What came of the last comparison with a peer.
fn compared_text(compared: &PeerCompared) -> String {
    let PeerCompared { at, agreed, lacked, regained } = compared;
    match agreed {
        true => format!("; both held the same at {at}"),
        false => format!(
            "; at {at} it lacked {lacked} records and this site {regained}, which were told again"
        ),
    }
}

fn peer_line(peer: &PeerStatus) -> String {
    let name = lines::site(&peer.site);
    let mut line = match (&peer.since, &peer.from, &peer.carrier) {
        (Some(since), Some(from), Some(carrier)) => {
            format!("peer {name}: connected since {since}, {from} over {carrier}")
        }
        _ => format!("peer {name}: not connected"),
    };
    if let Some(call) = &peer.call {
        line.push_str(&format!(
            "; {} ({}), again in {} s",
            call.why, call.at, call.again_in_seconds
        ));
    } else if !peer.connected && peer.address.is_none() {
        line.push_str("; it is to call this site");
    }
    if peer.outstanding > 0 {
        line.push_str(&format!("; {} records are not durable there yet", peer.outstanding));
    }
    line
}
