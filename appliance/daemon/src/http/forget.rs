//! Ending the wait for versions whose content nobody has any more.

use super::Api;
use super::fail::{Answer, Failed};
use super::look::path_if;
use super::versions::named;
use crate::control::{Holders, task_of};
use crate::told;
use axum::Json;
use axum::extract::{Path, State};
use farhaul_api::{Fate, Forget, ForgetItem, ForgetPage, Problem, Task};
use farhaul_proto::ids::SiteId;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::version::{Content, ManifestId, Version};
use std::collections::BTreeSet;

/// Paths that are looked at for one page.
const PAGE: usize = 256;

/// A version that is wanted, and the content that is waited for.
struct Awaited {
    path: RelPath,
    version: Version,
    content: (ManifestId, Bytes),
}

/// Gives up versions that are waited for and that every peer was asked for and lacks: at every site,
/// what stands takes their place, or nothing does. Who has one after all keeps it.
#[utoipa::path(post, path = "/api/v1/folders/{folder}/forget", operation_id = "forget",
    params(("folder" = String, Path, description = "Its id")), request_body = Forget, responses(
    (status = 200, body = ForgetPage), (status = "default", body = Problem)
))]
pub(super) async fn forget(
    State(api): State<Api>,
    Path(name): Path<String>,
    Json(order): Json<Forget>,
) -> Answer<ForgetPage> {
    let without = api.sites_named(&order.without)?;
    let (within, after) = (path_if(order.path.as_ref())?, path_if(order.cursor.as_ref())?);
    let looked = api.look(&name, None, move |reading| {
        // The path itself comes first, then what is beneath it.
        let paths = match (&within, &after) {
            (Some(within), None) => {
                let mut paths = reading.unsettled(Some(within), PAGE)?;
                paths.insert(0, within.clone());
                paths
            }
            _ => reading.unsettled(after.as_ref(), PAGE)?,
        };
        let is_in = |path: &RelPath| within.as_ref().is_none_or(|dir| path.starts_with(dir));
        let last = paths.last().filter(|path| paths.len() >= PAGE && is_in(path));
        let next = last.map(told::text_of);
        let mut awaited = Vec::new();
        for path in paths.into_iter().filter(is_in) {
            let item = reading.item(&path)?;
            let (task, wanted) = task_of(&item);
            if let (Some(Task::Place), Some(version)) = (task, wanted)
                && let Content::File { manifest, size } = version.content
            {
                let version = version.clone();
                awaited.push(Awaited { path, version, content: (manifest, size) });
            }
        }
        Ok((awaited, next))
    });
    let (awaited, next) = looked.await?;
    let contents: Vec<(ManifestId, Bytes)> = awaited.iter().map(|one| one.content).collect();
    let holders = api.sources.control.who_has(&name, &contents).await?;
    let members = api.members(&name).await?;
    let names = api.names();
    let (mut items, mut lost) = (Vec::new(), Vec::new());
    for Awaited { path, version, content } in awaited {
        let (fate, sites) = fate(&version, content.0, &holders, (&members, &without));
        let mut item = ForgetItem {
            path: told::text_of(&path),
            fate,
            version: told::version(&version),
            sites: named(sites.into_iter(), &names),
        };
        names.version(&mut item.version);
        items.push(item);
        if fate == Fate::Forget {
            lost.push((path, version.dot));
        }
    }
    if !order.dry_run && !lost.is_empty() {
        api.sources.control.forget(&name, lost).await?;
    }
    if items.is_empty() && next.is_none() && order.cursor.is_none() && order.path.is_some() {
        let detail = "no version of it is wanted here that has not come";
        let next = "`farhaul folder missing FOLDER` lists what is waited for";
        return Err(Failed::missing("nothing is waited for there", detail, next));
    }
    Ok(Json(ForgetPage { items, next }))
}

/// What becomes of a version; who has it, or could not be asked.
fn fate(
    version: &Version,
    content: ManifestId,
    holders: &Holders,
    (members, without): (&BTreeSet<SiteId>, &BTreeSet<SiteId>),
) -> (Fate, Vec<SiteId>) {
    let sites: Vec<SiteId> = holders.sites(content).collect();
    if holders.is_here(content) || !sites.is_empty() {
        return (Fate::Comes, sites);
    }
    let mut unasked: Vec<SiteId> = holders.silent().iter().copied().collect();
    // Who made it is the likeliest to have it, and may be no peer of this site.
    let author = version.dot.author.site;
    if !members.contains(&author) {
        unasked.push(author);
    }
    unasked.retain(|site| !without.contains(site));
    match unasked.is_empty() {
        true => (Fate::Forget, unasked),
        false => (Fate::Wait, unasked),
    }
}

impl super::Shared {
    /// Sites by their names or ids.
    fn sites_named(&self, named: &[String]) -> Result<BTreeSet<SiteId>, Failed> {
        let config = self.sources.config();
        let site = |text: &String| {
            let peer = config.peers.iter().find(|peer| peer.name == *text);
            peer.map_or_else(|| text.parse(), |peer| Ok(peer.id)).map_err(|_| {
                let detail = format!("`{text}` is neither the name of a peer nor an id");
                Failed::wrong(
                    "no such site",
                    detail,
                    "write a name of `farhaul peer list`, or the 52 letters of an id",
                )
            })
        };
        named.iter().map(site).collect()
    }

    /// This site and its peers in a folder.
    async fn members(&self, name: &str) -> Result<BTreeSet<SiteId>, Failed> {
        let folders = self.sources.control.folders().await?;
        let peers = folders.into_iter().find(|facts| facts.name == name);
        let peers = peers.into_iter().flat_map(|facts| facts.peers).map(|peer| peer.id);
        Ok(peers.chain([self.sources.me]).collect())
    }
}
