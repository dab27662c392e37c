//! What was tried, what was expected, what was seen.

use farhaul_hostile::KitError;
use farhaul_hostile::peer::{Ending, Peer};
use std::time::Duration;

/// How long a session may take to end that has to end.
const ENDS_WITHIN: Duration = Duration::from_secs(8);
/// How long a session must live on that is not to end.
const LIVES_FOR: Duration = Duration::from_millis(700);
/// `cancel` because of a broken protocol (W-060).
const PROTOCOL: u8 = 6;

/// What came of an attack.
pub(crate) struct Seen {
    pub(crate) what: String,
    pub(crate) is_good: bool,
}

impl Seen {
    pub(crate) fn new(what: impl Into<String>, is_good: bool) -> Self {
        Self { what: what.into(), is_good }
    }
}

/// The session has to be ended for a broken protocol.
pub(crate) async fn ends(peer: &mut Peer) -> Seen {
    let ending = peer.ending(ENDS_WITHIN).await;
    let is_good = match &ending {
        Ending::Cancelled(code) => *code == PROTOCOL,
        // With the word that something is wrong, not as if all had been in order.
        Ending::Closed(code) => *code != 0,
        Ending::Alive | Ending::Other(_) => false,
    };
    Seen::new(told(&ending), is_good)
}

/// The session has to live on.
pub(crate) async fn lives(peer: &mut Peer) -> Seen {
    let ending = peer.ending(LIVES_FOR).await;
    Seen::new(told(&ending), ending == Ending::Alive)
}

fn told(ending: &Ending) -> String {
    match ending {
        Ending::Alive => "session lives".to_owned(),
        Ending::Cancelled(PROTOCOL) => "cancelled: protocol".to_owned(),
        Ending::Cancelled(code) => format!("cancelled: {code}"),
        Ending::Closed(code) => format!("closed: {code}"),
        Ending::Other(why) => format!("ended: {why}"),
    }
}

/// The rows so far.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<[String; 4]>,
    bad: Vec<String>,
}

impl Table {
    /// Writes an attack down.
    pub(crate) fn take(
        &mut self,
        threat: &str,
        attack: &str,
        expected: &str,
        seen: Result<Seen, KitError>,
    ) {
        let seen = seen.unwrap_or_else(|error| Seen::new(error.to_string(), false));
        self.row(threat, attack, expected, &seen.what, seen.is_good);
    }

    pub(crate) fn row(
        &mut self,
        threat: &str,
        attack: &str,
        expected: &str,
        seen: &str,
        good: bool,
    ) {
        self.rows.push([threat, attack, expected, seen].map(str::to_owned));
        println!("{} {threat} {attack}: {seen}", if good { "ok " } else { "BAD" });
        if !good {
            self.bad.push(format!("{threat} {attack}: expected {expected}, seen {seen}"));
        }
    }

    /// Prints everything, and fails if anything was not as expected.
    pub(crate) fn finish(self) {
        println!("\n| Threat | Attack | Expected | Seen |\n|---|---|---|---|");
        for [threat, attack, expected, seen] in &self.rows {
            println!("| {threat} | {attack} | {expected} | {seen} |");
        }
        assert!(self.bad.is_empty(), "{:#?}", self.bad);
    }
}
