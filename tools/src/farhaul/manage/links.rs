//! `farhaul links`: what goes over each link, of what, and what limits it.

use super::calendar::link_line;
use super::client::Client;
use super::{lines, print};
use crate::farhaul::{Ended, text};
use farhaul_api::{LinkFlow, LinkSession, LinkView, LinksView};
use farhaul_proto::units::BitRate;

pub(super) async fn list(client: Client, json: bool) -> Ended {
    let links: LinksView = client.get("/api/v1/links").await?;
    if json {
        return print(&links);
    }
    told(&links).iter().try_for_each(text::answer)
}

/// As lines.
pub(super) fn told(view: &LinksView) -> Vec<String> {
    let mut told = Vec::new();
    for link in &view.links {
        told.push(format!("{}; {} used", link_line(&link.status), used(link)));
        told.extend(sessions(&link.over));
    }
    if !view.others.is_empty() {
        told.push("over no link:".to_owned());
        told.extend(sessions(&view.others));
    }
    told
}

fn used(link: &LinkView) -> String {
    let used = BitRate::bps(link.used_bps);
    match link.cap_bps {
        Some(cap) if cap > 0 => {
            let part = u128::from(link.used_bps) * 100 / u128::from(cap);
            format!("{used} of {} ({part} %)", BitRate::bps(cap))
        }
        Some(_) => format!("{used} of nothing"),
        None => used.to_string(),
    }
}

fn sessions(sessions: &[LinkSession]) -> Vec<String> {
    let mut told = Vec::new();
    for session in sessions {
        let rate = BitRate::bps(session.rate_bps);
        let limit = session.limited_by.as_ref().map_or(String::new(), |it| format!(", by {it}"));
        told.push(format!("  to {}: {rate}{limit}", lines::site(&session.peer)));
        let moves = |flow: &&LinkFlow| flow.kind == "job" || flow.rate_bps > 0;
        told.extend(session.flows.iter().filter(moves).map(flow));
    }
    told
}

fn flow(flow: &LinkFlow) -> String {
    let name = match (&flow.job, flow.kind.as_str()) {
        (Some(job), _) => job.as_str(),
        (None, "job") => "a job that is over",
        (None, kind) => kind,
    };
    let LinkFlow { class, weight, rate_bps, .. } = flow;
    let bound = |name: &str, bps: Option<u64>| {
        bps.map_or(String::new(), |bps| format!(", {name} {}", BitRate::bps(bps)))
    };
    let (share, cap) = (bound("share", flow.share_bps), bound("cap", flow.cap_bps));
    let limit = flow.limited_by.as_deref().unwrap_or("nothing to send");
    let rate = BitRate::bps(*rate_bps).to_string();
    format!("    {name:<20} {class:<10} {weight:>4}  {rate:>12}  {limit}{share}{cap}")
}
