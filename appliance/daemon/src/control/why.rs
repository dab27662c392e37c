//! Why a path is not in sync: everything that decides it, from the index, the disk and what is under
//! way. One path costs a handful of reads, so the loop answers itself.

use super::ask::AskError;
use super::folder::{Folder, FolderError};
use crate::index::Durability;
use crate::scan::identity_of;
use crate::told;
use farhaul_api::{Fetching, Known, Spread, SpreadState, Task, Why};
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;
use farhaul_sync::folder::{Item, Origin, Want, Why as Unpublished};
use farhaul_sync::version::{Content, Shown, Version, view};

impl Folder {
    /// Everything about a path.
    pub(super) fn why(&mut self, path: &RelPath) -> Result<Why, AskError> {
        let held = self.change(Durability::Later, |state| Ok(state.held(path)?))?;
        let read = |error| AskError::from(FolderError::Index(error));
        let reading = self.index.read();
        let item = reading.item(path).map_err(read)?;
        let stored = reading.versions_of(path).map_err(read)?;
        let newest = stored.iter().map(|version| version.seq.get()).max();
        let copies = reading.copies_of(path).map_err(read)?;
        let view = view(&item.versions, item.has_children);
        let known = item.versions.iter().map(|version| Known {
            version: told::version(version),
            shown: view.shown == Shown::Version(version),
            copy: copies
                .iter()
                .find(|(_, dot)| *dot == version.dot)
                .map(|(at, _)| told::text_of(at)),
        });
        let (task, wanted) = task_of(&item);
        // An archive does not do it.
        let is_kept = self.setup.policy.keeps_deleted && !item.versions.is_empty();
        let task = task.filter(|task| *task != Task::Remove || !is_kept);
        let sites = self.spread(newest, wanted);
        let short = reading.shortfall(path).map_err(read)?;
        let lacks = item.placed.as_ref().zip(short);
        let lacks = lacks.map(|(placed, short)| self.lacks_of(&placed.meta, &short));
        let mut why = Why {
            path: told::text_of(path),
            in_sync: false,
            reasons: Vec::new(),
            on_disk: item.placed.as_ref().map(|placed| told::version(&placed.version)),
            versions: known.collect(),
            task,
            wanted: wanted.map(told::version),
            fetching: self
                .fetching
                .coming(path)
                .map(|(from, size)| Fetching { from: from.map(told::site), size }),
            failure: self.health.failure(path),
            next: None,
            copy_of: item.copy.as_ref().map(|(copy, _)| told::text_of(&copy.origin)),
            lacks: lacks.unwrap_or_default(),
            sites,
        };
        self.judge(path, &item, held, &mut why);
        Ok(why)
    }

    /// What each peer knows of a path whose newest version came as the `newest`th.
    fn spread(&self, newest: Option<u64>, wanted: Option<&Version>) -> Vec<Spread> {
        let spread = |&id| {
            let neighbour = self.neighbours.get(&id);
            let knows = match (neighbour, newest) {
                (None, _) => SpreadState::Unknown,
                (Some(peer), Some(newest)) if peer.feed.sent() < newest => SpreadState::Untold,
                (Some(peer), Some(newest)) if peer.stored < newest => SpreadState::Told,
                (Some(_), _) => SpreadState::Durable,
            };
            Spread {
                site: told::site(id),
                knows,
                can_be_asked: neighbour.is_some(),
                is_author: wanted.is_some_and(|wanted| wanted.dot.author.site == id),
            }
        };
        self.setup.peers.iter().map(spread).collect()
    }

    /// Says whether it is in sync, why not, and what comes next.
    fn judge(&self, path: &RelPath, item: &Item, held: Option<Origin>, why: &mut Why) {
        let mut reasons = Vec::new();
        if self.is_paused {
            reasons.push("the folder is paused".to_owned());
        }
        reasons.extend(self.waits_for());
        let is_dir = matches!(item.placed.as_ref().map(|p| &p.version.content), Some(Content::Dir));
        if self.setup.rules.is_within_ignored(path.as_bytes(), is_dir) {
            reasons.push("a pattern of `ignore` leaves it out at this site".to_owned());
        }
        if let Some(origin) = held {
            reasons.push(format!(
                "it is part of a mass change ({origin}) that is held: confirm or refuse it"
            ));
        }
        match self.index.read().look(path).map(|look| look.map(|look| look.why)) {
            Ok(Some(unpublished)) => reasons.push(unpublished_because(unpublished).to_owned()),
            Ok(None) => reasons.extend(self.look_now(path, item)),
            Err(error) => reasons.push(error.to_string()),
        }
        if let Some(task) = why.task {
            reasons.push(undone(task, why));
            let is_lacking = self.hindrance(item, why, &mut reasons);
            why.next = Some(self.next_try(why, is_lacking));
        } else if why.versions.is_empty() && item.placed.is_none() && why.copy_of.is_none() {
            let unknown = "nothing is known of it: no site published it, or this one was not told";
            reasons.push(unknown.to_owned());
        }
        if let Some(failure) = &why.failure {
            let times = told::count(failure.times, "time", "times");
            reasons.push(format!("it failed {times}, last: {}", failure.why));
        }
        for site in &why.sites {
            match site.knows {
                SpreadState::Told => reasons.push(format!(
                    "{} was told of it and has not said that it is durable there",
                    site.site.id
                )),
                SpreadState::Untold => {
                    reasons.push(format!("{} was not told of it yet", site.site.id));
                }
                SpreadState::Durable | SpreadState::Unknown => {}
            }
        }
        why.in_sync = reasons.is_empty();
        if reasons.is_empty() {
            reasons.push(self.settled());
        }
        why.reasons = reasons;
    }

