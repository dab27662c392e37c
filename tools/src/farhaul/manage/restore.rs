//! `farhaul version` and `farhaul restore`: what is kept, and bringing it back, into the folder or to
//! another place.

mod aside;

use super::client::{Client, of_folder, with_path};
use super::moment::Moment;
use super::{RestoreArgs, lines, print, typed};
use crate::farhaul::failure::{Failure, Kind};
use crate::farhaul::{Ended, text};
use aside::Aside;
use farhaul_api::{
    GoneVersion, Restore, RestoreAction, RestoreItem, RestorePage, SiteRef, TreePath, Versions,
};
use serde::Serialize;

pub(super) async fn versions(client: Client, folder: &str, path: TreePath, json: bool) -> Ended {
    let address = with_path(&of_folder(folder, "/versions"), "path", &path);
    let versions: Versions = client.get(&address).await?;
    if json {
        return print(&versions);
    }
    for kept in &versions.kept {
        let what =
            kept.version.as_ref().map_or("no version says what it is".to_owned(), lines::version);
        text::answer(format_args!("until {}: {what}  [{}]", kept.displaced, kept.name))?;
    }
    for gone in &versions.elsewhere {
        let what = lines::version(&gone.version);
        let (until, name) = (&gone.gone, &gone.name);
        text::answer(format_args!("until {until}: {what}  [{name}] {}", held_by(gone)))?;
    }
    match &versions.now {
        Some(now) => text::answer(format_args!("now: {}", lines::version(now))),
        None if versions.kept.is_empty() && versions.elsewhere.is_empty() => {
            text::answer("nothing is known of it at this site, and nothing is kept")
        }
        None => text::answer("now: nothing"),
    }
}

/// Where what a user of this site wrote over or deleted is.
fn held_by(gone: &GoneVersion) -> String {
    let list = |sites: &[SiteRef]| sites.iter().map(lines::site).collect::<Vec<_>>().join(", ");
    match (gone.here, gone.sites.is_empty(), gone.unasked.is_empty()) {
        (true, ..) => "(not kept of this path, but its bytes are here)".to_owned(),
        (false, false, _) => {
            format!("(not kept here; at {}: `farhaul restore` has it come)", list(&gone.sites))
        }
        (false, true, false) => {
            format!(
                "(not kept here, nor at any peer that is connected; not asked: {})",
                list(&gone.unasked)
            )
        }
        (false, true, true) => "(not kept here, and no peer has it any more)".to_owned(),
    }
}

/// What a restore came to.
#[derive(Debug, Default, Serialize)]
struct Counts {
    restored: u64,
    removed: u64,
    newer: u64,
    unavailable: u64,
    failed: u64,
    dry_run: bool,
}

/// A path in JSON: what the site says of it, and what became of it.
#[derive(Debug, Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    item: &'a RestoreItem,
    outcome: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

pub(super) async fn restore(client: Client, args: &RestoreArgs) -> Ended {
    let mut aside = match (&args.to, args.dry_run) {
        (Some(to), false) => Some(Aside::open(to, &args.folder)?),
        _ => None,
    };
    let path = args.path.as_ref().map(|path| typed(path.as_os_str()));
    let mut order = Restore {
        path: path.filter(|path| !path.as_str().is_empty() && path.as_str() != "."),
        at: args.at.map(Moment::text),
        version: args.version.clone(),
        exact: args.exact,
        // What goes elsewhere changes nothing in the folder.
        dry_run: args.dry_run || args.to.is_some(),
        all: args.to.is_some(),
        records: aside.is_some(),
        cursor: None,
    };
    let address = of_folder(&args.folder, "/restore");
    let mut counts = Counts { dry_run: args.dry_run, ..Counts::default() };
    loop {
        let page: RestorePage = client.post(&address, Some(&order)).await?;
        if let Some(aside) = &mut aside {
            aside.map(&page)?;
        }
        for item in &page.items {
            take(&client, args, item, (aside.as_mut(), &mut counts)).await?;
        }
        match page.next {
            Some(next) => order.cursor = Some(next),
            None => break,
        }
    }
    if let Some(aside) = aside {
        for (path, why) in aside.finish()? {
            // It was told and counted when it was made.
            counts.restored = counts.restored.saturating_sub(1);
            counts.failed += 1;
            late(&TreePath::from_bytes(path.as_bytes()), &why, args)?;
        }
    }
    summary(&counts, args)
}

