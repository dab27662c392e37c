//! How long an edit takes from one site to another: `latency [EDITS] [WATCH] [hub]`, 200 and "auto" if
//! they are not given; with `hub` through a third site in the middle. All are in this process, on
//! loopback, their trees beneath the directory for temporary files.
//!
//! The figures of `appliance/README.md` are its output.

#[path = "../tests/live/pair.rs"]
mod pair;

use farhauld::watch::WatchMode;
use pair::Site;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Bytes of each edit.
const LEN: usize = 10 << 10;
/// How often it is looked whether an edit is there.
const POLL: Duration = Duration::from_millis(1);
/// Between two edits, so that none meets what follows from the one before.
const GAP: Duration = Duration::from_millis(100);
/// An edit that takes longer is lost.
const LATE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let edits: u32 = args.next().map_or(Ok(200), |edits| edits.parse())?;
    let name = args.next().unwrap_or_else(|| "auto".to_owned());
    let watch = WatchMode::ALL.into_iter().find(|mode| mode.name() == name);
    let watch = watch.ok_or("WATCH is auto, fanotify or inotify")?;
    let has_hub = args.next().is_some_and(|word| word == "hub");
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let (here, hub, there) = match has_hub {
            true => {
                let (here, hub, there) = pair::through_a_hub(watch);
                (here, Some(hub), there)
            }
            false => {
                let (here, there) = pair::pair(watch);
                (here, None, there)
            }
        };
        measure(edits, &here, &there).await?;
        for site in [Some(here), hub, Some(there)].into_iter().flatten() {
            site.stop().await;
        }
        Ok(())
    })
}

async fn measure(edits: u32, here: &Site, there: &Site) -> Result<(), Box<dyn Error>> {
    let hears = |site: &Site| site.watching().is_live() && site.watching().last_scan.is_some();
    let began = Instant::now();
    while !hears(here) || !hears(there) {
        if began.elapsed() > LATE {
            return Err(format!("not watched: {:?}", here.watching()).into());
        }
        tokio::time::sleep(POLL).await;
    }
    println!("watched by {}", here.watching().by);
    // The session.
    let mut number = 0;
    edit(here, there, "first", number).await?;
    for (what, is_new) in [("new files", true), ("edits of one file", false)] {
        let mut spans = Vec::new();
        for n in 0..edits {
            let name = if is_new { format!("file {n}") } else { "edited".to_owned() };
            // A content that was there before would not be sent.
            number += 1;
            spans.push(edit(here, there, &name, number).await?);
            tokio::time::sleep(GAP).await;
        }
        spans.sort_unstable();
        let part = |percent: usize| spans[(spans.len() * percent / 100).min(spans.len() - 1)];
        let (p50, p90, p99) = (part(50), part(90), part(99));
        println!("{edits} {what} of {LEN} bytes: p50 {p50:.1?}, p90 {p90:.1?}, p99 {p99:.1?}");
    }
    Ok(())
}

/// Writes a file here, and waits until it is there. The time counts from when it is closed.
async fn edit(
    here: &Site,
    there: &Site,
    name: &str,
    number: u32,
) -> Result<Duration, Box<dyn Error>> {
    let content = number.to_le_bytes().repeat(LEN / 4);
    fs::write(here.tree().join(name), &content)?;
    let (began, path) = (Instant::now(), there.tree().join(name));
    while !is(&path, &content) {
        if began.elapsed() > LATE {
            return Err(format!("{name} did not come").into());
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(began.elapsed())
}

fn is(path: &Path, content: &[u8]) -> bool {
    fs::read(path).is_ok_and(|there| there == content)
}
