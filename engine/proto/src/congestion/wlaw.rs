//! Law W, where its mechanisms meet: measurements in, one rate out.
//!
//! A queue target shared by weight; the arrival rate as anchor; loss counts only if delivery stops
//! following sending; all flows drain together. Each mechanism is a file of its own, with its
//! equation at the top; `engine/RATE.md` tells the whole. Beside senders that fill queues the law
//! gives way, or does as they do if it is told to (see `rival`).
//!
//! ```text
//!            first train          C trusted, q low
//!  Train ------------> Test ------------------------> normal <---> drain (each ~10 s)
//!                        \--> Double --(no rise)-------^   ^-----> ceded (low only)
//! ```
//! Inside the law all quantities are `f64`: seconds since its creation, bytes, bytes per second.

mod advance;
mod base_rtt;
mod capacity;
mod caution;
mod ceiling;
mod contract;
mod depth;
mod drain;
mod elasticity;
mod epochs;
mod growth;
mod intake;
mod jump;
mod limits;
mod low;
mod path_step;
mod queue;
mod rival;
mod sending;
mod since;
mod startup;
mod steer;
mod swing;

use super::taken::Taken;
use super::{Bounds, Policy, Sample};
use crate::units::{BitRate, Bytes, Timestamp};
use advance::Advance;
use base_rtt::BaseRtt;
use capacity::Capacity;
use caution::Caution;
use ceiling::{Ceiling, Phase};
use core::time::Duration;
use depth::Depth;
use drain::Drain;
use elasticity::Elasticity;
use epochs::{Class, Epochs, Pulses};
use growth::Growth;
use jump::Jump;
use limits::Limits;
use low::Low;
use path_step::PathStep;
use queue::{QueueDelay, Timing};
use rival::Rival;
use sending::Sending;
use since::Since;
use startup::{Stage, Startup};

/// A loss below this needs no question.
const LOSS_ASKED: f64 = 0.002;
/// Loss beyond the random one that shows a full queue.
const LOSS_FLAT: f64 = 0.01;
/// A trial takes no next step before so many packets could have shown what the last one did.
const TRIAL_PACKETS: f64 = 200.0;
/// While held, what is sent faster is lost: one slow epoch in so many round trips is enough.
const HELD_PULSE_RTTS: f64 = 16.0;
const TRAIN_SPACING: f64 = 0.5;
/// A queue of half of so many targets is none of a stall's or of the clocks.
const BUSY: f64 = 1.25;
/// Delivery this far above what trains say shows that they do not measure the bottleneck.
const PROVEN_WRONG: f64 = 1.05;
/// Trains may be at most this share of what is sent.
const TRAIN_SHARE: f64 = 0.05;
/// Packets in flight beyond what rate and delays explain: a train, and reordering.
const IN_FLIGHT_PACKETS: f64 = 104.0;
/// A host that stalls for so long should find the link still full.
const STALL: f64 = 0.025;
/// The slowest rate: 4 packets per round trip, on paths below 100 ms per 100 ms.
const PACKETS_PER_RTT_MIN: f64 = 4.0;
const TRICKLE_PACKETS: f64 = 16.0;

/// What the law is told at the start.
#[derive(Clone, Copy, Debug)]
pub struct WConfig {
    /// How to share; `Fixed` is treated as `Fair` (see [`super::fixed`]).
    pub policy: Policy,
    /// Never left.
    pub bounds: Bounds,
    /// A remembered or demanded rate to start from.
    pub start_hint: Option<BitRate>,
    /// What the handshake measured, or a guess.
    pub initial_rtt: Duration,
    /// A full packet at IP level, for counting in packets.
    pub packet: Bytes,
    /// Beside senders that fill queues, do as they do (`fair` and `high`); false is to give way.
    pub mirror: bool,
}

impl WConfig {
    /// The usual packet size, no hint.
    pub fn new(policy: Policy, bounds: Bounds, initial_rtt: Duration) -> Self {
        Self {
            policy,
            bounds,
            start_hint: None,
            initial_rtt,
            packet: Bytes::new(1_473),
            mirror: false,
        }
    }
}

