//! Whose turn it is among the sessions over a link: strict classes with a floor, by weight within a class,
//! as flows within a session have it (W-144). Pure.
//!
//! A session is of the highest class that it has something to send of. Unlike a flow it may have its turn
//! and leave it, because its own path holds it: what it leaves goes down to the next class in the same round
//! and costs that nothing.

use farhaul_proto::shares::{Class, Weight};
use farhaul_proto::units::Bytes;

/// A byte at weight one, in the unit of tags.
const SCALE: u64 = 1 << 16;
/// One byte in so many is a lower class's.
const FLOOR_OF: i64 = 50;
/// What leaves as reports puts a session no further behind the others than so much of its data would.
const REPORTS_MAX: Bytes = Bytes::kib(64);

const CLASSES: usize = Class::ALL.len();

/// What goes over a link, class by class.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    /// Where the session began that sent last: who had nothing to send begins there.
    now: [u128; CLASSES],
    /// Fiftieths of bytes that a class may send before a higher one, if it is not below zero.
    earned: [i64; CLASSES],
    /// Which classes have something to send, in this round.
    present: [bool; CLASSES],
}

/// How far a session is in each class.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tags([u128; CLASSES]);

/// What a session is in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    /// The highest class that it has something to send of.
    pub(super) class: Class,
    /// It goes before a higher one, with one packet.
    pub(super) is_floor: bool,
}

/// What left of a session in its turn.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left {
    pub(super) bytes: Bytes,
    /// More than reports, which leave whoever's turn it is.
    pub(super) has_data: bool,
}

impl Lanes {
    /// A round begins: so far nobody has anything to send.
    pub(super) const fn begin(&mut self) {
        self.present = [false; CLASSES];
    }

    /// Somebody has something to send of a class.
    pub(super) const fn note(&mut self, class: Class) {
        self.present[class as usize] = true;
    }

    /// The turn of a session of that class, once all were noted.
    pub(super) fn turn(&self, class: Class) -> Turn {
        let at = class as usize;
        let is_lower = self.present[..at].contains(&true);
        Turn { class, is_floor: is_lower && self.earned[at] >= 0 }
    }

    /// What the sessions are sorted by: the first one is the least.
    pub(super) fn rank(&self, turn: Turn, tags: &Tags) -> (usize, u128) {
        let at = turn.class as usize;
        // Of several floors the lowest, or it would wait for the others.
        let place = if turn.is_floor { CLASSES - 1 - at } else { CLASSES + at };
        (place, self.start(at, tags))
    }

    /// Counts what left.
    pub(super) fn charge(&mut self, turn: Turn, tags: &mut Tags, weight: Weight, left: Left) {
        let (at, start) = (turn.class as usize, self.start(turn.class as usize, tags));
        let price =
            |bytes: Bytes| u128::from(bytes.get().saturating_mul(SCALE) / u64::from(weight.get()));
        if !left.has_data {
            // It did not have to wait for that: nobody else goes on from where it is.
            let most = start.max(self.now[at] + price(REPORTS_MAX));
            tags.0[at] = (start + price(left.bytes)).min(most);
            return;
        }
        self.now[at] = start;
        tags.0[at] = start + price(left.bytes);
        let sent = i64::try_from(left.bytes.get()).unwrap_or(i64::MAX);
        for lower in at + 1..CLASSES {
            self.earned[lower] = self.earned[lower].saturating_add(sent).min(0);
        }
        if turn.is_floor {
            let cost = sent.saturating_mul(FLOOR_OF);
            self.earned[at] = self.earned[at].saturating_add(sent).saturating_sub(cost);
        }
    }

    /// Another weight from now on: what was sent before is paid for at that.
    pub(super) fn weigh(&self, tags: &mut Tags, (old, new): (Weight, Weight)) {
        for (tag, &now) in tags.0.iter_mut().zip(&self.now) {
            let owed = tag.saturating_sub(now).saturating_mul(old.get().into());
            *tag = (*tag).min(now.saturating_add(owed / u128::from(new.get())));
        }
    }

