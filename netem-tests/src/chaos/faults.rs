//! What happens to daemons and links while actors are at work: one fault after the other, chosen by
//! a seed. Clocks are left alone.

use super::dice::Dice;
use super::net::Net;
use super::oracle::Oracle;
use super::site::ChaosSite;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

/// How often daemons are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A daemon stays away, or a link bad, for so long at least and at most.
const SPAN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    Stop,
    LinkDown,
    Storm,
    /// Killed twice, the second time while it is still starting.
    KillTwice,
}

/// How often each.
const FAULTS: [(Fault, usize); 5] = [
    (Fault::Kill, 35),
    (Fault::KillTwice, 10),
    (Fault::Stop, 10),
    (Fault::LinkDown, 25),
    (Fault::Storm, 20),
];

/// Has faults happen for `span`, with a pause between them of at most `pause`, and mends all of them
/// at the end.
///
/// # Errors
/// If the lab or a daemon cannot be steered.
pub fn strike(
    net: &Net,
    sites: &mut [ChaosSite],
    oracle: &Oracle,
    mut dice: Dice,
    (span, pause): (Duration, Duration),
) -> io::Result<()> {
    let end = Instant::now() + span;
    let left = || end.saturating_duration_since(Instant::now());
    loop {
        wait(net, sites, oracle, dice.span(Duration::ZERO, pause).min(left()))?;
        if left().is_zero() {
            return Ok(());
        }
        let at = dice.below(sites.len());
        let long = dice.span(SPAN.0, SPAN.1);
        let fault = choose(&mut dice);
        oracle.note(at, &format!("{fault:?}"), b"", &format!("for {long:?}"))?;
        match fault {
            Fault::Kill | Fault::KillTwice => sites[at].kill()?,
            Fault::Stop => sites[at].stop()?,
            Fault::LinkDown => net.set_down(at, true)?,
            #[expect(clippy::cast_precision_loss, reason = "small")]
            Fault::Storm => net.set_loss(at, Some(dice.between(5, 40) as f64))?,
        }
        if fault == Fault::KillTwice {
            sites[at].start(net)?;
            wait(net, sites, oracle, dice.span(Duration::ZERO, Duration::from_millis(700)))?;
            sites[at].kill()?;
        }
        wait(net, sites, oracle, long.min(left()))?;
        net.set_down(at, false)?;
        net.set_loss(at, None)?;
        sites[at].start(net)?;
    }
}

fn choose(dice: &mut Dice) -> Fault {
    let mut at = dice.below(FAULTS.iter().map(|(_, weight)| weight).sum());
    for (fault, weight) in FAULTS {
        if at < weight {
            return fault;
        }
        at -= weight;
    }
    Fault::Kill
}

/// Waits, and says which daemons ended by themselves; they are started again.
///
/// # Errors
/// If they cannot be.
pub fn wait(net: &Net, sites: &mut [ChaosSite], oracle: &Oracle, span: Duration) -> io::Result<()> {
    let end = Instant::now() + span;
    loop {
        for site in sites.iter_mut().filter(|site| site.has_fallen()) {
            let log = site.log();
            oracle.surprise(format!("a daemon ended by itself: {}", log.display()));
            site.kill()?;
            site.start(net)?;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(LOOK_EVERY.min(left));
    }
}
