//! Rival mode: beside a sender that fills queues, do as it does.
//!
//! ```text
//! enter   q > 7 Q0 sqrt(w) for 1.5 T and 250 ms (8 T if it came at once and without loss: a longer
//!         path), not falling by 15 %; never on paths that lose by themselves (p0 > 2 % before the
//!         queue), reorder, swing, or pass trains on as one
//! yields  R = w W/(d + q), W the window of RFC 9438; it begins at max(D/2 of 20 s, 0.45 C)
//! deaf    R = C h/(1 + l/6 %), h = 0.55 w/(1 + 0.55 (w - 1)), l over 20 r
//! which   after a loss: is q, at its largest 3 to 9 r later, 10 % below what it was? Then the rival
//!         yields; if not, it is deaf, for 60 s or until a loss is answered
//! leave   D > 0.92 C or q < 1.5 Q0, for 10 r and 3 s
//! ```
//! Who acts like one of n + 1 equals gets the share of one: the mirror of CUBIC needs no count of
//! its rivals. BBR has no such equilibrium (whoever holds more, keeps more), so beside the deaf the
//! share is a falling function of the loss that they cause together: one causes 1 to 3 %, three 3
//! to 8 %.

use std::collections::VecDeque;

const ENTER_TARGETS: f64 = 7.0;
const ENTER_LOOPS: f64 = 1.5;
/// Own flows that join raise the queue for less.
const ENTER_SPAN: f64 = 0.25;
/// A queue takes longer to grow.
const RAMP_LOOPS: f64 = 3.0;
const JUMP_LOOPS: f64 = 8.0;
const FALLING: f64 = 0.85;
const RANDOM_MAX: f64 = 0.02;
/// Losses so many loop delays ago still speak against a longer path.
const LOSS_LOOPS: f64 = 10.0;

/// What was ours, less what one rival may have, is where the mirror begins.
const BEST_SPAN: f64 = 20.0;
const BEST_SHARE: f64 = 0.5;
const BEGIN_SHARE: f64 = 0.45;

const ALONE: f64 = 0.92;
const CALM_TARGETS: f64 = 1.5;
const LEAVE_RTTS: f64 = 10.0;
const LEAVE_SPAN: f64 = 3.0;

/// RFC 9438.
const CUBIC: f64 = 0.4;
const BETA: f64 = 0.7;
const RENO: f64 = 3.0 * (1.0 - BETA) / (1.0 + BETA);

const HELD: f64 = 0.55;
const LOSS_SCALE: f64 = 0.06;
const LOSS_RTTS: f64 = 20.0;

const ANSWERED: f64 = 0.9;
const ANSWER_FROM: f64 = 3.0;
const ANSWER_UNTIL: f64 = 9.0;
const DEAF_SPAN: f64 = 60.0;

/// What the mode looks at. Seconds, bytes, bytes per second.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    pub(super) q: f64,
    pub(super) d: f64,
    pub(super) target_base: f64,
    pub(super) loop_delay: f64,
    pub(super) rate: f64,
    pub(super) delivered: f64,
    pub(super) loss: f64,
    pub(super) capacity: f64,
    pub(super) random: f64,
    pub(super) weight: f64,
    pub(super) packet: f64,
    /// The path reorders or swings, or the application has no data: delay is no evidence.
    pub(super) unclear: bool,
    /// Trains arrive as one: C may be anything.
    pub(super) blurred: bool,
}

/// A queue above the level, since when, and its largest.
#[derive(Clone, Copy, Debug)]
struct Watch {
    since: f64,
    most: f64,
    loops: f64,
}

/// A loss, and how the queue answers it.
#[derive(Clone, Copy, Debug)]
struct Question {
    at: f64,
    r: f64,
    before: f64,
    after: f64,
}

/// The window of one mirrored sender, in packets.
#[derive(Clone, Copy, Debug)]
struct Window {
    now: f64,
    w_max: f64,
    since: f64,
    k: f64,
    reno: f64,
    /// Reno's window below this grows slower than Reno's.
    from: f64,
}

#[derive(Debug)]
struct Mirror {
    window: Window,
    deaf_since: Option<f64>,
    /// Losses of what was sent before do not count again.
    cut_at: f64,
    question: Option<Question>,
    /// When it last looked as if a rival were there.
    seen_at: f64,
    loss: f64,
    at: f64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Rival {
    enabled: bool,
    watch: Option<Watch>,
    mirror: Option<Mirror>,
    /// When the queue was last low, and what was lost then.
    low_at: f64,
    random: f64,
    delivered: VecDeque<(f64, f64)>,
    queue: VecDeque<(f64, f64)>,
    lost: Option<f64>,
    newest_loss: f64,
}

impl Rival {
    pub(super) const fn new(enabled: bool) -> Self {
        Self {
            enabled,
            watch: None,
            mirror: None,
            low_at: 0.0,
            random: 0.0,
            delivered: VecDeque::new(),
            queue: VecDeque::new(),
            lost: None,
            newest_loss: f64::NEG_INFINITY,
        }
    }