/// See the module.
#[derive(Debug)]
pub struct WLaw {
    policy: Policy,
    limits: Limits,
    packet: f64,
    origin: Timestamp,
    /// R, before dither and drain.
    rate: f64,
    /// tau, the spacing of feedback.
    tau: f64,
    feedback_at: f64,
    sent_at: f64,
    /// Outcomes of packets sent before this are not measured.
    measured_from: f64,
    /// Until then the measurements still show an earlier rate.
    settled_at: f64,
    next_train: f64,
    app_limited: bool,
    /// When a packet last arrived that had been declared lost.
    spurious_at: f64,
    /// Losses that the receiver has confessed to, and until when they are believed.
    forgiven: u64,
    forgiven_until: f64,
    base: BaseRtt,
    /// Queue on the way back, and when a report last told of it.
    back: f64,
    back_at: f64,
    /// How long the newest report was held up on its way.
    held_up: f64,
    queue: QueueDelay,
    advance: Advance,
    capacity: Capacity,
    depth: Depth,
    epochs: Epochs,
    elasticity: Elasticity,
    ceiling: Ceiling,
    growth: Growth,
    startup: Startup,
    drain: Drain,
    low: Low,
    jump: Jump,
    path_step: PathStep,
    sending: Sending,
    since: Since,
    caution: Caution,
    rival: Rival,
    mirror: bool,
}

impl WLaw {
    /// Begins with a train (see `startup`).
    pub fn new(config: WConfig, now: Timestamp) -> Self {
        let packet = bytes_f64(config.packet).max(64.0);
        let rtt = config.initial_rtt.as_secs_f64().clamp(1e-4, 10.0);
        let hint = config.start_hint.map(per_second);
        let trickle = TRICKLE_PACKETS * packet / rtt.max(0.01);
        let is_low = config.policy == Policy::Low;
        let limits = Limits::of(config.bounds);
        Self {
            policy: config.policy,
            limits,
            packet,
            origin: now,
            rate: hint.map_or(trickle, |hint| (hint / 4.0).max(trickle)).max(limits.floor(0.0)),
            tau: (rtt / 8.0).clamp(0.005, 0.025),
            feedback_at: 0.0,
            sent_at: 0.0,
            measured_from: 0.0,
            settled_at: 0.0,
            next_train: 0.0,
            app_limited: false,
            spurious_at: f64::NEG_INFINITY,
            forgiven: 0,
            forgiven_until: 0.0,
            base: BaseRtt::new(rtt, is_low, 0.0),
            back: 0.0,
            back_at: 0.0,
            held_up: 0.0,
            queue: QueueDelay::new(rtt),
            advance: Advance::new(),
            capacity: Capacity::new(0.0),
            depth: Depth::new(),
            epochs: Epochs::new(0.0),
            elasticity: Elasticity::new(0.0),
            ceiling: Ceiling::new(),
            growth: Growth::new(0.0),
            startup: Startup::new(hint, 0.0),
            drain: Drain::new(0.0),
            low: Low::default(),
            jump: Jump::default(),
            path_step: PathStep::default(),
            sending: Sending::new(),
            since: Since::default(),
            caution: Caution::new(),
            rival: Rival::new(config.mirror && !is_low),
            mirror: config.mirror,
        }
    }

    /// What the receiver takes, if it had to drop lately.
    pub(super) fn taken(&self) -> Option<Taken> {
        let (rate, until) = self.limits.taken();
        let until = (until > 0.0).then(|| self.timestamp(until))?;
        Some(Taken { rate: BitRate::from_f64(rate * 8.0), until })
    }

    /// Another law learnt what the receiver takes.
    pub(super) fn spare(&mut self, taken: Option<Taken>) {
        let Some(Taken { rate, until }) = taken else { return };
        self.limits.spare(per_second(rate), self.seconds(until));
        let now = self.feedback_at;
        self.set_rate(self.rate.min(per_second(rate)), now);
    }

    /// Seconds since the law was made.
    fn seconds(&self, at: Timestamp) -> f64 {
        at.since(self.origin).as_secs_f64()
    }

    fn timestamp(&self, seconds: f64) -> Timestamp {
        self.origin + Duration::from_secs_f64(seconds.clamp(0.0, 1e9))
    }

    fn is_low(&self) -> bool {
        self.policy == Policy::Low
    }

