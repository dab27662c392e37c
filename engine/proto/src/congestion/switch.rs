//! One controller that can change its policy while it runs.
//!
//! `fixed` and the queue-seeking policies are different laws. Changing between them keeps the
//! rate: the new law begins where the old one stood, and knows what the receiver takes. What only a
//! floor held is no rate that a law has chosen: `fixed` would keep to it for ever.

use super::fixed::FixedRate;
use super::taken::Taken;
use super::wlaw::{WConfig, WLaw};
use super::{Bounds, Controller, Policy, Sample, View};
use crate::ids::{PacketNumber, RateEpoch};
use crate::units::{BitRate, Bytes, Timestamp};
use core::time::Duration;

/// See the module.
#[derive(Debug)]
pub(super) struct Switch {
    law: Law,
    bounds: Bounds,
}

#[derive(Debug)]
enum Law {
    Fixed(FixedRate),
    Seeking(Box<WLaw>),
}

impl Switch {
    pub(super) fn new(config: WConfig, now: Timestamp) -> Self {
        let bounds = config.bounds;
        let law = match config.policy {
            Policy::Fixed => {
                let WConfig { start_hint, initial_rtt, .. } = config;
                Law::Fixed(FixedRate::new(bounds, start_hint, initial_rtt, now))
            }
            Policy::High | Policy::Fair | Policy::Low => {
                Law::Seeking(Box::new(WLaw::new(config, now)))
            }
        };
        Self { law, bounds }
    }

    /// Where another law may begin: at the present rate; at the link's, where that is known and only
    /// a floor held more.
    fn hint(&self) -> Option<BitRate> {
        let view = self.view();
        let floored = self.bounds.floor().is_some_and(|floor| view.rate <= floor);
        if floored && matches!(self.law, Law::Seeking(_)) {
            return view.capacity.map(|capacity| capacity.min(view.rate));
        }
        Some(view.rate)
    }

    fn taken(&self) -> Option<Taken> {
        match &self.law {
            Law::Fixed(law) => law.taken(),
            Law::Seeking(law) => law.taken(),
        }
    }

    fn spare(&mut self, taken: Option<Taken>) {
        match &mut self.law {
            Law::Fixed(law) => law.spare(taken),
            Law::Seeking(law) => law.spare(taken),
        }
    }

    fn law(&self) -> &dyn Controller {
        match &self.law {
            Law::Fixed(law) => law,
            Law::Seeking(law) => law.as_ref(),
        }
    }

    fn law_mut(&mut self) -> &mut dyn Controller {
        match &mut self.law {
            Law::Fixed(law) => law,
            Law::Seeking(law) => law.as_mut(),
        }
    }
}

impl Controller for Switch {
    fn on_sent(&mut self, number: PacketNumber, bytes: Bytes, now: Timestamp) -> RateEpoch {
        self.law_mut().on_sent(number, bytes, now)
    }

    fn on_feedback(&mut self, sample: &Sample<'_>, now: Timestamp) {
        self.law_mut().on_feedback(sample, now);
    }

    fn on_timer(&mut self, now: Timestamp) {
        self.law_mut().on_timer(now);
    }

    fn next_timer(&self) -> Option<Timestamp> {
        self.law().next_timer()
    }

    fn pacing_rate(&self, now: Timestamp) -> BitRate {
        self.law().pacing_rate(now)
    }

    fn in_flight_limit(&self) -> Bytes {
        self.law().in_flight_limit()
    }

    fn take_train(&mut self, now: Timestamp) -> Option<u32> {
        self.law_mut().take_train(now)
    }

    fn on_outage_end(&mut self, gap: Duration, now: Timestamp) {
        self.law_mut().on_outage_end(gap, now);
    }

    fn set_policy(&mut self, policy: Policy, bounds: Bounds, now: Timestamp) {
        let was_fixed = matches!(self.law, Law::Fixed(_));
        if was_fixed == (policy == Policy::Fixed) {
            self.bounds = bounds;
            return self.law_mut().set_policy(policy, bounds, now);
        }
        let (start_hint, taken) = (self.hint(), self.taken());
        let config = WConfig { start_hint, ..WConfig::new(policy, bounds, self.view().rtt_min) };
        *self = Self::new(config, now);
        self.spare(taken);
    }

    fn view(&self) -> View {
        self.law().view()
    }
}
