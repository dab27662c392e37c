//! What a job would do, found out before anything is done: each site says what it has and whether it
//! lets it ([`LegFound`]), the leader says what follows. Whoever applies a plan asks once more, and the
//! answers have to be the same (spec: S-238).

use super::spec::{JobId, Spec, SpecWire};
use farhaul_proto::ids::SiteId;
use farhaul_proto::units::Bytes;
use minicbor::{Decode, Encode};
use std::collections::BTreeMap;

/// What a leader wants to know before there is a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// Told with the answer.
    pub ticket: u64,
    /// What the job would be.
    pub spec: Spec,
}

/// What a site found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// To which question.
    pub ticket: u64,
    /// Of which job.
    pub job: JobId,
    /// Of each leg of the job in which it has a part.
    pub legs: Vec<LegFound>,
}

/// A tree: what it is, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeFound {
    /// At a target what S-232 says; at a source a hash of all paths and of how they are, not of what
    /// is in them: nothing is read for a plan.
    pub root: [u8; 32],
    /// Files in it.
    pub files: u64,
    /// Their bytes together.
    pub bytes: Bytes,
    /// What of them takes room on the disk: holes do not. At most `bytes`.
    pub stored: Bytes,
}

/// What became of a source's tree since it froze something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChangedSince {
    /// Since it froze this (S-232).
    pub root: [u8; 32],
    /// Files that were not there, and their bytes.
    pub new: (u64, Bytes),
    /// Files that were otherwise, and the bytes that they have now.
    pub changed: (u64, Bytes),
    /// Files that are gone.
    pub removed: u64,
}

/// What a site found of one leg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegFound {
    /// From whom it would come; the site itself, at a source.
    pub source: SiteId,
    /// Why nothing would be done here. Nothing else is said then.
    pub refused: Option<String>,
    /// At a source what stands there, at a target what is there of an earlier run.
    pub tree: Option<TreeFound>,
    /// At a source that froze something before.
    pub changed: Option<ChangedSince>,
    /// At a target: bytes that may still be written there.
    pub room: Option<Bytes>,
}

impl LegFound {
    /// Nothing would be done here.
    pub const fn refused(source: SiteId, why: String) -> Self {
        Self { source, refused: Some(why), tree: None, changed: None, room: None }
    }

    /// Whether the same would be done: there may be more room, or less, by now, and a disk may have
    /// stored the same bytes otherwise.
    fn is_same(&self, other: &Self) -> bool {
        let said = |found: &Self| {
            let tree = found.tree.map(|tree| TreeFound { stored: tree.bytes, ..tree });
            Self { tree, room: None, ..found.clone() }
        };
        said(self) == said(other)
    }
}

/// What a target would do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deeds {
    /// Files that it has not, and their bytes.
    pub new: (u64, Bytes),
    /// Files that it has otherwise, and the bytes that they would have.
    pub changed: (u64, Bytes),
    /// Files that it would remove.
    pub removed: u64,
    /// Bytes that it has already.
    pub reused: Bytes,
    /// Whether that is so: else it is the most that may come, for what it has is of another run than
    /// what its source remembers.
    pub is_known: bool,
}

impl Deeds {
    /// Bytes that come at most: of a file that changed only what is new in it does.
    pub const fn to_come(&self) -> Bytes {
        Bytes::new(self.new.1.get().saturating_add(self.changed.1.get()))
    }
}

/// What a target would do, from what its source and it itself found; `None` where either refuses.
pub fn deeds(source: &LegFound, target: &LegFound) -> Option<Deeds> {
    let tree = source.tree.filter(|_| target.refused.is_none())?;
    let (none, all) = ((0, Bytes::new(0)), (tree.files, tree.bytes));
    let nothing = Deeds { new: none, changed: none, removed: 0, reused: none.1, is_known: true };
    let Some(has) = target.tree else { return Some(Deeds { new: all, ..nothing }) };
    let Some(since) = source.changed.filter(|since| since.root == has.root) else {
        return Some(Deeds { changed: all, is_known: false, ..nothing });
    };
    let ChangedSince { new, changed, removed, .. } = since;
    let comes = new.1.get().saturating_add(changed.1.get());
    let reused = Bytes::new(tree.bytes.get().saturating_sub(comes));
    Some(Deeds { new, changed, removed, reused, is_known: true })
}

