//! One leg of a job at this site: what comes from one source. A source scans and freezes; a target
//! waits until its folder has what was frozen, and switches to it.

mod activate;
mod hook;
mod retry;
mod stall;

pub(crate) use activate::Activated;
pub(crate) use retry::Undone;

use super::keep::{Keep, Switched};
use super::root::{at_of, standing, target_of, unmark};
use super::{JobsSetup, RECEIPT, TELL_EVERY, count};
use crate::control::folder::Folder;
use crate::control::{Event, FolderSetup, Loop};
use crate::moment::{now_millis, text_of_millis};
use activate::Halt;
use farhaul_engine::files::stop::Stop;
use farhaul_engine::files::{Root, space};
use farhaul_engine::identity::Identity;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use farhaul_sync::job::{Activate, Duty, Frozen, Giving, Leg, Receipt, Report, SiteState, Spec};
use farhaul_sync::seal::FolderKey;
use retry::{Cause, Retries};
use stall::Watchdog;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How far this site is with a leg, and what it said of that.
pub(super) struct LegWork {
    leg: Leg,
    spec: Spec,
    me: SiteId,
    keep: Keep,
    /// Where it stands: of another place nothing that is known here holds.
    at: String,
    /// Whether the source is a single file; known of a source.
    is_file: bool,
    /// The run that the source began to read for, and when.
    reading: Option<(u64, Instant)>,
    /// What was counted, with the folder's arrival number by then.
    counted: Option<(u64, Frozen)>,
    /// What the source froze, and for which run.
    frozen: Option<(u64, Frozen)>,
    counting: Option<Stop>,
    switched: Option<Switched>,
    is_switching: bool,
    /// Nothing is put into its tree: that is about to be switched to, or is just now.
    holds_still: Option<u64>,
    /// Whether room was found for the first run.
    has_room: bool,
    /// The number of the order that is followed.
    turn: u64,
    /// What did not work, and when it is tried again.
    retries: Retries,
    watchdog: Watchdog,
    /// The run for which the hook before a source reads has ended well.
    hooked: Option<u64>,
    /// While something runs beside the loop that has hooks.
    halt: Option<Halt>,
    /// Why the hook behind the last switch did not do what it is for.
    after: Option<String>,
    /// Bytes that had come when this run began.
    before: Option<(u64, u64)>,
    now: Said,
    told: Option<(Said, u64, u64)>,
    told_at: Instant,
}

/// What there is to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    state: SiteState,
    reason: Option<String>,
    done: Bytes,
    frozen: Option<Frozen>,
    receipt: Option<Receipt>,
    gives: Vec<Giving>,
}

impl Said {
    fn is(state: SiteState) -> Self {
        Self { state, ..Self::default() }
    }

    fn because(state: SiteState, reason: impl Into<String>) -> Self {
        Self { state, reason: Some(reason.into()), ..Self::default() }
    }
}

impl LegWork {
    /// A leg, with what is known of it from before.
    pub(super) fn new(
        kept: Option<Self>,
        leg: Leg,
        (spec, me): (&Spec, SiteId),
        (setup, keep): (&JobsSetup, &Keep),
    ) -> Self {
        let at = at_of(setup, &leg, me);
        let spec = spec.clone();
        if let Some(kept) = kept.filter(|kept| kept.at == at) {
            return Self { leg, spec, ..kept };
        }
        let switched = keep.switched(spec.id, (leg.source.site, &at));
        Self {
            at,
            leg,
            spec,
            me,
            keep: keep.clone(),
            is_file: false,
            reading: None,
            counted: None,
            frozen: None,
            counting: None,
            switched,
            is_switching: false,
            holds_still: None,
            has_room: false,
            turn: 0,
            retries: Retries::default(),
            watchdog: Watchdog::default(),
            hooked: None,
            halt: None,
            after: None,
            before: None,
            now: Said::default(),
            told: None,
            told_at: Instant::now(),
        }
    }

    /// The leader is told again, whatever it was told before.
    pub(super) fn tell_again(&mut self) {
        self.told = None;
    }

