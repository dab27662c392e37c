//! What this site knows of jobs over restarts: small files, each replaced as a whole, each with the
//! hash of what it says.

use farhaul_proto::ids::SiteId;
use farhaul_sync::job::{JobId, JobMessage, Order, Report};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The order of a job that this site leads.
const LEAD: &str = "lead";
/// The order of a job that this site takes part in.
const DUTY: &str = "duty";
/// What was switched to.
const SWITCHED: &str = "switched";
/// What is over for whom, of a job that this site leads or led.
const OVER: &str = "over";
/// Before the names of a source and a target: what the target said last with a receipt.
const RECEIPT: &str = "receipt";
/// Bytes of a file.
const LEN_MAX: u64 = 2 << 20;

/// The directory in which jobs are kept, one for each.
#[derive(Clone, Debug)]
pub(super) struct Keep(PathBuf);

/// A job as it was kept.
pub(super) struct KeptJob {
    pub(super) id: JobId,
    pub(super) lead: Option<Order>,
    pub(super) duty: Option<(SiteId, Order)>,
    pub(super) over: Option<KeptOver>,
    /// What targets said last with a receipt, and who.
    pub(super) receipts: Vec<(SiteId, Report)>,
}

/// An order that ends a job for some sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeptOver {
    pub(super) order: Order,
    pub(super) sites: BTreeSet<SiteId>,
    /// Since when, in milliseconds since 1970.
    pub(super) at_millis: u64,
}

impl KeptOver {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.at_millis.to_be_bytes().to_vec();
        bytes.extend((self.sites.len() as u64).to_be_bytes());
        self.sites.iter().for_each(|site| bytes.extend(site.as_bytes()));
        bytes.extend(JobMessage::Order(Box::new(self.order.clone())).encode());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (at, rest) = bytes.split_first_chunk::<8>()?;
        let (count, mut rest) = rest.split_first_chunk::<8>()?;
        let mut sites = BTreeSet::new();
        for _ in 0..u64::from_be_bytes(*count) {
            let (site, after) = rest.split_first_chunk::<32>()?;
            sites.insert(SiteId(*site));
            rest = after;
        }
        Some(Self { order: order(rest)?, sites, at_millis: u64::from_be_bytes(*at) })
    }
}

impl Keep {
    pub(super) const fn new(place: PathBuf) -> Self {
        Self(place)
    }

    /// What belongs to a job.
    pub(super) fn of(&self, id: JobId) -> PathBuf {
        self.0.join(id.to_string())
    }

    /// Where a folder of it keeps what it knows; made. `at` says where that folder stands: of another
    /// place nothing is known.
    pub(super) fn leg(&self, id: JobId, (source, at): (SiteId, &str)) -> io::Result<PathBuf> {
        let place = self.of(id).join(format!("from-{source}-{at}"));
        DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        Ok(place)
    }

