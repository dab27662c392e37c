//! What a run found: whether the sites agree, whether anything is lost, and whatever else is wrong.

use super::Plan;
use super::oracle::{Findings, Oracle};
use super::site::ChaosSite;
use super::survey::{self, Survey};
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// So many lines of each kind are shown.
const SHOWN: usize = 12;
/// A tree that changes while it is looked at is looked at again for so long.
const LOOK_MAX: Duration = Duration::from_secs(60);

/// How the sites came to agree.
#[derive(Debug)]
pub struct Quiet {
    /// How long that took after the last fault was mended; `None` if they do not.
    pub after: Option<Duration>,
    /// What stands at each at the end.
    pub trees: Vec<Survey>,
}

/// All that was found.
#[derive(Debug)]
pub struct Verdict {
    /// Of the choices.
    pub seed: u64,
    /// How many sites.
    pub sites: usize,
    /// How long it took until they agreed.
    pub quiet_after: Option<Duration>,
    /// Entries of the tree of the first site.
    pub entries: usize,
    /// Of what was written.
    pub findings: Findings,
    /// How the trees differ from that of the first site.
    pub unequal: Vec<String>,
    /// What is staged still, though nothing is under way: parts of files that are not wanted any
    /// more, which stay for a while to be gone on with.
    pub staged: Vec<String>,
    /// Lines of logs that tell of a panic.
    pub panics: Vec<String>,
    /// What sites that do not agree say of themselves.
    pub words: Vec<String>,
}

/// The trees of all sites, if they are equal and all say that they are in sync.
pub fn agreed(sites: &[ChaosSite]) -> Option<Vec<Survey>> {
    for site in sites {
        let folder = site.folder().ok()?;
        // Scans come and go; nothing may be to do.
        let is_at_rest = matches!(folder["state"].as_str(), Some("in-sync" | "scanning"));
        if !is_at_rest || folder["missing"] != 0 {
            return None;
        }
    }
    let trees: Vec<Survey> =
        sites.iter().map(|site| survey::survey(&site.tree()).ok()).collect::<Option<_>>()?;
    trees.windows(2).all(|pair| pair[0] == pair[1]).then_some(trees)
}

/// The trees of all sites.
///
/// # Errors
/// If they cannot be read, or change all the time.
pub fn trees(sites: &[ChaosSite]) -> io::Result<Vec<Survey>> {
    let since = Instant::now();
    let look = |site: &ChaosSite| loop {
        match survey::survey(&site.tree()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && since.elapsed() < LOOK_MAX => {
            }
            tree => return tree,
        }
    };
    sites.iter().map(look).collect()
}

impl Verdict {
    /// Looks at everything that a run left.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn new(
        plan: &Plan,
        sites: &[ChaosSite],
        oracle: &Oracle,
        quiet: &Quiet,
    ) -> io::Result<Self> {
        let (mut kept, mut staged, mut panics) = (BTreeSet::new(), Vec::new(), Vec::new());
        for site in sites {
            kept.extend(survey::kept(&site.tree())?);
            staged.extend(survey::staged(&site.tree())?);
            let log = fs::read(site.log())?;
            let log = String::from_utf8_lossy(&log);
            let lines = log.lines().filter(|line| line.contains("panicked at"));
            panics.extend(lines.map(|line| format!("site {}: {line}", site.number)));
        }
        let mut unequal = Vec::new();
        for (site, tree) in quiet.trees.iter().enumerate().skip(1) {
            let lines = survey::differences(&quiet.trees[0], tree);
            unequal.extend(lines.iter().map(|line| format!("site {site}: {line}")));
        }
        let words = if quiet.after.is_none() { words(sites, &unequal) } else { Vec::new() };
        Ok(Self {
            seed: plan.seed,
            sites: plan.sites,
            quiet_after: quiet.after,
            entries: quiet.trees.first().map_or(0, Survey::len),
            findings: oracle.judge(&quiet.trees, &kept),
            unequal,
            staged,
            panics,
            words,
        })
    }

    /// What is wrong, by its kind; nothing if all is well.
    pub fn faults(&self) -> Vec<(&'static str, &[String])> {
        let found = &self.findings;
        let all: [(&str, &[String]); 7] = [
            ("lost", &found.lost),
            ("unequal", &self.unequal),
            ("made up", &found.made_up),
            ("of a name that nobody gave", &found.foreign),
            ("surprises", &found.surprises),
            ("panics", &self.panics),
            ("words of sites that do not agree", &self.words),
        ];
        all.into_iter().filter(|(_, lines)| !lines.is_empty()).collect()
    }

    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.faults().is_empty() && self.quiet_after.is_some()
    }
}

/// What each site says of itself and of paths that differ.
fn words(sites: &[ChaosSite], unequal: &[String]) -> Vec<String> {
    let mut words = Vec::new();
    for site in sites {
        let folder = site.folder().map_or_else(|error| error.to_string(), |told| told.to_string());
        words.push(format!("site {}: {folder}", site.number));
    }
    for line in unequal.iter().take(3) {
        let path = line.split(": ").nth(1).unwrap_or_default();
        words.extend(sites.iter().map(|site| format!("{path}: {}", site.why(path))));
    }
    words
}

impl Display for Verdict {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let found = &self.findings;
        let acts: u64 = found.acts.values().sum();
        writeln!(f, "seed {}, {} sites, {} entries at each", self.seed, self.sites, self.entries)?;
        match self.quiet_after {
            Some(after) => writeln!(f, "equal {:.1} s after the last fault", after.as_secs_f64())?,
            None => writeln!(f, "the sites do not agree")?,
        }
        writeln!(f, "{acts} acts and faults, {} of them refused: {:?}", found.refused, found.acts)?;
        writeln!(
            f,
            "{} contents were finished; {} were not destroyed: {} visible, {} kept only, {} lost, {} unsure",
            found.values,
            found.standing,
            found.visible,
            found.kept_only.len(),
            found.lost.len(),
            found.unsure.len(),
        )?;
        let destroyed = found.values - found.standing;
        writeln!(f, "of {destroyed} that were destroyed {} are still there", found.destroyed_kept)?;
        writeln!(f, "{} conflict copies, {} staged parts", found.conflicts, self.staged.len())?;
        for (what, lines) in [("kept only", &found.kept_only), ("unsure", &found.unsure)] {
            for line in lines.iter().take(SHOWN) {
                writeln!(f, "  {what}: {line}")?;
            }
        }
        for (kind, lines) in self.faults() {
            writeln!(f, "{} {kind}:", lines.len())?;
            for line in lines.iter().take(SHOWN) {
                writeln!(f, "  {line}")?;
            }
        }
        Ok(())
    }
}