    /// Removes the tree that the job keeps; what was visible before the last switch stays. At a source
    /// nothing says any more that a job reads there.
    pub(super) fn clear(&self, setup: &JobsSetup) {
        if self.leg.source.site == self.me {
            let standing = standing(setup, &self.keep, (&self.spec, &self.leg), self.me);
            if let Err(error) = standing.and_then(|standing| unmark(&standing.setup)) {
                tracing::warn!(error, "the mark of a job that is over cannot be removed");
            }
            return;
        }
        let target = target_of(setup, (&self.spec, &self.leg), self.me);
        std::thread::spawn(move || {
            if let Err(error) = target.and_then(|it| it.remove_next().map_err(|e| e.to_string())) {
                tracing::warn!(%error, "the tree of a job that is over cannot be removed");
            }
        });
    }

    /// What the leader is to be told now, if anything.
    pub(super) fn report_due(&mut self, duty: &Duty) -> Option<Report> {
        let order = &duty.order;
        let mark = (order.run, order.spec.revision);
        if let Some((said, run, revision)) = &self.told {
            let plain =
                |said: &Said| Said { done: Bytes::new(0), gives: Vec::new(), ..said.clone() };
            let is_new = (*run, *revision) != mark || plain(said) != plain(&self.now);
            let is_further = *said != self.now && self.told_at.elapsed() >= TELL_EVERY;
            if !is_new && !is_further {
                return None;
            }
        }
        self.told = Some((self.now.clone(), mark.0, mark.1));
        self.told_at = Instant::now();
        let Said { state, reason, done, frozen, receipt, gives } = self.now.clone();
        Some(Report {
            job: order.spec.id,
            revision: order.spec.revision,
            run: order.run,
            source: self.leg.source.site,
            state,
            reason,
            done,
            frozen,
            receipt,
            gives,
        })
    }

    /// Whether it is a single file, as far as that is known.
    pub(super) const fn is_file(&self) -> bool {
        self.is_file
    }

    /// What it froze last, of a source.
    pub(super) fn last_frozen(&self) -> Option<Frozen> {
        self.frozen.map(|(_, frozen)| frozen)
    }

    /// What this site gives of the job just now.
    pub(super) fn gives(&mut self, gives: &[Giving]) {
        let of_leg = |giving: &&Giving| self.leg.place_of(giving.to).is_some();
        self.now.gives = gives.iter().filter(of_leg).copied().collect();
    }

    /// Where it stands.
    pub(super) fn at(&self) -> &str {
        &self.at
    }

    /// Its folder as it is to be.
    pub(super) fn shaped(&self, setup: &JobsSetup) -> Result<FolderSetup, String> {
        Ok(standing(setup, &self.keep, (&self.spec, &self.leg), self.me)?.setup)
    }

    /// From whom it comes, how it is, why, and how much is there.
    pub(super) fn shown(&self) -> (SiteId, SiteState, Option<String>, Bytes) {
        (self.leg.source.site, self.now.state, self.now.reason.clone(), self.now.done)
    }

    const fn key(&self) -> FolderKey {
        self.leg.key
    }

    /// Whether there is room for what is frozen: asked once, before the first bytes of a first run. What
    /// a later one adds to what is there is not known before. spec: S-237
    fn has_room(&mut self, folder: &Folder, duty: &Duty) -> Result<bool, String> {
        let Some(frozen) = duty.frozen(self.leg.source.site) else { return Ok(false) };
        // Of what began to come before a restart it was known then.
        let has_some =
            || folder.index.read().standing(None, None, 1).map_or(true, |it| !it.is_empty());
        if self.switched.is_some() || self.has_room || has_some() {
            return Ok(true);
        }
        let root = Root::open(&folder.setup.path).map_err(|error| error.to_string())?;
        if let Ok(Err(lacking)) = space::check(root.dir(), frozen.stored.get()) {
            return Err(format!("{lacking}: make room there"));
        }
        self.has_room = true;
        Ok(true)
    }

