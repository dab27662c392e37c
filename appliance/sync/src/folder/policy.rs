//! What a site may do in a folder, and what others may: roles, known from the configuration.
//!
//! A record says who made it, so whoever passes it on changes nothing about its author's right to
//! publish: every site that takes it in asks for that right itself (spec: S-140).

use super::brake::Limits;
use farhaul_proto::ids::SiteId;
use std::collections::BTreeMap;

/// What a site does in a folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Gives its changes and takes those of others.
    #[default]
    ReadWrite,
    /// Takes changes and gives none of its own; what it has of others it passes on.
    ReadOnly,
    /// Gives its changes and takes none.
    SourceOnly,
    /// Takes changes and gives nothing at all.
    SinkOnly,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::ReadWrite, Self::ReadOnly, Self::SourceOnly, Self::SinkOnly];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::SourceOnly => "source-only",
            Self::SinkOnly => "sink-only",
        }
    }

    /// Whether versions that it makes count.
    pub const fn publishes(self) -> bool {
        matches!(self, Self::ReadWrite | Self::SourceOnly)
    }

    /// Whether versions of others are taken in.
    pub const fn receives(self) -> bool {
        !matches!(self, Self::SourceOnly)
    }

    /// Whether others are told and given anything.
    pub const fn gives(self) -> bool {
        !matches!(self, Self::SinkOnly)
    }
}

/// The roles of a folder, as one site knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    own: Role,
    others: BTreeMap<SiteId, Role>,
}

impl Rights {
    /// A site that is `own`, and what it knows of others. Whoever is not named is read-write: it is
    /// for the sites that know it to say otherwise.
    pub fn new(own: Role, others: impl IntoIterator<Item = (SiteId, Role)>) -> Self {
        Self { own, others: others.into_iter().collect() }
    }

    /// As it is kept, to be compared with what it is later.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![number_of(self.own)];
        for (site, role) in &self.others {
            bytes.extend(site.0);
            bytes.push(number_of(*role));
        }
        bytes
    }

    /// Reads what was kept; `None` if it was not written by this program.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (own, others) = bytes.split_first()?;
        let (others, rest) = others.as_chunks::<33>();
        let other = |bytes: &[u8; 33]| {
            let (site, role) = bytes.split_first_chunk::<32>()?;
            Some((SiteId(*site), role_of(role[0])?))
        };
        let others = others.iter().map(other).collect::<Option<BTreeMap<_, _>>>()?;
        rest.is_empty().then_some(Self { own: role_of(*own)?, others })
    }

    /// What this site does.
    pub const fn own(&self) -> Role {
        self.own
    }

    /// What another site does.
    pub fn of(&self, site: SiteId) -> Role {
        self.others.get(&site).copied().unwrap_or_default()
    }

    /// Whether this site, `us`, takes in what `author` made. What it made itself, in an earlier life of
    /// its index, it always does (spec: S-001).
    pub fn takes(&self, us: SiteId, author: SiteId) -> bool {
        author == us || (self.own.receives() && self.of(author).publishes())
    }

    /// Whether all other sites that are known take in what `author` makes, as far as that is for them
    /// to say.
    pub(super) fn is_taken_by_all(&self, author: SiteId) -> bool {
        self.others.iter().all(|(site, role)| *site == author || role.receives())
    }

    /// Whether another site is known by name.
    pub(super) fn knows(&self, site: SiteId) -> bool {
        self.others.contains_key(&site)
    }

    /// Whether under `self` something is taken that was refused under `before`: then it has to be
    /// told again.
    pub fn takes_more_than(&self, before: &Self) -> bool {
        let sites = self.others.keys().chain(before.others.keys());
        let is_wider = |site: &SiteId| {
            (self.own.receives() && self.of(*site).publishes())
                && !(before.own.receives() && before.of(*site).publishes())
        };
        (self.own.receives() && !before.own.receives()) || sites.into_iter().any(is_wider)
    }
}

const fn number_of(role: Role) -> u8 {
    match role {
        Role::ReadWrite => 0,
        Role::ReadOnly => 1,
        Role::SourceOnly => 2,
        Role::SinkOnly => 3,
    }
}

fn role_of(number: u8) -> Option<Role> {
    Role::ALL.into_iter().find(|role| number_of(*role) == number)
}

/// All that is decided beforehand about a folder at one site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Who may do what.
    pub rights: Rights,
    /// When a mass change waits for a person; `None`: never.
    pub brake: Option<Limits>,
    /// What others delete stays here.
    pub keeps_deleted: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: SiteId = SiteId([1; 32]);
    const A: SiteId = SiteId([2; 32]);
    const B: SiteId = SiteId([3; 32]);

    #[test]
    fn what_is_taken_depends_on_both_roles_and_never_on_who_is_not_known() {
        for own in Role::ALL {
            for other in Role::ALL {
                let rights = Rights::new(own, [(A, other)]);
                let expected =
                    own != Role::SourceOnly && matches!(other, Role::ReadWrite | Role::SourceOnly);
                assert_eq!(rights.takes(US, A), expected, "{own:?} {other:?}");
                assert_eq!(rights.takes(US, B), own.receives());
                assert!(rights.takes(US, US), "its own earlier lives");
            }
        }
    }

    #[test]
    fn roles_are_read_as_they_were_kept() {
        let rights = Rights::new(Role::SinkOnly, [(A, Role::ReadOnly), (B, Role::SourceOnly)]);
        let bytes = rights.encode();
        assert_eq!(Rights::decode(&bytes), Some(rights));
        assert_eq!(Rights::decode(&[]), None);
        assert_eq!(Rights::decode(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Rights::decode(&[9]), None);
    }

    #[test]
    fn it_is_told_again_only_where_more_is_taken() {
        let rights = |own, other| Rights::new(own, [(A, other)]);
        let (rw, ro) = (Role::ReadWrite, Role::ReadOnly);
        assert!(rights(rw, rw).takes_more_than(&rights(rw, ro)));
        assert!(!rights(rw, ro).takes_more_than(&rights(rw, rw)));
        assert!(rights(ro, rw).takes_more_than(&rights(Role::SourceOnly, rw)));
        assert!(!rights(rw, rw).takes_more_than(&rights(ro, rw)));
        // Who is not named any more is read-write.
        assert!(Rights::default().takes_more_than(&rights(rw, ro)));
    }
}
