//! What is done beside the loop around a leg: the hook before a source reads, the switch of a target with
//! its hooks.

use super::hook::{Act, Around, Side};
use super::retry::Undone;
use super::{LegWork, Said};
use crate::control::jobs::JobsSetup;
use crate::control::jobs::keep::Switched;
use crate::control::jobs::root::target_of;
use crate::control::jobs::switch::{SwitchError, Target};
use crate::control::{Event, Loop};
use crate::moment::now_millis;
use farhaul_engine::files::stop::Stop;
use farhaul_sync::job::{Duty, Frozen, SiteState};
use farhaul_sync::seal::FolderKey;
use std::sync::PoisonError;
use std::time::Instant;
use tokio::sync::mpsc;

/// What came of a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Activated {
    pub(super) switched: Switched,
    /// Why the hook behind it did not do what it is for.
    pub(super) after: Option<String>,
}

/// Ends the hook that runs when nobody waits for it any more.
#[derive(Debug, Default)]
pub(super) struct Halt(Stop);

impl Drop for Halt {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl LegWork {
    /// What a source waits for before it reads: its hook, once for each run. spec: S-242
    pub(super) fn before_reading(
        &mut self,
        setup: &JobsSetup,
        duty: &Duty,
        events: &mpsc::Sender<Event>,
    ) -> Option<Said> {
        let run = duty.order.run;
        if self.hooked == Some(run) || self.reading.is_some_and(|(of, _)| of == run) {
            return None;
        }
        let around = Around::of(setup, (&self.spec, &self.leg, run), (self.me, Act::Read));
        let Some(around) = around.filter(|around| around.has(Side::Before)) else {
            self.hooked = Some(run);
            return None;
        };
        let runs = Said::because(SiteState::Running, "its `before` hook runs");
        if self.halt.is_some() {
            return Some(runs);
        }
        let halt = Halt::default();
        let (folder, at, stop) = (self.key(), self.at.clone(), halt.0.clone());
        let events = events.clone();
        let runs_hook = move || {
            let turn = around.turn();
            let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
            let ended = around.run(Side::Before, &stop);
            let _ = events.blocking_send(Event::JobHooked { folder, at, run, ended });
        };
        match std::thread::Builder::new().name("farhaul-hook".to_owned()).spawn(runs_hook) {
            Ok(_) => {
                self.halt = Some(halt);
                Some(runs)
            }
            Err(error) => Some(self.fail(Undone::host(error.to_string()))),
        }
    }

    /// The hook before a source reads has ended.
    pub(in crate::control::jobs) fn has_hooked(
        &mut self,
        at: &str,
        run: u64,
        ended: Result<(), Undone>,
    ) {
        // It stood elsewhere when that began.
        if at != self.at {
            return;
        }
        self.halt = None;
        match ended {
            Ok(()) => self.hooked = Some(run),
            Err(undone) => _ = self.retries.note(undone, self.turn, Instant::now()),
        }
    }

    /// Begins to switch, or to switch back, beside the loop.
    pub(super) fn switch(
        &mut self,
        setup: &JobsSetup,
        (run, frozen): (u64, Frozen),
        back: Option<bool>,
        events: &mpsc::Sender<Event>,
    ) {
        let act = match back {
            None => Act::Switch,
            Some(true) => Act::Back,
            Some(false) => Act::Forth,
        };
        let around = Around::of(setup, (&self.spec, &self.leg, run), (self.me, act));
        let (setup, spec, leg, me) = (setup.clone(), self.spec.clone(), self.leg.clone(), self.me);
        let halt = Halt::default();
        let (folder, at, stop) = (self.key(), self.at.clone(), halt.0.clone());
        let events = events.clone();
        let switches = move || {
            let target = target_of(&setup, (&spec, &leg), me).map_err(Undone::host);
            let acted = target.and_then(|target| {
                activate(around.as_ref(), &stop, || switch(&target, (run, frozen), back))
            });
            let switched = acted.map(|(at_millis, after)| Activated {
                switched: Switched {
                    run,
                    root: frozen.root,
                    at_millis,
                    is_back: back.unwrap_or(false),
                },
                after,
            });
            let _ = events.blocking_send(Event::JobSwitched { folder, at, switched });
        };
        let thread = std::thread::Builder::new().name("farhaul-switch".to_owned());
        match thread.spawn(switches) {
            Ok(_) => (self.is_switching, self.halt) = (true, Some(halt)),
            Err(error) => tracing::error!(%error, "a tree cannot be switched to"),
        }
    }

    /// Somebody switched.
    pub(in crate::control::jobs) fn has_switched(
        &mut self,
        at: &str,
        switched: Result<Activated, Undone>,
    ) {
        // It stood elsewhere when that began.
        if at != self.at {
            return;
        }
        (self.is_switching, self.holds_still, self.halt) = (false, None, None);
        match switched {
            Ok(Activated { switched, after }) => {
                let leg = (self.leg.source.site, &*self.at);
                let kept = self.keep.save_switched(self.spec.id, leg, &switched);
                if let Err(error) = kept {
                    // After a restart it is switched to again, which changes nothing that is seen.
                    tracing::error!(%error, "it is not kept that a tree was switched to");
                }
                (self.switched, self.after) = (Some(switched), after);
                self.retries.worked();
            }
            Err(undone) => _ = self.retries.note(undone, self.turn, Instant::now()),
        }
    }
}

fn switch(
    target: &Target,
    (run, frozen): (u64, Frozen),
    back: Option<bool>,
) -> Result<(), SwitchError> {
    match back {
        None => target.switch(run, frozen.is_file),
        Some(back) => target.stand(back),
    }
}

/// Acts between the hooks, of which the first may forbid it. When that was done, in milliseconds since
/// 1970, and why the second one did not do what it is for.
fn activate(
    around: Option<&Around>,
    stop: &Stop,
    act: impl FnOnce() -> Result<(), SwitchError>,
) -> Result<(u64, Option<String>), Undone> {
    let Some(around) = around else {
        act().map_err(|error| not_switched(&error))?;
        return Ok((now_millis(), None));
    };
    let turn = around.turn();
    let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
    around.run(Side::Before, stop)?;
    act().map_err(|error| not_switched(&error))?;
    let at_millis = now_millis();
    Ok((at_millis, around.run(Side::After, stop).err().map(|undone| undone.why)))
}

fn not_switched(error: &SwitchError) -> Undone {
    Undone::host(error.to_string())
}

impl Loop {
    /// Somebody counted a tree of a job.
    pub(in crate::control) fn job_counted(
        &mut self,
        folder: FolderKey,
        seq: u64,
        counted: Result<Frozen, String>,
    ) {
        if let Some(leg) = self.leg(folder) {
            leg.counted(seq, counted);
        }
        self.jobs.looked = None;
    }

    /// Somebody switched to one.
    pub(in crate::control) fn job_switched(
        &mut self,
        folder: FolderKey,
        (at, switched): (&str, Result<Activated, Undone>),
    ) {
        if let Some(leg) = self.leg(folder) {
            leg.has_switched(at, switched);
        }
        self.jobs.looked = None;
    }

    /// The hook before a source reads has ended.
    pub(in crate::control) fn job_hooked(
        &mut self,
        folder: FolderKey,
        (at, run, ended): (&str, u64, Result<(), Undone>),
    ) {
        if let Some(leg) = self.leg(folder) {
            leg.has_hooked(at, run, ended);
        }
        self.jobs.looked = None;
    }
}
