//! Names of one file: which of them belong together, as a version says it.
//!
//! A hard link has no original: each name is a path with versions of its own, and what they have in
//! common is a group that all of them say.

use super::{Content, Version};

/// Which names are those of one file: an id that the site drew that first found two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkGroup(pub [u8; 16]);

/// What a site knows of a file that it found, when it has to say which group that is of.
#[derive(Clone, Copy, Debug)]
pub struct Names<'a> {
    /// How many names the disk says it has, here or elsewhere.
    pub links: u64,
    /// Whether nothing was known to stand at the path.
    pub is_new: bool,
    /// The group of what was known to stand at the path.
    pub own: Option<LinkGroup>,
    /// Whether that was the same file, in whatever state.
    pub is_own_file: bool,
    /// The groups of the other paths that are known as names of the same file.
    pub others: &'a [Option<LinkGroup>],
}

impl Names<'_> {
    /// The group of a file that was found; `new` is the one to begin with (spec: S-111).
    ///
    /// A file with one name keeps its group: the site may lack the others, or have no room for links.
    /// Of several groups all sites choose the same one. A file that was there before and has no other
    /// name in the folder begins none: what links to it from elsewhere is no edit.
    pub fn group(&self, new: LinkGroup) -> Option<LinkGroup> {
        if self.links < 2 {
            return self.own;
        }
        let own = self.own.filter(|_| self.is_own_file);
        let common = self.others.iter().copied().chain([own]).flatten().min();
        let begins = self.is_new || !self.others.is_empty();
        common.or(self.own).or_else(|| begins.then_some(new))
    }
}

impl Version {
    /// Whether two paths that show these versions are names of one file, on every disk that can do
    /// that: same group, same content, same metadata (spec: S-106).
    pub fn is_one_file_with(&self, other: &Self) -> bool {
        let is_file = matches!(self.content, Content::File { .. });
        let is_same = self.content == other.content && self.meta == other.meta;
        is_file && is_same && self.meta.link.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: LinkGroup = LinkGroup([9; 16]);
    const NONE: Names<'static> =
        Names { links: 2, is_new: false, own: None, is_own_file: true, others: &[] };

    fn group(n: u8) -> Option<LinkGroup> {
        Some(LinkGroup([n; 16]))
    }

    #[test]
    fn a_file_with_one_name_keeps_the_group_that_it_has() {
        for own in [None, group(1)] {
            assert_eq!(Names { links: 1, own, ..NONE }.group(NEW), own);
        }
        // Also when it was replaced as a whole.
        let replaced = Names { links: 1, own: group(1), is_own_file: false, ..NONE };
        assert_eq!(replaced.group(NEW), group(1));
    }

    #[test]
    fn a_link_from_outside_the_folder_is_no_edit_and_a_new_file_begins_a_group() {
        assert_eq!(NONE.group(NEW), None);
        assert_eq!(Names { is_new: true, is_own_file: false, ..NONE }.group(NEW), Some(NEW));
    }

    #[test]
    fn a_second_name_of_a_known_file_begins_a_group_and_the_first_one_takes_it() {
        let second = Names { is_new: true, is_own_file: false, others: &[None], ..NONE };
        assert_eq!(second.group(NEW), Some(NEW));
        let first = Names { others: &[Some(NEW)], ..NONE };
        assert_eq!(first.group(LinkGroup([1; 16])), Some(NEW));
    }

    #[test]
    fn names_that_two_sites_put_into_different_groups_come_into_the_same_one_everywhere() {
        let (one, other) = (group(1), group(2));
        let a = Names { own: one, others: &[other], ..NONE };
        let b = Names { own: other, others: &[one], ..NONE };
        assert_eq!((a.group(NEW), b.group(NEW)), (one, one));
    }

    #[test]
    fn what_is_linked_to_another_file_leaves_the_group_that_it_was_in() {
        let relinked = Names { own: group(1), is_own_file: false, others: &[group(2)], ..NONE };
        assert_eq!(relinked.group(NEW), group(2));
    }
}
