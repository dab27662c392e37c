//! Scrubs: files that nobody changed are read again now and then, and where a disk gives something
//! else than what was written, that is kept and what stood there is fetched again (spec: S-110).

use super::folder::{Folder, FolderError, wall_millis};
use super::rot::{ScrubJob, Scrubbed};
use crate::events::Said;
use crate::index::chunks::Home;
use crate::index::{Durability, Kept, ScrubRound};
use crate::moment::text_of_millis;
use crate::scan::ScrubPlan;
use farhaul_api::{EventKind, ScrubStatus};
use farhaul_engine::files::stop::Stop;
use farhaul_proto::path_name::RelPath;
use farhaul_sync::folder::Found;
use std::time::Duration;

/// How the scrub of a folder is.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    runs: Option<Stop>,
    round: Option<ScrubRound>,
    /// Somebody asked for a round.
    is_wanted: bool,
}

impl Scrub {
    pub(super) fn stop(&self) {
        self.runs.iter().for_each(Stop::set);
    }

    #[cfg(test)]
    pub(super) const fn is_busy(&self) -> bool {
        self.runs.is_some()
    }

    /// For those who ask.
    pub(super) fn status(&self, plan: ScrubPlan) -> ScrubStatus {
        let round = self.round.clone().unwrap_or_default();
        let told = |millis| (millis > 0).then(|| text_of_millis(millis));
        ScrubStatus {
            running: self.runs.is_some(),
            began: told(round.began_millis),
            ended: told(round.ended_millis),
            files: round.files,
            bytes: round.bytes.get(),
            damaged: round.damaged,
            next_in_seconds: self.next_in(plan).map(|next| next.as_secs()),
        }
    }

    /// In how long the next round begins by itself; `None`: it does not, or one is under way.
    fn next_in(&self, plan: ScrubPlan) -> Option<Duration> {
        let round = self.round.as_ref().filter(|round| round.ended_millis > 0)?;
        let passed = Duration::from_millis(wall_millis().saturating_sub(round.began_millis));
        Some(plan.every?.saturating_sub(passed))
    }
}

impl Folder {
    /// How far the last round was.
    pub(super) fn open_scrub(&mut self) -> Result<(), FolderError> {
        self.scrub.round = self.index.read().scrub_round()?;
        if self.scrub.round.is_none() {
            // All that stands there is read by the first scan.
            let now = wall_millis();
            self.keep_round(ScrubRound {
                began_millis: now,
                ended_millis: now,
                ..ScrubRound::default()
            })?;
        }
        Ok(())
    }

    fn keep_round(&mut self, round: ScrubRound) -> Result<(), FolderError> {
        let mut keeping = self.index.begin(Durability::Later)?;
        keeping.set_scrub_round(&round)?;
        keeping.commit()?;
        self.scrub.round = Some(round);
        Ok(())
    }

    /// Begins a round at the next moment at which that can be done.
    pub(super) fn want_scrub(&mut self) {
        self.scrub.is_wanted = true;
        self.keep_scrubbing();
    }

    /// Goes on with a round, or begins one that is due.
    pub(super) fn keep_scrubbing(&mut self) {
        let waits = self.is_paused || self.upkeep.is_halted() || self.listening().is_some();
        if waits || self.scrub.runs.is_some() {
            return;
        }
        let begun = self.begin_scrub();
        self.note("its files cannot be read again", begun);
    }

    fn begin_scrub(&mut self) -> Result<(), FolderError> {
        let goes_on = self.scrub.round.as_ref().is_some_and(|round| round.ended_millis == 0);
        let is_due = self.scrub.next_in(self.setup.scrub) == Some(Duration::ZERO);
        if !goes_on {
            if !is_due && !self.scrub.is_wanted {
                return Ok(());
            }
            let began_millis = wall_millis();
            self.keep_round(ScrubRound { began_millis, ..ScrubRound::default() })?;
            self.scrub.is_wanted = false;
            tracing::info!(folder = %self.setup.name, "its files are read again");
        }
        let stop = Stop::default();
        let job = ScrubJob {
            folder: self.setup.key,
            root: self.store.root().clone(),
            store: self.store.clone(),
            keys: self.keys.clone(),
            reader: self.index.reader()?,
            after: self.scrub.round.as_ref().and_then(|round| round.after.clone()),
            rate: self.setup.scrub.rate,
            stop: stop.clone(),
            events: self.events.clone(),
        };
        let thread = std::thread::Builder::new().name("farhaul-scrub".to_owned());
        thread.spawn(move || job.run()).map_err(FolderError::Thread)?;
        self.scrub.runs = Some(stop);
        Ok(())
    }

