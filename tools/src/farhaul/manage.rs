//! Verbs that speak to a running site (`farhauld`) over its management API: what it does, what it
//! lacks and why, and what it is to do.

mod calendar;
mod client;
mod conflict;
mod events;
mod folder;
mod forget;
mod job;
mod lines;
mod links;
mod moment;
mod place;
mod restore;
mod top;
mod waiting;
mod why;

pub use job::JobVerb;

use super::failure::Failure;
use super::{Ended, setup, text};
use clap::{Args, Subcommand};
use client::Client;
use farhaul_api::{Done, TreePath};
use moment::Moment;
use serde::Serialize;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What `--help` of these verbs says at its end.
pub const HELP: &str = "The site is found by --api, else FARHAUL_API, else the configuration (--config, \
else FARHAUL_CONFIG, else /etc/farhaul/farhauld.toml), else 127.0.0.1:7412. Over TCP its token is read \
from --token-file, else FARHAUL_API_TOKEN_FILE, else `api-token` in the state directory of the \
configuration, else /var/lib/farhaul/api-token; a socket needs none.

Exit codes: 0 done, 1 the site cannot do it, 2 usage, or there is no such thing, 3 the site is not \
reached or refuses the token, 4 the local disk, 5 some of it was done and some cannot be.";

/// Which site, and how its answers are printed.
#[derive(Clone, Debug, Args)]
pub struct SiteArgs {
    /// Where the API of the site is: ADDRESS:PORT of this machine, or unix:PATH.
    #[arg(long, value_name = "PLACE")]
    pub api: Option<String>,
    /// The file with the token of the API.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// The configuration of the site, which says both.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON instead of text, also when it fails.
    #[arg(long)]
    pub json: bool,
}

