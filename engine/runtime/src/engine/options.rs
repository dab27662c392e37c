//! How a session sends, and how far a peer may change that.

use farhaul_proto::congestion::{Bounds, Policy};
use farhaul_proto::fec::{FecPolicy, PackPolicy};
use farhaul_proto::units::BitRate;
use farhaul_proto::wire::control::Wishes;

/// Slower than this nobody needs it: such a session would only take up a place.
const WISHED_RATE_MIN: BitRate = BitRate::kbps(10);

/// What shapes the data that we send in a session.
#[derive(Clone, Copy, Debug)]
pub struct SessionOptions {
    /// How the path is shared.
    pub policy: Policy,
    /// How slow and how fast; of what a peer wishes, the most of either.
    pub bounds: Bounds,
    /// When to use repair symbols.
    pub fec: FecPolicy,
    /// Whether to pack what packs.
    pub pack: PackPolicy,
}

impl SessionOptions {
    /// What a peer wishes, within these options: the smaller rate and the meeker policy of both.
    /// A floor takes from others as the boldest policy does: it may be wished up to the operator's,
    /// or up to the cap where that is to be held anyway (`fixed`). Without a wish the operator's
    /// holds. It is never above what is granted as cap. Repair symbols count against the rate, so
    /// the wish for them is free; packing costs this side's processor, so it is not.
    ///
    /// spec: W-098, W-133
    #[must_use]
    pub fn within(self, wishes: &Wishes) -> Self {
        let wished = wishes.rate_max.map(|rate| BitRate::bps(rate).max(WISHED_RATE_MIN));
        let cap = self.bounds.cap().into_iter().chain(wished).min();
        let fixed = (self.policy == Policy::Fixed).then(|| self.bounds.cap()).flatten();
        let allowed = fixed.max(self.bounds.floor());
        let floor = match wishes.rate_min {
            Some(least) => allowed.map(|allowed| allowed.min(BitRate::bps(least))),
            None => self.bounds.floor(),
        };
        Self {
            policy: wishes.policy.map_or(self.policy, |policy| policy.min(self.policy)),
            bounds: Bounds::of_wishes(floor, cap),
            fec: wishes.fec.unwrap_or(self.fec),
            pack: wishes.pack.map_or(self.pack, |wished| wished.min(self.pack)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_may_wish_for_less_and_never_for_more_than_the_operator_allows() {
        let operator = |policy, mbps: Option<u64>| SessionOptions {
            policy,
            bounds: Bounds::capped(mbps.map(BitRate::mbps)),
            fec: FecPolicy::Auto,
            pack: PackPolicy::Auto,
        };
        let wish = |policy, mbps: Option<u64>| Wishes {
            rate_max: mbps.map(|rate| BitRate::mbps(rate).get()),
            policy,
            fec: Some(FecPolicy::Off),
            pack: Some(PackPolicy::Always),
            rate_min: None,
        };
        use Policy::{Fair, Fixed, High, Low};
        for (ours, theirs, policy, mbps) in [
            (operator(Fair, None), wish(None, None), Fair, None),
            (operator(Fair, None), wish(Some(Low), Some(5)), Low, Some(5)),
            (operator(Fair, None), wish(Some(High), None), Fair, None),
            (operator(High, Some(50)), wish(Some(Fair), Some(90)), Fair, Some(50)),
            (operator(High, Some(50)), wish(Some(Fixed), Some(9)), High, Some(9)),
            (operator(Fixed, Some(50)), wish(None, None), Fixed, Some(50)),
            (operator(Fixed, Some(50)), wish(Some(Fixed), Some(90)), Fixed, Some(50)),
            (operator(Fixed, Some(50)), wish(Some(Fixed), Some(9)), Fixed, Some(9)),
            (operator(Fixed, Some(50)), wish(Some(Low), None), Low, Some(50)),
        ] {
            let granted = ours.within(&theirs);
            assert_eq!(
                (granted.policy, granted.bounds.cap()),
                (policy, mbps.map(BitRate::mbps)),
                "{ours:?}"
            );
            assert_eq!((granted.fec, granted.pack), (FecPolicy::Off, PackPolicy::Auto));
        }
        let crawling =
            operator(Fair, None).within(&Wishes { rate_max: Some(1), ..wish(None, None) });
        assert_eq!(crawling.bounds.cap(), Some(WISHED_RATE_MIN));
    }

    #[test]
    fn a_peer_may_wish_for_a_floor_only_where_the_operator_allows_to_hold_a_rate() {
        use Policy::{Fair, Fixed, Low};
        let rate = |mbps: Option<u64>| mbps.map(BitRate::mbps);
        // Policy, floor and cap of the operator; floor and cap that are wished; what is granted.
        for (policy, ours, theirs, granted) in [
            (Fair, (None, None), (Some(20), None), (None, None)),
            (Fair, (None, Some(90)), (Some(20), None), (None, Some(90))),
            (Low, (Some(30), None), (Some(20), None), (Some(20), None)),
            (Fair, (Some(30), None), (Some(50), None), (Some(30), None)),
            (Fair, (Some(30), None), (None, None), (Some(30), None)),
            (Fair, (Some(30), Some(90)), (None, Some(10)), (Some(10), Some(10))),
            (Fair, (Some(30), Some(90)), (Some(20), Some(10)), (Some(10), Some(10))),
            (Fixed, (None, Some(50)), (Some(40), None), (Some(40), Some(50))),
            (Fixed, (None, Some(50)), (Some(90), None), (Some(50), Some(50))),
            (Fixed, (None, Some(50)), (None, None), (None, Some(50))),
        ] {
            let options = SessionOptions {
                policy,
                bounds: Bounds::new(rate(ours.0), rate(ours.1)).unwrap(),
                fec: FecPolicy::Auto,
                pack: PackPolicy::Auto,
            };
            let bps = |mbps| rate(mbps).map(BitRate::get);
            let (rate_min, rate_max) = (bps(theirs.0), bps(theirs.1));
            let bounds = options.within(&Wishes { rate_min, rate_max, ..Wishes::default() }).bounds;
            assert_eq!((bounds.floor(), bounds.cap()), (rate(granted.0), rate(granted.1)));
        }
    }
}