    /// Whether a source looks at its tree: only until it has frozen what a run is of. At any other time
    /// nothing is published that no run asked for.
    fn reads(&mut self, duty: &Duty) -> Result<bool, String> {
        let run = duty.order.run;
        if self.frozen.is_none_or(|(of, _)| of != run)
            && let Some(frozen) = duty.frozen(self.me)
        {
            self.frozen = Some((run, frozen));
        }
        Ok(self.frozen.is_none_or(|(of, _)| of != run))
    }

    fn fail(&mut self, undone: Undone) -> Said {
        let why = self.retries.note(undone, self.turn, Instant::now());
        Said::because(SiteState::Failed, why)
    }

    /// What the source does.
    fn freeze(&mut self, folder: &mut Folder, duty: &Duty, events: &mpsc::Sender<Event>) -> Said {
        let run = duty.order.run;
        if let Some((of, frozen)) = self.frozen
            && of == run
        {
            let done =
                Said { done: frozen.bytes, frozen: Some(frozen), ..Said::is(SiteState::Done) };
            return done;
        }
        let Some((_, since)) = self.reading.filter(|(of, _)| *of == run) else {
            // One that began before says nothing of what was edited since.
            if folder.is_scanning() {
                return Said::because(SiteState::Running, "its tree is read");
            }
            self.counted = None;
            folder.scan_anew();
            self.reading = Some((run, Instant::now()));
            return Said::because(SiteState::Running, "its tree is read");
        };
        if folder.is_scanning() || folder.last_scan.is_none_or(|ended| ended < since) {
            // One that ran before this run began says nothing of it.
            if !folder.is_scanning() {
                folder.scan_anew();
            }
            return Said::because(SiteState::Running, "its tree is read");
        }
        if let Some(trouble) = folder.health.troubles().first() {
            return Said::because(SiteState::Failed, format!("{}: {}", trouble.what, trouble.why));
        }
        if folder.health.has_unread() {
            self.reading = None;
            let why = "some of its tree cannot be read: `farhaul events` names what";
            return self.fail(Undone::host(why));
        }
        if folder.listening().is_some() {
            return Said::because(SiteState::Running, "its peers are heard before it is published");
        }
        let waits = folder.index.read().looks(None, 1).map_or(true, |looks| !looks.is_empty());
        if waits {
            return Said::because(SiteState::Running, "its tree is published");
        }
        let last = folder.index.last_seq().get();
        match self.counted.filter(|(seq, _)| *seq == last) {
            Some((_, frozen)) => {
                self.frozen = Some((run, frozen));
                self.retries.worked();
                Said { done: frozen.bytes, frozen: Some(frozen), ..Said::is(SiteState::Done) }
            }
            None => {
                self.count(folder, events);
                Said::because(SiteState::Running, "its tree is frozen")
            }
        }
    }

