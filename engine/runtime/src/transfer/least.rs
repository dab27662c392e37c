//! A wish for a least rate, and what becomes of it: it is cut, or means nothing, more often than
//! not, and whoever wished has to hear of it.
//!
//! spec: W-098, W-133, W-138

use farhaul_proto::congestion::Bounds;
use farhaul_proto::path::carrier::Carrier;
use farhaul_proto::units::BitRate;
use farhaul_proto::wire::control::Wishes;

/// What an offer says to `wishes`, of which `granted` is left: the least rate that is held, in bits per
/// second, 0 for none; `None` if none was wished.
pub(super) fn held(wishes: &Wishes, granted: Bounds, carrier: Carrier) -> Option<u64> {
    let wished = wishes.rate_min?;
    let held = granted.floor().filter(|_| !carrier.is_reliable()).map_or(0, BitRate::get);
    if held < wished {
        let [wished, held] = [wished, held].map(BitRate::bps);
        let why = reason(carrier, held);
        tracing::warn!(%wished, %held, "a peer wished for a minimum rate that it does not get: {why}");
    }
    Some(held)
}

/// What to tell the user who wished for `wished`, if it is not what the peer says it holds; `told` is 0
/// for none.
pub(super) fn notice(wished: u64, told: Option<u64>, carrier: Carrier) -> Option<String> {
    let told = told.filter(|&told| told < wished)?;
    let [wished, held] = [wished, told].map(BitRate::bps);
    let why = reason(carrier, held);
    Some(if held == BitRate::ZERO {
        format!("the peer holds no minimum rate, not the {wished} of --rate-min: {why}")
    } else {
        format!("the peer holds a minimum rate of {held}, not the {wished} of --rate-min: {why}")
    })
}

const fn reason(carrier: Carrier, held: BitRate) -> &'static str {
    if carrier.is_reliable() {
        "over TCP there is none, its own control decides"
    } else if held.get() == 0 {
        "its operator allows none; `serve` with --rate-min, or with --policy fixed and --rate, does"
    } else {
        "its operator allows no more; `serve` with a higher --rate-min and --rate does"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(rate_min: Option<u64>) -> Wishes {
        Wishes { rate_min, ..Wishes::default() }
    }

    #[test]
    fn who_wishes_for_a_least_rate_is_told_what_is_held_and_why() {
        let (udp, tcp) = (Carrier::Udp, Carrier::Tcp);
        let allowed = Bounds::new(Some(BitRate::mbps(5)), None).unwrap();
        let (wished, mbps) = (20_000_000, 1_000_000);
        for (wished, granted, carrier, said, word) in [
            (None, allowed, udp, None, None),
            (Some(5 * mbps), allowed, udp, Some(5 * mbps), None),
            (Some(wished), allowed, udp, Some(5 * mbps), Some("allows no more")),
            (Some(wished), Bounds::FREE, udp, Some(0), Some("allows none")),
            (Some(wished), allowed, tcp, Some(0), Some("over TCP")),
        ] {
            let told = held(&wish(wished), granted, carrier);
            assert_eq!(told, said);
            let notice = wished.and_then(|wished| notice(wished, told, carrier));
            assert_eq!(notice.is_some(), word.is_some(), "{notice:?}");
            assert!(word.is_none_or(|word| notice.unwrap().contains(word)), "{word:?}");
        }
        assert_eq!(notice(wished, None, udp), None);
    }
}