    fn weight(&self) -> f64 {
        if self.policy == Policy::High { 2.0 } else { 1.0 }
    }

    /// The current round trip r = d + q + b.
    fn rtt(&self) -> f64 {
        self.base.get() + self.queue_delay() + self.back
    }

    fn queue_delay(&self) -> f64 {
        if self.base.known() { self.queue.delay(self.base.get()) } else { 0.0 }
    }

    /// Q0.
    fn target_base(&self) -> f64 {
        queue::target_base(self.elasticity.kappa(), self.base.get(), self.is_low())
    }

    /// The queue as the rate equation sees it.
    fn queue_state(&self) -> steer::Queue {
        let delay = self.queue_delay();
        let swings = self.queue.window_under_jitter() > 0.0;
        let capacity = if swings { self.capacity.delivered() } else { self.capacity.estimate() };
        let surplus = self.weight() * capacity / self.rate;
        let factor = if capacity > 0.0 { queue::surplus_factor(surplus) } else { 1.0 };
        let noise = self.queue.allowance() + self.packet / self.rate;
        let target = (self.target_base() * factor + noise).min(self.depth.limit());
        let clear = !swings && !self.overtaken();
        let least = if clear { target.min(BUSY * (self.target_base() + noise)) } else { target };
        let window = self.queue.window();
        let loop_delay = steer::loop_delay(self.base.get() + self.back, delay, self.tau, window);
        steer::Queue { delay, target, busy_at: least / 2.0, loop_delay }
    }

    /// Delay from which on a queue is more than our own doing.
    fn trigger(&self) -> f64 {
        (8.0 * self.target_base() * self.weight().sqrt()).min(self.base.get() / 2.0).max(0.004)
    }

    fn rate_min(&self) -> f64 {
        PACKETS_PER_RTT_MIN * self.packet / self.base.get().max(0.1)
    }

    fn set_rate(&mut self, rate: f64, now: f64) {
        let (floor, cap) = (self.limits.floor(now), self.limits.cap);
        let limit = cap.min(self.ceiling.limit(now));
        self.rate = rate.min(limit).max(self.rate_min().max(floor).min(cap));
    }

    fn pulses(&self, now: f64) -> Pulses {
        if self.limits.presses(self.rate, now) {
            return Pulses::Ignore;
        }
        if !self.startup.is_over() {
            // The test phase is far below the link: its loss is the first estimate of p0.
            return if self.startup.stage == Stage::Test { Pulses::Off } else { Pulses::Ignore };
        }
        if self.drain.factor(now) < 1.0 || self.rival.active() {
            return Pulses::Ignore;
        }
        let asked = self.advance.loss().max(self.elasticity.random_loss()) > LOSS_ASKED;
        let slow = self.rate * (1.0 - self.elasticity.pulse(self.is_low(), true));
        match self.ceiling.phase(now) {
            _ if !asked => Pulses::Off,
            // No slower than the rest, it would take what the limit costs for random.
            Phase::Held if self.limits.presses(slow, now) => Pulses::Off,
            Phase::Held => Pulses::SlowEvery(HELD_PULSE_RTTS * self.rtt()),
            // What is lost is compared with what the held rate lost.
            Phase::Trial => Pulses::Off,
            Phase::Free => Pulses::Always,
        }
    }

    fn dither(&self, now: f64) -> f64 {
        let held = self.ceiling.phase(now) == Phase::Held;
        let pulse = self.elasticity.pulse(self.is_low(), held);
        match self.epochs.current() {
            Class::Plain | Class::Ignored => 1.0,
            Class::Slow => 1.0 - pulse,
            Class::Fast => 1.0 + pulse,
        }
    }

