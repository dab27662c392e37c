//! What is done in a folder before the power goes: by the neighbour, who is followed by the product's
//! commit path, and by a user, who syncs what he writes.

use crate::image::Seeded;
use crate::ledger::{DIR, GONE, Label, label_of_file};

/// What the neighbour wants at a path.
#[derive(Clone, Debug)]
pub enum Goal {
    /// A file with this content.
    File(Vec<u8>),
    /// A directory.
    Dir,
    /// A symbolic link.
    Link(String),
    /// Nothing.
    Gone,
}

impl Goal {
    /// As the ledger calls it.
    pub fn label(&self) -> Label {
        match self {
            Self::File(bytes) => label_of_file(bytes),
            Self::Dir => DIR.to_owned(),
            Self::Link(to) => format!("link:{to}"),
            Self::Gone => GONE.to_owned(),
        }
    }
}

/// What a user does.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Writes a file beside the folder, syncs it, and puts it in place.
    Write(String, Vec<u8>),
    /// Makes a directory.
    MakeDir(String),
    /// Removes a file or an empty directory.
    Remove(String),
    /// Renames a directory with all that is in it.
    Rename(String, String),
}

/// One step; the next one begins when all that follows from it is done.
#[derive(Clone, Debug)]
pub enum Step {
    /// The neighbour tells new versions.
    Peer(Vec<(String, Goal)>),
    /// A user is at work, and the folder is scanned.
    User(Vec<Deed>),
    /// The site stops in order, which empties the index's log, and starts again.
    Restart,
    /// The site stops, old versions are removed as retention says, and it starts again.
    Rotate,
}

/// A class of work, as the fault F-02 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Files, links and directories come.
    Create,
    /// Files are replaced, by the neighbour and by a user.
    Replace,
    /// Files become directories, and directories files.
    Kinds,
    /// Directories are renamed, by both.
    Rename,
    /// Files and directories go.
    Delete,
    /// Old versions gather, and go.
    Rotate,
    /// The index's log is written back and begun anew.
    Compact,
}

impl Class {
    /// All of them, with what they are called.
    pub const ALL: [(&str, Self); 7] = [
        ("create", Self::Create),
        ("replace", Self::Replace),
        ("kinds", Self::Kinds),
        ("rename", Self::Rename),
        ("delete", Self::Delete),
        ("rotate", Self::Rotate),
        ("compact", Self::Compact),
    ];

    /// What it is called.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, class)| *class == self).map_or("", |(name, _)| name)
    }

    /// The one that is called so.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, class)| *class)
    }
}

/// What is done. The first step makes what the others change: nothing is cut before its end.
pub fn script(class: Class, seed: u64) -> Vec<Step> {
    let mut writer = Writer { seeded: Seeded::new(seed, 0x5c), count: 0 };
    match class {
        Class::Create => writer.create(),
        Class::Replace => writer.replace(),
        Class::Kinds => writer.kinds(),
        Class::Rename => writer.rename(),
        Class::Delete => writer.delete(),
        Class::Rotate => writer.rotate(),
        Class::Compact => writer.compact(),
    }
}

/// The three operations that are killed at every syscall: a file is replaced, another one comes, a
/// third one goes.
pub fn three_operations() -> Vec<Step> {
    let mut writer = Writer { seeded: Seeded::new(3, 0x5c), count: 0 };
    let before = vec![writer.file("replaced", 5000), writer.file("gone", 3000)];
    let after = vec![writer.file("replaced", 6000), writer.file("new", 2000), gone("gone")];
    vec![Step::Peer(before), Step::Peer(after)]
}

/// Every content that a script names.
pub fn contents(steps: &[Step]) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    for step in steps {
        match step {
            Step::Peer(goals) => contents.extend(goals.iter().filter_map(|(_, goal)| match goal {
                Goal::File(bytes) => Some(bytes.clone()),
                Goal::Dir | Goal::Link(_) | Goal::Gone => None,
            })),
            Step::User(deeds) => contents.extend(deeds.iter().filter_map(|deed| match deed {
                Deed::Write(_, bytes) => Some(bytes.clone()),
                Deed::MakeDir(_) | Deed::Remove(_) | Deed::Rename(..) => None,
            })),
            Step::Restart | Step::Rotate => {}
        }
    }
    contents
}

fn gone(path: &str) -> (String, Goal) {
    (path.to_owned(), Goal::Gone)
}

fn dir(path: &str) -> (String, Goal) {
    (path.to_owned(), Goal::Dir)
}

struct Writer {
    seeded: Seeded,
    count: u64,
}

