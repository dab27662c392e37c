//! The hidden verb `demo-tcp`: one transfer over the kernel's TCP, on an emulated link of its own.
//!
//! `farhaul demo` starts it to have something to compare with. It is a process because a user
//! namespace asks for a single thread and because everything it made then ends with it: the
//! namespaces have no names, the sockets are reset when they close, and the process dies with its
//! parent. It reads one [`Request`] from standard input and prints one [`Outcome`], each JSON. It
//! limits its own time; the parent in `demo::tcp` kills it if it does not.

mod transfer;

use super::Ended;
use super::failure::{Failure, Kind};
use crate::netns::{self, Netns, NetnsError};
use crate::parent::die_with;
use crate::wanem::lab::{self, Lab, LabConfig, LabError, Naming, Wire};
use crate::wanem::probe;
use crate::wanem::profile::LabProfile;
use crate::wanem::site::SiteError;
use farhaul_proto::units::Bytes;
use farhaul_sim::profile::{LinkProfile, QueueLimit, parse_span};
use rustix::process::Pid;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::time::Duration;
use transfer::Ends;

/// A request is a profile and a few numbers: some hundred bytes.
const REQUEST_MAX: u64 = 64 << 10;
/// Longest time for one transfer, so that a wrong request cannot hold the machine for days.
const LIMIT_MAX: Duration = Duration::from_secs(3600);
/// Longest name of a congestion control: `TCP_CA_NAME_MAX` without the closing zero. The kernel
/// cuts longer ones and might find another algorithm.
const CONGESTION_NAME_MAX: usize = 15;
/// Every run meets the same losses.
const SEED: u64 = 1;
/// What the sites' devices carry, as Ethernet does.
const MTU: u16 = 1500;

/// What to transfer, and over what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    /// The link, the same both ways, as [`LinkProfile::to_toml`] writes it.
    pub(super) link: String,
    /// Payload.
    pub(super) size_bytes: u64,
    /// The kernel's name of the congestion control, such as `bbr`.
    pub(super) congestion: String,
    /// The transfer is given up after this.
    pub(super) limit_ms: u64,
    /// The process that waits for the outcome.
    pub(super) parent: u32,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// A transfer took place, finished or not.
    Measured(Delivery),
    /// None did.
    NotMeasured(NotMeasured),
}

/// What a transfer delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Delivery {
    /// From before the connection to the acknowledgement, or until it was given up.
    pub(super) nanos: u64,
    /// Payload that the receiving program had by then.
    pub(super) size_bytes: u64,
    /// True if that is all of it and the sender knows.
    pub(super) finished: bool,
}

/// Why there is no figure for TCP, in one sentence for the user; the causes are the system's words.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub(super) enum NotMeasured {
    /// The system does not permit namespaces to this user.
    #[error("this system does not permit network namespaces to this user ({cause})")]
    Namespaces {
        /// The system's answer.
        cause: String,
    },
    /// The emulator gets no device.
    #[error("there is no usable /dev/net/tun here ({cause})")]
    Tun {
        /// The system's answer.
        cause: String,
    },
    /// The kernel does not have the congestion control, or does not allow it.
    #[error("this kernel offers no TCP congestion control called {name:?} ({cause})")]
    Congestion {
        /// What was asked for.
        name: String,
        /// The system's answer.
        cause: String,
    },
    /// TCP would be held back by its buffers instead of by the link: no fair comparison.
    #[error(
        "TCP may have no more than {allowed_bytes} bytes of buffer here, and this link takes \
         {needed_bytes}"
    )]
    Buffers {
        /// The kernel's limit inside the site.
        allowed_bytes: u64,
        /// What keeps the link full.
        needed_bytes: u64,
    },
    /// The lab failed otherwise.
    #[error("the emulated link for TCP did not come up ({cause})")]
    Link {
        /// The emulator's words.
        cause: String,
    },
    /// A call of the system failed.
    #[error("the measurement of TCP could not {action} ({cause})")]
    System {
        /// What was tried.
        action: String,
        /// The system's answer.
        cause: String,
    },
    /// The process of this half ended without a word.
    #[error("the process that measures TCP ended without an answer")]
    Silent,
    /// The process of this half took too long before or after the transfer and was stopped.
    #[error("the process that measures TCP did not answer in time")]
    Late,
}

