//! What whoever asks writes: paths, cursors, moments, ids of events, names of this machine.

use super::guard::{names_this_machine, shown};
use super::items::{Page, Which};
use super::look::{path_if, path_of};
use crate::events::Events;
use crate::{moment, told};
use axum::extract::Query;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use farhaul_api::TreePath;

/// A question that is taken names a path within its folder, and the same one written as answers are;
/// a header lets in who names this machine.
pub(crate) fn query(input: &[u8]) {
    if let Ok(uri) = Uri::try_from(input) {
        if let Ok(Query(which)) = Query::<Which>::try_from_uri(&uri) {
            check_path(&which.path);
        }
        if let Ok(Query(page)) = Query::<Page>::try_from_uri(&uri)
            && let Ok(Some(_)) = path_if(page.cursor.as_ref())
        {
            check_path(&page.cursor.expect("it is a path"));
        }
    }
    if let Ok(text) = core::str::from_utf8(input) {
        if let Ok(path) = text.parse() {
            check_path(&path);
        }
        if let Some(secs) = moment::secs_of(text) {
            assert_eq!(moment::secs_of(&moment::text_of_secs(secs)), Some(secs));
        }
        let _ = Events::default().place_of(text);
    }
    if let Ok(value) = HeaderValue::from_bytes(input) {
        let host = HeaderMap::from_iter([(header::HOST, value.clone())]);
        if names_this_machine(&host) {
            let text = value.to_str().unwrap_or_default().to_ascii_lowercase();
            assert!(["127.", "localhost", ":"].iter().any(|own| text.contains(own)), "{text}");
        }
        let bearer = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        assert!(shown(&bearer).is_none_or(|token| token.trim() == token));
    }
}

fn check_path(text: &TreePath) {
    let Ok(path) = path_of(text) else { return };
    let again = told::text_of(&path);
    assert_eq!(path_of(&again).ok(), Some(path));
    assert!(!again.as_str().chars().any(char::is_control));
}

/// Questions, good and bad.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let seeds: [(&str, &[u8]); 12] = [
        ("path", b"/x?path=a%2Fb%20c"),
        ("escaped", b"/x?path=a%5Cxff%5Cx0a"),
        ("up", b"/x?path=..%2Fetc"),
        ("reserved", b"/x?path=.Farhaul%2Fversions"),
        ("cursor", b"/x?cursor=docs%2Freport.pdf"),
        ("more", b"/x?path=a&path=b&other=c"),
        ("text", "Übersicht/\\x00\\x5c".as_bytes()),
        ("moment", b"2027-01-15T09:00:00+01:00"),
        ("far", b"-009999-01-01T00:00:00Z"),
        ("event", b"0123456789abcdef-7"),
        ("host", b"[::1]:7412"),
        ("bearer", b"bearer  abc "),
    ];
    seeds.map(|(name, input)| (name, input.to_vec())).into()
}
