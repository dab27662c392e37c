//! What jobs are to get of links: said to those who divide these, and what they say of how it goes.

use super::{JobsSetup, Working};
use crate::control::Loop;
use crate::site::{JobShares, JobTable, JobTerms};
use farhaul_proto::ids::SiteId;
use farhaul_sync::job::{Giving, JobId, Refusal, Spec};
use std::collections::BTreeSet;

impl Loop {
    /// Where those who divide links hear of jobs.
    pub(in crate::control) fn job_shares(&self) -> JobShares {
        self.jobs.shares.clone()
    }

    /// Says what jobs there are and what each is to get.
    pub(super) fn say_terms(&self) {
        let mut table = JobTable::default();
        for (id, working) in &self.jobs.duties {
            // What is refused gives nothing.
            if working.refused.is_some() {
                continue;
            }
            let spec = &working.duty.order.spec;
            table.jobs.insert(
                *id,
                JobTerms {
                    name: spec.name.clone(),
                    class: spec.class,
                    weight: spec.weight,
                    cap: spec.cap,
                    calendar: spec.calendar.clone(),
                    is_paused: !working.duty.is_running(),
                },
            );
            table.folders.extend(working.legs.keys().map(|key| (*key, *id)));
        }
        self.jobs.shares.say(table);
    }

    /// What is given of a job just now.
    pub(super) fn gives(&self, job: JobId) -> Vec<Giving> {
        let all = (job, SiteId([0; 32]))..=(job, SiteId([u8::MAX; 32]));
        let given = self.jobs.shares.given();
        let gives = given.range(all).map(|((_, to), giving)| Giving {
            to: *to,
            rate: giving.rate,
            limit: giving.limit,
        });
        gives.collect()
    }
}

impl Working {
    /// That the calendar of the job is known here: it says when this site may give.
    pub(super) fn check_calendar(setup: &JobsSetup, spec: &Spec) -> Result<(), Refusal> {
        match &spec.calendar {
            Some(name) if !setup.calendars.contains(name) => {
                Err(Refusal::NoCalendar { name: name.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The calendars of a site, by name.
pub(super) type CalendarNames = BTreeSet<String>;