    fn start(&self, at: usize, tags: &Tags) -> u128 {
        tags.0[at].max(self.now[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Class::{Background, Normal, Urgent};

    const PACKET: Bytes = Bytes::new(1_500);
    const REPORT: Bytes = Bytes::new(200);

    /// A session of one class with a weight, that could send `able` packets a round.
    #[derive(Clone, Copy)]
    struct Member {
        class: Class,
        weight: u16,
        able: u64,
        reports: bool,
        tags: Tags,
        sent: u64,
    }

    fn member(class: Class, weight: u16) -> Member {
        Member { class, weight, able: 90, reports: false, tags: Tags::default(), sent: 0 }
    }

    /// Rounds in which five packets may leave together.
    fn play(lanes: &mut Lanes, members: &mut [Member], rounds: u32) {
        for _ in 0..rounds {
            lanes.begin();
            members.iter().filter(|it| it.able > 0).for_each(|it| lanes.note(it.class));
            let mut order: Vec<usize> = (0..members.len()).collect();
            order.sort_by_key(|&at| lanes.rank(lanes.turn(members[at].class), &members[at].tags));
            let turns: Vec<Turn> = members.iter().map(|it| lanes.turn(it.class)).collect();
            let mut left = 5;
            for at in order {
                let (it, turn) = (&mut members[at], turns[at]);
                let most = if turn.is_floor { 1 } else { it.able };
                let packets = most.min(left);
                left -= packets;
                it.sent += packets;
                let said = if it.reports { REPORT } else { Bytes::ZERO };
                let bytes = PACKET.saturating_mul(packets) + said;
                if bytes > Bytes::ZERO {
                    let left = Left { bytes, has_data: packets > 0 };
                    lanes.charge(turn, &mut it.tags, Weight::new(it.weight), left);
                }
            }
        }
    }

    /// spec: W-151
    #[test]
    fn a_higher_class_in_another_session_has_all_but_a_fiftieth_for_each_lower_one() {
        let mut lanes = Lanes::default();
        // The weights say otherwise.
        let mut members = [member(Background, 60_000), member(Normal, 30_000), member(Urgent, 600)];
        play(&mut lanes, &mut members, 2_000);
        let all: u64 = members.iter().map(|it| it.sent).sum();
        let permille = members.map(|it| it.sent * 1000 / all);
        assert!(
            (18..=21).contains(&permille[0]) && (18..=21).contains(&permille[1]),
            "{permille:?}"
        );
    }

    /// spec: W-151
    #[test]
    fn a_higher_class_takes_over_in_the_round_in_which_it_begins() {
        let mut lanes = Lanes::default();
        let mut members = [member(Normal, 60_000), member(Urgent, 1)];
        members[1].able = 0;
        play(&mut lanes, &mut members, 1_000);
        let before = members[0].sent;
        members[1].able = 90;
        play(&mut lanes, &mut members, 100);
        assert!(members[0].sent - before <= 15, "{}", members[0].sent - before);
        assert!(members[1].sent >= 485, "{}", members[1].sent);
    }

    /// What its own path leaves of the link is no debt of who uses it.
    /// spec: W-151
    #[test]
    fn what_a_higher_class_leaves_lower_ones_have_and_owe_nothing_for() {
        let mut lanes = Lanes::default();
        let mut members = [member(Background, 1), member(Urgent, 1)];
        members[1].able = 2;
        play(&mut lanes, &mut members, 1_000);
        assert!(members[0].sent >= 2_900, "{}", members[0].sent);
        assert!(members[1].sent >= 1_980, "{}", members[1].sent);
        members[1].able = 90;
        let before = members[0].sent;
        play(&mut lanes, &mut members, 200);
        let floor = members[0].sent - before;
        assert!((18..=25).contains(&floor), "{floor} of 1000");
    }

    /// Each report put all others on a level with the session that sent it, so that who was ahead of its
    /// part went on as if it were not.
    /// spec: W-148
    #[test]
    fn reports_give_nobody_more_than_its_weight() {
        let mut lanes = Lanes::default();
        let mut members = [member(Normal, 100), member(Normal, 900)];
        members[0].reports = true;
        play(&mut lanes, &mut members, 2_000);
        let share = members[0].sent * 1000 / (members[0].sent + members[1].sent);
        assert!(share <= 101, "{share} permille");
        assert!(share >= 50, "nor does it starve: {share} permille");
    }

    #[test]
    fn who_is_weighed_more_need_not_wait_for_what_it_sent_at_less() {
        let (mut lanes, weights) = (Lanes::default(), (Weight::new(1), Weight::new(1_000)));
        let (turn, mut tags) = (lanes.turn(Normal), Tags::default());
        let left = Left { bytes: PACKET, has_data: true };
        lanes.charge(turn, &mut tags, weights.0, left);
        let before = lanes.start(Normal as usize, &tags);
        lanes.weigh(&mut tags, weights);
        assert_eq!(lanes.start(Normal as usize, &tags), before / 1_000);
    }
}