impl NotMeasured {
    /// A failed call of the system; `action` continues "could not".
    pub(super) fn system(action: &str, cause: &io::Error) -> Self {
        Self::System { action: action.to_owned(), cause: cause.to_string() }
    }
}

impl From<LabError> for NotMeasured {
    fn from(error: LabError) -> Self {
        match error {
            LabError::Site(SiteError::Tun(cause)) => Self::Tun { cause: cause.to_string() },
            LabError::Site(SiteError::Netns(inner)) | LabError::Netns(inner) => inner.into(),
            other => Self::Link { cause: lab::full_text(&other) },
        }
    }
}

impl From<NetnsError> for NotMeasured {
    fn from(error: NetnsError) -> Self {
        match error {
            NetnsError::NotPermitted(cause) => Self::Namespaces { cause: cause.to_string() },
            other => Self::Link { cause: lab::full_text(&other) },
        }
    }
}

/// Runs the verb. A transfer that could not be measured is an answer and no failure.
pub(super) fn run() -> Ended {
    let asked = read_request()?;
    let outcome = match measure(&asked) {
        Ok(delivery) => Outcome::Measured(delivery),
        Err(reason) => Outcome::NotMeasured(reason),
    };
    probe::print_json(&outcome).map_err(|error| {
        Failure::new(Kind::Transfer, error, "run `farhaul demo`, which reads the answer")
    })
}

/// A request whose values were checked.
#[derive(Debug)]
struct Asked {
    link: LinkProfile,
    size: Bytes,
    congestion: String,
    limit: Duration,
    parent: Option<Pid>,
}

fn read_request() -> Result<Asked, Failure> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .take(REQUEST_MAX)
        .read_to_string(&mut text)
        .map_err(|error| misused(&error))?;
    check(serde_json::from_str(&text).map_err(|error| misused(&error))?)
}

fn misused(what: &impl fmt::Display) -> Failure {
    Failure::new(Kind::Usage, what, "run `farhaul demo`, which asks for this by itself")
}

fn check(request: Request) -> Result<Asked, Failure> {
    let refuse = |what: String| misused(&what);
    let link = LinkProfile::from_toml(&request.link)
        .map_err(|error| refuse(error.message().to_owned()))?;
    let name = &request.congestion;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || name.len() > CONGESTION_NAME_MAX || !name.chars().all(plain) {
        return Err(refuse(format!("no congestion control can be called {name:?}")));
    }
    let limit = Duration::from_millis(request.limit_ms);
    if limit > LIMIT_MAX {
        return Err(refuse(format!("the limit is above {} s", LIMIT_MAX.as_secs())));
    }
    let parent = i32::try_from(request.parent).ok().and_then(Pid::from_raw);
    let size = Bytes::new(request.size_bytes);
    Ok(Asked { link, size, congestion: request.congestion, limit, parent })
}

/// Everything before the lab runs on one thread, as user namespaces ask for.
fn measure(asked: &Asked) -> Result<Delivery, NotMeasured> {
    if !netns::is_privileged() {
        netns::enter_user_namespace()?;
    }
    die_with(asked.parent)
        .map_err(|error| NotMeasured::system("tie the process to its parent", &error))?;
    let lab = start_lab(&asked.link)?;
    let source = Netns::open(lab.description().site("a")?)?;
    let target = Netns::open(lab.description().site("b")?)?;
    let needed = buffer_needed(&asked.link);
    for (site, setting) in [(&source, "tcp_wmem"), (&target, "tcp_rmem")] {
        check_buffer(site, setting, needed)?;
    }
    let ends = Ends::open(&source, &target, &asked.congestion)?;
    transfer::run(ends, asked.size, asked.limit)
}

/// The lab is never served to others, so nothing is written below its directory.
fn start_lab(link: &LinkProfile) -> Result<Lab, NotMeasured> {
    let name = format!("demo-tcp-{}", std::process::id());
    let nowhere = std::env::temp_dir().join(&name);
    let quantum =
        parse_span(lab::QUANTUM).map_err(|error| NotMeasured::Link { cause: error.to_string() })?;
    let wire = Wire::Emulated(Box::new(LabProfile::symmetric(link.clone())));
    let naming = Naming::Anonymous;
    let config = LabConfig { name, wire, mtu: MTU, seed: SEED, quantum, naming };
    Ok(Lab::start(config, nowhere, None)?)
}

