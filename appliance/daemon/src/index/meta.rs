//! What is known of the index itself.

use super::codec::{Table, Writer, open};
use super::{Counters, IndexError, Seq};
use farhaul_proto::ids::SiteId;
use farhaul_sync::seal::FolderKey;
use farhaul_sync::version::Incarnation;
use rusqlite::{Connection, OptionalExtension, params};

/// A row of `meta`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field {
    Folder,
    Site,
    /// In which form contents are named (S-115); absent: in the first one.
    Form,
    Incarnation,
    LastSeq,
    /// The first number that was not reserved yet.
    NextSerial,
    /// The highest arrival number of a tombstone that was dropped.
    Floor,
    /// Numbers of own tombstones that were dropped, as ranges; absent: none was.
    Dropped,
    /// 0, or that somebody has it open, or had and did not close it: the number of the start of the
    /// machine, 1 where there was none.
    Unclean,
    /// A power cut came, and what it left was not looked at yet; absent: none did.
    Cut,
    /// How far its files were read again; absent before that was begun.
    Scrub,
    /// The last path of which what is kept was read again; absent: the first is next.
    KeptScrub,
    /// Up to when what is kept was looked through, in seconds since 1970; absent: never.
    Thinned,
    /// What is counted of changes, and what waits; absent: nothing ever was.
    Brake,
    /// Who might do what when that was last looked at; absent: everybody everything.
    Rights,
    /// The patterns by which paths were left out then; absent: nobody knows.
    Rules,
}

impl Field {
    const fn name(self) -> &'static str {
        match self {
            Self::Folder => "folder",
            Self::Site => "site",
            Self::Form => "form",
            Self::Incarnation => "incarnation",
            Self::LastSeq => "last seq",
            Self::NextSerial => "next serial",
            Self::Floor => "floor",
            Self::Dropped => "dropped",
            Self::Unclean => "unclean",
            Self::Cut => "cut",
            Self::Scrub => "scrub",
            Self::KeptScrub => "kept scrub",
            Self::Thinned => "thinned",
            Self::Brake => "brake",
            Self::Rights => "rights",
            Self::Rules => "rules",
        }
    }
}

pub(super) fn write_bytes(db: &Connection, field: Field, bytes: &[u8]) -> Result<(), IndexError> {
    let mut writer = Writer::new();
    writer.raw(bytes);
    let value = writer.seal(Table::Meta, field.name().as_bytes());
    let mut statement = db.prepare_cached("REPLACE INTO meta(name, value) VALUES(?, ?)")?;
    statement.execute(params![field.name(), value])?;
    Ok(())
}

pub(super) fn write_number(db: &Connection, field: Field, number: u64) -> Result<(), IndexError> {
    write_bytes(db, field, &number.to_be_bytes())
}

/// Makes a field absent.
pub(super) fn remove(db: &Connection, field: Field) -> Result<(), IndexError> {
    db.prepare_cached("DELETE FROM meta WHERE name = ?")?.execute([field.name()])?;
    Ok(())
}

/// What a field holds; `None` where it was never written.
pub(super) fn read_bytes(db: &Connection, field: Field) -> Result<Option<Vec<u8>>, IndexError> {
    let mut statement = db.prepare_cached("SELECT value FROM meta WHERE name = ?")?;
    let value: Option<Vec<u8>> =
        statement.query_row([field.name()], |row| row.get(0)).optional()?;
    let Some(value) = value else { return Ok(None) };
    let payload = open(Table::Meta, field.name().as_bytes(), &value).map(<[u8]>::to_vec);
    payload.map(Some).ok_or_else(|| damaged(field))
}

fn damaged(field: Field) -> IndexError {
    IndexError::damaged(format!("its {}", field.name()))
}

fn read_array<const N: usize>(db: &Connection, field: Field) -> Result<[u8; N], IndexError> {
    let payload = read_bytes(db, field)?;
    let array = payload.and_then(|payload| payload.try_into().ok());
    array.ok_or_else(|| damaged(field))
}

pub(super) fn read_number(db: &Connection, field: Field) -> Result<u64, IndexError> {
    read_array(db, field).map(u64::from_be_bytes)
}

/// Reads all of it, and that it fits the rest.
pub(super) fn check(
    db: &Connection,
    folder: FolderKey,
    site: SiteId,
) -> Result<Counters, IndexError> {
    if read_array(db, Field::Folder)? != folder.0 || read_array(db, Field::Site)? != site.0 {
        return Err(IndexError::OtherFolder);
    }
    let counters = Counters {
        incarnation: Incarnation::new(read_number(db, Field::Incarnation)?),
        last_seq: Seq(read_number(db, Field::LastSeq)?),
        next_serial: read_number(db, Field::NextSerial)?,
    };
    let newest: Option<i64> =
        db.query_row("SELECT max(seq) FROM versions", [], |row| row.get(0))?;
    let newest = newest.map_or(Ok(0), u64::try_from).unwrap_or(u64::MAX);
    if newest > counters.last_seq.0 || counters.next_serial == 0 {
        return Err(IndexError::damaged("it holds versions newer than itself"));
    }
    Ok(counters)
}
