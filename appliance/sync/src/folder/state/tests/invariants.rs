//! What holds after every step, by the names of the list of invariants.

use super::*;

impl World {
    pub(super) fn check(&mut self) {
        self.i2_no_lost_write();
        self.i4_no_fabricated_content();
        self.i5_versions_go_only_for_what_covers_them();
        self.i6_what_all_deleted_stays_deleted();
        self.i9_nobody_has_what_its_author_may_not_say();
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

    /// A version goes from an index for one that covers it, and a deletion also once all have it. An
    /// index that was lost, or put back, begins anew.
    fn i5_versions_go_only_for_what_covers_them(&mut self) {
        for (at, site) in self.sites.iter().enumerate() {
            let (index, life) = (site.state.index(), site.lives);
            let now: Versions = index
                .paths()
                .into_iter()
                .map(|path| {
                    let item = index.item(&path).expect("in memory");
                    (path, item.versions.iter().cloned().collect())
                })
                .collect();
            let before = self.before.entry(at).or_default();
            if before.0 == life {
                for (path, versions) in &before.1 {
                    let left = now.get(path).map_or(&[][..], Vec::as_slice);
                    for old in versions.iter().filter(|old| old.content != Content::Gone) {
                        let is_there = left.iter().any(|new| new.dot == old.dot || new.covers(old));
                        assert!(is_there, "I5: {old:?} at {path} is gone for {left:?}");
                    }
                }
            }
            *before = (life, now);
        }
    }

    /// Once each site knows of a deletion, nothing that it covers stands at any site again.
    fn i6_what_all_deleted_stays_deleted(&mut self) {
        let item = |site: &Site, path: &RelPath| site.state.index().item(path).expect("in memory");
        let first = &self.sites[0];
        for path in first.state.index().paths() {
            for gone in item(first, &path).versions.iter() {
                let has = |site: &Site| item(site, &path).versions.get(gone.dot).is_some();
                if gone.content == Content::Gone && self.sites.iter().all(has) {
                    self.deleted.insert(gone.dot, (path.clone(), gone.clone()));
                }
            }
        }
        // A person may accept what somebody tells who was away for too long, and an old copy of an
        // index has what was there.
        let whole = self.sites.iter().filter(|site| !site.forgot && !self.has_accepted);
        for site in whole {
            for (path, gone) in self.deleted.values() {
                let item = item(site, path);
                let is_back = |v: &&Version| v.content != Content::Gone && gone.covers(v);
                let back = item.versions.iter().find(is_back);
                assert!(back.is_none(), "I6: {back:?} is back at {path}");
            }
        }
    }

    /// Nobody takes in what is signed by a site that may not publish, as it knows.
    fn i9_nobody_has_what_its_author_may_not_say(&self) {
        for (at, site) in self.sites.iter().enumerate() {
            for path in site.state.index().paths() {
                let item = site.state.index().item(&path).expect("in memory");
                let may = |version: &Version| {
                    let author = version.dot.author.site;
                    author == id(at) || site.policy.rights.takes(id(at), author)
                };
                assert!(item.versions.iter().all(may), "I9: {path} at site {at}");
            }
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
