//! Jobs that will not be done by their deadline: said as soon as that lasts (spec: S-241). Nothing is
//! given up for it.

use super::Leading;
use crate::control::Loop;
use crate::events::Said;
use crate::moment::{now_millis, text_of_millis};
use farhaul_api::EventKind;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use farhaul_sync::job::{JobId, Outlook, SiteState, Wish};
use std::time::{Duration, Instant};

/// For so long it has to look so: how fast something goes is known badly when it begins.
const LASTS: Duration = Duration::from_secs(10);

/// What was said of a deadline.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lateness {
    /// Since when it looks so.
    since: Option<Instant>,
    /// In which run, of which revision, it was said.
    said: Option<(u64, u64)>,
}

impl Lateness {
    /// Whether it is to be said now: once for each run and each edit.
    fn is_news(&mut self, is_late: bool, mark: (u64, u64), now: Instant) -> bool {
        if !is_late {
            self.since = None;
            return false;
        }
        let since = *self.since.get_or_insert(now);
        if self.said == Some(mark) || now.duration_since(since) < LASTS {
            return false;
        }
        self.said = Some(mark);
        true
    }
}

impl Leading {
    /// How fast a part goes just now.
    pub(super) fn rate_of(
        &self,
        (source, site): (SiteId, SiteId),
        away: &impl Fn(SiteId) -> bool,
    ) -> BitRate {
        let said = self.lead.giving((source, site), away).map(|(rate, _)| rate);
        let part = self.lead.sites().find(|(of, at, _)| (*of, *at) == (source, site));
        let is_moving = part.is_some_and(|(.., facts)| facts.state == SiteState::Running);
        let measured = self.speeds.get(&(source, site)).filter(|_| is_moving && !away(site));
        said.or(measured.map(|speed| speed.rate)).unwrap_or(BitRate::bps(0))
    }

    /// Which target will not be done by the deadline, and how late it is; the latest of them.
    pub(super) fn late(&self, now: u64, away: &impl Fn(SiteId) -> bool) -> Option<String> {
        let order = self.lead.order();
        let deadline = order.spec.times.deadline_millis.filter(|_| order.wish != Wish::Stop)?;
        let mut late: Option<(u64, SiteId)> = None;
        for (source, site, facts) in self.lead.sites().filter(|(source, site, _)| source != site) {
            if facts.run == order.run && facts.state == SiteState::Done {
                continue;
            }
            let frozen = self.lead.frozen(source);
            let done = if facts.run == order.run { facts.done } else { Bytes::new(0) };
            let left = frozen.map_or(1, |it| it.bytes.get().saturating_sub(done.get()));
            let rate =
                if frozen.is_some() { self.rate_of((source, site), away) } else { BitRate::bps(0) };
            let at = match order.spec.times.outlook(now, Bytes::new(left), rate) {
                Outlook::Unknown | Outlook::InTime => continue,
                Outlook::Late(at) => at,
                Outlook::Missed => u64::MAX,
            };
            late = late.max(Some((at, site)));
        }
        let (at, site) = late?;
        let label = order.spec.label_of(site).unwrap_or("a site");
        let deadline_text = text_of_millis(deadline);
        Some(if at == u64::MAX {
            format!("{label} is not done, and its deadline was {deadline_text}")
        } else {
            let behind = (at - deadline).div_ceil(1000);
            format!("{label} is expected at {}, {behind} s after its deadline", text_of_millis(at))
        })
    }
}

impl Loop {
    /// Says of jobs that they will be late.
    pub(super) fn watch_deadlines(&mut self) {
        let (away, now) = (self.away(), now_millis());
        let ids: Vec<JobId> = self.jobs.leads.keys().copied().collect();
        for id in ids {
            let Some(leading) = self.jobs.leads.get_mut(&id) else { continue };
            let late = leading.late(now, &away);
            let order = leading.lead.order();
            let (mark, name) = ((order.run, order.spec.revision), order.spec.name.clone());
            if leading.lateness.is_news(late.is_some(), mark, Instant::now())
                && let Some(late) = late
            {
                let text = format!("{name} will miss its deadline: {late}");
                self.log.say(Said::that(EventKind::Job).text(text));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_for_a_run_after_it_lasted() {
        let (mut lateness, start) = (Lateness::default(), Instant::now());
        let mut look = |secs, is_late, run| {
            lateness.is_news(is_late, (run, 1), start + Duration::from_secs(secs))
        };
        assert!(!look(0, true, 1), "a moment is not enough");
        assert!(!look(5, false, 1));
        assert!(!look(6, true, 1));
        assert!(!look(15, true, 1), "it looked otherwise in between");
        assert!(look(16, true, 1));
        assert!(!look(60, true, 1), "once");
        assert!(look(61, true, 2), "another run");
    }
}
