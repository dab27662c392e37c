//! What waits in a folder: mass changes that are held, edits that are not published, versions that are
//! set aside; and orders about them.

use super::client::{Client, encoded, of_folder};
use super::folder::{all, paged};
use super::{lines, say};
use crate::farhaul::Ended;
use farhaul_api::{
    Brake, Braked, ItemKind, OneAside, Revert, SetAside, SetAsidePage, TreePath, Waiting,
    WaitingPage,
};

pub(super) async fn list(client: Client, folder: &str, json: bool) -> Ended {
    let told = |item: &Waiting| {
        let what = match (item.kind, item.size) {
            (ItemKind::Gone, _) => "gone".to_owned(),
            (ItemKind::Dir, _) => "directory".to_owned(),
            (ItemKind::Link, _) => "link".to_owned(),
            (ItemKind::File, size) => format!("file, {}", lines::size(size.unwrap_or(0))),
        };
        format!("{}  {what}, since {}: {}", item.path, item.seen, item.why.words())
    };
    let address = of_folder(folder, "/waiting");
    let mut cursor: Option<TreePath> = None;
    loop {
        let page: WaitingPage = client.get(&paged(&address, cursor.as_ref())).await?;
        all(&page.items, json, told)?;
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

pub(super) async fn revert(
    client: Client,
    folder: &str,
    path: Option<TreePath>,
    json: bool,
) -> Ended {
    let order = Revert { path };
    say(&client.post(&of_folder(folder, "/revert"), Some(&order)).await?, json)
}

pub(super) async fn brake(
    client: Client,
    folder: &str,
    what: &str,
    origin: Option<String>,
    json: bool,
) -> Ended {
    let address = of_folder(folder, &format!("/brake/{what}"));
    say(&client.post(&address, Some(&Brake { origin })).await?, json)
}

pub(super) async fn asides(client: Client, folder: &str, json: bool) -> Ended {
    let told = |aside: &SetAside| {
        let (version, why) = (lines::version(&aside.version), aside.why.words());
        format!("{}\n  {version}: {why}\n  {}", aside.path, aside.id)
    };
    let address = of_folder(folder, "/aside");
    let mut cursor: Option<String> = None;
    loop {
        let from = cursor.as_deref().map(encoded);
        let from = from.map_or(address.clone(), |from| format!("{address}?cursor={from}"));
        let page: SetAsidePage = client.get(&from).await?;
        all(&page.items, json, told)?;
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

pub(super) async fn decide(
    client: Client,
    folder: &str,
    what: &str,
    id: String,
    json: bool,
) -> Ended {
    let address = of_folder(folder, &format!("/aside/{what}"));
    say(&client.post(&address, Some(&OneAside { id })).await?, json)
}

/// A mass change that is held, in a few lines.
pub(super) fn held_lines(held: &Braked) -> String {
    let from = match (&held.site, held.origin.as_str()) {
        (Some(site), _) => lines::site(site).to_owned(),
        (None, "disk") => "this site's own disk".to_owned(),
        (None, _) => "sites that are not peers here".to_owned(),
    };
    let Braked { origin, since, deleted, rewritten, of, examples, .. } = held;
    let files = lines::count(*deleted, "file", "files");
    let paths = lines::count(*of, "path", "paths");
    let mut text = format!(
        "  held since {since}, from {from}: {files} deleted and {rewritten} rewritten of \
         {paths}; confirm or refuse {origin}"
    );
    for example in examples {
        text.push_str(&format!("\n    {example}"));
    }
    text
}
