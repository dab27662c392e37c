//! What holds after every step, by the names of the list of invariants.

use super::*;

impl World {
    pub(super) fn check(&mut self) {
        self.i2_no_lost_write();
        self.i4_no_fabricated_content();
        self.i12_no_number_twice();
        self.versions_of_a_path_do_not_cover_each_other();
        self.l3_copies_make_no_copies();
    }

    /// Nothing that was written is gone unless a user who had it on disk put something in its place.
    fn i2_no_lost_write(&self) {
        let mut kept: BTreeSet<Content> = BTreeSet::new();
        for site in &self.sites {
            kept.extend(site.tree.values().map(|found| found.content.clone()));
            kept.extend(site.aside.iter().cloned());
        }
        for content in self.written.difference(&self.seen_off()) {
            assert!(kept.contains(content), "I2: {content:?} is lost");
        }
    }

    fn i4_no_fabricated_content(&self) {
        for found in self.sites.iter().flat_map(|site| site.tree.values()) {
            let is_known = found.content == Content::Dir || self.written.contains(&found.content);
            assert!(is_known, "I4: nobody wrote {:?}", found.content);
        }
    }

    /// A name of a version is that of one version, over all losses of indexes. What nobody but its
    /// author ever heard of is gone with its index, and so is what whoever heard of it lost as well.
    fn i12_no_number_twice(&mut self) {
        let dots = core::mem::take(&mut self.dots);
        self.dots = dots.into_iter().filter(|(dot, _)| self.has_witness(*dot)).collect();
        for (at, site) in self.sites.iter().enumerate() {
            for path in site.state.index().paths() {
                let item = site.state.index().item(&path).expect("in memory");
                for version in item.versions.iter() {
                    let this = (path.clone(), version.clone());
                    if version.dot.author.site != id(at) {
                        self.dots.entry(version.dot).or_insert_with(|| this.clone());
                    }
                    let known = self.dots.get(&version.dot).unwrap_or(&this);
                    assert_eq!(*known, this, "I12: a number was given twice");
                }
            }
        }
    }

    /// Whether anybody but its author may still know that a number was given.
    fn has_witness(&self, dot: Dot) -> bool {
        let knows = |index: &MemoryIndex| {
            let head = index.head(dot.author).expect("in memory");
            head.is_some_and(|head| head >= dot.serial)
        };
        let others = self.sites.iter().enumerate().filter(|(at, _)| id(*at) != dot.author.site);
        let knew = |site: &Site| site.copy.as_ref().is_some_and(|copy| knows(&copy.index));
        let is_told = |site: &Site| site.wire.iter().any(|parts| !parts.is_empty());
        self.sites.iter().any(is_told)
            || others.into_iter().any(|(_, site)| knows(site.state.index()) || knew(site))
    }

    fn versions_of_a_path_do_not_cover_each_other(&self) {
        for site in &self.sites {
            for path in site.state.index().paths() {
                let versions = site.state.index().item(&path).expect("in memory").versions;
                let covers = |one: &Version| {
                    versions.iter().any(|other| other.dot != one.dot && one.covers(other))
                };
                assert!(!versions.iter().any(covers), "I8: {path} holds what is covered");
            }
        }
    }

    /// What the engine put beside a file is never published as a file of its own, unless a user
    /// did something to it.
    fn l3_copies_make_no_copies(&self) {
        // Of what a lost index knew, nobody can say that it was a copy once that is resolved.
        if self.sites.iter().any(|site| site.forgot) {
            return;
        }
        for site in &self.sites {
            for path in site.state.index().paths() {
                let is_copy = path.as_bytes().windows(10).any(|part| part == b".conflict-");
                let item = site.state.index().item(&path).expect("in memory");
                let is_own = item.versions.is_live() && !self.touched.contains(&path);
                assert!(!(is_copy && is_own), "L3: {path} was published");
            }
        }
    }
}
