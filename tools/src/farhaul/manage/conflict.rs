//! `farhaul conflict`: which conflicts there are, and which side stays.

use super::client::{Client, of_folder};
use super::folder::{all, paged};
use super::{lines, say};
use crate::farhaul::Ended;
use farhaul_api::{Conflict, ConflictPage, Keep, Resolve, TreePath};

pub(super) async fn list(client: Client, folder: &str, json: bool) -> Ended {
    let told = |conflict: &Conflict| {
        let shown = conflict.shown.as_ref().map_or("nothing".to_owned(), lines::version);
        format!(
            "{}\n  shown: {shown}\n  copy:  {}\n         {}",
            conflict.path,
            lines::version(&conflict.version),
            conflict.copy
        )
    };
    let address = of_folder(folder, "/conflicts");
    let mut cursor: Option<TreePath> = None;
    loop {
        let page: ConflictPage = client.get(&paged(&address, cursor.as_ref())).await?;
        all(&page.items, json, told)?;
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(()),
        }
    }
}

pub(super) async fn resolve(
    client: Client,
    folder: &str,
    copy: TreePath,
    keep: Keep,
    json: bool,
) -> Ended {
    let order = Resolve { copy, keep };
    say(&client.post(&of_folder(folder, "/conflicts/resolve"), Some(&order)).await?, json)
}
