//! How the site, its folders and its peers are.

mod reason;

use super::fail::{Answer, Failed};
use super::look::Counted;
use super::names::Names;
use super::{Api, Shared, calendars};
use crate::config::Config;
use crate::control::{AskError, FolderFacts, PeerFacts};
use crate::moment::{millis_of, text_of_millis};
use crate::told;
use crate::watch::Watching;
use axum::Json;
use axum::extract::{Path, State};
use farhaul_api::{
    Braked, Call, FolderPeer, FolderState, FolderStatus, PeerCompared, PeerStatus, Problem,
    ScanStatus, SiteStatus, WatchStatus,
};
use farhaul_sync::folder::{Origin, Trip};

/// The site, with all of its folders and peers.
#[utoipa::path(get, path = "/api/v1/status", operation_id = "status", responses(
    (status = 200, body = SiteStatus), (status = "default", body = Problem)
))]
pub(super) async fn site(State(api): State<Api>) -> Answer<SiteStatus> {
    Ok(Json(whole(&api).await?))
}

/// All folders, by name.
#[utoipa::path(get, path = "/api/v1/folders", operation_id = "folders", responses(
    (status = 200, body = Vec<FolderStatus>), (status = "default", body = Problem)
))]
pub(super) async fn folders(State(api): State<Api>) -> Answer<Vec<FolderStatus>> {
    Ok(Json(whole(&api).await?.folders))
}

/// One folder.
#[utoipa::path(get, path = "/api/v1/folders/{folder}", operation_id = "folder",
    params(("folder" = String, Path, description = "Its id")), responses(
    (status = 200, body = FolderStatus), (status = "default", body = Problem)
))]
pub(super) async fn folder(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Answer<FolderStatus> {
    let config = api.sources.config();
    let facts = api.sources.control.folders().await?;
    let Some(facts) = facts.into_iter().find(|facts| facts.name == name) else {
        return Err(AskError::NoFolder { name }.into());
    };
    Ok(Json(api.folder_status(&config, facts).await?))
}

/// All peers, by name.
#[utoipa::path(get, path = "/api/v1/peers", operation_id = "peers", responses(
    (status = 200, body = Vec<PeerStatus>), (status = "default", body = Problem)
))]
pub(super) async fn peers(State(api): State<Api>) -> Answer<Vec<PeerStatus>> {
    let config = api.sources.config();
    let facts = api.sources.control.folders().await?;
    Ok(Json(api.peer_statuses(&config, &facts)))
}

