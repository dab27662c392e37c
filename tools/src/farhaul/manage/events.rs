//! `farhaul events`: follows what happens at a site, and comes back after a break.

use super::client::{Client, encoded};
use super::{EventsArgs, lines};
use crate::farhaul::failure::{Failure, Kind};
use crate::farhaul::{Ended, text};
use farhaul_api::{Event, Gap};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::time::Duration;

/// Bytes of one event.
const EVENT_MAX: usize = 256 << 10;
/// How long to wait before coming back.
const BREAK: Duration = Duration::from_secs(1);
/// A site that says nothing for so long, not even that it lives, is gone.
const SILENCE: Duration = Duration::from_secs(60);

pub(super) async fn follow(client: Client, args: &EventsArgs) -> Ended {
    let mut since = args.since.clone();
    let mut was_there = false;
    loop {
        let body = client.open(&address(args, since.as_deref())).await;
        let body = match body {
            // A site that was there is waited for.
            Err(failure) if was_there && failure.code() == Kind::Peer as u8 => {
                tokio::time::sleep(BREAK).await;
                continue;
            }
            opened => opened?,
        };
        was_there = true;
        read(body, args, &mut since).await?;
        if args.once {
            return Ok(());
        }
        tokio::time::sleep(BREAK).await;
    }
}

fn address(args: &EventsArgs, since: Option<&str>) -> String {
    let mut address = format!("/api/v1/events?once={}", args.once);
    for (name, value) in [("since", since), ("folder", args.folder.as_deref())] {
        if let Some(value) = value {
            address.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    address
}

/// Prints what comes until the conversation ends; `since` is the last event that was printed.
async fn read(mut body: Incoming, args: &EventsArgs, since: &mut Option<String>) -> Ended {
    let mut lines = Lines::default();
    while let Ok(Some(Ok(frame))) = tokio::time::timeout(SILENCE, body.frame()).await {
        let Ok(data) = frame.into_data() else { continue };
        for sent in lines.take(&data)? {
            sent.print(args.site.json)?;
            if let Some(id) = sent.id {
                *since = Some(id);
            }
        }
    }
    Ok(())
}

/// One message of the stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Sent {
    kind: String,
    id: Option<String>,
    data: String,
}

impl Sent {
    fn print(&self, json: bool) -> Ended {
        if json {
            return text::answer(&self.data);
        }
        if self.kind == "gap" {
            let gap: Gap = serde_json::from_str(&self.data).map_err(|error| nonsense(&error))?;
            return match gap.missed {
                Some(count) => text::answer(format_args!("{count} events are missing here")),
                None => text::answer("the site was started anew; events may be missing here"),
            };
        }
        let event: Event = serde_json::from_str(&self.data).map_err(|error| nonsense(&error))?;
        let mut line = format!("{} {} {}", event.at, event.id, event.kind.name());
        let parts = [
            event.folder.as_deref(),
            event.path.as_ref().map(farhaul_api::TreePath::as_str),
            event.peer.as_ref().map(lines::site),
            event.text.as_deref(),
        ];
        for part in parts.into_iter().flatten() {
            line.push(' ');
            line.push_str(part);
        }
        text::answer(line)
    }
}

fn nonsense(error: &serde_json::Error) -> Failure {
    let what = format!("what the site says is not understood: {error}");
    Failure::new(Kind::Transfer, what, "use the `farhaul` of the release that the site runs")
}

/// The stream as messages (HTML, section 9.2).
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
    sent: Sent,
}

impl Lines {
    fn take(&mut self, data: &[u8]) -> Result<Vec<Sent>, Failure> {
        self.buffer.extend_from_slice(data);
        let mut all = Vec::new();
        while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.buffer.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => value.clone_into(&mut self.sent.kind),
                "id" => self.sent.id = Some(value.to_owned()),
                "data" => self.sent.data.push_str(value),
                "" if line.is_empty() && !self.sent.data.is_empty() => {
                    all.push(std::mem::take(&mut self.sent));
                }
                _ => {}
            }
        }
        if self.buffer.len() + self.sent.data.len() > EVENT_MAX {
            let what = "the site sends an event without an end";
            return Err(Failure::new(Kind::Transfer, what, "see that it is farhauld that answers"));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_however_they_are_cut() {
        let stream = b": alive\n\nid: a-1\nevent: placed\ndata: {\"x\":1}\n\ndata: 2\r\n\r\n";
        let first = Sent {
            kind: "placed".to_owned(),
            id: Some("a-1".to_owned()),
            data: "{\"x\":1}".to_owned(),
        };
        let second = Sent { data: "2".to_owned(), ..Sent::default() };
        for cut in 1..stream.len() {
            let mut lines = Lines::default();
            let mut all = Vec::new();
            for part in stream.chunks(cut) {
                all.extend(lines.take(part).expect("short"));
            }
            assert_eq!(all.len(), 2, "{cut}");
            assert_eq!((&all[0], &all[1]), (&first, &second), "{cut}");
        }
    }

    #[test]
    fn an_event_without_an_end_is_not_waited_for() {
        let mut lines = Lines::default();
        let endless = vec![b'x'; EVENT_MAX];
        assert!(lines.take(&endless).is_ok());
        assert!(lines.take(&endless).is_err());
    }
}
