//! From a feedback to measurements: outcomes, delays and trains find their mechanism.
//!
//! Losses that the receiver confesses to (its socket overflowed) are flow control: they lower the
//! ceiling to what it takes, and are not counted as loss of the link. What was sent before an
//! outage ended is not measured at all.

use super::ceiling::{Review, Sent};
use super::elasticity::Verdict;
use super::epochs::{Epoch, Pulses};
use super::{Phase, Sample, Stage, WLaw, bytes_f64, depth, drain, jump};
use crate::congestion::{Outcome, RttSample, TrainSample};

/// A gap between feedbacks beyond this is a pause, not a spacing.
const GAP_MAX: f64 = 0.5;
/// What the receiver takes, less a little so that it catches up.
const RECEIVER_SHARE: f64 = 0.95;
/// What is left of the rate where nothing is known to have arrived.
const UNKNOWN_SHARE: f64 = 0.5;
/// Receiver drops remembered; far above what one round trip can hold.
const FORGIVEN_MAX: u64 = 1 << 20;
/// So many queue targets are more than pulses can explain.
const OVERFULL: f64 = 2.5;
/// A limit shows within so many loop delays from when it is passed.
const PAST_LOOPS: f64 = 2.0;
/// Fewer packets than this tell nothing about a held rate.
const REVIEW_PACKETS: f64 = 64.0;
/// A delay of so many queue targets that lasts is a queue.
const STANDING: f64 = 1.5;
/// So many packets tell within a percent or two what a policer lets through.
const CARRIED_PACKETS: f64 = 100.0;
/// Excess loss that ends a trial.
const TRIAL_EXCESS: f64 = 0.015;
/// Where packets overtake each other, what counts as lost may still come: after so many loop
/// delays without that, it is believed.
const IN_ORDER_LOOPS: f64 = 4.0;
/// A rate that turns out to have been right returns at most so many times the present one at once:
/// the rest is growth's.
const RETURN_MAX: f64 = 2.0;
/// Excess loss that shows a held limit to be too high.
const HELD_EXCESS: f64 = 0.01;

impl WLaw {
    /// Takes in a feedback; answers the time since the last one.
    pub(super) fn take_in(&mut self, sample: &Sample<'_>, now: f64) -> f64 {
        let dt = (now - self.feedback_at).clamp(0.0, GAP_MAX);
        self.feedback_at = now;
        if dt > 0.0 && dt < 4.0 * self.tau {
            self.tau += (dt - self.tau) / 8.0;
        }
        self.app_limited = sample.app_limited;
        self.take_receiver_drops(sample.receiver_drops, now);
        self.take_outcomes(sample);
        self.take_delays(sample.rtts, now);
        sample.trains.iter().for_each(|train| self.take_train_sample(train, now));
        let window = self.rtt().max(4.0 * self.tau).max(self.queue.window_under_jitter());
        // A report that was held up on its way tells of what arrived before.
        self.advance.on_feedback(window, now - self.held_up);
        self.note_delivered(now);
        dt
    }

    /// Asks the loss questions for every epoch whose packets' fate is now known.
    pub(super) fn judge_epochs(&mut self, dt: f64, now: f64) {
        self.look_for_overflow(dt);
        let timeout = 2.0 * self.rtt() + 1.0;
        let mut counted = false;
        let queue = self.queue_state();
        let overfull = queue.delay > (OVERFULL * queue.target).max(0.008);
        let in_order = now - self.spurious_at > IN_ORDER_LOOPS * queue.loop_delay;
        if overfull && in_order && self.startup.is_over() {
            self.elasticity.bound(self.advance.loss(), dt / queue.loop_delay);
        }
        while let Some(epoch) = self.epochs.take_resolved(timeout, now) {
            self.since.on_epoch(&epoch);
            let verdict = self.judge_jump(&epoch, now);
            // Behind a full queue every epoch loses: that is no measure of random loss.
            if overfull || !self.ceiling.permits(&epoch, now) {
                counted |= !overfull;
                continue;
            }
            match verdict {
                jump::Verdict::Ordinary => self.elasticity.on_epoch(&epoch),
                jump::Verdict::Burst => self.elasticity.on_burst(epoch, now),
                jump::Verdict::Suspicious | jump::Verdict::Limit { .. } => continue,
            }
            counted = true;
        }
        self.elasticity.count_bursts(now - queue.loop_delay);
        if self.ceiling.phase(now) != Phase::Held {
            self.elasticity.remember(PAST_LOOPS * queue.loop_delay, now);
        }
        if !counted || !self.startup.is_over() {
            return;
        }
        if self.pulses(now) == Pulses::Off {
            self.elasticity.relax(self.rtt(), now);
        }
        self.ask_elasticity(overfull, now);
    }