    /// One step of the law: what the rate becomes after a feedback.
    fn decide(&mut self, dt: f64, now: f64) {
        if !self.startup.is_over() {
            return self.start(now);
        }
        let queue = self.queue_state();
        let (d, r) = (self.base.get(), self.rtt());
        if self.is_low()
            && let Some(factor) = self.low.on_feedback(queue.delay, d, r, dt, now)
        {
            self.growth.rest(now);
            return self.set_rate(self.rate * factor, now);
        }
        let known = self.rival.active();
        if let Some(rate) = self.rival.on_feedback(self.rival_sight(queue), now) {
            if !known {
                // What the rival's start lost says nothing about the link.
                self.ceiling.clear();
            }
            self.growth.rest(now);
            return self.set_rate(rate, now);
        }
        self.drain.on_feedback(self.drain_state(queue), now);
        if self.drain.active(now) || (now < self.settled_at && queue.delay < 3.0 * queue.target) {
            return;
        }
        if queue.is_busy() {
            self.hold_queue(queue, dt, now);
        } else {
            self.seek(queue, dt, now);
        }
        if !self.is_low() {
            // Another's standing queue is flat as well, and `low` must not get used to it.
            self.watch_path(queue, now);
        }
    }

    fn start(&mut self, now: f64) {
        let sight = startup::Sight {
            q: self.queue_delay(),
            target: self.target_base(),
            r: self.rtt(),
            advance: self.advance.rate(),
            delivered: self.advance.delivered(),
            rate: self.rate,
            app_limited: self.app_limited,
        };
        let rate = self.startup.on_feedback(sight, &self.capacity, now);
        if let Some(rate) = rate {
            self.set_rate(rate, now);
        }
        if self.startup.is_over() {
            self.leave_startup(now);
        }
    }

    fn leave_startup(&mut self, now: f64) {
        if self.startup.overshot() {
            // Loss above the link's rate is not the link's loss.
            self.elasticity = Elasticity::new(now);
            self.epochs.ignore_open();
        }
        let queue = self.queue_state();
        self.growth.rest(now);
        self.next_train = now + TRAIN_SPACING;
        self.settled_at = now + queue.loop_delay;
        if queue.delay > queue.target {
            self.drain.begin(self.drain_state(queue), self.rtt(), now);
        }
    }

    /// A queue stands: steer it to its target.
    fn hold_queue(&mut self, queue: steer::Queue, dt: f64, now: f64) {
        self.growth.rest(now);
        let anchor = if self.app_limited { self.rate } else { self.anchor() };
        if !self.app_limited {
            self.growth.note_share(anchor.min(self.rate), dt / queue.loop_delay, now);
        }
        self.caution.on_queue(queue, anchor, dt, now);
        let mut queue = queue;
        if self.queue.window_under_jitter() > 0.0 && queue.delay > queue.target {
            queue.loop_delay -= 0.5 * self.queue.window();
        }
        self.set_rate(steer::toward_target(self.rate, anchor, queue, dt), now);
    }

    /// What the link is seen to carry.
    fn anchor(&self) -> f64 {
        let sigma = self.advance.loss_sigma(self.elasticity.run());
        let compensated = self.advance.delivered() / (1.0 - self.elasticity.random_loss());
        self.advance.rate().min((1.01 + 2.0 * sigma) * compensated)
    }

    /// No queue stands: there is room, unless a ceiling says otherwise.
    fn seek(&mut self, queue: steer::Queue, dt: f64, now: f64) {
        if self.app_limited {
            return;
        }
        if self.queue.window_under_jitter() > 0.0 {
            return self.seek_among_swings(queue, dt, now);
        }
        let mut gamma = self.growth.next(self.rate, self.room(), self.rtt(), now);
        gamma = gamma.min(self.ceiling.growth(self.rate, now));
        if self.is_low() && self.rate > low::NEAR_CAPACITY * self.capacity.estimate() {
            gamma = gamma.min(low::GROWTH_NEAR_CAPACITY);
        }
        if !steer::follows(self.rate, gamma, self.advance.rate()) {
            return self.growth.rest(now);
        }
        let trial = self.ceiling.phase(now) == Phase::Trial;
        let evidence = if trial { TRIAL_PACKETS * self.packet / self.rate } else { 0.0 };
        let pace = queue.loop_delay.max(evidence);
        self.set_rate(steer::grow(self.rate, gamma, pace, dt), now);
    }

