//! `farhaul why`: everything that decides whether a path is in sync.

use super::client::{Client, of_folder, with_path};
use super::{lines, print};
use crate::farhaul::{Ended, text};
use farhaul_api::{SpreadState, TreePath, Why};

pub(super) async fn why(client: Client, folder: &str, path: TreePath, json: bool) -> Ended {
    let why: Why = client.get(&with_path(&of_folder(folder, "/why"), "path", &path)).await?;
    if json {
        return print(&why);
    }
    let verdict = if why.in_sync { "in sync" } else { "not in sync" };
    text::answer(format_args!("{}: {verdict}", why.path))?;
    why.reasons.iter().try_for_each(|reason| text::answer(format_args!("  {reason}")))?;
    if let Some(next) = &why.next {
        text::answer(format_args!("  tried again: {next}"))?;
    }
    if let Some(placed) = &why.on_disk {
        text::answer(format_args!("  on disk: {}", lines::version(placed)))?;
    }
    why.lacks.iter().try_for_each(|lack| text::answer(format_args!("  not taken: {lack}")))?;
    for known in &why.versions {
        let place = match (&known.copy, known.shown) {
            (Some(copy), _) => format!(" (its copy: {copy})"),
            (None, true) => " (shown)".to_owned(),
            (None, false) => String::new(),
        };
        text::answer(format_args!("  known: {}{place}", lines::version(&known.version)))?;
    }
    if let Some(origin) = &why.copy_of {
        text::answer(format_args!("  it is the copy of a conflict at {origin}"))?;
    }
    for spread in &why.sites {
        let knows = match spread.knows {
            SpreadState::Durable => "has said that what is known of it is durable there",
            SpreadState::Told => "was told of it",
            SpreadState::Untold => "was not told of it yet",
            SpreadState::Unknown => "is not connected: what it knows is not known",
        };
        let author = if spread.is_author { ", and made the version that is wanted" } else { "" };
        text::answer(format_args!("  {} {knows}{author}", lines::site(&spread.site)))?;
    }
    Ok(())
}
