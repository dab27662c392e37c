//! `farhaul top`: links and jobs as they are, again each second. Plain lines with the few escape sequences
//! that every terminal knows; whatever ends it, the terminal is as it was.

use super::client::Client;
use super::{TopArgs, job, links, print};
use crate::farhaul::failure::{Failure, disk};
use crate::farhaul::{Ended, signals, text};
use farhaul_api::{JobStatus, LinksView};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::{
    LocalModes, OptionalActions, Termios, isatty, tcgetattr, tcgetwinsize, tcsetattr,
};
use serde::Serialize;
use std::io::{self, Read, Write};
use std::time::Duration;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(1);
/// Another screen, without a cursor.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
/// Back to the one that was there.
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";
/// From the upper left corner, over what stands there.
const HOME: &str = "\x1b[H";
/// Nothing stands on the rest of a line, or of the screen.
const REST_OF_LINE: &str = "\x1b[K";
const REST_OF_SCREEN: &str = "\x1b[J";

/// What is looked at.
#[derive(Serialize)]
struct Seen {
    links: LinksView,
    jobs: Vec<JobStatus>,
}

pub(super) async fn run(client: Client, args: &TopArgs) -> Ended {
    let is_screen = isatty(io::stdout()) && !args.site.json && !args.once;
    let mut stop = std::pin::pin!(signals::stop());
    let screen = is_screen.then(Screen::enter).transpose().map_err(|it| disk("terminal", &it))?;
    loop {
        let seen = look(&client).await?;
        match &screen {
            _ if args.site.json => print(&seen)?,
            None => lines(&seen).iter().try_for_each(text::answer)?,
            Some(screen) => screen.show(&lines(&seen)).map_err(|it| disk("terminal", &it))?,
        }
        if args.once {
            return Ok(());
        }
        tokio::select! {
            () = &mut stop => return Ok(()),
            wants = wants_to_end(screen.is_some()) => if wants { return Ok(()) },
        }
    }
}

async fn look(client: &Client) -> Result<Seen, Failure> {
    let links = client.get("/api/v1/links").await?;
    Ok(Seen { links, jobs: client.get("/api/v1/jobs").await? })
}

fn lines(seen: &Seen) -> Vec<String> {
    let mut lines = links::told(&seen.links);
    lines.extend(seen.jobs.iter().flat_map(job::lines));
    if lines.is_empty() {
        lines.push("no links, no sessions and no jobs".to_owned());
    }
    lines
}

/// Waits until it is time to look again. Whether somebody pressed q or Escape meanwhile.
async fn wants_to_end(reads: bool) -> bool {
    if !reads {
        tokio::time::sleep(EVERY).await;
        return false;
    }
    // A key that is not pressed is not waited for beyond that time.
    let pressed = tokio::task::spawn_blocking(|| {
        let input = io::stdin();
        let mut wait = [PollFd::new(&input, PollFlags::IN)];
        let every = Timespec::try_from(EVERY).ok();
        let ready = poll(&mut wait, every.as_ref()).unwrap_or(0);
        let mut keys = [0; 16];
        let count = if ready > 0 { io::stdin().lock().read(&mut keys).unwrap_or(0) } else { 0 };
        // Its end is the wish of whoever held the other end of it.
        (ready > 0 && count == 0) || keys[..count].iter().any(|key| b"qQ\x1b\x03".contains(key))
    });
    pressed.await.unwrap_or(true)
}

/// The terminal while it shows this; it is as it was before once this is dropped.
struct Screen {
    before: Option<Termios>,
}

impl Screen {
    fn enter() -> io::Result<Self> {
        let input = io::stdin();
        let before = if isatty(&input) { Some(tcgetattr(&input)?) } else { None };
        let screen = Self { before };
        if let Some(mut modes) = screen.before.clone() {
            // Keys come as they are pressed and are not shown; Ctrl-C goes on being a signal.
            modes.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
            tcsetattr(&input, OptionalActions::Now, &modes)?;
        }
        let mut out = io::stdout().lock();
        out.write_all(ENTER.as_bytes())?;
        out.flush()?;
        Ok(screen)
    }

    /// As many lines as there is room for, and as much of each.
    fn show(&self, lines: &[String]) -> io::Result<()> {
        let size = tcgetwinsize(io::stdout()).ok();
        let sides = size.map_or((24, 80), |size| (size.ws_row, size.ws_col));
        let (rows, columns) = (usize::from(sides.0.max(2)), usize::from(sides.1.max(10)));
        let mut text = HOME.to_owned();
        for line in lines.iter().take(rows - 1) {
            text.extend(line.chars().filter(|c| !c.is_control()).take(columns));
            text.push_str(REST_OF_LINE);
            text.push_str("\r\n");
        }
        text.push_str(REST_OF_SCREEN);
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, before);
        }
        let mut out = io::stdout().lock();
        let _ = out.write_all(LEAVE.as_bytes()).and_then(|()| out.flush());
    }
}