    fn look_for_overflow(&mut self, dt: f64) {
        if !self.startup.is_over() {
            return;
        }
        let noise = 4.0 * self.advance.loss_sigma(self.elasticity.run());
        let sight = depth::Sight {
            delay: self.queue_delay(),
            base: self.target_base() + self.queue.allowance(),
            excess: self.advance.loss() - self.elasticity.random_loss() - noise,
        };
        self.depth.on_feedback(sight, dt / self.queue_state().loop_delay);
    }

    fn take_outcomes(&mut self, sample: &Sample<'_>) {
        for outcome in sample.dead {
            self.epochs.forget(outcome.epoch);
        }
        for outcome in sample.acked {
            if self.is_measured(outcome) {
                self.advance.on_received(bytes_f64(outcome.bytes));
                self.epochs.on_acked(outcome.epoch);
            } else {
                self.epochs.forget(outcome.epoch);
            }
        }
        for outcome in sample.lost {
            if !self.is_measured(outcome) {
                self.epochs.forget(outcome.epoch);
                continue;
            }
            if self.forgiven > 0 {
                self.forgiven -= 1;
                self.advance.on_received(bytes_f64(outcome.bytes));
                self.epochs.on_acked(outcome.epoch);
            } else {
                let sent = self.seconds(outcome.sent_at);
                self.advance.on_lost(bytes_f64(outcome.bytes));
                self.rival.on_lost(sent);
                self.epochs.on_lost(outcome.epoch, outcome.number);
            }
        }
        if !sample.spurious.is_empty() {
            self.spurious_at = self.feedback_at;
        }
        for outcome in sample.spurious {
            if self.is_measured(outcome) {
                let sent = self.seconds(outcome.sent_at);
                self.advance.on_spurious(bytes_f64(outcome.bytes));
                let age = self.feedback_at - sent;
                self.epochs.on_spurious(outcome.epoch, age, self.feedback_at);
            }
        }
    }

    fn is_measured(&self, outcome: &Outcome) -> bool {
        self.seconds(outcome.sent_at) >= self.measured_from
    }

    fn take_delays(&mut self, rtts: &[RttSample], now: f64) {
        let near = (0.3 * self.target_base()).max(0.0005);
        let from = self.measured_from;
        let origin = self.origin;
        let fresh = |s: &&RttSample| s.sent_at.since(origin).as_secs_f64() >= from;
        for sample in rtts.iter().filter(fresh) {
            self.base.on_sample(sample.ahead().as_secs_f64(), near, now);
        }
        self.note_way_back(rtts, now);
        if self.queue.window_under_jitter() > 0.0 {
            let (d, target) = (self.base.get(), self.queue_state().target);
            for sample in rtts.iter().filter(fresh) {
                let sent = sample.sent_at.since(origin).as_secs_f64();
                self.caution.on_delay(sample.ahead().as_secs_f64() - d, target, sent);
            }
        }
        let timing =
            super::Timing { r: self.rtt(), tau: self.tau, grain: 2.0 * self.packet / self.rate };
        let target = self.target_base();
        let sending = &self.sending;
        let delays = rtts
            .iter()
            .filter(fresh)
            .map(|s| (s.ahead().as_secs_f64(), sending.at(s.sent_at.since(origin).as_secs_f64())));
        self.queue.on_feedback(delays, timing, target, now);
        let standing = self.queue_delay() > 3.0 * self.target_base();
        self.base.advance(standing, now);
    }

    /// A queue on the way back makes the loop slower and the flight longer, and is nothing to steer
    /// by. Only what lasts is a queue: one report may be late because a host stood still.
    fn note_way_back(&mut self, rtts: &[RttSample], now: f64) {
        let Some(newest) = rtts.iter().map(|sample| sample.back).min() else { return };
        let newest = newest.as_secs_f64();
        self.held_up = newest;
        let gain = ((now - self.back_at) / self.rtt()).clamp(0.0, 1.0);
        self.back_at = now;
        self.back = newest.min(self.back + (newest - self.back) * gain);
    }

    fn take_train_sample(&mut self, train: &TrainSample, now: f64) {
        if train.gaps == 0 || train.bytes.get() == 0 {
            return;
        }
        let (bytes, gap_sum) = (bytes_f64(train.bytes), train.gap_sum.as_secs_f64());
        let measured = self.capacity.on_train(bytes, gap_sum, train.gaps, now);
        if self.startup.stage == Stage::Train && !measured {
            self.startup.on_unmeasured(now);
        } else if self.startup.stage == Stage::Train {
            let rate = self.startup.on_first_train(bytes, gap_sum, now);
            self.set_rate(rate, now);
            if self.startup.is_over() {
                self.leave_startup(now);
            }
        }
    }

