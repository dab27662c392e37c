//! The sites of a run: their links, labels and what is wrong with them, from a cell and a seed.

use super::cell::Cell;
use super::liar::Lie;
use super::net::{Net, Node, per_nano};
use crate::rng::Rng;
use farhaul_sync::swarm::{About, Peer, Terms, TermsError};

/// The links of one appliance.
#[derive(Clone, Debug)]
pub(super) struct Ends {
    pub(super) up: Node,
    pub(super) down: Node,
    pub(super) lan_up: Node,
    pub(super) lan_down: Node,
    /// What its WAN link loses.
    pub(super) loss: f64,
    /// How far it is from the middle, in milliseconds.
    pub(super) far: f64,
    pub(super) is_flapping: bool,
    pub(super) caps: (f64, f64),
}

/// Everything that is drawn before a run begins.
pub(super) struct Drawn {
    pub(super) terms: Terms,
    pub(super) net: Net,
    pub(super) ends: Vec<Ends>,
    pub(super) lies: Vec<Option<Lie>>,
    pub(super) bound: f64,
    pub(super) file: f64,
}

/// Draws what `seed` says. Origins come first in the roster.
pub(super) fn draw(cell: &Cell, seed: u64) -> Result<Drawn, TermsError> {
    let rng = Rng::new(seed);
    let (mut sizes, mut links, mut wrong) =
        (rng.fork("sizes"), rng.fork("links"), rng.fork("wrong"));
    let lengths: Vec<u32> = (0..cell.chunks)
        .map(|_| u32::try_from(cell.chunk / 2 + sizes.below(cell.chunk + 1)).unwrap_or(u32::MAX))
        .collect();
    let file: f64 = lengths.iter().map(|len| f64::from(*len)).sum();
    let mut net = Net::default();
    let (mut sites, mut ends, mut lies) = (Vec::new(), Vec::new(), Vec::new());
    let (mut ups, mut downs, mut origin_up) = (Vec::new(), Vec::new(), 0.0);
    let (mut label, mut shared) = (0u16, None::<Ends>);
    for at in 0..cell.origins + cell.sites {
        let is_origin = at < cell.origins;
        let place = at.saturating_sub(cell.origins);
        if is_origin || place.is_multiple_of(cell.appliances) {
            let up = between(&mut links, cell.up);
            let up = cell.origin_up.filter(|_| is_origin).map_or(up, per_nano);
            let down = between(&mut links, cell.down);
            let slow = if !is_origin && wrong.chance(cell.slow) { 0.05 } else { 1.0 };
            let (up, down) = (up * slow, down * slow);
            if is_origin {
                // Of several origins the goals speak as one source of all their uplinks.
                origin_up += up;
            } else {
                ups.push(up);
                downs.push(down);
            }
            let loss = if wrong.chance(cell.lossy) { cell.loss } else { 0.0 };
            let (near, far) = (millis(cell.rtt.0), millis(cell.rtt.1));
            label += 1;
            shared = Some(Ends {
                up: net.end(up),
                down: net.end(down),
                lan_up: 0,
                lan_down: 0,
                loss,
                far: (near + (far - near) * links.f64()) / 2.0,
                is_flapping: !is_origin && wrong.chance(cell.flapping),
                caps: (up, down),
            });
        }
        let Some(wan) = shared.clone() else { continue };
        let lan = cell.lan.map_or(1.25, per_nano);
        ends.push(Ends { lan_up: net.end(lan), lan_down: net.end(lan), ..wan });
        sites.push(About { label, region: label % 8, is_origin });
        let is_bad_origin = is_origin && at + cell.bad_origins >= cell.origins;
        let lie = if is_bad_origin {
            Some(Lie::BadBytes)
        } else if !is_origin && wrong.chance(cell.liars) {
            Some(Lie::any(&mut wrong))
        } else {
            None
        };
        lies.push(lie);
    }
    let bound = super::bound::least(file, origin_up, &ups, &downs, cell.chunks) / 1e9;
    Ok(Drawn { terms: Terms::new(lengths, sites)?, net, ends, lies, bound, file })
}

fn between(rng: &mut Rng, (least, most): (u64, u64)) -> f64 {
    let (least, most) = (per_nano(least), per_nano(most));
    least * (most / least).powf(rng.f64())
}

fn millis(span: core::time::Duration) -> f64 {
    span.as_secs_f64() * 1e3
}

/// The roster's number of a site.
pub(super) fn peer(at: usize) -> Peer {
    Peer(u16::try_from(at).unwrap_or(u16::MAX))
}