    /// That there is nothing to say of a path, and for whom that holds.
    fn settled(&self) -> String {
        let absent = self.setup.peers.len().saturating_sub(self.neighbours.len());
        let settled = "it is as it is to be, and every connected peer knows so";
        match absent {
            0 => settled.to_owned(),
            _ => {
                let peers = told::count(absent as u64, "peer is", "peers are");
                format!("{settled}; {peers} not connected")
            }
        }
    }

    /// What stands there now, if that is not what the index says.
    fn look_now(&self, path: &RelPath, item: &Item) -> Option<String> {
        let now = self.store.root().stat(path).ok();
        let next = match self.setup.policy.rights.own().publishes() {
            true => "the next scan publishes that",
            false => "the next scan notes that, and this site publishes nothing",
        };
        match (now, &item.placed) {
            (Some(now), Some(placed)) => {
                let is_dir = placed.version.content == Content::Dir;
                let is_same = is_dir || identity_of(&now) == placed.identity;
                let changed = "it was changed on this disk after it was last looked at";
                (!is_same).then(|| format!("{changed}; {next}"))
            }
            (Some(_), None) => {
                Some(format!("something stands there that was not looked at yet; {next}"))
            }
            (None, Some(_)) => {
                Some(format!("it is gone from this disk since it was last looked at; {next}"))
            }
            (None, None) => None,
        }
    }

    /// What keeps a file that is wanted from coming; whether all who were asked for it lack it.
    fn hindrance(&self, item: &Item, why: &Why, reasons: &mut Vec<String>) -> bool {
        let wanted = task_of(item).1.map(|wanted| &wanted.content);
        let (Some(Task::Place), Some(Content::File { manifest, .. })) = (why.task, wanted) else {
            return false;
        };
        let givers = self.fetching.givers();
        let mut asked = self.neighbours.keys();
        let is_lacking =
            !self.neighbours.is_empty() && asked.all(|site| givers.was_missed(*manifest, *site));
        match &why.fetching {
            Some(fetching) => {
                let from =
                    fetching.from.as_ref().map_or("this disk or several peers", |site| &site.id);
                let size = Bytes::new(fetching.size);
                reasons.push(format!("it is on its way from {from}, {size}"));
            }
            // That was said.
            None if self.is_alone() => {}
            None if self.neighbours.is_empty() => {
                reasons.push("no other site shares the folder".to_owned());
            }
            None if is_lacking => reasons.push(
                "each connected peer was asked for it and did not give it; `farhaul folder \
                 forget` asks again, and ends the wait if nobody has it any more"
                    .to_owned(),
            ),
            None if self.fetching.is_full() => {
                let files = told::count(self.fetching.under_way().0, "other file", "other files");
                reasons.push(format!(
                    "it waits: {files} on the way, as much as may be asked for at a time"
                ));
            }
            None => {}
        }
        is_lacking
    }

    fn next_try(&self, why: &Why, is_lacking: bool) -> String {
        if self.is_paused {
            "when the folder goes on (`farhaul folder resume`)".to_owned()
        } else if why.fetching.is_some() {
            "when what is on its way has come".to_owned()
        } else if self.neighbours.is_empty() {
            "when a peer connects".to_owned()
        } else if is_lacking {
            "within five minutes, or when another peer connects".to_owned()
        } else {
            "within two seconds".to_owned()
        }
    }
}

/// What is to be done at a path, and the version that is wanted there.
pub(crate) fn task_of(item: &Item) -> (Option<Task>, Option<&Version>) {
    match item.want() {
        Want::Settled | Want::Adopt(_) => (None, None),
        Want::SetMeta(version) => (Some(Task::Describe), Some(version)),
        Want::Place(version) => (Some(Task::Place), Some(version)),
        Want::MakeDir => (Some(Task::MakeDir), None),
        Want::Remove => (Some(Task::Remove), None),
    }
}

/// Why what was found there is not published.
const fn unpublished_because(why: Unpublished) -> &'static str {
    match why {
        Unpublished::ReadOnly => {
            "it was changed on this disk, and this site publishes nothing: it stays so until \
             something newer comes, or `farhaul folder revert`"
        }
        Unpublished::Braked => {
            "it was changed on this disk, as part of a mass change that is held: `farhaul folder \
             confirm` or `refuse`"
        }
        Unpublished::Listening => {
            "it was changed on this disk, which is published once peers were heard"
        }
        Unpublished::Crowded | Unpublished::NumbersUsedUp | Unpublished::Stale => {
            "it was changed on this disk, and there is no room for a version of it"
        }
    }
}

fn undone(task: Task, why: &Why) -> String {
    let author = why.wanted.as_ref().map_or("", |wanted| &wanted.author.id);
    match task {
        Task::Place => format!("a version of {author} is wanted there and not in place"),
        Task::Describe => format!("mode, time or owner are not those of the version of {author}"),
        Task::MakeDir => "a directory is to be made for what is beneath".to_owned(),
        Task::Remove => "it was deleted elsewhere, and is to go".to_owned(),
    }
}
