//! What will happen: a heap by time, then by the order of planning.

use crate::host::Completion;
use crate::scenario::Side;
use crate::world::control::Message;
use core::net::SocketAddr;
use farhaul_proto::ids::PacketNumber;
use farhaul_proto::path::proof::Proof;
use farhaul_proto::session::PlanBody;
use farhaul_proto::units::{Bytes, Timestamp};
use farhaul_proto::wire::header::Kind;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A packet on its way: a ticket, not bytes; only reports are real.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    pub(crate) number: PacketNumber,
    pub(crate) proof: Proof,
    pub(crate) kind: Kind,
    pub(crate) bytes: Bytes,
    pub(crate) body: PlanBody,
    pub(crate) corrupt: bool,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
}

/// Something that happens to one side.
#[derive(Debug)]
pub(crate) enum Happening {
    /// The session wanted to be called.
    Wake(Side),
    /// A packet arrives.
    Arrive(Side, Packet),
    /// Disk or worker finished.
    Done(Side, Completion),
    /// A control message arrives.
    Control(Side, Message),
    /// A host that was interrupted goes on.
    Resume(Side),
    /// A step of the scenario, by its place in the list.
    Step(usize),
}

#[derive(Debug)]
struct Entry {
    at: Timestamp,
    order: u64,
    what: Happening,
}

impl Ord for Entry {
    /// Reversed: the heap's largest is what happens first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.order == other.order
    }
}

impl Eq for Entry {}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Entry>,
    order: u64,
}

impl Agenda {
    pub(crate) fn plan(&mut self, at: Timestamp, what: Happening) {
        self.order += 1;
        self.heap.push(Entry { at, order: self.order, what });
    }

    pub(crate) fn next(&mut self) -> Option<(Timestamp, Happening)> {
        self.heap.pop().map(|entry| (entry.at, entry.what))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_for_the_same_time_happens_in_the_order_of_planning() {
        let mut agenda = Agenda::default();
        for (ms, step) in [(2, 0), (1, 1), (2, 2), (1, 3)] {
            agenda.plan(Timestamp::from_millis(ms), Happening::Step(step));
        }
        let order: Vec<usize> = core::iter::from_fn(|| agenda.next())
            .map(|(_, what)| match what {
                Happening::Step(step) => step,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, [1, 3, 0, 2]);
    }
}
