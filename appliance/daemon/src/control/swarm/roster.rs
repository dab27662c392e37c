//! How the sites of a folder are numbered for the brain: as they are heard of. A number means nothing
//! to anybody else, so whoever joins or leaves a job changes no other's.

use farhaul_proto::ids::SiteId;
use farhaul_sync::swarm::{About, Peer};

/// Sites at most: twice as many as a folder may have (spec: S-166), for those that came and went.
const SITES_MAX: u16 = 128;
/// The source of the leg.
pub(super) const SOURCE: Peer = Peer(0);

/// See the module.
#[derive(Debug)]
pub(super) struct Roster {
    me: Peer,
    sites: Vec<SiteId>,
}

impl Roster {
    pub(super) fn new(me: SiteId, source: SiteId) -> Self {
        let mut roster = Self { me: SOURCE, sites: vec![source] };
        if let Some(peer) = roster.number(me) {
            roster.me = peer;
        }
        roster
    }

    pub(super) const fn me(&self) -> Peer {
        self.me
    }

    /// The number of a site; `None`: there are too many.
    pub(super) fn number(&mut self, site: SiteId) -> Option<Peer> {
        let at = match self.sites.iter().position(|known| *known == site) {
            Some(at) => at,
            None if self.sites.len() >= usize::from(SITES_MAX) => return None,
            None => {
                self.sites.push(site);
                self.sites.len() - 1
            }
        };
        u16::try_from(at).ok().map(Peer)
    }

    pub(super) fn site(&self, peer: Peer) -> Option<SiteId> {
        self.sites.get(peer.index()).copied()
    }

    /// What the brain is told of them: nobody is known to stand behind one link with another.
    pub(super) fn about() -> Vec<About> {
        let about = |label| About { label, region: 0, is_origin: label == SOURCE.0 };
        (0..SITES_MAX).map(about).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_keeps_its_number_whoever_joins() {
        let site = |n| SiteId([n; 32]);
        let mut roster = Roster::new(site(9), site(1));
        assert_eq!((roster.me(), roster.number(site(1))), (Peer(1), Some(SOURCE)));
        for n in 10..200 {
            let number = roster.number(site(n));
            assert_eq!(number.is_some(), n < 10 + 126, "{n}");
            assert_eq!(roster.number(site(n)), number);
            assert_eq!(number.and_then(|peer| roster.site(peer)), number.map(|_| site(n)));
        }
        assert_eq!(Roster::new(site(1), site(1)).me(), SOURCE);
    }
}
