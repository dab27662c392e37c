//! Ids of folders: which texts are some, and what a folder is called on the wire by its id.

use super::*;

/// spec: S-058
#[test]
fn the_key_of_a_folder_follows_from_its_id_alone() {
    let key = |id| FolderId::new(id).expect("an id").key();
    assert_eq!(key("photos"), key("photos"));
    assert_ne!(key("photos"), key("photos2"));
    // Frozen: sites of all versions have to derive the same.
    let expected = "1eb4df6f334b6b2df93ecb65d04d638786b06728b13e1d3c55166fa047cce218";
    assert_eq!(data_encoding::HEXLOWER.encode(&key("photos").0), expected);
}

#[test]
fn ids_of_folders_can_be_parts_of_names_of_files() {
    for good in ["a", "0", "a.b_c-d", &"x".repeat(64)] {
        assert_eq!(FolderId::new(good).expect("an id").as_str(), good);
    }
    for bad in ["", ".", "..", ".a", "-a", "_a", "A", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
        assert_eq!(FolderId::new(bad), None, "{bad:?}");
    }
}
