//! `farhaul events`: follows what happens at a site, and comes back after a break.

use super::client::{Client, encoded};
use super::{EventsArgs, lines};
use crate::farhaul::failure::{Failure, Kind};
use crate::farhaul::{Ended, text};
use farhaul_api::{Event, Gap};
use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use std::fmt::Display;
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
        let end = read(body, args, &mut since).await?;
        if args.once {
            return match end {
                End::Whole => Ok(()),
                End::Broken(why) => Err(broken(&why, since.as_deref())),
            };
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

/// How a conversation ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// As the site wished.
    Whole,
    /// Amid it: this is why.
    Broken(String),
}

fn broken(why: &str, since: Option<&str>) -> Failure {
    let what = format!("the site broke off: {why}; there may be more events than these");
    let advice = match since {
        Some(id) => format!("ask again, with `--since {id}` for what is missing"),
        None => "ask again".to_owned(),
    };
    Failure::new(Kind::Transfer, what, advice)
}

/// Prints what comes until the conversation ends; `since` is the last event that was printed.
async fn read<B>(mut body: B, args: &EventsArgs, since: &mut Option<String>) -> Result<End, Failure>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Display,
{
    let mut lines = Lines::default();
    loop {
        let frame = match tokio::time::timeout(SILENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => return Ok(End::Broken(error.to_string())),
            Ok(None) if lines.is_amid() => {
                return Ok(End::Broken("the last event is cut off".to_owned()));
            }
            Ok(None) => return Ok(End::Whole),
            Err(_) => {
                let silence = SILENCE.as_secs();
                return Ok(End::Broken(format!("nothing came for {silence} s")));
            }
        };
        let Ok(data) = frame.into_data() else { continue };
        for sent in lines.take(&data)? {
            sent.print(args.site.json)?;
            if let Some(id) = sent.id {
                *since = Some(id);
            }
        }
    }
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
    /// Whether a message has begun that did not end.
    fn is_amid(&self) -> bool {
        !self.buffer.is_empty() || self.sent != Sent::default()
    }

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
    use crate::farhaul::manage::SiteArgs;
    use hyper::body::Frame;
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

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

    type Part = Result<Frame<Bytes>, &'static str>;

    /// What comes, one after the other.
    struct Parts(VecDeque<Part>);

    impl Body for Parts {
        type Data = Bytes;
        type Error = &'static str;

        fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Part>> {
            Poll::Ready(self.0.pop_front())
        }
    }

    /// How a conversation of these parts ends.
    async fn ends(parts: Vec<Part>) -> (Result<End, Failure>, Option<String>) {
        let site = SiteArgs { api: None, token_file: None, config: None, json: true };
        let args = EventsArgs { since: None, folder: None, once: true, site };
        let mut since = None;
        (read(Parts(parts.into()), &args, &mut since).await, since)
    }

    #[tokio::test]
    async fn a_conversation_that_is_cut_off_is_told_from_one_that_ends() {
        let part = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
        let event = "id: a-1\nevent: placed\ndata: {}\n\n";
        let (end, since) = ends(vec![part(event)]).await;
        assert_eq!((end.ok(), since.as_deref()), (Some(End::Whole), Some("a-1")));
        assert_eq!(ends(Vec::new()).await.0.ok(), Some(End::Whole));
        for amid in [part("id: a-2\nevent: pl"), part("id: a-2\n"), Err("connection reset")] {
            let (end, since) = ends(vec![part(event), amid]).await;
            assert!(matches!(end, Ok(End::Broken(_))), "{end:?}");
            assert_eq!(
                since.as_deref(),
                Some("a-1"),
                "what came is printed, and not asked for again"
            );
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
