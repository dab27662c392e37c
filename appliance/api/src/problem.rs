//! What went wrong with a request, in the form of RFC 9457.

use serde::{Deserialize, Serialize};

/// Why a request was not done: what failed, why, and what to do next. Its media type is
/// `application/problem+json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Problem {
    /// The status of the answer.
    pub status: u16,
    /// What failed.
    pub title: String,
    /// Why.
    pub detail: String,
    /// What to do about it.
    pub next: String,
}
