//! Links: what goes over each, and what limits it.

use super::fail::Answer;
use super::names::Names;
use super::{Api, calendars};
use crate::site::{FlowShown, LinkShown, Lot, SessionShown};
use crate::told;
use axum::Json;
use axum::extract::State;
use farhaul_api::{LinkFlow, LinkSession, LinkView, LinksView, Problem};
use farhaul_proto::units::BitRate;

/// The links now: what may go over each, what does, of which jobs, and what limits those.
#[utoipa::path(get, path = "/api/v1/links", operation_id = "links", responses(
    (status = 200, body = LinksView), (status = "default", body = Problem)
))]
pub(super) async fn list(State(api): State<Api>) -> Answer<LinksView> {
    let (config, names) = (api.sources.config(), api.names());
    let shown = api.sources.sites.shown();
    let find = |name: Option<&str>| shown.links.iter().find(|link| link.name.as_deref() == name);
    let sessions = |link: Option<&LinkShown>| {
        let sessions = link.map(|link| &*link.sessions).unwrap_or_default();
        sessions.iter().map(|one| session(one, &names)).collect()
    };
    let links = calendars::links(&config, &api.sources.sites).into_iter().map(|status| {
        let shown = find(Some(&status.name));
        LinkView {
            cap_bps: shown.and_then(|link| link.cap).map(BitRate::get),
            used_bps: shown.map_or(0, |link| link.rate.get()),
            over: sessions(shown),
            status,
        }
    });
    Ok(Json(LinksView { links: links.collect(), others: sessions(find(None)) }))
}

fn session(shown: &SessionShown, names: &Names) -> LinkSession {
    let mut peer = told::site(shown.peer);
    names.site(&mut peer);
    LinkSession {
        peer,
        rate_bps: shown.rate.get(),
        limited_by: shown.limit.map(|limit| limit.name().to_owned()),
        flows: shown.flows.iter().map(flow).collect(),
    }
}

fn flow(shown: &FlowShown) -> LinkFlow {
    let (kind, id) = match shown.lot {
        Lot::Words => ("records", None),
        Lot::Folders => ("folders", None),
        Lot::Job(id) => ("job", Some(id.to_string())),
    };
    LinkFlow {
        kind: kind.to_owned(),
        job: shown.job.clone(),
        id,
        class: shown.class.name().to_owned(),
        weight: shown.weight,
        rate_bps: shown.rate.get(),
        share_bps: shown.share.map(BitRate::get),
        cap_bps: shown.cap.map(BitRate::get),
        wire_bytes: shown.wire.get(),
        limited_by: shown.limit.map(|limit| limit.name().to_owned()),
    }
}