    /// Some files were read again.
    pub(super) fn scrubbed(&mut self, seen: Scrubbed) {
        let taken = self.take_scrubbed(seen);
        self.note("what a disk gives cannot be put right", taken);
    }

    fn take_scrubbed(&mut self, seen: Scrubbed) -> Result<(), FolderError> {
        let Scrubbed { after, files, bytes, rotten, unread, broken, kept_after } = seen;
        for (path, why) in unread {
            self.health.failed(&path, why);
        }
        let mut damaged = 0;
        for kept in broken {
            damaged += u64::from(self.is_broken(&kept)?);
        }
        if kept_after.is_some() {
            let mut keeping = self.index.begin(Durability::Later)?;
            keeping.set_kept_scrubbed(kept_after.as_ref())?;
            keeping.commit()?;
        }
        for (path, found) in rotten {
            damaged += u64::from(self.is_rotten(&path, found)?);
        }
        let Some(mut round) = self.scrub.round.clone() else { return Ok(()) };
        // Behind the last file comes what is kept.
        (round.after, round.files) = (after.or(round.after), round.files + files);
        (round.bytes, round.damaged) = (round.bytes + bytes, round.damaged + damaged);
        self.keep_round(round)
    }

    /// The disk gives something else than what was written, in a file that nobody changed: that is
    /// nobody's edit. Whether it is still so.
    fn is_rotten(&mut self, path: &RelPath, found: Found) -> Result<bool, FolderError> {
        let placed = self.index.read().item(path)?.placed;
        if placed.is_none_or(|placed| placed.identity != found.identity) {
            return Ok(false);
        }
        self.change(Durability::Now, |state| Ok(state.damaged(path, found)?))?;
        self.contents.forget(&Home::Tree(path.clone()));
        let why = "its disk gives something else than what was written: what stood there is \
                   fetched again, and what is there now is kept among its versions";
        tracing::error!(folder = %self.setup.name, %path, "{why}");
        self.health.failed(path, why.to_owned());
        Ok(true)
    }

    /// What is kept is not the version any more that it was kept as: nobody is given it as that, and it
    /// stays for whoever looks into it. Whether it is still so.
    fn is_broken(&mut self, kept: &Kept) -> Result<bool, FolderError> {
        let now = self.index.read().kept_as(&kept.path, &kept.name)?;
        if now.as_ref() != Some(kept) {
            return Ok(false);
        }
        let mut keeping = self.index.begin(Durability::Now)?;
        keeping.write_kept(&Kept { version: None, ..kept.clone() })?;
        keeping.commit()?;
        self.contents.forget(&Home::Kept(kept.name.clone()));
        let why = format!(
            "what is kept as `{}` is not the version any more that it was: its disk gives something \
             else than what was written, or a program wrote into it that had it open",
            kept.name
        );
        tracing::error!(folder = %self.setup.name, path = %kept.path, "{why}");
        // Of what stands at the path it says nothing.
        self.health.say(Said::that(EventKind::Failed).path(&kept.path).text(why));
        Ok(true)
    }

    /// The next round begins with the first of what is kept.
    fn kept_anew(&mut self) -> Result<(), FolderError> {
        let mut keeping = self.index.begin(Durability::Later)?;
        keeping.set_kept_scrubbed(None)?;
        Ok(keeping.commit()?)
    }

    /// All of the files were read again, or somebody stopped it.
    pub(super) fn scrub_ended(&mut self, outcome: Result<bool, String>) {
        self.scrub.runs = None;
        let kept = match (outcome, self.scrub.round.clone()) {
            (Ok(true), Some(round)) => {
                let ScrubRound { files, bytes, damaged, .. } = round;
                let name = &self.setup.name;
                tracing::info!(folder = %name, files, %bytes, damaged, "all files were read again");
                let ended_millis = wall_millis().max(1);
                let begins_anew = self.kept_anew();
                self.note("how far what is kept was read cannot be kept", begins_anew);
                self.keep_round(ScrubRound { ended_millis, after: None, ..round })
            }
            (Err(why), _) => {
                tracing::warn!(folder = %self.setup.name, why, "files are read again later");
                Ok(())
            }
            (Ok(_), _) => Ok(()),
        };
        self.note("how far its files were read again cannot be kept", kept);
    }
}