    pub(super) fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
        if !enabled {
            (self.mirror, self.watch) = (None, None);
        }
    }

    pub(super) const fn active(&self) -> bool {
        self.mirror.is_some()
    }

    /// The standing queue is no longer path: it grew slowly, or packets were lost in it.
    pub(super) fn suspects(&self, loop_delay: f64, now: f64) -> bool {
        self.enabled
            && (self.watch.is_some_and(|watch| watch.loops < JUMP_LOOPS)
                || self.newest_loss > now - LOSS_LOOPS * loop_delay)
    }

    pub(super) fn phase(&self) -> Option<&'static str> {
        let mirror = self.mirror.as_ref()?;
        Some(if mirror.deaf_since.is_some() { "rival: deaf" } else { "rival: yields" })
    }

    /// A packet sent at `sent_at` was lost.
    pub(super) fn on_lost(&mut self, sent_at: f64) {
        self.lost = Some(self.lost.map_or(sent_at, |known| known.max(sent_at)));
        self.newest_loss = self.newest_loss.max(sent_at);
    }

    /// Looks at a feedback; answers the rate while a rival is there.
    pub(super) fn on_feedback(&mut self, sight: Sight, now: f64) -> Option<f64> {
        remember(&mut self.delivered, sight.delivered, BEST_SPAN, now);
        remember(&mut self.queue, sight.q, sight.d + sight.q, now);
        let lost = self.lost.take();
        if !self.enabled {
            return None;
        }
        if self.mirror.is_none() {
            self.look_out(sight, now);
        }
        let before = most(&self.queue);
        let mirror = self.mirror.as_mut()?;
        if mirror.is_over(sight, now) {
            self.mirror = None;
            return None;
        }
        if let Some(sent_at) = lost {
            mirror.on_lost(sent_at, before, sight, now);
        }
        mirror.look_for_answer(sight.q, now);
        Some(mirror.rate(sight, now))
    }

    fn look_out(&mut self, sight: Sight, now: f64) {
        let level = ENTER_TARGETS * sight.target_base * sight.weight.sqrt();
        if sight.q < level / 2.0 {
            (self.low_at, self.random) = (now, sight.random);
        }
        if sight.q < level || sight.unclear || sight.blurred || self.random > RANDOM_MAX {
            self.watch = None;
            return;
        }
        let grew = now - self.low_at > RAMP_LOOPS * sight.loop_delay;
        let fresh = Watch {
            since: now,
            most: sight.q,
            loops: if grew || self.newest_loss > self.low_at - 1.0 {
                ENTER_LOOPS
            } else {
                JUMP_LOOPS
            },
        };
        let watch = self.watch.get_or_insert(fresh);
        watch.most = watch.most.max(sight.q);
        if sight.q < FALLING * watch.most {
            (watch.since, watch.most) = (now, sight.q);
        } else if now - watch.since > (watch.loops * sight.loop_delay).max(ENTER_SPAN) {
            self.watch = None;
            let ours = (BEST_SHARE * most(&self.delivered)).max(BEGIN_SHARE * sight.capacity);
            self.mirror = Some(Mirror::new(ours.max(sight.rate), sight, now));
        }
    }
}

impl Mirror {
    fn new(rate: f64, sight: Sight, now: f64) -> Self {
        let window = rate * (sight.d + sight.q) / sight.packet / sight.weight;
        Self {
            window: Window::new(window.max(4.0), 0.0, now),
            deaf_since: None,
            cut_at: now,
            question: None,
            seen_at: now,
            loss: 0.0,
            at: now,
        }
    }

    fn is_over(&mut self, sight: Sight, now: f64) -> bool {
        let calm = sight.q < CALM_TARGETS * sight.target_base;
        let alone = sight.delivered > ALONE * sight.capacity;
        if !calm && !alone {
            self.seen_at = now;
        }
        let patience = (LEAVE_RTTS * (sight.d + sight.q)).max(LEAVE_SPAN);
        sight.blurred || now - self.seen_at > patience
    }

    fn on_lost(&mut self, sent_at: f64, before: f64, sight: Sight, now: f64) {
        if sent_at <= self.cut_at {
            return;
        }
        self.cut_at = now;
        let r = sight.d + sight.q;
        self.question.get_or_insert(Question { at: now, r, before, after: 0.0 });
        // One of w windows is cut.
        self.window.cut(1.0 - (1.0 - BETA) / sight.weight, now);
    }

    fn look_for_answer(&mut self, q: f64, now: f64) {
        if self.deaf_since.is_some_and(|since| now - since > DEAF_SPAN) {
            (self.deaf_since, self.question) = (None, None);
        }
        let Some(question) = &mut self.question else { return };
        let age = (now - question.at) / question.r;
        if age > ANSWER_FROM {
            question.after = question.after.max(q);
        }
        if age > ANSWER_UNTIL {
            let answered = question.after < ANSWERED * question.before;
            self.question = None;
            self.deaf_since = (!answered).then(|| self.deaf_since.unwrap_or(now));
        }
    }

