//! Access control lists as a file system may give them.

use farhaul_files::attrs::acl::{Ids, Principal, Read, decode, encode};
use farhaul_sync::version::{Acl, Who};
use std::convert::Infallible;

/// Everybody has the number that their name is.
struct Digits;

impl Ids for Digits {
    fn id(&self, who: &Who) -> Option<u32> {
        match who {
            Who::User(name) | Who::Group(name) => core::str::from_utf8(name).ok()?.parse().ok(),
            _ => None,
        }
    }
}

fn read(bytes: &[u8]) -> Option<Acl> {
    let mut digits = |who| match who {
        Principal::User(id) | Principal::Group(id) => {
            Ok::<_, Infallible>(id.to_string().into_bytes().into())
        }
    };
    let Ok(list) = decode(bytes, &mut digits);
    match list {
        Read::List(list) => Some(list),
        Read::Mode | Read::Unsaid => None,
    }
}

/// A list that can be read is the same once it was set.
pub(crate) fn acl(bytes: &[u8]) {
    let Some(list) = read(bytes) else { return };
    assert!(list.entries().len() * 8 + 4 == bytes.len());
    assert_eq!(read(&encode(&list, &Digits)).as_ref(), Some(&list));
}

/// Lists, good and bad.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let user = |name: &[u8]| Who::User(name.into());
    let base = [(Who::Owner, 6), (Who::OwningGroup, 4), (Who::Other, 0)];
    let with = |more: &[(Who, u8)]| {
        let list = Acl::new([&base[..], more].concat()).expect("a list");
        encode(&list, &Digits)
    };
    let group = (Who::Group((*b"50").into()), 5);
    let whole = with(&[(user(b"1000"), 6), (user(b"4294967295"), 1), group, (Who::Mask, 7)]);
    let mut other = whole.clone();
    other[4] = 0x40;
    let cut = whole[..whole.len() - 3].to_vec();
    let twice = [&whole[..], &whole[4..]].concat();
    let (plain, masked) = (with(&[]), with(&[(Who::Mask, 4)]));
    let named = ["whole", "plain", "masked", "other-tag", "cut", "twice"];
    named.into_iter().zip([whole, plain, masked, other, cut, twice]).collect()
}
