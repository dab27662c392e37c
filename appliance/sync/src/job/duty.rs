//! What a site does for a job: the last order of its leader, and whether this site lets it.

use super::message::{Frozen, Order, Wish};
use super::place::{ExportName, Place};
use super::spec::{Leg, Spec};
use farhaul_proto::ids::SiteId;
use std::collections::{BTreeMap, BTreeSet};

/// What a site lets others do in an export. Nobody remote can widen it (spec: S-234).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Who may be given what is in it.
    pub read: BTreeSet<SiteId>,
    /// Whose trees may be put into it.
    pub write: BTreeSet<SiteId>,
}

/// The exports of a site.
pub type Exports = BTreeMap<ExportName, Grants>;

/// Why a site does not follow an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Another site leads that job.
    #[error("another site leads this job")]
    OtherLead,
    /// It is no part of it.
    #[error("this site has no part in the job")]
    NoPart,
    /// There is no such export.
    #[error("{place}: there is no export of that name; add an [[export]] section there")]
    NoExport {
        /// What was named.
        place: String,
    },
    /// An export does not let somebody read.
    #[error("{place}: may not be read by {site}; add it to `read` of the [[export]] there")]
    Read {
        /// What is to be read.
        place: String,
        /// By whom.
        site: String,
    },
    /// An export does not let somebody write.
    #[error("{place}: may not be written by {site}; add it to `write` of the [[export]] there")]
    Write {
        /// What is to be written.
        place: String,
        /// By whom.
        site: String,
    },
    /// A source is elsewhere than it was.
    #[error(
        "{place}: it is another directory than when the job began; stop the job, and create another one"
    )]
    Moved {
        /// Where it is now.
        place: String,
    },
    /// There is no such calendar, so that nobody could say when it may go.
    #[error(
        "there is no calendar `{name}` at this site; add [[calendar]] of that name there, or edit the job"
    )]
    NoCalendar {
        /// Its name.
        name: String,
    },
    /// Another job has the place.
    #[error(
        "{place}: the job `{job}` puts something there already; stop it, or name another place"
    )]
    Taken {
        /// What is wanted.
        place: String,
        /// Who has it.
        job: String,
    },
}

/// What follows from an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DutyChange {
    /// Nothing: it is known, or older than what is known.
    Nothing,
    /// Something in it is new.
    Changed,
}

/// What a site does for one job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duty {
    /// Who leads it.
    pub lead: SiteId,
    /// What it said last.
    pub order: Order,
}

impl Duty {
    /// Takes an order of a job that is known.
    ///
    /// # Errors
    /// [`Refusal::OtherLead`]; nothing changes then.
    pub fn take(&mut self, lead: SiteId, order: Order) -> Result<DutyChange, Refusal> {
        if lead != self.lead {
            return Err(Refusal::OtherLead);
        }
        if order.turn <= self.order.turn {
            return Ok(DutyChange::Nothing);
        }
        self.order = order;
        Ok(DutyChange::Changed)
    }

    /// What is frozen for the present run, of one source.
    pub fn frozen(&self, source: SiteId) -> Option<Frozen> {
        let mut frozen = self.order.frozen.iter();
        frozen.find(|(from, _)| *from == source).map(|(_, frozen)| *frozen)
    }

    /// Until when nothing is done for it yet, if that is so at `now`.
    pub fn waits_until(&self, now_millis: u64) -> Option<u64> {
        self.order.spec.times.waits_until(now_millis)
    }

    /// Whether anything is to be done for it, once it begins.
    pub fn is_running(&self) -> bool {
        self.order.wish == Wish::Run
    }
}

/// Whether `me` lets `lead` have this done here (spec: S-234). A source gives to every target, and
/// to a leader that is neither; a target lets the source write, and a leader that is neither.
///
/// # Errors
/// [`Refusal`]: the first that is missing.
pub fn authorise(spec: &Spec, lead: SiteId, me: SiteId, exports: &Exports) -> Result<(), Refusal> {
    let legs = spec.legs().map_err(|_| Refusal::NoPart)?;
    let mine: Vec<&Leg> = legs.iter().filter(|leg| leg.place_of(me).is_some()).collect();
    if mine.is_empty() {
        return Err(Refusal::NoPart);
    }
    mine.into_iter().try_for_each(|leg| authorise_leg(leg, (spec, lead, me), exports))
}

fn authorise_leg(
    leg: &Leg,
    (spec, lead, me): (&Spec, SiteId, SiteId),
    exports: &Exports,
) -> Result<(), Refusal> {
    let Some(place) = leg.place_of(me) else { return Err(Refusal::NoPart) };
    let named = place.to_string();
    let grants = exports.get(&place.export);
    let grants = grants.ok_or_else(|| Refusal::NoExport { place: named.clone() })?;
    let label = |site: SiteId| spec.label_of(site).map_or_else(|| site.to_string(), str::to_owned);
    let is_third = lead != me && leg.place_of(lead).is_none();
    if leg.source.site == me {
        let targets = leg.targets.iter().map(|target| target.site);
        let readers = targets.chain(is_third.then_some(lead));
        let refused = readers.into_iter().find(|site| !grants.read.contains(site));
        return refused
            .map_or(Ok(()), |site| Err(Refusal::Read { place: named, site: label(site) }));
    }
    // Another target does not choose what is put here.
    let is_other_target = lead != me && lead != leg.source.site;
    let writers = [Some(leg.source.site), (is_third || is_other_target).then_some(lead)];
    let refused = writers.into_iter().flatten().find(|site| !grants.write.contains(site));
    refused.map_or(Ok(()), |site| Err(Refusal::Write { place: named, site: label(site) }))
}

/// Whether another job has the places that this one wants at `me`.
///
/// # Errors
/// [`Refusal::Taken`].
pub fn check_apart<'a>(
    spec: &Spec,
    me: SiteId,
    others: impl IntoIterator<Item = &'a Spec>,
) -> Result<(), Refusal> {
    let wanted = |spec: &Spec| -> Vec<(Place, bool)> {
        let legs = spec.legs().unwrap_or_default();
        let places = legs
            .iter()
            .filter_map(|leg| leg.place_of(me).map(|place| (place.clone(), leg.source.site == me)));
        places.collect()
    };
    let mine = wanted(spec);
    for other in others.into_iter().filter(|other| other.id != spec.id) {
        for (theirs, _) in wanted(other) {
            if let Some((place, _)) = mine.iter().find(|(place, _)| place.overlaps(&theirs)) {
                let (place, job) = (place.to_string(), other.name.clone());
                return Err(Refusal::Taken { place, job });
            }
        }
    }
    Ok(())
}
