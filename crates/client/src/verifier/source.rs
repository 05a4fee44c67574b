//! Asking a server for the feed.

use std::time::Duration;

use reqwest::Method;
use serde::Deserialize;

use super::wire::{self, News, Question};
use super::{Error, Refused};
use crate::connection::{Answer, Connection, NOTHING};
use crate::credential::Credential;

const USUAL_PATH: &str = "/admin/v1";

/// How long an answer may take: the server waits a second for something to tell.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a server may take to hear that a verifier has stopped. If it doesn't, it finds out.
const FAREWELL: Duration = Duration::from_secs(2);

/// A server's feed, as one verifier asks for it.
#[derive(Debug)]
pub(super) struct Source {
    connection: Connection,
    address: String,
    name: String,
}

#[derive(Deserialize)]
struct Problem {
    code: String,
    detail: String,
}

impl Source {
    pub(super) fn new(address: &str, credential: &Credential, name: String) -> Result<Self, Error> {
        let connection = Connection::new(address, USUAL_PATH, credential)?;
        Ok(Self { connection, address: address.to_owned(), name })
    }

    /// What comes after the cursor; everything, from its beginning, without one.
    pub(super) async fn ask(&self, cursor: Option<&str>) -> Result<News, Error> {
        let question = Question { verifier: &self.name, cursor };
        let asking = self.connection.send(Method::POST, "feed", &[], Some(&question), None);
        let answer = match tokio::time::timeout(PATIENCE, asking).await {
            Ok(answer) => answer?,
            Err(_elapsed) => return Err(Error::Unexpected { status: 0, problem: "no answer in time".to_owned() }),
        };
        if !answer.is_success() {
            return Err(refused(&answer));
        }
        wire::parse(&answer.body).map_err(|problem| answer.unexpected(problem))
    }

    /// Tells the server that this verifier admits nobody any more.
    pub(super) async fn leave(&self) {
        let path = format!("feed/{}", self.name);
        let leaving = self.connection.send::<Refused>(Method::DELETE, &path, &[], NOTHING, None);
        match tokio::time::timeout(FAREWELL, leaving).await {
            Ok(Ok(answer)) if answer.is_success() => {}
            Ok(Ok(answer)) => {
                tracing::debug!(status = answer.status, "the server did not take this verifier off its list")
            }
            Ok(Err(error)) => tracing::debug!(%error, "the server was not told that this verifier stops"),
            Err(_elapsed) => {
                tracing::debug!(address = self.address, "the server was not told in time that this verifier stops")
            }
        }
    }
}

fn refused(answer: &Answer) -> Error {
    match serde_json::from_slice::<Problem>(&answer.body) {
        Ok(Problem { code, detail }) => Error::Refused(Refused { status: answer.status, code, detail }),
        Err(_other) => answer.unexpected("no description of the problem"),
    }
}