    /// The same where the delay swings: a queue is seen a window late.
    fn seek_among_swings(&mut self, queue: steer::Queue, dt: f64, now: f64) {
        self.growth.rest(now);
        let sight = caution::Sight {
            rate: self.rate,
            advance: self.advance.rate(),
            least: self.capacity.at_least().unwrap_or(0.0),
            queue,
            r: self.rtt() + 3.0 * self.tau,
        };
        let rate = self.caution.seek(sight, dt, now);
        self.set_rate(
            rate.min(steer::grow(
                self.rate,
                self.ceiling.growth(self.rate, now),
                queue.loop_delay,
                dt,
            )),
            now,
        );
    }

    /// C/R - 1, unless trains are unknown or delivery has proven them wrong.
    fn room(&self) -> Option<f64> {
        let trusted = self.capacity.trusted()?;
        let proven_wrong = self.capacity.delivered() > PROVEN_WRONG * trusted;
        (!proven_wrong).then(|| self.capacity.estimate() / self.rate - 1.0)
    }

    fn watch_path(&mut self, queue: steer::Queue, now: f64) {
        // A full queue is flat as well, but it loses.
        let losing = self.advance.loss() > self.elasticity.random_loss() + LOSS_FLAT
            || self.rival.suspects(queue.loop_delay, now);
        let (rtt, delay) = (self.rtt() - self.back, if losing { 0.0 } else { queue.delay });
        let step = self.path_step.on_feedback(
            (delay, self.trigger()),
            (rtt, queue.loop_delay),
            (self.rate, self.capacity.estimate()),
            now,
        );
        if let Some(rate) = step {
            self.base.reset(rtt, now);
            self.set_rate(rate, now);
            self.settled_at = now + queue.loop_delay;
        }
    }

    /// Packets overtake each other: then even the smallest delay is noise.
    fn overtaken(&self) -> bool {
        self.feedback_at - self.spurious_at < 1.0
    }

    fn rival_sight(&self, queue: steer::Queue) -> rival::Sight {
        rival::Sight {
            q: queue.delay,
            d: self.base.get(),
            target_base: self.target_base(),
            loop_delay: queue.loop_delay,
            rate: self.rate,
            delivered: self.advance.delivered(),
            loss: self.advance.loss(),
            capacity: self.capacity.estimate(),
            random: self.elasticity.random_loss(),
            weight: self.weight(),
            packet: self.packet,
            unclear: self.overtaken() || self.app_limited || self.queue.window_under_jitter() > 0.0,
            blurred: self.capacity.is_blurred(),
        }
    }

    fn drain_state(&self, queue: steer::Queue) -> drain::State {
        drain::State {
            q: queue.delay,
            target: queue.target,
            r: self.rtt(),
            rate: self.rate,
            capacity: self.capacity.estimate().min(2.0 * self.rate),
            share: self.rate / self.capacity.estimate().max(self.rate),
            overtaken: self.overtaken(),
            base_seen: self.base.seen_at(),
            lag: queue.loop_delay,
        }
    }

    fn train_due(&self) -> Option<f64> {
        let least = self.limits.trained_until();
        if let Some(at) = self.startup.train_at() {
            return Some(at.max(least));
        }
        let idle = self.app_limited || self.rate <= 2.0 * self.rate_min();
        (!idle).then_some(self.next_train.max(least))
    }

    fn phase(&self, now: f64) -> &'static str {
        match self.startup.stage {
            Stage::Train => "start: train",
            Stage::Test => "start: test",
            Stage::Settle => "start: settle",
            Stage::Double => "start: double",
            Stage::Done if self.drain.factor(now) < 1.0 => "drain",
            Stage::Done if self.rival.active() => self.rival.phase().unwrap_or_default(),
            Stage::Done => match self.ceiling.phase(now) {
                Phase::Held => "held",
                Phase::Trial => "trial",
                Phase::Free if self.queue_state().is_busy() => "busy",
                Phase::Free => "seek",
            },
        }
    }
}

/// Between 0 and 1: different for every flow and time, and the same in every run of a simulation.
fn spread(now: f64, quantity: f64) -> f64 {
    (now * 977.0 + quantity * 0.37).fract()
}

fn per_second(rate: BitRate) -> f64 {
    rate.as_f64() / 8.0
}

#[expect(clippy::cast_precision_loss, reason = "bytes of packets and windows")]
fn bytes_f64(bytes: Bytes) -> f64 {
    bytes.get() as f64
}

#[cfg(test)]
mod tests;