impl Writer {
    /// A content that is like no other; half as long to half as long again.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.count += 1;
        let len = len / 2 + self.seeded.below(len + 1);
        let mut own = Seeded::new(self.seeded.draw(), self.count);
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&own.draw().to_le_bytes());
        }
        bytes.truncate(len);
        bytes.extend_from_slice(&self.count.to_le_bytes());
        bytes
    }

    fn file(&mut self, path: &str, len: usize) -> (String, Goal) {
        (path.to_owned(), Goal::File(self.bytes(len)))
    }

    fn written(&mut self, path: &str, len: usize) -> Deed {
        Deed::Write(path.to_owned(), self.bytes(len))
    }

    fn create(&mut self) -> Vec<Step> {
        let first = vec![self.file("there", 900)];
        let few = vec![
            dir("d"),
            self.file("d/small", 700),
            self.file("tiny", 4),
            ("empty".to_owned(), Goal::File(Vec::new())),
            ("link".to_owned(), Goal::Link("d/small".to_owned())),
        ];
        let long = vec![self.file("long", 700_000), self.file("implied/file", 40_000)];
        let users = vec![
            Deed::MakeDir("u".to_owned()),
            self.written("u/own", 9000),
            self.written("own", 100),
        ];
        let more = (0..6).map(|n| self.file(&format!("d/many {n}"), 6000)).collect();
        vec![
            Step::Peer(first),
            Step::Peer(few),
            Step::User(users),
            Step::Peer(long),
            Step::Peer(more),
        ]
    }

    fn replace(&mut self) -> Vec<Step> {
        let names = ["a", "b", "d/c", "d/e"];
        let mut steps = vec![Step::Peer(vec![dir("d")])];
        for _ in 0..3 {
            let goals = names.iter().map(|name| self.file(name, 12_000)).collect();
            steps.push(Step::Peer(goals));
        }
        let users = vec![self.written("a", 5000), self.written("d/c", 8000)];
        steps.push(Step::User(users));
        let again = vec![self.file("a", 5000), self.file("d/e", 300_000), self.file("b", 4096)];
        steps.extend([Step::Restart, Step::Peer(again)]);
        let users = vec![self.written("b", 70_000)];
        steps.push(Step::User(users));
        steps
    }

    fn kinds(&mut self) -> Vec<Step> {
        let first = vec![
            self.file("x", 3000),
            dir("y"),
            self.file("y/in", 3000),
            ("z".to_owned(), Goal::Link("x".to_owned())),
        ];
        let second = vec![
            dir("x"),
            self.file("x/in", 5000),
            gone("y/in"),
            self.file("y", 8000),
            self.file("z", 100),
        ];
        let third =
            vec![gone("x/in"), self.file("x", 4000), dir("y"), self.file("y/in", 50), dir("z")];
        let users = vec![
            Deed::Remove("x".to_owned()),
            Deed::MakeDir("x".to_owned()),
            self.written("x/user's", 6000),
        ];
        let last = vec![gone("x/user's"), ("x".to_owned(), Goal::Link("y/in".to_owned()))];
        vec![
            Step::Peer(first),
            Step::Peer(second),
            Step::Peer(third),
            Step::User(users),
            Step::Peer(last),
        ]
    }

    fn rename(&mut self) -> Vec<Step> {
        let names = ["one", "sub/two", "three"];
        let mut first = vec![dir("old"), dir("old/sub")];
        let files: Vec<_> = names.iter().map(|name| (name, self.bytes(20_000))).collect();
        first.extend(files.iter().map(|(name, b)| (format!("old/{name}"), Goal::File(b.clone()))));
        let mut second = vec![dir("new"), dir("new/sub")];
        for (name, bytes) in &files {
            second.push((format!("new/{name}"), Goal::File(bytes.clone())));
            second.push(gone(&format!("old/{name}")));
        }
        second.extend([gone("old/sub"), gone("old")]);
        let users = vec![Deed::Rename("new".to_owned(), "the user's".to_owned())];
        let mut last = vec![dir("again"), dir("again/sub")];
        for (name, bytes) in &files {
            last.push((format!("again/{name}"), Goal::File(bytes.clone())));
            last.push(gone(&format!("the user's/{name}")));
        }
        last.extend([gone("the user's/sub"), gone("the user's")]);
        vec![Step::Peer(first), Step::Peer(second), Step::User(users), Step::Peer(last)]
    }

    fn delete(&mut self) -> Vec<Step> {
        let mut first = vec![dir("d"), dir("d/e")];
        let names = ["a", "b", "d/c", "d/e/f", "d/e/g", "h"];
        first.extend(names.iter().map(|name| self.file(name, 5000)));
        first.push(("d/link".to_owned(), Goal::Link("c".to_owned())));
        let beneath = ["d/e/f", "d/e/g", "d/link", "d/c", "d/e", "d"].map(gone);
        let users = vec![Deed::Remove("b".to_owned()), Deed::Remove("h".to_owned())];
        let again = vec![self.file("a", 500), self.file("b", 600)];
        vec![
            Step::Peer(first),
            Step::Peer(vec![gone("a")]),
            Step::User(users),
            Step::Peer(again),
            Step::Peer(beneath.to_vec()),
            Step::Peer(vec![gone("a"), gone("b")]),
        ]
    }

    fn rotate(&mut self) -> Vec<Step> {
        let mut steps = vec![Step::Peer(vec![self.file("a", 4000), self.file("b", 4000)])];
        for round in 0..5 {
            let goals = vec![self.file("a", 9000), self.file("b", 3000)];
            steps.push(Step::Peer(goals));
            if round % 2 == 1 {
                steps.push(Step::Rotate);
            }
        }
        steps
    }

    fn compact(&mut self) -> Vec<Step> {
        let mut steps = vec![Step::Peer(vec![self.file("a", 4000)])];
        // Each round writes some pages of the index's log, which is written back at a thousand.
        for round in 0..24 {
            let many = (0..12).map(|n| self.file(&format!("many {n}"), 300)).collect();
            steps.push(Step::Peer(many));
            if round % 8 == 7 {
                steps.push(Step::Restart);
            }
        }
        steps.push(Step::User(vec![self.written("a", 2000)]));
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_follows_from_its_seed_and_names_each_content_once() {
        for (_, class) in Class::ALL {
            assert_eq!(Class::named(class.name()), Some(class));
            let text = |seed| format!("{:?}", script(class, seed));
            assert_eq!(text(5), text(5));
            assert_ne!(text(5), text(6));
            let mut all = contents(&script(class, 1));
            all.sort();
            all.dedup();
            assert!(!all.is_empty());
        }
    }
}
