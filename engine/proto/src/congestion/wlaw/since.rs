//! What became of the packets that left since a moment: since a cut, or since a trial began.
//!
//! ```text
//! l = lost / (received + lost),  sigma = sqrt(l (1 - l) (2B - 1) / n)      of plain epochs since then
//! D = R (1 - l)                                                            R: the mean rate of them
//! ```
//! The window of `advance` is one round trip, which on a slow link holds too few packets to tell a
//! percent from noise, and shows for another round trip what left before. This one begins with the
//! cut itself and grows until the question is answered. It counts whole epochs whose packets' fate is
//! known: arrivals are known before losses, so that the newest packets seem to lose a fifth less.

use super::epochs::{Class, Epoch};

/// See the module. Seconds, packets, bytes per second.
#[derive(Debug, Default)]
pub(super) struct Since {
    from: f64,
    packets: f64,
    lost: f64,
    rates: f64,
}

impl Since {
    /// Begins anew with what leaves from `now` on.
    pub(super) fn begin(&mut self, now: f64) {
        *self = Self { from: now, ..Self::default() };
    }

    /// When it began.
    pub(super) fn from(&self) -> f64 {
        self.from
    }

    pub(super) fn on_epoch(&mut self, epoch: &Epoch) {
        let plain = matches!(epoch.class, Class::Plain);
        if plain && epoch.started() >= self.from {
            self.packets += epoch.packets();
            self.lost += f64::from(epoch.lost);
            self.rates += epoch.packets() * epoch.rate;
        }
    }

    /// How many packets were counted.
    pub(super) fn packets(&self) -> f64 {
        self.packets
    }

    /// Share lost, and its standard deviation for losses in runs of mean length `run`.
    pub(super) fn loss(&self, run: f64) -> (f64, f64) {
        let n = self.packets.max(1.0);
        let p = self.lost / n;
        (p, (p * (1.0 - p) * (2.0 * run - 1.0) / n).sqrt())
    }

    /// What was delivered.
    pub(super) fn delivered(&self) -> f64 {
        (self.rates / self.packets.max(1.0)) * (1.0 - self.lost / self.packets.max(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::epochs::{Epochs, Pulses};
    use super::*;
    use crate::ids::PacketNumber;

    /// Epochs of 100 packets at 1 MB/s; each tenth packet is lost, and all of the first second.
    fn play(since: &mut Since) {
        let mut epochs = Epochs::new(0.0);
        for number in 0..3_000_u32 {
            let now = f64::from(number) * 0.001;
            let tag = epochs.on_sent(0.4, 1e6, Pulses::Off, now);
            if number < 1_000 || number % 10 == 0 {
                epochs.on_lost(tag, PacketNumber::new(u64::from(number)));
            } else {
                epochs.on_acked(tag);
            }
        }
        while let Some(epoch) = epochs.take_resolved(9.0, 3.0) {
            since.on_epoch(&epoch);
        }
    }

    #[test]
    fn what_left_before_is_not_counted() {
        let mut since = Since::default();
        since.begin(1.0);
        play(&mut since);
        let (loss, sigma) = since.loss(1.0);
        assert!((loss - 0.1).abs() < 0.002 && (sigma - 0.0068).abs() < 2e-4, "{loss} {sigma}");
        assert!((since.delivered() / 0.9e6 - 1.0).abs() < 0.002, "{}", since.delivered());
    }

    #[test]
    fn nothing_yet_is_no_loss() {
        assert!(Since::default().loss(3.0).0 < 1e-9);
    }
}
