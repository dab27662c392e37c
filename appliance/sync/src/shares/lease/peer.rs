//! What a member knows of another one behind the same link.

use super::{Announcement, Demand, Heard, LEASE_MAX, Life, Weight};
use farhaul_proto::units::Timestamp;
use std::collections::VecDeque;

/// Announcements that may still count for the other one. More of them are taken together.
const LENT_MAX: usize = 64;

/// Announcements to it whose time is remembered; an echo of an older one is too late to count.
const SENT_MAX: usize = 64;

/// What was lent with one announcement.
#[derive(Clone, Copy, Debug)]
struct Lent {
    number: u64,
    rate: u64,
    /// The part that it was lent of. While that is smaller, so is what is lent; once it is not, all of
    /// it may be in use: the announcement may arrive only then.
    of: u64,
    /// From when on the other one certainly does not use it any more.
    until: Timestamp,
}

/// What was told with the last announcement.
#[derive(Clone, Copy, Debug)]
struct Told {
    life: Life,
    number: u64,
    demand: Demand,
    weight: Weight,
    lend: u64,
    /// How long it holds; not at all if it does not answer anything.
    until: Option<Timestamp>,
}

impl Lent {
    /// What the other one may be using of it where the part is that now: rounded up.
    fn of_part(&self, part: u64) -> u64 {
        if part >= self.of {
            return self.rate;
        }
        super::clamp((u128::from(self.rate) * u128::from(part)).div_ceil(u128::from(self.of)))
    }
}

#[derive(Clone, Debug)]
pub(super) struct Peer {
    /// What the member itself may use of the link.
    part: u64,
    /// Ascending by number.
    lent: VecDeque<Lent>,
    told: Option<Told>,
    /// When it was told what number, ascending.
    sent: VecDeque<(u64, Timestamp)>,
}

impl Peer {
    /// One of which nothing is known: an earlier run may have lent it everything, until then.
    pub(super) fn new(part: u64, until: Timestamp) -> Self {
        // All of it, whatever it becomes.
        let lent = VecDeque::from([Lent { number: 0, rate: u64::MAX, of: u64::MAX, until }]);
        Self { part, lent, told: None, sent: VecDeque::new() }
    }

    /// Notes what an announcement lends.
    pub(super) fn lend(&mut self, number: u64, rate: u64, until: Timestamp, now: Timestamp) {
        if self.sent.len() == SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back((number, now));
        self.lent.retain(|lent| now < lent.until);
        self.lent.push_back(Lent { number, rate, of: self.part, until });
        if self.lent.len() > LENT_MAX
            && let Some(first) = self.lent.pop_front()
            && let Some(next) = self.lent.front_mut()
        {
            next.rate = next.rate.max(first.rate);
            next.of = next.of.min(first.of);
            next.until = next.until.max(first.until);
        }
    }

    /// Takes in what it tells; `echo` is the number of ours that it answers. What it says holds from
    /// when that was sent: it was said later. Not at all if there is no agreement on its part. False
    /// if it told something later already.
    pub(super) fn hear(
        &mut self,
        said: &Announcement,
        echo: Option<u64>,
        agreed: bool,
        now: Timestamp,
    ) -> bool {
        let is_old = |told: Told| (said.life, said.number) <= (told.life, told.number);
        if self.told.is_some_and(is_old) {
            return false;
        }
        let sent = echo.and_then(|number| {
            let at = self.sent.binary_search_by_key(&number, |&(sent, _)| sent).ok()?;
            self.sent.get(at).copied()
        });
        self.told = Some(Told {
            life: said.life,
            number: said.number,
            demand: said.demand,
            weight: said.weight,
            lend: said.lend.get(),
            until: sent.filter(|_| agreed).map(|(_, at)| at + said.valid.min(LEASE_MAX)),
        });
        if let Some((number, _)) = sent {
            // It goes by that one now, whatever was lent before.
            self.lent.retain(|lent| lent.number >= number && now < lent.until);
        }
        true
    }

    /// The own part is `own` now, and its was that and is this: what was lent of a part that became smaller
    /// is less by as much, at the lender rounded up and at the borrower down. It grows with the part again at
    /// the lender only.
    pub(super) fn rescale(&mut self, own: u64, (old, new): (u64, u64)) {
        self.part = own;
        if let Some(told) = self.told.as_mut().filter(|_| new < old) {
            let product = u128::from(told.lend) * u128::from(new);
            told.lend = super::clamp(product / u128::from(old));
        }
    }

    /// What was heard last, for an announcement to it.
    pub(super) fn heard(&self) -> Option<Heard> {
        self.told.map(|told| Heard { life: told.life, number: told.number })
    }

    /// The most that it may be using of what was lent to it.
    pub(super) fn lent(&self, now: Timestamp) -> u64 {
        let held = self.lent.iter().filter(|lent| now < lent.until);
        held.map(|lent| lent.of_part(self.part)).max().unwrap_or(0)
    }

    /// What it lends.
    pub(super) fn borrowed(&self, now: Timestamp) -> u64 {
        self.holding(now).map_or(0, |told| told.lend)
    }

    /// What it could use and what that counts, if it told that lately.
    pub(super) fn told(&self, now: Timestamp) -> Option<(Demand, Weight)> {
        self.holding(now).map(|told| (told.demand, told.weight))
    }

    /// When what is lent or borrowed changes of itself.
    pub(super) fn changes_at(&self, now: Timestamp) -> Option<Timestamp> {
        let lent = self.lent.iter().map(|lent| lent.until);
        let told = self.told.and_then(|told| told.until);
        lent.chain(told).filter(|&until| now < until).min()
    }

    fn holding(&self, now: Timestamp) -> Option<Told> {
        self.told.filter(|told| told.until.is_some_and(|until| now < until))
    }
}
