//! What the leader of a job knows and wants: orders go out of it, reports come in, and the state of
//! the whole follows from the states of its parts.

use super::giving::{Giving, JobLimit};
use super::message::{Frozen, Order, Receipt, Report, SiteState, Wish};
use super::place::Place;
use super::spec::{Activate, Spec, SpecError};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::{BitRate, Bytes};
use std::collections::BTreeMap;

/// How long before it a common instant is told: the order has to be at every site by then, whose
/// links may lose it a few times. A site that hears later switches at once (spec: S-236).
pub const SWITCH_NOTICE_MILLIS: u64 = 5_000;

/// What a job is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobState {
    /// Nothing goes on; the reason says what it waits for.
    Waiting,
    /// Something does.
    Running,
    /// A person paused it.
    Paused,
    /// Every target has the present run.
    Done,
    /// Some target cannot have it, and nothing else goes on.
    Failed,
}

impl JobState {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What the leader knows of a site's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteFacts {
    /// How it is.
    pub state: SiteState,
    /// Why.
    pub reason: Option<String>,
    /// Bytes that are there.
    pub done: Bytes,
    /// In which run that was said.
    pub run: u64,
    /// The newest receipt, of this run or one before.
    pub receipt: Option<(u64, Receipt)>,
    /// What it gives to whom, as it said last.
    pub gives: Vec<Giving>,
}

/// What follows from what the leader was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadChange {
    /// Nothing that anybody has to know.
    Nothing,
    /// A site is further.
    Progress,
    /// The order changed: all who take part are told.
    Order,
}

/// Why an edit is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Somebody else edited it meanwhile.
    #[error(
        "it is at revision {now}, and this edit is of {of}: look at it again, and repeat the edit"
    )]
    Revision {
        /// What it is at.
        now: u64,
        /// What the edit was made from.
        of: u64,
    },
    /// It was stopped.
    #[error("the job was stopped: create another one")]
    Stopped,
    /// A site would give something else.
    #[error("{0} stays the source that it is: stop the job, and create another one")]
    Source(String),
    /// What came of it cannot be.
    #[error(transparent)]
    Spec(#[from] SpecError),
}

/// A job as its leader has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    order: Order,
    /// By source and site.
    sites: BTreeMap<(SiteId, SiteId), SiteFacts>,
}

impl Lead {
    /// A new job, which begins with its first run.
    ///
    /// # Errors
    /// [`SpecError`].
    pub fn new(spec: Spec) -> Result<Self, SpecError> {
        spec.check()?;
        let (wish, frozen) = (Wish::Run, Vec::new());
        let order = Order { spec, wish, run: 1, frozen, switch_at: None, back: false, turn: 1 };
        Ok(Self::kept(order))
    }

    /// A job as it was kept. What sites are at they say again.
    pub fn kept(order: Order) -> Self {
        let mut lead = Self { order, sites: BTreeMap::new() };
        lead.know_sites();
        lead
    }

    /// What all who take part are told.
    pub const fn order(&self) -> &Order {
        &self.order
    }

    /// Each part of it, by source and site.
    pub fn sites(&self) -> impl Iterator<Item = (SiteId, SiteId, &SiteFacts)> {
        self.sites.iter().map(|(&(source, site), facts)| (source, site, facts))
    }

    /// What comes to a site of what a source froze, from all who give it together, and what limits the
    /// one who gives most; of those who are not away.
    pub fn giving(
        &self,
        (source, site): (SiteId, SiteId),
        away: impl Fn(SiteId) -> bool,
    ) -> Option<(BitRate, JobLimit)> {
        let givers = self.sites.range((source, SiteId([0; 32]))..);
        let givers = givers.take_while(|((of, _), _)| *of == source);
        let givers = givers.filter(|((_, from), _)| !away(*from));
        let gives = givers.flat_map(|(_, facts)| facts.gives.iter().filter(|it| it.to == site));
        let (mut rate, mut most) = (BitRate::ZERO, None::<&Giving>);
        for giving in gives {
            rate = rate + giving.rate;
            most = most.filter(|most| most.rate >= giving.rate).or(Some(giving));
        }
        most.map(|giving| (rate, giving.limit))
    }

