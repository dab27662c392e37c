//! `farhaul folder forget`: versions whose content nobody has any more are given up.

use super::client::{Client, of_folder};
use super::{ForgetArgs, lines, print, typed};
use crate::farhaul::failure::{Failure, Kind};
use crate::farhaul::{Ended, text};
use farhaul_api::{Fate, Forget, ForgetItem, ForgetPage};
use serde::Serialize;

/// What it came to.
#[derive(Debug, Default, Serialize)]
struct Counts {
    forgotten: u64,
    waits: u64,
    comes: u64,
    dry_run: bool,
}

pub(super) async fn forget(client: Client, args: &ForgetArgs) -> Ended {
    let path = args.path.as_ref().map(|path| typed(path.as_os_str()));
    let path = path.filter(|path| !path.as_str().is_empty() && path.as_str() != ".");
    let (without, dry_run) = (args.without.clone(), args.dry_run);
    let mut order = Forget { path, without, dry_run, cursor: None };
    let address = of_folder(&args.folder, "/forget");
    let mut counts = Counts { dry_run: args.dry_run, ..Counts::default() };
    loop {
        let page: ForgetPage = client.post(&address, Some(&order)).await?;
        for item in &page.items {
            match item.fate {
                Fate::Forget => counts.forgotten += 1,
                Fate::Wait => counts.waits += 1,
                Fate::Comes => counts.comes += 1,
            }
            if args.site.json { print(item)? } else { text::answer(line(item))? }
        }
        match page.next {
            Some(next) => order.cursor = Some(next),
            None => break,
        }
    }
    let Counts { forgotten, waits, comes, dry_run } = counts;
    if args.site.json {
        print(&counts)?;
    } else {
        let would = if dry_run { "would be " } else { "" };
        text::answer(format_args!(
            "{forgotten} {would}forgotten, {waits} waited for, {comes} on their way"
        ))?;
    }
    if waits > 0 {
        let kind = if forgotten > 0 { Kind::Part } else { Kind::Transfer };
        let what = format!(
            "{} may be at sites that could not be asked",
            lines::count(waits, "version", "versions")
        );
        let advice = "each is named above with those sites: have them connected and say it again, or \
                      name those that are gone for good with --without";
        return Err(Failure::new(kind, what, advice));
    }
    Ok(())
}

fn line(item: &ForgetItem) -> String {
    let sites: Vec<&str> = item.sites.iter().map(lines::site).collect();
    let (sites, what) = (sites.join(", "), lines::version(&item.version));
    match item.fate {
        Fate::Forget => format!("forget  {}  {what}: no peer has it", item.path),
        Fate::Wait => format!("wait  {}  {what}: not asked: {sites}", item.path),
        Fate::Comes if sites.is_empty() => format!("comes  {}  {what}", item.path),
        Fate::Comes => format!("comes  {}  {what}, from {sites}", item.path),
    }
}
