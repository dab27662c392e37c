//! What happens between sites of the tests: sessions that break, indexes that are lost or put back.

use super::*;
use crate::folder::{PATIENCE, Verdict, acked_by_all};
use crate::message::{Records, Shared};
use farhaul_proto::units::Timestamp;

impl World {
    fn reaches(&self, one: usize, other: usize) -> bool {
        let is_cut = self.cut.contains(&(one.min(other), one.max(other)));
        self.members(one).any(|member| member == other) && !is_cut
    }

    /// What a site says of the folder to another one.
    fn share(&self, at: usize, with: usize) -> Shared {
        let site = &self.sites[at];
        let epoch = site.state.author().incarnation.get();
        let last = site.state.index().last_arrival().expect("in memory");
        let head = if site.policy.rights.own().gives() { last } else { 0 };
        Shared { folder: FOLDER, epoch, head, followed: site.followed[with] }
    }

    /// A session begins; what was on its way in the one before is lost.
    pub(super) fn send(&mut self, from: usize, to: usize) {
        if !self.reaches(from, to) {
            return;
        }
        for (at, other) in [(from, to), (to, from)] {
            let theirs = self.share(other, at);
            let last = self.share(at, other).head;
            let Site { state, acked, listening, wire, .. } = &mut self.sites[at];
            let incarnation = state.author().incarnation;
            acked[other] = Some(Ack::of(&theirs));
            wire[other].clear();
            if let Some(listening) = listening {
                listening.came(id(other), theirs.head, Timestamp::ZERO);
            }
            if Followed::start(theirs.followed, incarnation) > last {
                self.needless += usize::from(!self.sites[at].is_old);
                self.renew(at);
            }
        }
        let hearer = self.sites[to].state.author();
        let teller = self.teller(to, from);
        if teller == Teller::Stale {
            // What it told before may be what was deleted since.
            self.sites[to].followed[from] = None;
        }
        let start = self.share(to, from);
        let Site { state, wire, policy, .. } = &mut self.sites[from];
        let epoch = state.author().incarnation;
        let start = Followed::start(start.followed, epoch);
        let mut feed = Feed::greeting(start, hearer);
        let gives = policy.rights.own().gives();
        let mut next = || match gives {
            true => feed.next(state.index()),
            false => feed.greet(state.index()),
        };
        while let Some(fed) = next().expect("a whole index") {
            let (epoch, bytes) = (epoch.get(), fed.records.encode());
            wire[to].push_back(Part { epoch, after: fed.after, to: fed.to, teller, bytes });
        }
    }

    /// As what a site takes another one that begins to tell.
    fn teller(&self, at: usize, from: usize) -> Teller {
        let site = &self.sites[at];
        let floor = site.state.index().floor().expect("in memory");
        let ack = Ack::of(&self.share(from, at));
        match ack.is_stale(site.state.author().incarnation, floor) {
            true => Teller::Stale,
            false => Teller::Current,
        }
    }

    pub(super) fn receive(&mut self, from: usize, to: usize) {
        if from == to {
            return;
        }
        let Some(part) = self.sites[from].wire[to].pop_front() else { return };
        let known = self.sites[to].followed[from].filter(|known| known.epoch == part.epoch);
        let known = known.map_or(0, |known| known.up_to);
        assert!(part.after <= known, "a gap in what is told");
        let records = Records::decode(&part.bytes, FOLDER).expect("as it was encoded");
        let before = self.sites[to].state.index().clone();
        for run in &records.runs {
            let opened = run.open().expect("as it was sealed");
            match self.sites[to].state.learn_from(run, &opened, part.teller) {
                Ok(_) => {}
                Err(StateError::RolledBack) => {
                    *self.sites[to].state.index_mut() = before;
                    self.needless += usize::from(!self.sites[to].is_old);
                    return self.renew(to);
                }
                Err(error) => panic!("{error}"),
            }
        }
        let wall = self.wall(to);
        self.sites[to].state.weigh_learned(wall).expect("in memory");
        let up_to = part.to.max(known);
        self.sites[to].followed[from] = Some(Followed { epoch: part.epoch, up_to });
        if let Some(listening) = &mut self.sites[to].listening {
            listening.told(id(from), up_to, Timestamp::ZERO);
        }
        self.end_listening(to, false);
    }

