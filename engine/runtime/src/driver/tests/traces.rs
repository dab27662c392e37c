//! What a driver says about its sessions, as a listener to the log hears it.

use super::super::command::Command;
use super::NOWHERE;
use super::rig::{Forger, Kept, Memory, Pair, Rig, blocks, content, secrets};
use farhaul_proto::trace::{Closed, TraceEvent};
use farhaul_proto::wire::header::Kind;
use std::cell::RefCell;
use std::fmt::Debug;
use std::sync::{Arc, Once};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber, span};

/// One line of the log.
#[derive(Clone, Debug, Default)]
struct Line {
    level: Option<Level>,
    name: String,
    fields: Vec<&'static str>,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "event" {
            self.name = format!("{value:?}").trim_matches('"').to_owned();
        }
        self.fields.push(field.name());
    }
}

thread_local! {
    static LINES: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
}

/// Hears the target of traces, and keeps it for the thread that said it. One for all tests: what
/// a thread without any listener calls first, nobody hears later.
struct Listener;

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "farhaul::trace"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line { level: Some(*event.metadata().level()), ..Line::default() };
        event.record(&mut line);
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What this thread says at `level` and above while `act` runs.
fn heard(level: Level, act: impl FnOnce()) -> Vec<Line> {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        tracing::subscriber::set_global_default(Listener)
            .expect("no other listener in these tests");
    });
    LINES.take();
    act();
    LINES.take().into_iter().filter(|line| line.level <= Some(level)).collect()
}

#[test]
fn a_transfer_is_told_with_fields_and_none_of_it_as_a_warning() {
    let carry = || {
        let mut pair = Pair::new(Rig::new(), Rig::new());
        let (source, sink) = (Arc::new(Memory(content(blocks(2)))), Kept::new(blocks(2)));
        let object = pair.declare(blocks(2), vec![], source, sink);
        pair.until("it is complete", |pair| pair.completions(object) == 1);
        pair.until("the sender knows", |pair| {
            pair.left.driver.sessions[&pair.sender.key].core.is_idle()
        });
        let (left, right) = (pair.sender.key, pair.receiver.key);
        pair.left.tell(Command::Remove(left));
        pair.right.tell(Command::Remove(right));
        pair.left.driver.turn();
        pair.right.driver.turn();
    };
    let lines = heard(Level::TRACE, carry);
    let of = |name: &str| lines.iter().filter(|line| line.name == name).collect::<Vec<_>>();
    for name in ["connectivity:session_started", "connectivity:session_closed"] {
        assert_eq!(of(name).len(), 2, "{name}");
    }
    let mtu = of("connectivity:mtu_updated");
    assert_eq!(mtu[0].fields, ["session", "at_us", "event", "symbol_size", "packet"]);
    assert_eq!(of("transfer:block_opened").len(), 4);
    assert!(of("transfer:block_opened").iter().all(|line| line.level == Some(Level::TRACE)));
    assert!(lines.iter().all(|line| line.level >= Some(Level::DEBUG)));
    assert!(lines.iter().all(|line| !line.fields.contains(&"details")));
}

#[test]
fn a_session_that_dies_of_a_fault_says_how_it_came_to_that() {
    let mut rig = Rig::new();
    let (ours, theirs) = secrets(1);
    let end = rig.add(&ours, NOWHERE);
    let report = Forger::new(&theirs).packet(Kind::Feedback, &[0xFF; 20]);
    let lines = heard(Level::WARN, || rig.hear(report));
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    assert_eq!(names, ["", "connectivity:session_started", "connectivity:session_closed"]);
    let events = rig.driver.sessions[&end.key].flight.events();
    let [.., TraceEvent::SessionClosed { why, .. }] = events[..] else { panic!("{events:?}") };
    assert_eq!(why, Closed::Violation);
}
