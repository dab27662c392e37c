//! What goes wrong meanwhile: a link that flaps, and the source, which is killed and started again.

use super::Scene;
use super::peers::Peer;
use std::io;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The access link of the first target goes down.
    Cut,
    /// It is up again.
    Mend,
    /// The source is killed.
    Kill,
    /// It is started again.
    Restart,
}

/// How long a link is down at a time, at most; a tenth of the bound where that is shorter, so that it
/// is up again before it goes down the next time.
const DOWN: f64 = 3.0;
/// How long the source is gone.
const GONE: f64 = 2.0;

/// What is still to come, the latest first; times are in seconds.
#[derive(Clone, Debug)]
pub struct Faults(Vec<(f64, Fault)>);

impl Faults {
    /// The faults of a turn that takes at least `bound` seconds: none if there are to be none.
    pub fn new(are_wanted: bool, bound: f64) -> Self {
        if !are_wanted {
            return Self(Vec::new());
        }
        let mut all = Vec::new();
        for flap in [0.2, 0.4, 0.7] {
            all.push((bound * flap, Fault::Cut));
            all.push((bound * flap + DOWN.min(bound / 10.0), Fault::Mend));
        }
        all.push((bound * 0.55, Fault::Kill));
        all.push((bound * 0.55 + GONE, Fault::Restart));
        all.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        Self(all)
    }

    /// Does what is due.
    ///
    /// # Errors
    /// If the star or the program does not take it.
    pub fn tick(
        &mut self,
        scene: &Scene<'_>,
        peer: &mut dyn Peer,
        began: Instant,
    ) -> io::Result<()> {
        while let Some((at, fault)) = self.0.last().copied() {
            if began.elapsed() < Duration::from_secs_f64(at) {
                return Ok(());
            }
            self.0.pop();
            let link = |keys| scene.star.change(&scene.names[1], keys, keys);
            match fault {
                Fault::Cut => link("down = true").map_err(io::Error::other)?,
                Fault::Mend => link("down = false").map_err(io::Error::other)?,
                Fault::Kill => peer.kill_source()?,
                Fault::Restart => peer.restart_source()?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_mended_and_who_is_killed_is_started_again() {
        assert!(Faults::new(false, 30.0).0.is_empty());
        let mut due = Faults::new(true, 30.0).0;
        due.reverse();
        let order: Vec<Fault> = due.iter().map(|(_, fault)| *fault).collect();
        let (cut, mend) = (Fault::Cut, Fault::Mend);
        assert_eq!(order, [cut, mend, cut, mend, Fault::Kill, Fault::Restart, cut, mend]);
    }
}
