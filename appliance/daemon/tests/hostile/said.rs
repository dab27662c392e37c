//! Records as a member with a pen of its own writes them: any bytes in any field.
//!
//! Written from `SYNC.md` S-020; shares no encoder with the product, whose own refuses to write most
//! of this.

/// One item of CBOR.
#[derive(Clone, Debug)]
pub(super) enum Item {
    Uint(u64),
    Int(i64),
    Bytes(Vec<u8>),
    List(Vec<Item>),
    Map(Vec<(u64, Item)>),
}

impl Item {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Uint(value) => head(out, 0, *value),
            Self::Int(value) if *value < 0 => head(out, 1, !value.cast_unsigned()),
            Self::Int(value) => head(out, 0, value.cast_unsigned()),
            Self::Bytes(bytes) => {
                head(out, 2, bytes.len() as u64);
                out.extend(bytes);
            }
            Self::List(items) => {
                head(out, 4, items.len() as u64);
                items.iter().for_each(|item| item.put(out));
            }
            Self::Map(entries) => {
                head(out, 5, entries.len() as u64);
                for (key, item) in entries {
                    head(out, 0, *key);
                    item.put(out);
                }
            }
        }
    }
}

fn head(out: &mut Vec<u8>, major: u8, value: u64) {
    let bytes = value.to_be_bytes();
    let (low, tail): (u8, &[u8]) = match value {
        0..24 => (bytes[7], &[]),
        24..0x100 => (24, &bytes[7..]),
        0x100..0x1_0000 => (25, &bytes[6..]),
        0x1_0000..0x1_0000_0000 => (26, &bytes[4..]),
        _ => (27, &bytes),
    };
    out.push(major << 5 | low);
    out.extend(tail);
}

/// Kinds of S-020.
pub(super) const GONE: u64 = 0;
pub(super) const DIR: u64 = 1;
pub(super) const LINK: u64 = 2;
pub(super) const FILE: u64 = 3;

/// An author: site and incarnation.
pub(super) type By = ([u8; 32], u64);

/// What a member says of a path.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) path: Vec<u8>,
    pub(super) by: By,
    pub(super) serial: u64,
    /// Of each author: runs of numbers.
    pub(super) context: Vec<(By, Vec<u64>)>,
    pub(super) millis: u64,
    pub(super) count: u64,
    pub(super) kind: u64,
    pub(super) target: Option<Vec<u8>>,
    pub(super) manifest: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mode: u64,
    pub(super) secs: i64,
    pub(super) nanos: u64,
    pub(super) owner: Option<Vec<u8>>,
}

impl Said {
    /// Of an object without content: a directory or a tombstone.
    pub(super) fn of(path: &[u8], kind: u64) -> Self {
        Self {
            path: path.to_vec(),
            by: ([0; 32], 0),
            serial: 0,
            context: Vec::new(),
            millis: 1_800_000_000_000,
            count: 0,
            kind,
            target: None,
            manifest: None,
            size: None,
            mode: if kind == DIR { 0o755 } else { 0o644 },
            secs: 0,
            nanos: 0,
            owner: None,
        }
    }

    pub(super) fn link(path: &[u8], target: &[u8]) -> Self {
        Self { target: Some(target.to_vec()), ..Self::of(path, LINK) }
    }

    pub(super) fn file(path: &[u8], manifest: [u8; 32], size: u64) -> Self {
        Self { manifest: Some(manifest.to_vec()), size: Some(size), ..Self::of(path, FILE) }
    }

    /// As it travels.
    pub(super) fn encode(&self) -> Vec<u8> {
        let author = |by: &By| Item::List(vec![Item::Bytes(by.0.to_vec()), Item::Uint(by.1)]);
        let seen = self.context.iter().map(|(by, runs)| {
            let runs = runs.iter().map(|number| Item::Uint(*number)).collect();
            Item::List(vec![author(by), Item::List(runs)])
        });
        let optional = |key: u64, bytes: &Option<Vec<u8>>| {
            bytes.clone().map(|bytes| (key, Item::Bytes(bytes)))
        };
        let mut fields = vec![
            (0, Item::Bytes(self.path.clone())),
            (1, author(&self.by)),
            (2, Item::Uint(self.serial)),
            (3, Item::List(seen.collect())),
            (4, Item::Uint(self.millis)),
            (5, Item::Uint(self.count)),
            (6, Item::Uint(self.kind)),
        ];
        fields.extend(optional(7, &self.target));
        fields.extend(optional(8, &self.manifest));
        fields.extend(self.size.map(|size| (9, Item::Uint(size))));
        fields.push((10, Item::Uint(self.mode)));
        fields.push((11, Item::Int(self.secs)));
        fields.push((12, Item::Uint(self.nanos)));
        fields.extend(optional(13, &self.owner));
        let mut bytes = Vec::new();
        Item::Map(fields).put(&mut bytes);
        bytes
    }
}
