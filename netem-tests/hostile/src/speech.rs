//! Control messages and manifests, as bytes (W-060 to W-063), and as much reading of them as the
//! attacks need.

/// One item of CBOR.
#[derive(Clone, Debug)]
pub enum Item {
    /// An unsigned integer.
    Uint(u64),
    /// A byte string.
    Bytes(Vec<u8>),
    /// Text.
    Text(&'static str),
    /// A truth value.
    Bool(bool),
    /// A list.
    List(Vec<Self>),
    /// The head of a list of so many items that do not follow.
    Promise(u64),
}

impl Item {
    /// Appends its encoding.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Uint(value) => head(out, 0, *value),
            Self::Bytes(bytes) => {
                head(out, 2, bytes.len() as u64);
                out.extend(bytes);
            }
            Self::Text(text) => {
                head(out, 3, text.len() as u64);
                out.extend(text.bytes());
            }
            Self::Bool(value) => out.push(0xf4 | u8::from(*value)),
            Self::List(items) => {
                head(out, 4, items.len() as u64);
                items.iter().for_each(|item| item.put(out));
            }
            Self::Promise(count) => head(out, 4, *count),
        }
    }

    /// Its encoding.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.put(&mut out);
        out
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

/// A body with its length in front.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let len = u32::try_from(body.len()).expect("attacks are short");
    [&len.to_be_bytes(), body].concat()
}

/// A frame of a message.
pub fn message(fields: Vec<Item>) -> Vec<u8> {
    frame(&Item::List(fields).encode())
}

/// `hello`.
pub fn hello() -> Vec<u8> {
    message(vec![Item::Uint(0), Item::Uint(0), Item::Text("kit")])
}

/// `request` of `path`.
pub fn request(path: &[u8]) -> Vec<u8> {
    let request = vec![Item::Uint(1), Item::Bytes(path.to_vec()), Item::Bool(false)];
    message(vec![Item::Uint(2), Item::List(request)])
}

/// `request` of `path`, with every wish: at least `rate_min` bits per second, at most `rate_max`, held.
pub fn request_wishing(path: &[u8], rate_min: u64, rate_max: u64) -> Vec<u8> {
    let wishes = [rate_max, 3, 0, 1, rate_min].map(Item::Uint).to_vec();
    let path = Item::Bytes(path.to_vec());
    let request = vec![Item::Uint(1), path, Item::Bool(false), Item::List(wishes)];
    message(vec![Item::Uint(2), Item::List(request)])
}

/// `accept` of the first entry, holding nothing.
pub fn accept() -> Vec<u8> {
    let first = Item::List(vec![Item::Uint(0), Item::Uint(1)]);
    let accept = vec![Item::Uint(1), Item::List(vec![first]), Item::List(Vec::new())];
    message(vec![Item::Uint(3), Item::List(accept)])
}

/// `offer` of an inline manifest.
pub fn offer(dest: &[u8], manifest: Vec<u8>, entries: u64, bytes: u64) -> Vec<u8> {
    let inline = Item::List(vec![Item::Uint(0), Item::Bytes(manifest)]);
    offer_of(dest, inline, entries, bytes)
}

/// `offer` of whatever stands for a manifest.
pub fn offer_of(dest: &[u8], manifest: Item, entries: u64, bytes: u64) -> Vec<u8> {
    let (dest, resume) = (Item::Bytes(dest.to_vec()), Item::Bool(false));
    let offer = vec![Item::Uint(1), dest, manifest, Item::Uint(entries), Item::Uint(bytes), resume];
    message(vec![Item::Uint(1), Item::List(offer)])
}

/// A file of a manifest.
pub fn file(path: &[u8], size: u64) -> Item {
    let path = Item::Bytes(path.to_vec());
    let (kind, shared, mode) = (Item::Uint(1), Item::Uint(0), Item::Uint(0o644));
    Item::List(vec![kind, shared, path, mode, Item::Uint(0), Item::Uint(0), Item::Uint(size)])
}

/// A manifest of these entries.
pub fn manifest(entries: Vec<Item>) -> Vec<u8> {
    Item::List(vec![Item::Uint(1), Item::List(entries)]).encode()
}

/// Type and code of a message of the victim: what stands second in `refuse`, `cancel` and the like.
pub fn kind_and_code(body: &[u8]) -> Option<(u8, Option<u8>)> {
    let kind = *body.get(1)?;
    // The transfer's or the object's number, then the code.
    let skip = match body.get(2)? {
        0..24 => 1,
        24 => 2,
        25 => 3,
        26 => 5,
        _ => return Some((kind, None)),
    };
    Some((kind, body.get(2 + skip).copied().filter(|&code| code < 24)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_documented_bytes() {
        assert_eq!(hello(), [0, 0, 0, 7, 0x83, 0, 0, 0x63, b'k', b'i', b't']);
        let cancel = Item::List(vec![Item::Uint(10), Item::Uint(0), Item::Uint(6)]).encode();
        assert_eq!(kind_and_code(&cancel), Some((10, Some(6))));
    }
}