/// What the sites of a job found, by site.
pub type Findings = BTreeMap<SiteId, Vec<LegFound>>;

/// The first site at which something else would be done now than when it was planned, or that says
/// nothing any more.
pub fn differs(planned: &Findings, now: &Findings) -> Option<SiteId> {
    let is_same = |(site, legs): (&SiteId, &Vec<LegFound>)| {
        now.get(site).is_some_and(|found| {
            found.len() == legs.len() && found.iter().zip(legs).all(|(now, was)| now.is_same(was))
        })
    };
    let other = planned.iter().find(|found| !is_same(*found)).map(|(site, _)| *site);
    other.or_else(|| now.keys().find(|site| !planned.contains_key(site)).copied())
}

/// Legs of which one answer speaks.
const LEGS_MAX: usize = 1024;

#[derive(Encode, Decode)]
pub(super) struct QuestionWire {
    #[n(0)]
    ticket: u64,
    #[n(1)]
    spec: SpecWire,
}

impl From<&Question> for QuestionWire {
    fn from(question: &Question) -> Self {
        Self { ticket: question.ticket, spec: SpecWire::from(&question.spec) }
    }
}

impl QuestionWire {
    pub(super) fn check(self) -> Option<Question> {
        Some(Question { ticket: self.ticket, spec: self.spec.check()? })
    }
}

#[derive(Encode, Decode)]
pub(super) struct FindingWire {
    #[n(0)]
    ticket: u64,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    job: [u8; 16],
    #[n(2)]
    legs: Vec<LegWire>,
}

#[derive(Encode, Decode)]
struct LegWire {
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    source: SiteId,
    #[n(1)]
    refused: Option<String>,
    #[n(2)]
    tree: Option<TreeWire>,
    #[n(3)]
    changed: Option<ChangedWire>,
    #[n(4)]
    room: Option<u64>,
}

#[derive(Encode, Decode)]
struct TreeWire {
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    root: [u8; 32],
    #[n(1)]
    files: u64,
    #[n(2)]
    bytes: u64,
    #[n(3)]
    stored: Option<u64>,
}

#[derive(Encode, Decode)]
struct ChangedWire {
    #[n(0)]
    #[cbor(with = "crate::cbor::name")]
    root: [u8; 32],
    #[n(1)]
    new_files: u64,
    #[n(2)]
    new_bytes: u64,
    #[n(3)]
    changed_files: u64,
    #[n(4)]
    changed_bytes: u64,
    #[n(5)]
    removed: u64,
}

impl From<&Finding> for FindingWire {
    fn from(finding: &Finding) -> Self {
        let legs = finding.legs.iter().map(|leg| LegWire {
            source: leg.source,
            refused: leg.refused.clone().map(super::message::shortened),
            tree: leg.tree.map(|TreeFound { root, files, bytes, stored }| TreeWire {
                root,
                files,
                bytes: bytes.get(),
                stored: Some(stored.get()),
            }),
            changed: leg.changed.map(|changed| ChangedWire {
                root: changed.root,
                new_files: changed.new.0,
                new_bytes: changed.new.1.get(),
                changed_files: changed.changed.0,
                changed_bytes: changed.changed.1.get(),
                removed: changed.removed,
            }),
            room: leg.room.map(Bytes::get),
        });
        Self { ticket: finding.ticket, job: finding.job.0, legs: legs.collect() }
    }
}