/// Says of a path that was told before that it is not as it stood.
fn late(path: &TreePath, error: &str, args: &RestoreArgs) -> Ended {
    if args.site.json {
        return print(&serde_json::json!({ "path": path, "outcome": "failed", "error": error }));
    }
    text::answer(format_args!("failed  {path}  {error}"))
}

/// Counts a path, writes it aside if that is asked for, and says so.
async fn take(
    client: &Client,
    args: &RestoreArgs,
    item: &RestoreItem,
    (aside, counts): (Option<&mut Aside>, &mut Counts),
) -> Ended {
    let is_aside = args.to.is_some();
    let comes_back = match item.action {
        RestoreAction::Restore => true,
        RestoreAction::Same => is_aside,
        // What no version speaks of has bytes all the same, and so has what something is in the way of.
        RestoreAction::Unavailable => is_aside && (item.kept.is_some() || item.gone.is_some()),
        RestoreAction::Remove | RestoreAction::Newer => false,
    };
    let mut failed = None;
    if let (true, Some(aside)) = (comes_back, aside) {
        failed = aside.write(client, &args.folder, item).await?;
    }
    let word = match (item.action, comes_back, &failed) {
        (_, _, Some(_)) => {
            counts.failed += 1;
            "failed"
        }
        (_, true, None) => {
            counts.restored += 1;
            "restore"
        }
        (RestoreAction::Remove, ..) => {
            counts.removed += 1;
            "remove"
        }
        (RestoreAction::Newer, ..) => {
            counts.newer += 1;
            // What goes to another place has nothing to do with what came later.
            if is_aside {
                return Ok(());
            }
            "newer"
        }
        (RestoreAction::Unavailable | RestoreAction::Restore, ..) => {
            counts.unavailable += 1;
            "unavailable"
        }
        (RestoreAction::Same, ..) => return Ok(()),
    };
    if args.site.json {
        return print(&Told { item, outcome: word, error: failed.as_deref() });
    }
    let more = match (&failed, &item.why, &item.version) {
        (Some(why), ..) => why.clone(),
        (None, Some(why), _) if !comes_back => why.clone(),
        (None, _, version) => {
            let what = version.as_ref().map(lines::version).unwrap_or_default();
            let sites: Vec<&str> = item.sites.iter().map(lines::site).collect();
            if sites.is_empty() { what } else { format!("{what}, from {}", sites.join(", ")) }
        }
    };
    text::answer(format!("{word}  {}  {more}", item.path).trim_end())
}

fn summary(counts: &Counts, args: &RestoreArgs) -> Ended {
    if args.site.json {
        print(counts)?;
    } else {
        let Counts { restored, removed, newer, unavailable, failed, .. } = counts;
        let would = if args.dry_run { "would be " } else { "" };
        let mut line = format!("{restored} {would}restored");
        for (count, word) in [
            (removed, "removed"),
            (newer, "newer ones left alone"),
            (unavailable, "unavailable"),
            (failed, "failed"),
        ] {
            if *count > 0 && !(args.to.is_some() && word.starts_with("newer")) {
                line.push_str(&format!(", {count} {word}"));
            }
        }
        text::answer(line)?;
    }
    if counts.failed > 0 {
        let what = format!("{} paths could not be written, or not as they stood", counts.failed);
        let advice = "each is named above with its reason; all else is there, and the same command to \
                      an empty directory tries all of it again";
        return Err(Failure::new(Kind::Disk, what, advice));
    }
    if counts.unavailable > 0 {
        let is_part = counts.restored > 0 || counts.removed > 0;
        let kind = if is_part { Kind::Part } else { Kind::Transfer };
        let what = format!("{} paths cannot be brought back", counts.unavailable);
        let advice = "each is named above with why, and where it may be";
        return Err(Failure::new(kind, what, advice));
    }
    Ok(())
}
