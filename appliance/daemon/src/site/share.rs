//! What sessions may send: what is allowed over each link, divided among those that go over it.

use farhaul_engine::engine::SessionHandle;
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::BitRate;
use farhaul_proto::wire::control::Wishes;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::watch::{self, error::RecvError};

/// What may go over a link at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkCap {
    /// What the link is called.
    pub name: String,
    /// By all sessions together; `None`: nothing holds them back.
    pub cap: Option<BitRate>,
    /// Who is reached over it; `None`: whoever is not reached over another one.
    pub peers: Option<BTreeSet<SiteId>>,
}

/// What each session may send; of those that are not named nothing is said.
pub(super) type Caps = BTreeMap<SiteId, BitRate>;

/// What one session may send, as it changes.
#[derive(Debug)]
pub(super) struct Share {
    peer: SiteId,
    caps: watch::Receiver<Caps>,
    cap: Option<BitRate>,
}

impl Share {
    pub(super) const fn new(peer: SiteId, caps: watch::Receiver<Caps>) -> Self {
        Self { peer, caps, cap: None }
    }

    /// Ends when it may be another one, or with an error when it will not be any more.
    pub(super) async fn changed(&mut self) -> Result<(), RecvError> {
        self.caps.changed().await
    }

    /// Has the session send no faster than that from now on (spec: S-206).
    pub(super) fn hold(&mut self, session: &SessionHandle) {
        let cap = self.caps.borrow_and_update().get(&self.peer).copied();
        if cap != self.cap {
            self.cap = cap;
            let rate_max = cap.map(BitRate::get);
            session.shape(&Wishes { rate_max, ..Wishes::default() });
        }
    }
}

/// The link over which a peer is reached, by its place in the list.
pub(super) fn link_of(links: &[LinkCap], peer: SiteId) -> Option<usize> {
    let is_named = |link: &LinkCap| link.peers.as_ref().is_some_and(|all| all.contains(&peer));
    links.iter().position(is_named).or_else(|| links.iter().position(|link| link.peers.is_none()))
}

/// What each session may send.
pub(super) fn caps(links: &[LinkCap], sessions: &BTreeSet<SiteId>) -> Caps {
    let mut over: BTreeMap<usize, Vec<SiteId>> = BTreeMap::new();
    for peer in sessions {
        over.entry(link_of(links, *peer).unwrap_or(usize::MAX)).or_default().push(*peer);
    }
    let mut caps = Caps::new();
    for (link, peers) in over {
        if let Some(cap) = links.get(link).and_then(|link| link.cap) {
            let share = divided(cap, peers.len());
            caps.extend(peers.into_iter().map(|peer| (peer, share)));
        }
    }
    caps
}

/// What one of so many sessions has of a link: all have the same, and what one of them leaves unused
/// nobody else gets. (spec: S-206)
fn divided(cap: BitRate, sessions: usize) -> BitRate {
    BitRate::bps(cap.get() / u64::try_from(sessions.max(1)).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(n: u8) -> SiteId {
        SiteId([n; 32])
    }

    fn link(cap: Option<u64>, peers: Option<&[u8]>) -> LinkCap {
        LinkCap {
            name: String::new(),
            cap: cap.map(BitRate::bps),
            peers: peers.map(|peers| peers.iter().copied().map(peer).collect()),
        }
    }

    /// spec: S-206
    #[test]
    fn sessions_over_a_link_have_the_same_and_never_more_than_it_together() {
        let links = [link(Some(100), None), link(Some(7), Some(&[4])), link(None, Some(&[5]))];
        let of = |peers: &[u8]| caps(&links, &peers.iter().copied().map(peer).collect());
        assert_eq!(of(&[]), Caps::new());
        assert_eq!(of(&[1]), Caps::from([(peer(1), BitRate::bps(100))]));
        let share = BitRate::bps(33);
        let shared = of(&[1, 2, 3, 4, 5]);
        assert_eq!(shared.len(), 4);
        assert!([1, 2, 3].iter().all(|n| shared[&peer(*n)] == share));
        assert_eq!(shared[&peer(4)], BitRate::bps(7));
        // Whoever no link is for is not held back.
        assert_eq!(caps(&links[1..], &[peer(1)].into()), Caps::new());
    }
}
