//! The peer's address changes: who is asked, what goes there meanwhile, and what is known of the
//! new path. The decisions are [`crate::path::migrate`]'s.

use super::{PacketPlan, PlanBody, Route, Session};
use crate::congestion::controller;
use crate::ids::PacketNumber;
use crate::limits::{PLAIN_HEADER_LEN, TAG_LEN, UDP_IP_OVERHEAD};
use crate::path::back::WayBack;
use crate::path::ledger::Carried;
use crate::path::migrate::{Moved, Nearness, Pace, PeerAddress};
use crate::path::rtt::RttEstimator;
use crate::trace::TraceEvent;
use crate::units::{Bytes, Timestamp};
use crate::wire::header::Kind;
use crate::wire::path::PATH_PAYLOAD_LEN;
use core::net::SocketAddr;
use std::collections::VecDeque;

/// Answers to challenges that wait at most; more are dropped. spec: W-101
const ANSWERS_MAX: usize = 16;
const CHALLENGE: Bytes =
    Bytes::new((PLAIN_HEADER_LEN + PATH_PAYLOAD_LEN + TAG_LEN) as u64 + UDP_IP_OVERHEAD);
const _: () = assert!(CHALLENGE.get() == crate::path::migrate::CHALLENGE_BYTES.get());

/// Where the peer is, and what waits because of that.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: PeerAddress,
    /// Challenges of the peer that wait for our answer.
    pub(super) answers: VecDeque<(SocketAddr, u64)>,
    /// While another address is validated: what left since then may have gone astray.
    pub(super) astray_from: Option<Timestamp>,
    /// The control channel should say something now.
    pub(super) nudge: bool,
    /// When a silent peer was last greeted.
    pub(super) greeted_at: Option<Timestamp>,
}

impl Place {
    /// A peer where the handshake found it.
    pub(super) const fn new(peer: SocketAddr, seed: u64) -> Self {
        let address = PeerAddress::new(peer, seed);
        let answers = VecDeque::new();
        Self { address, answers, astray_from: None, nudge: false, greeted_at: None }
    }
}

impl Session {
    /// Where the peer is.
    pub const fn peer(&self) -> SocketAddr {
        self.place.address.active()
    }

    /// An authentic packet of `bytes` (IP level) came from `from`. Comes before the verb of its kind.
    pub fn on_arrival(
        &mut self,
        from: SocketAddr,
        number: PacketNumber,
        kind: Kind,
        bytes: Bytes,
        now: Timestamp,
    ) {
        let probing = matches!(kind, Kind::PathChallenge | Kind::PathResponse);
        let moved = self.place.address.on_packet(from, number, probing, bytes, self.pace(), now);
        self.follow(moved, now);
        if self.place.address.validating_since().is_none() {
            self.place.astray_from = None;
        } else if self.place.astray_from.is_none() {
            // What left after the newest that arrived may have gone to where the peer is no more.
            self.place.astray_from = Some(self.ledger.newest_acked_sent().unwrap_or(now));
        }
    }

    /// True once after something that the control channel should not wait to find out by itself: the
    /// path is back, or one of the two sides has another address.
    pub const fn take_nudge(&mut self) -> bool {
        core::mem::replace(&mut self.place.nudge, false)
    }

    /// The peer asks whether we are at `from`, as it sees us.
    pub fn on_challenge(&mut self, from: SocketAddr, token: u64) {
        self.place.nudge = true;
        if self.place.answers.len() < ANSWERS_MAX {
            self.place.answers.push_back((from, token));
        }
    }

    /// The peer answers a challenge.
    pub fn on_response(&mut self, from: SocketAddr, token: u64, now: Timestamp) {
        let moved = self.place.address.on_response(from, token, self.pace(), now);
        self.follow(moved, now);
    }

    fn pace(&self) -> Pace {
        Pace { rtt: self.rtt.smoothed(), pessimistic: self.rtt.pessimistic() }
    }

    /// Goes on at the peer's new address. What is out went to the old one: it is sent again at once,
    /// and its loss says nothing about the rate. spec: W-104
    fn follow(&mut self, moved: Option<Moved>, now: Timestamp) {
        let Some(moved) = moved else { return };
        self.place.nudge = true;
        self.observer.note(TraceEvent::PeerMoved { returned: moved.returned }, now);
        let from = self.place.astray_from.take().or_else(|| self.ledger.newest_acked_sent());
        let from = from.unwrap_or(now);
        self.outage = Some((from, now));
        if moved.nearness == Nearness::Elsewhere {
            self.forget_path(now);
        }
        let gap = now.since(from).min(super::silence::STOP_AFTER);
        self.controller.on_outage_end(gap, now);
        let mut settled = core::mem::take(&mut self.settled);
        self.ledger.write_off(&mut settled);
        self.counters.packets_lost += settled.lost.len() as u64;
        self.sender.on_lost(&settled.lost_carried, &self.repair);
        self.settled = settled;
        // The answer is as good as a report.
        let waiting = self.awaits_answer();
        self.silence.on_feedback(waiting, self.rtt.smoothed(), now);
        self.reports.hurry(now);
    }

    /// Another network: half the rate is a hint, round trip and sizes are asked anew.
    pub(super) fn forget_path(&mut self, now: Timestamp) {
        let rtt = self.rtt.smoothed();
        let hint = self.controller.view().rate.mul_f64(0.5);
        let (policy, bounds) = (self.config.policy, self.config.bounds);
        self.controller = controller(policy, bounds, Some(hint), rtt, now);
        self.rtt = RttEstimator::new(rtt);
        self.way_back = WayBack::default();
        // What does not pass here is found by the test for holes.
        self.mtu.ask_anew(now);
        self.mtu.search_soon();
    }

    /// Answers, then questions: neither waits for the pacer, which knows another path.
    pub(super) fn plan_addresses(&mut self, now: Timestamp, plans: &mut Vec<PacketPlan>) {
        while let Some((to, token)) = self.place.answers.pop_front() {
            self.plan_path_packet(Kind::PathResponse, to, token, now, plans);
        }
        let pace = self.pace();
        while let Some((to, token)) = self.place.address.take_challenge(pace, now) {
            self.plan_path_packet(Kind::PathChallenge, to, token, now, plans);
        }
    }

    fn plan_path_packet(
        &mut self,
        kind: Kind,
        to: SocketAddr,
        token: u64,
        now: Timestamp,
        plans: &mut Vec<PacketPlan>,
    ) {
        let number = self.ledger.next_number();
        self.emit(Carried::PathProbe, CHALLENGE, now);
        plans.push(PacketPlan {
            number,
            kind,
            body: PlanBody::Path(token),
            route: Route::Only(to),
        });
    }
}