impl FindingWire {
    pub(super) fn check(self) -> Option<Finding> {
        if self.legs.len() > LEGS_MAX {
            return None;
        }
        let legs = self.legs.into_iter().map(|leg| {
            let refused = leg.refused.as_deref().map(super::message::checked).transpose().ok()?;
            Some(LegFound {
                source: leg.source,
                refused,
                tree: leg.tree.map(|tree| TreeFound {
                    root: tree.root,
                    files: tree.files,
                    bytes: Bytes::new(tree.bytes),
                    stored: Bytes::new(tree.stored.unwrap_or(tree.bytes).min(tree.bytes)),
                }),
                changed: leg.changed.map(|it| ChangedSince {
                    root: it.root,
                    new: (it.new_files, Bytes::new(it.new_bytes)),
                    changed: (it.changed_files, Bytes::new(it.changed_bytes)),
                    removed: it.removed,
                }),
                room: leg.room.map(Bytes::new),
            })
        });
        Some(Finding {
            ticket: self.ticket,
            job: JobId(self.job),
            legs: legs.collect::<Option<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BERLIN: SiteId = SiteId([1; 32]);

    fn source(bytes: u64, changed: Option<ChangedSince>) -> LegFound {
        let tree = {
            let bytes = Bytes::new(bytes);
            TreeFound { root: [7; 32], files: 9, bytes, stored: bytes }
        };
        LegFound { source: BERLIN, refused: None, tree: Some(tree), changed, room: None }
    }

    fn target(root: Option<u8>) -> LegFound {
        let tree = root.map(|n| TreeFound {
            root: [n; 32],
            files: 8,
            bytes: Bytes::new(80),
            stored: Bytes::new(80),
        });
        LegFound { source: BERLIN, refused: None, tree, changed: None, room: Some(Bytes::new(5)) }
    }

    fn changed(root: u8) -> ChangedSince {
        let (new, changed) = ((1, Bytes::new(10)), (2, Bytes::new(30)));
        ChangedSince { root: [root; 32], new, changed, removed: 3 }
    }

    #[test]
    fn a_target_that_has_nothing_gets_all_of_it() {
        let deeds = deeds(&source(100, Some(changed(3))), &target(None)).expect("nobody refuses");
        assert_eq!((deeds.new, deeds.to_come()), ((9, Bytes::new(100)), Bytes::new(100)));
        assert!(deeds.is_known);
    }

    #[test]
    fn a_target_that_has_the_last_run_gets_what_changed_since() {
        let deeds =
            deeds(&source(100, Some(changed(3))), &target(Some(3))).expect("nobody refuses");
        assert_eq!((deeds.to_come(), deeds.reused), (Bytes::new(40), Bytes::new(60)));
        assert_eq!((deeds.removed, deeds.is_known), (3, true));
    }

    #[test]
    fn of_a_target_with_another_run_only_the_most_is_known() {
        for source in [source(100, Some(changed(4))), source(100, None)] {
            let deeds = deeds(&source, &target(Some(3))).expect("nobody refuses");
            assert_eq!((deeds.to_come(), deeds.is_known), (Bytes::new(100), false));
        }
    }

    #[test]
    fn nothing_is_planned_where_somebody_refuses() {
        let no = LegFound::refused(BERLIN, "no".to_owned());
        assert_eq!(deeds(&no, &target(None)), None);
        assert_eq!(deeds(&source(1, None), &no), None);
    }

    #[test]
    fn a_plan_holds_while_all_sites_say_the_same_but_for_room() {
        let tokyo = SiteId([2; 32]);
        let planned: Findings =
            [(BERLIN, vec![source(100, None)]), (tokyo, vec![target(None)])].into();
        let mut now = planned.clone();
        now.get_mut(&tokyo).expect("there")[0].room = None;
        assert_eq!(differs(&planned, &now), None);
        now.insert(BERLIN, vec![source(101, None)]);
        assert_eq!(differs(&planned, &now), Some(BERLIN));
        now.insert(BERLIN, vec![source(100, None)]);
        now.remove(&tokyo);
        assert_eq!(differs(&planned, &now), Some(tokyo), "it says nothing any more");
        assert_eq!(differs(&now, &planned), Some(tokyo));
    }
}
