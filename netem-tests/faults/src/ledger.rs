//! The ledger: what was meant, what was settled, what was announced, each with how far the disk's log
//! was then.
//!
//! A worker says it line by line over its output and goes on when it was heard: what is done
//! afterwards is recorded afterwards.

use crate::KitError;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::sync::{Mutex, PoisonError};

/// What stands at a path: `gone`, `dir`, `link:TARGET`, `file:HASH`.
pub type Label = String;

/// Where nothing stands.
pub const GONE: &str = "gone";
/// A directory.
pub const DIR: &str = "dir";

/// The label of a file with this content.
pub fn label_of_file(bytes: &[u8]) -> Label {
    let hash = blake3::hash(bytes);
    format!("file:{}", &hash.to_hex()[..16])
}

/// One thing that the worker said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// From now on this may stand there: `is_user` put it there, or the neighbour asks for it.
    Will {
        /// Who.
        is_user: bool,
        /// Where.
        path: String,
        /// What.
        label: Label,
    },
    /// Everything that was meant so far stands, is durable and was announced.
    Settled,
    /// What is kept of old versions may go, as far as retention says.
    Rotated,
    /// The neighbour told its records up to here: their encoding in hexadecimal digits.
    Told {
        /// What was told before.
        after: u64,
        /// And with it.
        to: u64,
        /// Encoded records.
        bytes: String,
    },
    /// The site called the neighbour's records up to here durable.
    Stored {
        /// Up to where.
        up_to: u64,
    },
    /// The site announced its own stream in this life of its index up to here.
    Heard {
        /// The life.
        epoch: u64,
        /// Up to where.
        to: u64,
    },
    /// The site announced a version of its own.
    Announced {
        /// Of which path.
        path: String,
        /// Its number.
        serial: u64,
        /// What it says stands there.
        label: Label,
    },
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Will { is_user, path, label } => {
                let who = if *is_user { "user" } else { "peer" };
                write!(f, "will\t{who}\t{path}\t{label}")
            }
            Self::Settled => write!(f, "settled"),
            Self::Rotated => write!(f, "rotated"),
            Self::Told { after, to, bytes } => write!(f, "told\t{after}\t{to}\t{bytes}"),
            Self::Stored { up_to } => write!(f, "stored\t{up_to}"),
            Self::Heard { epoch, to } => write!(f, "heard\t{epoch}\t{to}"),
            Self::Announced { path, serial, label } => {
                write!(f, "announced\t{path}\t{serial}\t{label}")
            }
        }
    }
}

impl Line {
    /// Reads a line as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.trim_end_matches('\n').split('\t');
        let mut word = || words.next().map(str::to_owned);
        let number = |word: Option<String>| word?.parse().ok();
        Some(match &*word()? {
            "will" => {
                let is_user = word()? == "user";
                Self::Will { is_user, path: word()?, label: word()? }
            }
            "settled" => Self::Settled,
            "rotated" => Self::Rotated,
            "told" => Self::Told { after: number(word())?, to: number(word())?, bytes: word()? },
            "stored" => Self::Stored { up_to: number(word())? },
            "heard" => Self::Heard { epoch: number(word())?, to: number(word())? },
            "announced" => {
                Self::Announced { path: word()?, serial: number(word())?, label: word()? }
            }
            _ => return None,
        })
    }
}

/// Lines with the length that the log had when they were heard.
pub type Stamped = Vec<(usize, Line)>;

/// The worker's side: who says a line goes on when it was heard.
#[derive(Default)]
pub struct Teller(Mutex<()>);

impl Teller {
    /// Says a line.
    ///
    /// # Panics
    /// If nobody hears it: the kit is gone, and so is the worker.
    pub fn say(&self, line: &Line) {
        let _one = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout().lock();
        let said = writeln!(out, "{line}").and_then(|()| out.flush());
        let heard = said.and_then(|()| std::io::stdin().lock().read_exact(&mut [0]));
        heard.expect("somebody hears what this worker says");
    }
}

/// Hears a worker until it ends.
///
/// # Errors
/// A line that is none.
pub fn hear(
    out: impl Read,
    mut heard: impl Write,
    mut position: impl FnMut() -> usize,
) -> Result<Stamped, KitError> {
    let mut lines = Vec::new();
    for text in BufReader::new(out).lines() {
        // Killed in the middle of a line.
        let Ok(text) = text else { break };
        let Some(line) = Line::parse(&text) else {
            return Err(KitError::Failed(format!("the worker says `{text}`")));
        };
        lines.push((position(), line));
        if heard.write_all(&[1]).is_err() {
            break;
        }
    }
    Ok(lines)
}

