//! How this dialect refuses.

use std::fmt;

/// An error envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// What the envelope lists, in its order; at least one.
    pub problems: Vec<Problem>,
    /// The `x-request-id` of the answer, to look for in the server's log.
    pub request_id: Option<String>,
}

impl Refusal {
    /// Whether any problem has this code.
    pub fn has_code(&self, code: i64) -> bool {
        self.problems.iter().any(|problem| problem.code == code)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, problem) in self.problems.iter().enumerate() {
            if position > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{problem}")?;
        }
        write!(f, " [HTTP {}]", self.status)
    }
}

/// One entry of an error envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The dialect's number for it.
    pub code: i64,
    /// What the server says.
    pub message: String,
    /// JSON pointer to the field of the request that caused it.
    pub pointer: Option<String>,
    /// Problems behind this one.
    pub chain: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (code {}", self.message, self.code)?;
        if let Some(pointer) = &self.pointer {
            write!(f, " at {pointer}")?;
        }
        f.write_str(")")?;
        for behind in &self.chain {
            write!(f, ": {behind}")?;
        }
        Ok(())
    }
}