    /// What a target does.
    fn fetch(
        &mut self,
        folder: &mut Folder,
        duty: &Duty,
        (setup, identity, events): (&JobsSetup, &Identity, &mpsc::Sender<Event>),
    ) -> Said {
        let order = &duty.order;
        let Some(frozen) = duty.frozen(self.leg.source.site) else {
            return Said::because(SiteState::Waiting, "its source has frozen nothing yet");
        };
        // Whether it is one file only its source knows.
        self.is_file = frozen.is_file;
        let came = folder.fetching.counts().now();
        let came = came.received + came.reused + came.resumed;
        let before =
            *self.before.filter(|(run, _)| *run == order.run).get_or_insert((order.run, came));
        self.before = Some(before);
        if let Some(switched) =
            self.switched.filter(|it| it.run == order.run && it.root == frozen.root)
        {
            if switched.is_back != order.back && !self.is_switching {
                self.switch(setup, (order.run, frozen), Some(order.back), events);
            }
            return self.done(duty, (switched, frozen), identity);
        }
        let done = Bytes::new(frozen.bytes.get().min(came.saturating_sub(before.1)));
        let last = folder.index.last_seq().get();
        let is_settled = !folder.is_scanning()
            && folder.fetching.under_way().0 == 0
            && folder.index.read().unsettled(None, 1).is_ok_and(|todo| todo.is_empty());
        let counted = self.counted.filter(|(seq, _)| *seq == last).map(|(_, counted)| counted);
        if is_settled && counted.is_none() {
            self.count(folder, events);
        }
        if is_settled && counted.is_some_and(|counted| counted.root == frozen.root) {
            let now = now_millis();
            let is_time = match order.spec.activate {
                Activate::Each => true,
                Activate::Together => order.switch_at.is_some_and(|at| at <= now),
            };
            if is_time && self.holds_still != Some(order.run) {
                self.holds_still = Some(order.run);
            } else if is_time && folder.is_paused && !self.is_switching {
                self.switch(setup, (order.run, frozen), None, events);
            }
            let reason = self.is_switching.then(|| "it is switched to".to_owned());
            return Said { done: frozen.bytes, reason, ..Said::is(SiteState::Staged) };
        }
        if folder.upkeep.is_full() {
            return Said {
                done,
                ..Said::because(SiteState::Failed, "its disk is full: make room there")
            };
        }
        let trouble = folder.health.troubles();
        let trouble = trouble.first().map(|trouble| format!("{}: {}", trouble.what, trouble.why));
        let reason = trouble
            .or_else(|| folder.is_alone().then(|| "no site that has it is connected".to_owned()));
        let state = if folder.is_alone() { SiteState::Waiting } else { SiteState::Running };
        let still = self.watchdog.look((order.run, came), Instant::now());
        let still = still.filter(|_| state == SiteState::Running);
        let reason = reason.or_else(|| still.map(has_stalled));
        Said { done, reason, ..Said::is(state) }
    }

    fn done(
        &self,
        duty: &Duty,
        (switched, frozen): (Switched, Frozen),
        identity: &Identity,
    ) -> Said {
        let (job, run, source) = (duty.order.spec.id, duty.order.run, self.leg.source.site);
        let signed = Receipt::to_sign(job, run, source, &frozen, switched.at_millis);
        let receipt = identity.sign(RECEIPT, &signed).map(|signature| Receipt {
            frozen,
            at_millis: switched.at_millis,
            key: identity.public_key().0,
            signature,
        });
        let back = switched.is_back.then(|| "what stood before stands again".to_owned());
        match receipt {
            Ok(receipt) => Said {
                done: frozen.bytes,
                receipt: Some(receipt),
                reason: self.after.clone().or(back),
                ..Said::is(SiteState::Done)
            },
            Err(error) => Said::because(SiteState::Failed, error.to_string()),
        }
    }

    /// Begins to count, beside the loop.
    fn count(&mut self, folder: &Folder, events: &mpsc::Sender<Event>) {
        if self.counting.is_some() {
            return;
        }
        let reader = match folder.index.reader() {
            Ok(reader) => reader,
            Err(error) => return tracing::error!(%error, "a tree cannot be counted"),
        };
        let (key, seq, stop) = (self.key(), folder.index.last_seq().get(), Stop::default());
        let (file, events, stopped) = (self.is_file, events.clone(), stop.clone());
        let root = (self.leg.source.site == self.me).then(|| folder.setup.path.clone());
        let counts = move || {
            let root = root.and_then(|path| Root::open(&path).ok());
            let counted = count::freeze(reader.read(), file, root.as_ref(), &stopped);
            let counted = counted.map_err(|error| error.to_string());
            let _ = events.blocking_send(Event::JobCounted { folder: key, seq, counted });
        };
        self.counting = Some(stop);
        let thread = std::thread::Builder::new().name("farhaul-count".to_owned());
        if let Err(error) = thread.spawn(counts) {
            tracing::error!(%error, "a tree cannot be counted");
            self.counting = None;
        }
    }