    pub(super) fn tell(&mut self, from: usize, to: usize) {
        self.send(from, to);
        while from != to && !self.sites[from].wire[to].is_empty() {
            self.receive(from, to);
        }
    }

    /// Publishes from now on, if it may; `late`: all patience is over.
    pub(super) fn end_listening(&mut self, at: usize, late: bool) {
        let now = if late { Timestamp::ZERO + PATIENCE } else { Timestamp::ZERO };
        let Some(listening) = &self.sites[at].listening else { return };
        let verdict = listening.verdict(now);
        match verdict {
            Verdict::Listen => return,
            Verdict::Publish => {}
            Verdict::Renew => self.rename(at),
        }
        let site = &mut self.sites[at];
        site.listening = None;
        self.publish_as(at, |publisher| publisher.silent(false));
        if late {
            self.scan(at);
        }
    }

    fn publish_as(&mut self, at: usize, change: impl FnOnce(Publisher) -> Publisher) {
        let site = &mut self.sites[at];
        let state = core::mem::replace(&mut site.state, state_of(at, 0));
        let (index, publisher) = state.into_parts();
        site.state = FolderState::new(index, FOLDER, change(publisher)).under(&site.policy);
    }

    fn rename(&mut self, at: usize) {
        self.tick += 1;
        let incarnation = Incarnation::new(u64::from(self.tick));
        let author = Author { site: id(at), incarnation };
        self.publish_as(at, |_| Publisher::new(author, Serial::FIRST));
        self.sites[at].state.index_mut().forget_numbers();
        self.sites[at].is_old = false;
        self.sites[at].wire.iter_mut().for_each(VecDeque::clear);
    }

    /// It was put back from a copy: another name, and the neighbours first.
    pub(super) fn renew(&mut self, at: usize) {
        self.rename(at);
        self.listen(at);
    }

    fn listen(&mut self, at: usize) {
        self.publish_as(at, |publisher| publisher.silent(true));
        let listening = Listening::new(self.members(at).map(id), Timestamp::ZERO);
        self.sites[at].listening = Some(listening);
    }

    pub(super) fn forget(&mut self, at: usize) {
        self.tick += 1;
        let count = self.sites.len();
        let site = &mut self.sites[at];
        (site.state, site.forgot) = (state_of(at, self.tick).under(&site.policy), true);
        (site.followed, site.acked) = (vec![None; count], vec![None; count]);
        site.is_old = false;
        // What was under way is forgotten with it; what is staged and kept stays.
        (site.half, site.loose) = (None, Vec::new());
        site.lives += 1;
        self.start(at);
    }

    pub(super) fn restore(&mut self, at: usize) {
        let Some(copy) = self.sites[at].copy.clone() else { return };
        let site = &mut self.sites[at];
        let next = copy.index.next().expect("few numbers");
        let publisher = Publisher::new(copy.author, next);
        site.state = FolderState::new(copy.index, FOLDER, publisher).under(&site.policy);
        (site.followed, site.acked) = (copy.followed, copy.acked);
        (site.forgot, site.is_old) = (true, true);
        (site.half, site.loose) = (None, Vec::new());
        site.lives += 1;
        self.start(at);
    }

    /// A process begins: nothing of what was on its way comes any more.
    pub(super) fn start(&mut self, at: usize) {
        self.sites[at].wire.iter_mut().for_each(VecDeque::clear);
        self.sites.iter_mut().for_each(|site| site.wire[at].clear());
        self.listen(at);
    }

    pub(super) fn collect(&mut self, at: usize) {
        let members = self.members(at);
        let Site { state, followed, acked, .. } = &mut self.sites[at];
        let known = members.map(|other| (acked[other], followed[other]));
        let acked = acked_by_all(known, state.author().incarnation);
        state.collect(acked, None, 1000).expect("in memory");
    }
}