/// A verb that needs nothing but a site.
#[derive(Debug, Args)]
pub struct Plain {
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// A verb about one folder.
#[derive(Debug, Args)]
pub struct OneFolder {
    /// The id of the folder.
    #[arg(value_name = "FOLDER")]
    pub folder: String,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// A verb about one path.
#[derive(Debug, Args)]
pub struct OnePath {
    /// The id of the folder.
    #[arg(value_name = "FOLDER")]
    pub folder: String,
    /// The path, from the top of the folder.
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul folder`.
#[derive(Debug, Subcommand)]
pub enum FolderVerb {
    /// All folders: what they are at, what they hold, what is missing.
    List(Plain),
    /// One folder, with its peers and what does not work.
    Show(OneFolder),
    /// The paths at which something is to be done.
    Missing(OneFolder),
    /// What was found on this disk and is not published, and why: edits of a site that may publish
    /// none, and what a brake holds.
    Waiting(OneFolder),
    /// Take back edits that this site may not publish; they are kept as versions.
    Revert(SomePath),
    /// End the wait for versions whose content no site has any more: every peer is asked first, and
    /// what one of them may have is waited for.
    Forget(ForgetArgs),
    /// Let a mass change that is held go on: it is meant.
    Confirm(Held),
    /// Undo a mass change that is held. What a peer published is overwritten everywhere.
    Refuse(Held),
    /// Look through a folder now, or through all of them.
    Scan(SomeFolder),
    /// Read all files of a folder again now, and put right what its disk gives wrong.
    Scrub(OneFolder),
    /// Look at, fetch and change nothing in a folder, until it is resumed.
    Pause(OneFolder),
    /// Let a folder go on.
    Resume(OneFolder),
}

/// `farhaul folder forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// The id of the folder.
    #[arg(value_name = "FOLDER")]
    pub folder: String,
    /// The path, with all beneath it [default: the whole folder].
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// A site that is gone for good, by name or id: it is not waited for. May be given several times.
    #[arg(long, value_name = "SITE")]
    pub without: Vec<String>,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// A folder, or all.
#[derive(Debug, Args)]
pub struct SomeFolder {
    /// The id of the folder [default: all].
    #[arg(value_name = "FOLDER")]
    pub folder: Option<String>,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// A folder, and a path in it or all of them.
#[derive(Debug, Args)]
pub struct SomePath {
    /// The id of the folder.
    #[arg(value_name = "FOLDER")]
    pub folder: String,
    /// The path, with all beneath it [default: the whole folder].
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// A mass change that is held.
#[derive(Debug, Args)]
pub struct Held {
    /// The id of the folder.
    #[arg(value_name = "FOLDER")]
    pub folder: String,
    /// Where it comes from, as `farhaul folder show` names it: `disk`, `others` or the id of a peer
    /// [default: all that is held].
    #[arg(value_name = "ORIGIN")]
    pub origin: Option<String>,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul aside`.
#[derive(Debug, Subcommand)]
pub enum AsideVerb {
    /// Versions that peers told and that are not taken in, and why.
    List(OneFolder),
    /// Take in a version that was set aside.
    Accept(OneAside),
    /// Delete a version that was set aside, at every site.
    Refuse(OneAside),
}

/// A version that was set aside.
#[derive(Debug, Args)]
pub struct OneAside {
    /// The id of the folder.
    #[arg(value_name = "FOLDER")]
    pub folder: String,
    /// The id of the version, as `farhaul aside list` has it.
    #[arg(value_name = "ID")]
    pub id: String,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul peer`.
#[derive(Debug, Subcommand)]
pub enum PeerVerb {
    /// All peers: who is connected since when, and what they were not told.
    List(Plain),
}

/// `farhaul calendar`.
#[derive(Debug, Subcommand)]
pub enum CalendarVerb {
    /// All calendars: what holds now, and until when.
    List(Plain),
    /// One calendar: what holds at a time and until when, for which links and classes, and what changes
    /// after it.
    Show(CalendarArgs),
}

/// A calendar, and a time.
#[derive(Debug, Args)]
pub struct CalendarArgs {
    /// The name of the calendar.
    #[arg(value_name = "NAME")]
    pub calendar: String,
    /// The time: `2026-11-22 14:30` by the local clock, or `2026-11-22T14:30:00Z` [default: now].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<Moment>,
    /// For how many days after that changes are listed.
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u16).range(0..=400))]
    pub days: u16,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul conflict`.
#[derive(Debug, Subcommand)]
pub enum ConflictVerb {
    /// The conflicts of a folder.
    List(OneFolder),
    /// End a conflict at every site: the copy takes the place of what is shown.
    Keep(OnePath),
    /// End a conflict at every site: the copy goes, what is shown stays.
    Drop(OnePath),
}

/// `farhaul version`.
#[derive(Debug, Subcommand)]
pub enum VersionVerb {
    /// What was displaced at a path, and is kept at this site.
    List(OnePath),
}

/// `farhaul restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The id of the folder.
    #[arg(value_name = "FOLDER")]
    pub folder: String,
    /// A file, or a directory with all beneath [default: the whole folder].
    #[arg(value_name = "PATH")]
    pub path: Option<PathBuf>,
    /// When it stood: `2026-11-22 14:30` by the local clock, `2026-11-22T14:30:00Z`, or `2 h ago`.
    #[arg(
        long,
        value_name = "TIME",
        allow_hyphen_values = true,
        required_unless_present = "version"
    )]
    pub at: Option<Moment>,
    /// Instead of a time, what `farhaul version list` names so in brackets.
    #[arg(long, value_name = "NAME", requires = "path", conflicts_with = "at")]
    pub version: Option<String>,
    /// Write it into this directory, and leave the folder alone. What stands there is not touched.
    /// Everything is verified; owners are set where this user may, and nothing becomes root's.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Remove what came after that time from the folder.
    #[arg(long, conflicts_with_all = ["to", "version"])]
    pub exact: bool,
    /// Only say what would be done.
    #[arg(long)]
    pub dry_run: bool,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul events`.
#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Go on behind the event with this id; `start` for all that the site remembers
    /// [default: what happens from now on].
    #[arg(long, value_name = "ID")]
    pub since: Option<String>,
    /// Only events of this folder.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<String>,
    /// End when there are no more for now.
    #[arg(long)]
    pub once: bool,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// `farhaul top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// Look once, and end.
    #[arg(long)]
    pub once: bool,
    /// Which site.
    #[command(flatten)]
    pub site: SiteArgs,
}

/// Runs a verb with a client, and prints how it failed as JSON to who asked for that.
fn with<F: Future<Output = Ended>>(site: &SiteArgs, act: impl FnOnce(Client) -> F) -> Ended {
    let ended = Client::of(site).and_then(|client| setup::block_on(act(client)));
    if let (Err(failure), true) = (&ended, site.json) {
        print(&Failed { error: failure })?;
    }
    ended
}

#[derive(Serialize)]
struct Failed<'a> {
    error: &'a Failure,
}

/// One JSON object.
fn print(object: &impl Serialize) -> Ended {
    text::answer(serde_json::to_string(object).unwrap_or_default())
}

/// What was done, in a line.
fn say(done: &Done, json: bool) -> Ended {
    if json { print(done) } else { text::answer(&done.done) }
}

/// A path as typed, as the API writes it.
fn typed(path: &OsStr) -> TreePath {
    let mut bytes = path.as_bytes();
    while let Some(rest) = bytes.strip_prefix(b"./") {
        bytes = rest;
    }
    while let Some(rest) = bytes.strip_suffix(b"/") {
        bytes = rest;
    }
    TreePath::from_bytes(bytes)
}

/// `farhaul job`.
pub(super) fn job(verb: &JobVerb) -> Ended {
    job::run(verb)
}

