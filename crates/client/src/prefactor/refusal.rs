//! How this dialect refuses.

use std::fmt;

/// An error answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The dialect's word for it, such as `invalid_action`.
    pub code: String,
    /// What the server says.
    pub message: String,
    /// What is wrong with which parameter; empty unless the parameters are the problem.
    pub fields: Vec<FieldProblem>,
    /// The `x-request-id` of the answer, to look for in the server's log.
    pub request_id: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {})", self.message, self.code)?;
        for (position, problem) in self.fields.iter().enumerate() {
            f.write_str(if position == 0 { ": " } else { "; " })?;
            write!(f, "{problem}")?;
        }
        write!(f, " [HTTP {}]", self.status)
    }
}

/// What is wrong with one parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldProblem {
    /// The parameter's name, after the names of the objects that it is in: `details.expires_at`.
    pub path: String,
    /// The dialect's word for it, such as `required_value`.
    pub code: String,
    /// What the server says.
    pub message: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {} at {})", self.message, self.code, self.path)
    }
}