    fn take_receiver_drops(&mut self, drops: u64, now: f64) {
        if drops > 0 {
            self.forgiven = self.forgiven.saturating_add(drops).min(FORGIVEN_MAX);
            self.forgiven_until = now + 2.0 * self.rtt() + GAP_MAX;
            let delivered = self.advance.delivered();
            // Of one that took nothing it is not known what it takes.
            let takes = if delivered > 0.0 {
                RECEIVER_SHARE * delivered
            } else {
                UNKNOWN_SHARE * self.rate
            };
            // A cut that the receiver asked for proves nothing about the link.
            let was = Sent { rate: takes, loss: self.advance.loss() };
            self.ceiling.hit(takes, was, self.rtt(), now);
            self.limits.spare(takes, self.ceiling.held_until());
            self.since.begin(now);
            self.set_rate(self.rate, now);
        } else if now > self.forgiven_until {
            self.forgiven = 0;
        }
    }

    /// What was delivered is a lower bound for C; a late burst of feedback is not.
    fn note_delivered(&mut self, now: f64) {
        let delivered = self.advance.delivered() / (1.0 - self.elasticity.random_loss());
        self.capacity.on_delivered(delivered.min(self.rate), now);
    }

    /// Looks for loss so sudden that it needs no comparison.
    fn judge_jump(&mut self, epoch: &Epoch, now: f64) -> jump::Verdict {
        // What is lost at a held rate is for its review to judge.
        if !self.startup.is_over() || self.ceiling.phase(now) == Phase::Held {
            return jump::Verdict::Ordinary;
        }
        let (p0, run) = (self.elasticity.random_loss(), self.elasticity.run());
        let verdict = self.jump.on_epoch(epoch, p0, run, now);
        if let jump::Verdict::Limit { rate, loss } = verdict {
            self.obey_limit(rate, Sent { rate: epoch.rate, loss }, now);
        }
        verdict
    }

    fn ask_elasticity(&mut self, overfull: bool, now: f64) {
        let (held, trial) = match self.ceiling.phase(now) {
            Phase::Held => (true, false),
            Phase::Trial => (false, true),
            Phase::Free => (false, false),
        };
        let (p0, run) = (self.elasticity.random_loss(), self.elasticity.run());
        let pulse = self.elasticity.pulse(self.is_low(), held);
        let verdict = self.elasticity.judge(pulse, self.rtt(), now);
        let loss = self.advance.loss();
        let noise = 4.0 * self.advance.loss_sigma(run);
        let ended = trial && (loss - p0 > TRIAL_EXCESS + noise || self.trial_lost(p0, run));
        if held && !overfull {
            self.review_hold(p0, run, now);
        } else if !held && (ended || matches!(verdict, Verdict::Saturated { .. })) {
            let few = ended && self.advance.packets() < CARRIED_PACKETS;
            let carried = if few { self.since.delivered() } else { self.advance.delivered() };
            self.obey_limit(carried / (1.0 - p0), Sent { rate: self.rate, loss }, now);
        }
    }

    /// What a trial has lost: on slow links a round trip holds too few packets to tell.
    fn trial_lost(&mut self, p0: f64, run: f64) -> bool {
        if self.since.from() < self.ceiling.held_until() {
            self.since.begin(self.ceiling.held_until());
        }
        let (loss, sigma) = self.since.loss(run);
        loss - p0 > TRIAL_EXCESS + 4.0 * sigma
    }

    /// Loss that remains under a ceiling: the ceiling is too high, or the loss is not ours.
    fn review_hold(&mut self, p0: f64, run: f64, now: f64) {
        let (loss, sigma) = self.since.loss(run);
        if self.since.packets() < REVIEW_PACKETS || loss - p0 <= HELD_EXCESS + 4.0 * sigma {
            return;
        }
        let verdict = self.ceiling.review(self.rate, loss, sigma, p0);
        if verdict == Review::Early {
            return;
        }
        let carried = self.since.delivered() / (1.0 - p0);
        self.since.begin(now);
        match verdict {
            Review::Random => {
                let rate = self.ceiling.was().rate.min(RETURN_MAX * self.rate);
                self.elasticity.accept(loss);
                self.ceiling.clear();
                self.set_rate(rate, now);
            }
            Review::Early | Review::Ours | Review::Unclear => {
                // The next cut is judged by what it changes, not by what the last one did.
                let was = Sent { rate: self.rate, loss };
                let was = (verdict == Review::Ours).then_some(was);
                self.ceiling.lower(carried, was);
                self.set_rate(self.rate, now);
            }
        }
    }

    fn obey_limit(&mut self, limit: f64, was: Sent, now: f64) {
        let limit = limit.clamp(0.1 * self.rate, self.rate);
        self.elasticity.on_hit(now);
        let queue = self.queue_state();
        if self.drain_state(queue).share < drain::CROWD_SHARE && !self.capacity.is_blurred() {
            let standing = self.base.get() + STANDING * queue.target;
            self.queue.on_hit(standing, queue.loop_delay.min(3.0 * self.rtt()), now);
        }
        self.ceiling.hit(limit, was, self.rtt(), now);
        self.since.begin(now);
        self.capacity.forget_delivered(limit);
        self.set_rate(limit, now);
        self.growth.rest(now);
    }
}