    /// What of the present run a source froze.
    pub fn frozen(&self, source: SiteId) -> Option<Frozen> {
        let mut frozen = self.order.frozen.iter();
        frozen.find(|(from, _)| *from == source).map(|(_, frozen)| *frozen)
    }

    /// A site says how far it is; its receipt, if it has one, bears its signature. What it may not
    /// say, and what it says of another run, counts for nothing.
    pub fn reported(&mut self, from: SiteId, report: Report, now_millis: u64) -> LeadChange {
        let Report { job, revision, run, source, state, reason, done, frozen, receipt, gives } =
            report;
        let order = &self.order;
        if (job, revision, run) != (order.spec.id, order.spec.revision, order.run) {
            return LeadChange::Nothing;
        }
        let known = self.frozen(source);
        let is_source = from == source;
        let Some(facts) = self.sites.get_mut(&(source, from)) else { return LeadChange::Nothing };
        facts.gives = gives;
        let mut change = LeadChange::Nothing;
        let (mut state, mut reason) = (state, reason);
        if !is_source && matches!(state, SiteState::Done | SiteState::Staged) {
            let is_it = receipt.as_ref().map_or(state == SiteState::Staged, |receipt| {
                known.is_some_and(|known| known.is_same_tree(&receipt.frozen))
            });
            if !is_it {
                state = SiteState::Failed;
                reason = Some(
                    "it says that it is done with something else than its source froze".to_owned(),
                );
            }
        }
        if let Some(receipt) = receipt.filter(|_| state == SiteState::Done && !is_source) {
            facts.receipt = Some((run, receipt));
        }
        if (facts.state, &facts.reason, facts.done, facts.run) != (state, &reason, done, run) {
            (facts.state, facts.reason, facts.done, facts.run) = (state, reason, done, run);
            change = LeadChange::Progress;
        }
        let is_news = |frozen: &Frozen| !known.is_some_and(|known| known.is_same_tree(frozen));
        if let Some(frozen) = frozen.filter(|frozen| is_source && is_news(frozen)) {
            // Of a run that somebody has already a second freezing is another run.
            match known {
                None => self.order.frozen.push((source, frozen)),
                Some(_) => return self.rerun(),
            }
            change = self.turn();
        }
        if self.is_time_to_agree() {
            self.order.switch_at = Some(now_millis.saturating_add(SWITCH_NOTICE_MILLIS));
            change = self.turn();
        }
        change
    }

    /// What a site said with a receipt before this leader was started again: it need not say it anew.
    pub fn remember(&mut self, from: SiteId, report: Report) {
        let Report { job, revision, run, source, reason, done, receipt, .. } = report;
        let is_now = (revision, run) == (self.order.spec.revision, self.order.run);
        let frozen = self.frozen(source);
        let (Some(facts), Some(receipt)) = (self.sites.get_mut(&(source, from)), receipt) else {
            return;
        };
        if job != self.order.spec.id || from == source {
            return;
        }
        if is_now && frozen.is_some_and(|frozen| frozen.is_same_tree(&receipt.frozen)) {
            (facts.state, facts.reason, facts.done, facts.run) =
                (SiteState::Done, reason, done, run);
        }
        facts.receipt = Some((run, receipt));
    }

    /// Whether the receipt of that report is the newest one of that site.
    pub fn has_receipt(&self, from: SiteId, report: &Report) -> bool {
        let facts = self.sites.get(&(report.source, from));
        let newest = facts.and_then(|facts| facts.receipt.as_ref());
        newest.map(|(run, receipt)| (*run, Some(receipt)))
            == Some((report.run, report.receipt.as_ref()))
    }

    /// Whether all targets have everything and wait for the instant.
    fn is_time_to_agree(&self) -> bool {
        self.order.spec.activate == Activate::Together
            && self.order.switch_at.is_none()
            && self.targets().all(|(_, facts)| {
                let is_there = matches!(facts.state, SiteState::Staged | SiteState::Done);
                is_there && facts.run == self.order.run
            })
    }

    fn targets(&self) -> impl Iterator<Item = (SiteId, &SiteFacts)> {
        let targets = self.sites.iter().filter(|((source, site), _)| source != site);
        targets.map(|(&(_, site), facts)| (site, facts))
    }

    fn turn(&mut self) -> LeadChange {
        self.order.turn += 1;
        LeadChange::Order
    }