/// All of it.
pub(super) async fn whole(api: &Shared) -> Result<SiteStatus, Failed> {
    let config = api.sources.config();
    let mut facts = api.sources.control.folders().await?;
    facts.sort_by(|a, b| a.name.cmp(&b.name));
    api.keep_only(|name| facts.iter().any(|facts| facts.name == name));
    let peers = api.peer_statuses(&config, &facts);
    let mut folders = Vec::with_capacity(facts.len());
    for facts in facts {
        folders.push(api.folder_status(&config, facts).await?);
    }
    Ok(SiteStatus {
        name: config.site.name.clone(),
        id: api.sources.me.to_string(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        since: text_of_millis(api.sources.since_millis),
        listen: api.sources.listen.to_string(),
        folders,
        peers,
        links: calendars::links(&config, &api.sources.sites),
    })
}

fn watch_status(watching: Watching) -> WatchStatus {
    let Watching { by, coverage, why, overflows, last_overflow, .. } = watching;
    WatchStatus {
        by: by.to_string(),
        watches: coverage.watches,
        unwatched: coverage.unwatched,
        reason: why,
        overflows,
        last_overflow: last_overflow.map(|at| text_of_millis(millis_of(at))),
    }
}

fn held(names: &Names, origin: Origin, trip: &Trip) -> Braked {
    let site = match origin {
        Origin::Site(id) => Some(id),
        Origin::Disk | Origin::Others => None,
    };
    Braked {
        origin: origin.to_string(),
        site: site.map(|id| {
            let mut site = told::site(id);
            names.site(&mut site);
            site
        }),
        since: text_of_millis(trip.since_millis),
        deleted: trip.deleted,
        rewritten: trip.rewritten,
        of: trip.of,
        examples: trip.examples.iter().map(told::text_of).collect(),
    }
}

impl Shared {
    /// What sites are called.
    pub(super) fn names(&self) -> Names {
        Names::of(&self.sources.config(), self.sources.me.to_string())
    }

    async fn folder_status(
        &self,
        config: &Config,
        facts: FolderFacts,
    ) -> Result<FolderStatus, Failed> {
        // Of one that halts nothing is counted: it is told of with why, and so are the others.
        let counted = match facts.state {
            FolderState::Halted | FolderState::Opening => None,
            // It may have halted since.
            _ => self.counted(&facts.name, facts.opened).await.ok(),
        };
        let number = |read: fn(&Counted) -> u64| counted.as_ref().map_or(0, read);
        let names = Names::of(config, self.sources.me.to_string());
        let role = config.folders.iter().find(|folder| folder.id.as_str() == facts.name);
        let peer = |peer: &PeerFacts| {
            let mut site = told::site(peer.id);
            names.site(&mut site);
            let (connected, outstanding) = (peer.outstanding.is_some(), peer.outstanding);
            let compared = peer.compared.map(|compared| PeerCompared {
                at: text_of_millis(compared.at_millis),
                agreed: compared.lacked == 0 && compared.regained == 0,
                lacked: compared.lacked,
                regained: compared.regained,
            });
            FolderPeer { site, connected, outstanding, compared }
        };
        let named = |id| {
            let mut site = told::site(id);
            names.site(&mut site);
            site
        };
        let reason = reason::of(&facts, counted.as_ref());
        Ok(FolderStatus {
            path: facts.path.display().to_string(),
            role: role.map_or("read-write", |folder| folder.role.name()).to_owned(),
            state: facts.state,
            reason,
            contents: counted.as_ref().map(|counted| counted.contents.clone()),
            missing: number(|counted| counted.missing),
            fetching: facts.fetching,
            fetching_bytes: facts.fetching_bytes,
            conflicts: number(|counted| counted.conflicts),
            lacking: counted.as_ref().map(|counted| counted.lacking.clone()).unwrap_or_default(),
            scan: ScanStatus {
                running: facts.is_scanning,
                ended: facts.scan_ended_millis.map(text_of_millis),
                next_in_seconds: facts.next_scan.as_secs(),
            },
            watch: watch_status(facts.watching),
            scrub: facts.scrub,
            kept: facts.kept,
            troubles: facts.troubles,
            held: facts.trips.iter().map(|(origin, trip)| held(&names, *origin, trip)).collect(),
            waiting: number(|counted| counted.waiting),
            set_aside: number(|counted| counted.set_aside),
            unheard: facts.unheard.into_iter().map(named).collect(),
            peers: facts.peers.iter().map(peer).collect(),
            id: facts.name,
        })
    }

    fn peer_statuses(&self, config: &Config, folders: &[FolderFacts]) -> Vec<PeerStatus> {
        let (sessions, failed) = (self.sources.sites.sessions(), self.sources.sites.failed());
        let mut peers: Vec<PeerStatus> = Vec::with_capacity(config.peers.len());
        for peer in &config.peers {
            let session = sessions.get(&peer.id);
            let call = failed.get(&peer.id).filter(|_| session.is_none()).map(|call| Call {
                why: call.why.clone(),
                at: text_of_millis(call.at_millis),
                again_in_seconds: call.again_in().as_secs(),
            });
            let shared =
                |facts: &FolderFacts| facts.peers.iter().find(|known| known.id == peer.id).copied();
            let outstanding = folders.iter().filter_map(shared).filter_map(|peer| peer.outstanding);
            let mut site = told::site(peer.id);
            site.name = Some(peer.name.clone());
            peers.push(PeerStatus {
                site,
                address: peer.address.clone(),
                connected: session.is_some(),
                since: session.map(|session| text_of_millis(session.since_millis)),
                from: session.map(|session| session.addr.to_string()),
                carrier: session.map(|session| session.carrier.clone()),
                call,
                outstanding: outstanding.sum(),
                folders: folders
                    .iter()
                    .filter(|facts| shared(facts).is_some())
                    .map(|facts| facts.name.clone())
                    .collect(),
            });
        }
        peers.sort_by(|a, b| a.site.cmp(&b.site));
        peers
    }
}
