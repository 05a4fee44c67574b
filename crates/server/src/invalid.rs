//! What is wrong with a body or a query.

/// What is wrong, and where.
#[derive(Debug, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong, with the field's name.
    pub detail: String,
    /// The field as a JSON pointer into the body, where it is one.
    pub pointer: Option<&'static str>,
}

impl Invalid {
    /// What is wrong, where it is no field of a body.
    pub(crate) fn new(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), pointer: None }
    }
}
