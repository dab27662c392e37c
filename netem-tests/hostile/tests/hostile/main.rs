//! Attacks on a `farhaul serve` of this build, one after the other, on loopback. Prints a table:
//!
//! ```text
//! cargo test -p farhaul-hostile --test hostile -- --nocapture
//! ```
//!
//! Each attack has a site of its own. Beside them an honest peer transfers a file, which must arrive
//! whole; the victim must live to the end and stay within its memory.

mod astray;
mod clocks;
mod crowds;
mod receivers;
mod senders;
mod speakers;
mod strangers;
mod table;
mod victim;

use table::Table;
use victim::Victim;

/// What the victim may need more at the end than at the start: buffers that stay allocated (160
/// MiB), and what one peer may have it hold.
const GROWTH_MAX_MIB: u64 = 320;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_is_answered_as_the_protocol_says() {
    let victim = Victim::start();
    victim.honest_transfer().expect("the victim works before anything is tried");
    let before = victim.resident_mib();
    let mut table = Table::default();
    receivers::attack(&victim, &mut table).await;
    clocks::attack(&victim, &mut table).await;
    senders::attack(&victim, &mut table).await;
    speakers::attack(&victim, &mut table).await;
    strangers::attack(&victim, &mut table).await;
    astray::attack(&victim, &mut table).await;
    crowds::attack(&victim, &mut table).await;
    let growth = victim.resident_mib().saturating_sub(before);
    table.row(
        "all",
        "everything above",
        "victim alive, bounded memory, nothing outside its root",
        &format!("alive: {}, {growth} MiB more, outside {}", victim.is_alive(), victim.outside()),
        victim.is_alive() && growth <= GROWTH_MAX_MIB && victim.outside() == "untouched",
    );
    let after = victim.honest_transfer();
    let seen = after.as_ref().map_or_else(String::clone, |()| "arrived whole".to_owned());
    table.row("all", "an honest transfer afterwards", "arrives whole", &seen, after.is_ok());
    table.finish();
}