/// What a socket must be allowed to buffer so that the link limits TCP and not the window: what is
/// under way and in the queue, four times. The kernel counts its bookkeeping too (up to as much
/// again), and a lost packet holds up everything behind it for another round trip.
/// Zero for a link without a rate, where no buffer would be enough.
fn buffer_needed(link: &LinkProfile) -> Bytes {
    let Some(rate) = link.rate else { return Bytes::ZERO };
    let under_way = rate.bytes_in(link.delay.saturating_mul(2));
    let queued = match link.queue {
        QueueLimit::Bytes(bytes) => bytes,
        QueueLimit::Time(span) => rate.bytes_in(span),
    };
    (under_way + queued).saturating_mul(4)
}

/// The lab sets large buffers, but cannot where /proc/sys is read-only, as in most containers.
fn check_buffer(site: &Netns, setting: &str, needed: Bytes) -> Result<(), NotMeasured> {
    let path = format!("/proc/sys/net/ipv4/{setting}");
    let text = site
        .run(|| fs::read_to_string(path))?
        .map_err(|error| NotMeasured::system("read the limits of buffers", &error))?;
    // Three numbers: least, initial, most.
    let most = text.split_whitespace().nth(2).and_then(|number| number.parse().ok());
    match most {
        Some(most) if needed > Bytes::new(most) => {
            Err(NotMeasured::Buffers { allowed_bytes: most, needed_bytes: needed.get() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use farhaul_proto::units::BitRate;

    fn request() -> Request {
        Request {
            link: "rate = \"50Mbit/s\"".to_owned(),
            size_bytes: 1,
            congestion: "bbr".to_owned(),
            limit_ms: 1000,
            parent: 2,
        }
    }

    #[test]
    fn a_well_formed_request_is_taken_as_it_is() {
        let asked = check(request()).expect("nothing is wrong with it");
        assert_eq!(asked.link.rate, Some(BitRate::mbps(50)));
        assert_eq!((asked.size, asked.limit), (Bytes::new(1), Duration::from_secs(1)));
        assert_eq!(asked.parent, Pid::from_raw(2));
    }

    #[test]
    fn requests_out_of_range_are_refused_as_usage() {
        let long = "x".repeat(CONGESTION_NAME_MAX + 1);
        let bad = [
            Request { link: "speed = 1".to_owned(), ..request() },
            Request { congestion: String::new(), ..request() },
            Request { congestion: long, ..request() },
            Request { congestion: "b b".to_owned(), ..request() },
            Request { limit_ms: u64::MAX, ..request() },
        ];
        for request in bad {
            let shown = format!("{request:?}");
            assert_eq!(check(request).expect_err(&shown).code(), Kind::Usage as u8, "{shown}");
        }
    }

    #[test]
    fn a_link_needs_four_times_what_it_holds() {
        let mut link = LinkProfile { rate: Some(BitRate::mbps(80)), ..LinkProfile::default() };
        link.delay = Duration::from_millis(100);
        link.queue = QueueLimit::Time(Duration::from_millis(50));
        assert_eq!(buffer_needed(&link), Bytes::new(4 * 2_500_000));
        link.queue = QueueLimit::Bytes(Bytes::new(1000));
        assert_eq!(buffer_needed(&link), Bytes::new(4 * 2_001_000));
        link.rate = None;
        assert_eq!(buffer_needed(&link), Bytes::ZERO);
    }

    #[test]
    fn what_is_missing_is_named_in_the_reason() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let cases = [
            (LabError::Netns(NetnsError::NotPermitted(denied())), "namespaces"),
            (LabError::Site(SiteError::Tun(denied())), "/dev/net/tun"),
            (LabError::NoEmulator, "link"),
        ];
        for (error, word) in cases {
            let sentence = NotMeasured::from(error).to_string();
            assert!(sentence.contains(word), "{sentence}");
        }
    }
}