/// `farhaul status`.
pub(super) fn status(args: &Plain) -> Ended {
    with(&args.site, |client| folder::status(client, args.site.json))
}

/// `farhaul folder`.
pub(super) fn folder(verb: &FolderVerb) -> Ended {
    match verb {
        FolderVerb::List(args) => with(&args.site, |client| folder::list(client, args.site.json)),
        FolderVerb::Show(args) => {
            with(&args.site, |client| folder::show(client, &args.folder, args.site.json))
        }
        FolderVerb::Missing(args) => {
            with(&args.site, |client| folder::missing(client, &args.folder, args.site.json))
        }
        FolderVerb::Waiting(args) => {
            with(&args.site, |client| waiting::list(client, &args.folder, args.site.json))
        }
        FolderVerb::Revert(args) => {
            let path = args.path.as_ref().map(|path| typed(path.as_os_str()));
            with(&args.site, |client| waiting::revert(client, &args.folder, path, args.site.json))
        }
        FolderVerb::Forget(args) => with(&args.site, |client| forget::forget(client, args)),
        FolderVerb::Confirm(args) => held(args, "confirm"),
        FolderVerb::Refuse(args) => held(args, "refuse"),
        FolderVerb::Scan(args) => {
            let folder = args.folder.as_deref();
            with(&args.site, |client| folder::scan(client, folder, args.site.json))
        }
        FolderVerb::Scrub(args) => order(args, "scrub"),
        FolderVerb::Pause(args) => order(args, "pause"),
        FolderVerb::Resume(args) => order(args, "resume"),
    }
}

fn order(args: &OneFolder, what: &'static str) -> Ended {
    with(&args.site, |client| folder::order(client, &args.folder, what, args.site.json))
}

fn held(args: &Held, what: &'static str) -> Ended {
    let origin = args.origin.clone();
    with(&args.site, |client| waiting::brake(client, &args.folder, what, origin, args.site.json))
}

/// `farhaul aside`.
pub(super) fn aside(verb: &AsideVerb) -> Ended {
    match verb {
        AsideVerb::List(args) => {
            with(&args.site, |client| waiting::asides(client, &args.folder, args.site.json))
        }
        AsideVerb::Accept(args) => decide(args, "accept"),
        AsideVerb::Refuse(args) => decide(args, "refuse"),
    }
}

fn decide(args: &OneAside, what: &'static str) -> Ended {
    let id = args.id.clone();
    with(&args.site, |client| waiting::decide(client, &args.folder, what, id, args.site.json))
}

/// `farhaul peer`.
pub(super) fn peer(verb: &PeerVerb) -> Ended {
    let PeerVerb::List(args) = verb;
    with(&args.site, |client| folder::peers(client, args.site.json))
}

/// `farhaul calendar`.
pub(super) fn calendar(verb: &CalendarVerb) -> Ended {
    match verb {
        CalendarVerb::List(args) => {
            with(&args.site, |client| calendar::list(client, args.site.json))
        }
        CalendarVerb::Show(args) => with(&args.site, |client| calendar::show(client, args)),
    }
}

/// `farhaul links`.
pub(super) fn links(args: &Plain) -> Ended {
    with(&args.site, |client| links::list(client, args.site.json))
}

/// `farhaul top`.
pub(super) fn top(args: &TopArgs) -> Ended {
    with(&args.site, |client| top::run(client, args))
}

/// `farhaul why`.
pub(super) fn why(args: &OnePath) -> Ended {
    let path = typed(args.path.as_os_str());
    with(&args.site, |client| why::why(client, &args.folder, path, args.site.json))
}

/// `farhaul conflict`.
pub(super) fn conflict(verb: &ConflictVerb) -> Ended {
    use farhaul_api::Keep;
    match verb {
        ConflictVerb::List(args) => {
            with(&args.site, |client| conflict::list(client, &args.folder, args.site.json))
        }
        ConflictVerb::Keep(args) => resolve(args, Keep::Copy),
        ConflictVerb::Drop(args) => resolve(args, Keep::Shown),
    }
}

fn resolve(args: &OnePath, keep: farhaul_api::Keep) -> Ended {
    let copy = typed(args.path.as_os_str());
    with(&args.site, |client| conflict::resolve(client, &args.folder, copy, keep, args.site.json))
}

/// `farhaul version`.
pub(super) fn version(verb: &VersionVerb) -> Ended {
    let VersionVerb::List(args) = verb;
    let path = typed(args.path.as_os_str());
    with(&args.site, |client| restore::versions(client, &args.folder, path, args.site.json))
}

/// `farhaul restore`.
pub(super) fn restore(args: &RestoreArgs) -> Ended {
    with(&args.site, |client| restore::restore(client, args))
}

/// `farhaul events`.
pub(super) fn events(args: &EventsArgs) -> Ended {
    with(&args.site, |client| events::follow(client, args))
}
