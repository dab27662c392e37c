//! How far a folder's files were read again, and what came of it.

use super::IndexError;
use super::codec::{Reader, Writer};
use super::meta::{Field, read_bytes, remove, write_bytes};
use super::read::Reading;
use super::write::Transaction;
use farhaul_proto::path_name::RelPath;
use farhaul_proto::units::Bytes;

/// A round through all files of a folder, as far as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubRound {
    /// When it began, in milliseconds since 1970.
    pub began_millis: u64,
    /// When it ended; 0: it goes on.
    pub ended_millis: u64,
    /// Files that were read.
    pub files: u64,
    /// Their lengths together.
    pub bytes: Bytes,
    /// Files of which the disk gave something else than what was written.
    pub damaged: u64,
    /// The last path that was dealt with; `None`: the first is next.
    pub after: Option<RelPath>,
}

impl ScrubRound {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u64(self.began_millis).u64(self.ended_millis).u64(self.files);
        writer.u64(self.bytes.get()).u64(self.damaged);
        writer.raw(self.after.as_ref().map_or(b"", |path| path.as_bytes()));
        writer.into_payload()
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let (began_millis, ended_millis) = (reader.u64()?, reader.u64()?);
        let (files, bytes, damaged) = (reader.u64()?, Bytes::new(reader.u64()?), reader.u64()?);
        let after = match reader.rest() {
            [] => None,
            path => Some(RelPath::parse(path).ok()?),
        };
        Some(Self { began_millis, ended_millis, files, bytes, damaged, after })
    }
}

impl Reading<'_> {
    /// The last path of which what is kept was read again in this round; `None`: the first is next.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn kept_scrubbed(&self) -> Result<Option<RelPath>, IndexError> {
        let Some(payload) = read_bytes(self.db(), Field::KeptScrub)? else { return Ok(None) };
        let path = RelPath::parse(&payload);
        path.map(Some).map_err(|_| IndexError::damaged("how far what is kept was read again"))
    }
}

impl Transaction<'_> {
    /// Notes how far what is kept was read again.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn set_kept_scrubbed(&mut self, after: Option<&RelPath>) -> Result<(), IndexError> {
        match after {
            Some(path) => write_bytes(self.db(), Field::KeptScrub, path.as_bytes()),
            None => remove(self.db(), Field::KeptScrub),
        }
    }
}

impl Reading<'_> {
    /// The round that is under way, or the last one; `None` before the first.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn scrub_round(&self) -> Result<Option<ScrubRound>, IndexError> {
        let Some(payload) = read_bytes(self.db(), Field::Scrub)? else { return Ok(None) };
        let round = ScrubRound::decode(&payload);
        round.map(Some).ok_or_else(|| IndexError::damaged("how far its files were read again"))
    }
}

impl Transaction<'_> {
    /// Keeps how far a round is.
    ///
    /// # Errors
    /// [`IndexError`].
    pub fn set_scrub_round(&mut self, round: &ScrubRound) -> Result<(), IndexError> {
        write_bytes(self.db(), Field::Scrub, &round.encode())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_read_as_it_was_written_and_nothing_else_is_one() {
        let path = RelPath::parse(b"a/b").expect("a path");
        for after in [None, Some(path)] {
            let bytes = Bytes::mib(70);
            let (began_millis, ended_millis, files, damaged) = (1 << 41, 7, 300, 1);
            let round = ScrubRound { began_millis, ended_millis, files, bytes, damaged, after };
            assert_eq!(ScrubRound::decode(&round.encode()), Some(round.clone()));
            let mut cut = ScrubRound { after: None, ..round }.encode();
            cut.pop();
            assert_eq!(ScrubRound::decode(&cut), None);
        }
        let outside = [ScrubRound::default().encode(), b"../b".to_vec()].concat();
        assert_eq!(ScrubRound::decode(&outside), None);
    }
}
