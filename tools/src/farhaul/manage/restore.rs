//! `farhaul version` and `farhaul restore`: what is kept, and bringing it back, into the folder or to
//! another place.

mod aside;

use super::client::{Client, of_folder, with_path};
use super::{RestoreArgs, lines, print, typed};
use crate::farhaul::failure::{Failure, Kind};
use crate::farhaul::{Ended, text};
use aside::Aside;
use farhaul_api::{Restore, RestoreAction, RestoreItem, RestorePage, TreePath, Versions};
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
    match &versions.now {
        Some(now) => text::answer(format_args!("now: {}", lines::version(now))),
        None if versions.kept.is_empty() => text::answer("nothing is kept of it at this site"),
        None => text::answer("now: nothing"),
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

pub(super) async fn restore(client: Client, args: &RestoreArgs) -> Ended {
    let mut aside = match (&args.to, args.dry_run) {
        (Some(to), false) => Some(Aside::open(to)?),
        _ => None,
    };
    let path = args.path.as_ref().map(|path| typed(path.as_os_str()));
    let mut order = Restore {
        path: path.filter(|path| !path.as_str().is_empty() && path.as_str() != "."),
        at: args.at.text(),
        exact: args.exact,
        // What goes elsewhere changes nothing in the folder.
        dry_run: args.dry_run || args.to.is_some(),
        all: args.to.is_some(),
        cursor: None,
    };
    let address = of_folder(&args.folder, "/restore");
    let mut counts = Counts { dry_run: args.dry_run, ..Counts::default() };
    loop {
        let page: RestorePage = client.post(&address, Some(&order)).await?;
        for item in &page.items {
            take(&client, args, item, (aside.as_mut(), &mut counts)).await?;
        }
        match page.next {
            Some(next) => order.cursor = Some(next),
            None => break,
        }
    }
    if let Some(aside) = aside {
        aside.finish()?;
    }
    summary(&counts, args)
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
        // What no version speaks of has bytes all the same.
        RestoreAction::Unavailable => is_aside && item.kept.is_some(),
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
        (RestoreAction::Unavailable, ..) => {
            counts.unavailable += 1;
            "unavailable"
        }
        (RestoreAction::Same | RestoreAction::Restore, ..) => return Ok(()),
    };
    if args.site.json {
        return print(item);
    }
    let more = match (&failed, &item.why, &item.version) {
        (Some(why), ..) => why.clone(),
        (None, Some(why), _) if !comes_back => why.clone(),
        (None, _, version) => version.as_ref().map(lines::version).unwrap_or_default(),
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
        let what = format!("{} paths could not be written", counts.failed);
        let advice = "each is named above with its reason; the same command to an empty directory \
                      writes all of them";
        return Err(Failure::new(Kind::Disk, what, advice));
    }
    Ok(())
}