    /// Another run: its sources freeze what stands there now.
    pub fn rerun(&mut self) -> LeadChange {
        self.order.run += 1;
        self.order.frozen.clear();
        self.order.switch_at = None;
        self.order.back = false;
        self.turn()
    }

    /// It goes on, waits or is over. Once over it stays so.
    pub fn wish(&mut self, wish: Wish) -> LeadChange {
        if self.order.wish == wish || self.order.wish == Wish::Stop {
            return LeadChange::Nothing;
        }
        self.order.wish = wish;
        self.turn()
    }

    /// What stood before the last switch is to stand again, or what was switched to.
    pub fn back(&mut self, back: bool) -> LeadChange {
        if self.order.back == back {
            return LeadChange::Nothing;
        }
        self.order.back = back;
        self.turn()
    }

    /// Another specification takes the place of that of revision `of`. Sites that are new in it are
    /// served with the present run; a source that changed begins another one.
    ///
    /// # Errors
    /// [`EditError`]; nothing changes then.
    pub fn edit(&mut self, of: u64, spec: Spec) -> Result<LeadChange, EditError> {
        let now = self.order.spec.revision;
        if of != now {
            return Err(EditError::Revision { now, of });
        }
        if self.order.wish == Wish::Stop {
            return Err(EditError::Stopped);
        }
        let before = &self.order.spec;
        let spec = Spec { id: before.id, name: before.name.clone(), revision: now + 1, ..spec };
        spec.check()?;
        let is_moved = |now: &&Place| {
            before.sources.iter().any(|was| was.site == now.site && !was.is_same(now))
        };
        if let Some(moved) = spec.sources.iter().find(is_moved) {
            return Err(EditError::Source(moved.label.clone()));
        }
        let is_other_source = before.sources != spec.sources || before.kind != spec.kind;
        self.order.spec = spec;
        self.know_sites();
        // What they said was of what it was before.
        self.sites.values_mut().for_each(|facts| facts.run = 0);
        if is_other_source {
            return Ok(self.rerun());
        }
        Ok(self.turn())
    }

    fn know_sites(&mut self) {
        let legs = self.order.spec.legs().unwrap_or_default();
        let mut sites = BTreeMap::new();
        for leg in legs {
            for site in leg.sites() {
                let key = (leg.source.site, site);
                sites.insert(key, self.sites.remove(&key).unwrap_or_default());
            }
        }
        self.sites = sites;
    }

    /// How it is, and why, for people. `is_away` says who is not connected.
    pub fn state(&self, is_away: impl Fn(SiteId) -> bool) -> (JobState, Option<String>) {
        match self.order.wish {
            Wish::Pause => return (JobState::Paused, Some("somebody paused it".to_owned())),
            Wish::Stop => return (JobState::Failed, Some("somebody stopped it".to_owned())),
            Wish::Run => {}
        }
        let of_run = |facts: &SiteFacts| {
            if facts.run == self.order.run { facts.state } else { SiteState::Waiting }
        };
        if self.targets().all(|(_, facts)| of_run(facts) == SiteState::Done) {
            return (JobState::Done, None);
        }
        let open = || self.sites.iter().filter(|(_, facts)| of_run(facts) != SiteState::Done);
        let says = |site: SiteId, what: &str| {
            let label = self.order.spec.label_of(site).unwrap_or("a site");
            Some(format!("{label}: {what}"))
        };
        let is_going =
            |facts: &SiteFacts| matches!(of_run(facts), SiteState::Running | SiteState::Staged);
        let failed = open().find(|(_, facts)| of_run(facts) == SiteState::Failed);
        let failed = failed.map(|((_, site), facts)| {
            says(*site, facts.reason.as_deref().unwrap_or("it cannot go on"))
        });
        if open().any(|(_, facts)| is_going(facts)) {
            return (JobState::Running, failed.flatten());
        }
        if let Some(reason) = failed {
            return (JobState::Failed, reason);
        }
        let waits = open().find_map(|((_, site), facts)| match () {
            () if is_away(*site) => says(*site, "not connected"),
            () => facts.reason.as_deref().and_then(|reason| says(*site, reason)),
        });
        (
            JobState::Waiting,
            waits.or_else(|| Some("its sites were told, and have not answered".to_owned())),
        )
    }
}