    /// Somebody counted.
    pub(super) fn counted(&mut self, seq: u64, counted: Result<Frozen, String>) {
        self.counting = None;
        match counted {
            Ok(frozen) => self.counted = Some((seq, frozen)),
            Err(why) => _ = self.retries.note(Undone::host(why), self.turn, Instant::now()),
        }
    }
}

/// What to say of a target to which nothing comes.
fn has_stalled(still: Duration) -> String {
    let minutes = still.as_secs() / 60;
    format!(
        "nothing was verified for {minutes} min: `farhaul links` at the sites that give says what \
         limits them"
    )
}

impl Loop {
    /// Goes on with a leg. Whether it is to be looked at again soon.
    pub(super) fn leg_goes_on(&mut self, leg: &mut LegWork, duty: &Duty) -> bool {
        let said = self.leg_says(leg, duty);
        leg.now = said;
        let rests = [SiteState::Done, SiteState::Failed, SiteState::Paused, SiteState::Waiting];
        !rests.contains(&leg.now.state) || leg.halt.is_some() || leg.counting.is_some()
    }

    fn leg_says(&mut self, leg: &mut LegWork, duty: &Duty) -> Said {
        let Some(setup) = self.jobs.setup.clone() else { return Said::default() };
        leg.turn = duty.order.turn;
        if let Some(why) = leg.retries.waits(leg.turn, Instant::now()) {
            return Said::because(SiteState::Failed, why);
        }
        let key = leg.key();
        // spec: S-240
        let waits = duty.waits_until(now_millis()).map(|start| {
            Said::because(SiteState::Waiting, format!("it begins at {}", text_of_millis(start)))
        });
        let is_source = leg.leg.source.site == leg.me;
        if let Some(folder) = self.folders.get_mut(&key) {
            // Nothing comes before it is known that there is room for all of it.
            let room = if is_source { leg.reads(duty) } else { leg.has_room(folder, duty) };
            let is_still = leg.is_switching || leg.holds_still == Some(duty.order.run);
            let goes = duty.is_running() && waits.is_none() && room == Ok(true);
            let hook = (goes && is_source).then(|| leg.before_reading(&setup, duty, &self.events));
            let hook = hook.flatten();
            let may_run = goes && !is_still && hook.is_none();
            if folder.is_paused == may_run
                && let Err(error) = folder.pause(!may_run)
            {
                return leg.fail(Undone::host(error.to_string()));
            }
            if !duty.is_running() {
                return Said { done: leg.now.done, ..Said::is(SiteState::Paused) };
            }
            if let Some(waits) = waits {
                return Said { done: leg.now.done, ..waits };
            }
            if let Err(why) = room {
                return leg.fail(Undone { cause: Cause::Room, why });
            }
            if let Some(hook) = hook {
                return hook;
            }
            if is_source {
                return leg.freeze(folder, duty, &self.events);
            }
            return leg.fetch(folder, duty, (&setup, &self.identity, &self.events));
        }
        if let Some(halted) = self.halted.get(&key) {
            return Said::because(SiteState::Failed, halted.halt.reason.clone());
        }
        if let Some(opening) = self.opening.get(&key) {
            return Said::because(SiteState::Waiting, opening.stage().to_string());
        }
        if !duty.is_running() {
            return Said::is(SiteState::Paused);
        }
        if let Some(waits) = waits {
            return waits;
        }
        if is_source
            && leg.reads(duty).unwrap_or(true)
            && let Some(hook) = leg.before_reading(&setup, duty, &self.events)
        {
            return hook;
        }
        match self.open_leg(leg, &setup) {
            Ok(()) => Said::because(SiteState::Waiting, "its folder is opened"),
            Err(why) => leg.fail(Undone::host(why)),
        }
    }

    fn open_leg(&mut self, leg: &mut LegWork, setup: &JobsSetup) -> Result<(), String> {
        let standing = standing(setup, &leg.keep, (&leg.spec, &leg.leg), leg.me)?;
        leg.is_file = standing.is_file;
        self.shown.entry(leg.key()).or_default();
        self.begin_to_open(standing.setup, None, false);
        Ok(())
    }
}