/// What may stand where after a stop, and what must.
#[derive(Debug, Default)]
pub struct Duties {
    /// What may stand at each path that was ever meant.
    pub may: BTreeMap<String, BTreeSet<Label>>,
    /// What a user put there so far, or meant to.
    pub by_user: BTreeMap<String, BTreeSet<Label>>,
    /// Contents that were settled at a path and displaced there by the neighbour's: they stand there
    /// still, or are kept.
    pub keeps: BTreeSet<(String, Label)>,
    /// What the neighbour told, in order.
    pub told: Vec<(u64, u64, String)>,
    /// What the site called durable of it.
    pub stored: u64,
    /// What the site announced of itself, and in which life.
    pub heard: Option<(u64, u64)>,
    /// The versions in it.
    pub announced: Vec<(String, u64, Label)>,
    /// What the neighbour wants last where no user has a hand in it.
    pub last: BTreeMap<String, Label>,
}

impl Duties {
    /// What follows from the lines before the entry `at`.
    pub fn at(lines: &Stamped, at: usize) -> Self {
        let mut duties = Self::default();
        let mut now: BTreeMap<String, Label> = BTreeMap::new();
        let mut displaced: Vec<(String, Label)> = Vec::new();
        // Meant by the neighbour, and not told yet.
        let mut meant: Vec<(String, Label)> = Vec::new();
        for (_, line) in lines.iter().filter(|(stamp, _)| *stamp <= at) {
            match line {
                Line::Will { is_user, path, label } => {
                    let may =
                        duties.may.entry(path.clone()).or_insert_with(|| [GONE.into()].into());
                    may.insert(label.clone());
                    let before = now.insert(path.clone(), label.clone());
                    if *is_user {
                        duties.by_user.entry(path.clone()).or_default().insert(label.clone());
                        duties.last.remove(path);
                    } else {
                        meant.push((path.clone(), label.clone()));
                        let file = before.filter(|was| was.starts_with("file:") && was != label);
                        displaced.extend(file.map(|was| (path.clone(), was)));
                    }
                }
                Line::Settled => {
                    for (path, label) in &now {
                        duties.may.insert(path.clone(), [label.clone()].into());
                    }
                    duties.keeps.extend(displaced.drain(..));
                }
                Line::Rotated => duties.keeps.clear(),
                Line::Told { after, to, bytes } => {
                    duties.told.push((*after, *to, bytes.clone()));
                    duties.last.extend(meant.drain(..));
                }
                Line::Stored { up_to } => duties.stored = duties.stored.max(*up_to),
                Line::Heard { epoch, to } => duties.heard = Some((*epoch, *to)),
                Line::Announced { path, serial, label } => {
                    duties.announced.push((path.clone(), *serial, label.clone()));
                }
            }
        }
        // Contents that are on their way out and were settled before.
        duties.keeps.extend(displaced);
        duties
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn will(is_user: bool, path: &str, label: &str) -> Line {
        Line::Will { is_user, path: path.to_owned(), label: label.to_owned() }
    }

    #[test]
    fn lines_are_read_as_they_are_written() {
        let told = Line::Told { after: 3, to: 5, bytes: "00ff".to_owned() };
        let announced = Line::Announced { path: "a".to_owned(), serial: 4, label: DIR.to_owned() };
        let heard = Line::Heard { epoch: u64::MAX, to: 1 };
        let stored = Line::Stored { up_to: 9 };
        let lines = [will(true, "a b/c", "file:00"), will(false, "x", GONE), told, announced];
        for line in lines.into_iter().chain([heard, stored, Line::Settled, Line::Rotated]) {
            assert_eq!(Line::parse(&format!("{line}\n")), Some(line));
        }
        assert_eq!(Line::parse("will\tuser"), None);
        assert_eq!(Line::parse("else"), None);
    }

    #[test]
    fn before_a_settlement_old_or_new_may_stand_and_afterwards_the_new() {
        let lines = vec![
            (1, will(false, "a", "file:1")),
            (2, Line::Settled),
            (3, will(false, "a", "file:2")),
            (5, Line::Settled),
        ];
        let may = |at| Duties::at(&lines, at).may.remove("a").unwrap_or_default();
        let set = |labels: &[&str]| labels.iter().map(|&label| label.to_owned()).collect();
        assert_eq!(may(0), set(&[]));
        assert_eq!(may(1), set(&[GONE, "file:1"]));
        assert_eq!(may(2), set(&["file:1"]));
        assert_eq!(may(4), set(&["file:1", "file:2"]));
        assert_eq!(may(5), set(&["file:2"]));
        let keeps = |at| Duties::at(&lines, at).keeps.len();
        assert_eq!([keeps(2), keeps(4), keeps(5)], [0, 1, 1]);
    }
}