    fn rate(&mut self, sight: Sight, now: f64) -> f64 {
        let r = sight.d + sight.q;
        let dt = (now - self.at).clamp(0.0, r);
        self.at = now;
        self.loss += (sight.loss - self.loss) * dt / (LOSS_RTTS * r);
        if self.deaf_since.is_none() {
            self.window.grow(r, now);
            return sight.weight * self.window.now * sight.packet / r;
        }
        // Where the mirror goes on if the rival turns out to yield.
        let window = sight.rate * r / sight.packet / sight.weight;
        self.window = Window::new(window, self.window.w_max, now);
        let share = HELD * sight.weight / (1.0 + HELD * (sight.weight - 1.0));
        share * sight.capacity / (1.0 + self.loss / LOSS_SCALE)
    }
}

impl Window {
    fn new(now: f64, w_max: f64, at: f64) -> Self {
        let w_max = w_max.max(now);
        Self { now, w_max, since: at, k: ((w_max - now) / CUBIC).cbrt(), reno: now, from: now }
    }

    fn cut(&mut self, factor: f64, at: f64) {
        let shrinking = self.now < self.w_max;
        let w_max = if shrinking { self.now * f64::midpoint(1.0, BETA) } else { self.now };
        let now = (self.now * factor).max(2.0);
        *self = Self { from: self.now, w_max, ..Self::new(now, w_max, at) };
    }

    /// Brings it to `now`, at round trips of `r`; one round trip ahead, as the RFC does.
    fn grow(&mut self, r: f64, now: f64) {
        let t = now - self.since + r;
        let cubic = CUBIC * (t - self.k).powi(3) + self.w_max;
        let alpha = if self.reno < self.from { RENO } else { 1.0 };
        let start = self.w_max - CUBIC * self.k.powi(3);
        self.reno = self.reno.max(start + alpha * t / r);
        self.now = self.now.max(cubic).max(self.reno).min(1.5 * self.now);
    }
}

/// The largest values of the last `span`, in falling order.
fn remember(values: &mut VecDeque<(f64, f64)>, value: f64, span: f64, now: f64) {
    while values.back().is_some_and(|&(_, smaller)| smaller <= value) {
        values.pop_back();
    }
    values.push_back((now, value));
    while values.front().is_some_and(|&(at, _)| now - at > span) {
        values.pop_front();
    }
}

fn most(values: &VecDeque<(f64, f64)>) -> f64 {
    values.front().map_or(0.0, |&(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(q: f64) -> Sight {
        Sight {
            q,
            d: 0.05,
            target_base: 0.002,
            loop_delay: 0.1,
            rate: 2e6,
            delivered: 2e6,
            loss: 0.0,
            capacity: 12.5e6,
            random: 0.0,
            weight: 1.0,
            packet: 1_473.0,
            unclear: false,
            blurred: false,
        }
    }

    /// A queue that grows over a second and then stands.
    fn entered() -> (Rival, f64) {
        let mut rival = Rival::new(true);
        for step in 0..200u32 {
            let now = f64::from(step) * 0.01;
            if rival.on_feedback(sight((0.0002 * f64::from(step)).min(0.03)), now).is_some() {
                return (rival, now);
            }
        }
        panic!("a standing queue is not seen");
    }

    #[test]
    fn a_queue_that_stands_is_answered_with_a_window_of_about_half_the_link() {
        let (mut rival, now) = entered();
        let rate = rival.on_feedback(sight(0.03), now + 0.01).expect("the mode goes on");
        assert!((0.35..0.6).contains(&(rate / 12.5e6)), "{rate}");
    }

    #[test]
    fn paths_that_swing_or_lose_and_hosts_that_blur_trains_never_enter() {
        for change in [
            |s: &mut Sight| s.unclear = true,
            |s: &mut Sight| s.blurred = true,
            |s: &mut Sight| s.random = 0.05,
        ] {
            let mut rival = Rival::new(true);
            for step in 0..400u32 {
                let mut sight = sight((0.0002 * f64::from(step)).min(0.03));
                change(&mut sight);
                assert_eq!(rival.on_feedback(sight, f64::from(step) * 0.01), None);
            }
        }
    }

    #[test]
    fn a_rival_that_does_not_answer_a_loss_is_deaf_and_one_that_does_yields() {
        for (after, phase) in [(0.03, "rival: deaf"), (0.02, "rival: yields")] {
            let (mut rival, entered) = entered();
            rival.on_lost(entered + 0.01);
            for step in 1..120u32 {
                let q = if step < 10 { 0.03 } else { after };
                rival.on_feedback(sight(q), entered + 0.02 + f64::from(step) * 0.01);
            }
            assert_eq!(rival.phase(), Some(phase));
        }
    }

    #[test]
    fn a_link_that_is_ours_alone_again_ends_the_mode() {
        let (mut rival, entered) = entered();
        let alone = Sight { delivered: 12.4e6, ..sight(0.03) };
        let left = |step: u32| rival.on_feedback(alone, entered + f64::from(step) * 0.01).is_none();
        assert!((1..400).any(left));
    }
}
