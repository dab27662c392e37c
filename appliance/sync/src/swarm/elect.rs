//! Which of several sites is the one, agreed upon without a word: the highest hash wins.
//!
//! Of appliances behind one link one fetches a chunk over it and the others have it from there; of
//! several origins one gives a chunk first. Whoever leaves loses only its own chunks to others.

use super::dice::mix;
use super::{Peer, Terms};

/// The site among `peers` whose turn `chunk` is; the same for everybody who knows the same peers.
pub fn winner(chunk: u32, peers: impl IntoIterator<Item = Peer>) -> Option<Peer> {
    peers.into_iter().max_by_key(|peer| (weight(chunk, *peer), *peer))
}

fn weight(chunk: u32, peer: Peer) -> u64 {
    mix(u64::from(chunk) << 16 | u64::from(peer.0))
}

/// Neighbours that a site looks for by itself: the next of the roster, so that all hang together,
/// and some that its own number scatters. At most `count`, without itself and those that `is_out`.
pub fn neighbours(
    terms: &Terms,
    me: Peer,
    count: usize,
    is_out: impl Fn(Peer) -> bool,
) -> Vec<Peer> {
    let mut others: Vec<Peer> =
        terms.sites().map(|(peer, _)| peer).filter(|peer| *peer != me && !is_out(*peer)).collect();
    let next = others.partition_point(|peer| *peer < me);
    let next = others.get(next).or(others.first()).copied();
    let is_near = |peer: &Peer| Some(*peer) == next || terms.cost(me, *peer) == 0;
    others.sort_by_key(|peer| (!is_near(peer), mix(u64::from(me.0) << 32 | u64::from(peer.0))));
    others.truncate(count);
    others
}