    /// Every job that was kept. What cannot be read is told of and left where it is.
    pub(super) fn all(&self) -> io::Result<Vec<KeptJob>> {
        let mut jobs = Vec::new();
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(jobs),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let Some(id) = name.to_str().and_then(job_id) else { continue };
            let dir = self.of(id);
            let lead = tell(load(&dir.join(LEAD)), &dir).and_then(|bytes| order(&bytes));
            let duty = tell(load(&dir.join(DUTY)), &dir).and_then(|bytes| {
                let (site, rest) = bytes.split_first_chunk::<32>()?;
                Some((SiteId(*site), order(rest)?))
            });
            let over = tell(load(&dir.join(OVER)), &dir).and_then(|it| KeptOver::decode(&it));
            let receipts = if lead.is_some() { receipts(&dir)? } else { Vec::new() };
            jobs.push(KeptJob { id, lead, duty, over, receipts });
        }
        jobs.sort_by_key(|job| job.id);
        Ok(jobs)
    }

    pub(super) fn save_lead(&self, order: &Order) -> io::Result<()> {
        let bytes = JobMessage::Order(Box::new(order.clone())).encode();
        save(&self.of(order.spec.id), LEAD, &bytes)
    }

    pub(super) fn save_duty(&self, lead: SiteId, order: &Order) -> io::Result<()> {
        let mut bytes = lead.as_bytes().to_vec();
        bytes.extend(JobMessage::Order(Box::new(order.clone())).encode());
        save(&self.of(order.spec.id), DUTY, &bytes)
    }

    /// What a target said with a receipt.
    pub(super) fn save_receipt(&self, from: SiteId, report: &Report) -> io::Result<()> {
        let name = format!("{RECEIPT}-{}-{from}", report.source);
        let mut bytes = from.as_bytes().to_vec();
        bytes.extend(JobMessage::Report(Box::new(report.clone())).encode());
        save(&self.of(report.job), &name, &bytes)
    }

    pub(super) fn save_over(&self, id: JobId, over: &KeptOver) -> io::Result<()> {
        save(&self.of(id), OVER, &over.encode())
    }

    /// Nobody has to hear any more that it is over.
    pub(super) fn forget_over(&self, id: JobId) -> io::Result<()> {
        match fs::remove_file(self.of(id).join(OVER)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        match fs::remove_dir(self.of(id)) {
            // There is more in it.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            removed => removed,
        }
    }

    /// The run that was switched to and when, and whether what stood before stands again.
    pub(super) fn switched(&self, id: JobId, leg: (SiteId, &str)) -> Option<Switched> {
        let dir = self.leg(id, leg).ok()?;
        Switched::decode(&tell(load(&dir.join(SWITCHED)), &dir)?)
    }

    pub(super) fn save_switched(
        &self,
        id: JobId,
        leg: (SiteId, &str),
        switched: &Switched,
    ) -> io::Result<()> {
        save(&self.leg(id, leg)?, SWITCHED, &switched.encode())
    }

    /// This site takes part in it no more.
    pub(super) fn forget_duty(&self, id: JobId) -> io::Result<()> {
        match fs::remove_file(self.of(id).join(DUTY)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Nobody takes part in it any more.
    pub(super) fn forget(&self, id: JobId) -> io::Result<()> {
        match fs::remove_dir_all(self.of(id)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }
}

/// What became visible here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Switched {
    /// In which run.
    pub(super) run: u64,
    /// What it was.
    pub(super) root: [u8; 32],
    /// When, in milliseconds since 1970.
    pub(super) at_millis: u64,
    /// Whether what stood before stands again.
    pub(super) is_back: bool,
}

impl Switched {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = self.run.to_be_bytes().to_vec();
        bytes.extend(self.root);
        bytes.extend(self.at_millis.to_be_bytes());
        bytes.push(u8::from(self.is_back));
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (run, rest) = bytes.split_first_chunk::<8>()?;
        let (root, rest) = rest.split_first_chunk::<32>()?;
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let is_back = match rest {
            [0] => false,
            [1] => true,
            _ => return None,
        };
        let (run, at_millis) = (u64::from_be_bytes(*run), u64::from_be_bytes(*at));
        Some(Self { run, root: *root, at_millis, is_back })
    }
}

fn job_id(name: &str) -> Option<JobId> {
    let bytes = data_encoding::HEXLOWER.decode(name.as_bytes()).ok()?;
    Some(JobId(bytes.try_into().ok()?))
}

fn order(bytes: &[u8]) -> Option<Order> {
    match JobMessage::decode(bytes)? {
        JobMessage::Order(order) => Some(*order),
        _ => None,
    }
}

/// What targets said, as far as it can be read.
fn receipts(dir: &Path) -> io::Result<Vec<(SiteId, Report)>> {
    let mut receipts = Vec::new();
    for entry in fs::read_dir(dir)? {
        let name = entry?.file_name();
        let is_one =
            name.to_str().is_some_and(|name| name.starts_with(RECEIPT) && !name.ends_with(".new"));
        if !is_one {
            continue;
        }
        let read = tell(load(&dir.join(&name)), dir).and_then(|bytes| {
            let (site, rest) = bytes.split_first_chunk::<32>()?;
            match JobMessage::decode(rest)? {
                JobMessage::Report(report) => Some((SiteId(*site), *report)),
                _ => None,
            }
        });
        receipts.extend(read);
    }
    Ok(receipts)
}

/// A file without what guards it; `None` where there is none.
fn load(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(LEN_MAX).read_to_end(&mut bytes)?;
    let (hash, rest) = bytes.split_first_chunk::<32>().ok_or(io::ErrorKind::UnexpectedEof)?;
    if blake3::hash(rest).as_bytes() != hash {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is damaged"));
    }
    Ok(Some(rest.to_vec()))
}

/// Replaces a file, durably.
fn save(dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let (path, new) = (dir.join(name), dir.join(format!("{name}.new")));
    let mut file = File::create(&new)?;
    file.write_all(blake3::hash(bytes).as_bytes())?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, &path)?;
    File::open(dir)?.sync_all()
}

fn tell(loaded: io::Result<Option<Vec<u8>>>, place: &Path) -> Option<Vec<u8>> {
    loaded.unwrap_or_else(|error| {
        let place = place.display();
        tracing::error!(%place, %error, "what is kept of a job cannot be read; it waits for its leader");
        None
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_what_is_damaged_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let keep = Keep::new(dir.path().join("jobs"));
        assert!(keep.all().expect("none yet").is_empty());
        let (id, source) = (JobId([5; 16]), SiteId([6; 32]));
        let switched = Switched { run: 3, root: [4; 32], at_millis: 77, is_back: true };
        keep.save_switched(id, (source, "a"), &switched).expect("saved");
        assert_eq!(keep.switched(id, (source, "a")), Some(switched));
        assert_eq!(keep.switched(id, (source, "b")), None, "of another place");
        let path = keep.leg(id, (source, "a")).expect("made").join(SWITCHED);
        let mut bytes = fs::read(&path).expect("there");
        bytes[40] ^= 1;
        fs::write(&path, bytes).expect("written");
        assert_eq!(keep.switched(id, (source, "a")), None);
        keep.forget(id).expect("removed");
        keep.forget(id).expect("gone already");
    }
}
