//! API tokens as sections 3, 4 and 6 of the contract tell them, with no care for speed.

use countersign_token::time::Timestamp;
use serde_json::{Value, json};

use crate::world::prefactor::{Answer, Token};

const DAY_MICROS: i64 = 86_400_000_000;

/// An account with its tokens.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) tokens: Vec<TokenModel>,
    pub(super) environments: Vec<String>,
    pub(super) agents: Vec<String>,
    /// Agent, environment, and the deployment's id.
    pub(super) deployments: Vec<(String, String, String)>,
    kept: Vec<Kept>,
}

/// What a key was used for.
#[derive(Debug)]
struct Kept {
    key: usize,
    call: String,
    answer: String,
    at: Timestamp,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scope {
    Account,
    Environment(String),
    Deployment { agent: String, environment: String },
}

impl Scope {
    pub(super) fn environment(&self) -> Option<&String> {
        match self {
            Self::Account => None,
            Self::Environment(environment) | Self::Deployment { environment, .. } => Some(environment),
        }
    }

    pub(super) fn details(&self) -> Value {
        match self {
            Self::Account => json!({"token_scope": "account"}),
            Self::Environment(environment) => json!({"token_scope": "environment", "environment_id": environment}),
            Self::Deployment { agent, environment } => {
                json!({"token_scope": "agent_deployment", "agent_id": agent, "environment_id": environment})
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct TokenModel {
    pub(super) token: Token,
    pub(super) scope: Scope,
    status: &'static str,
    pub(super) deleted: bool,
    /// Whether what it belonged to has gone.
    ended: bool,
    updated_at: Timestamp,
    pub(super) last_used_at: Option<Timestamp>,
}

impl Model {
    pub(super) fn new(environment: &str) -> Self {
        Self {
            tokens: Vec::new(),
            environments: vec![environment.to_owned()],
            agents: Vec::new(),
            deployments: Vec::new(),
            kept: Vec::new(),
        }
    }

    /// The call that used this key within the last day, and its answer.
    pub(super) fn kept(&self, key: Option<usize>, now: Timestamp) -> Option<(String, String)> {
        let kept = self.kept.iter().rev().find(|kept| Some(kept.key) == key)?;
        (now.as_micros() - kept.at.as_micros() < DAY_MICROS).then(|| (kept.call.clone(), kept.answer.clone()))
    }

    pub(super) fn keep(&mut self, key: Option<usize>, call: String, answer: &Answer, at: Timestamp) {
        assert_eq!(answer.status, 200, "{answer}");
        assert!(!answer.is_replay(), "{answer}");
        if let Some(key) = key {
            self.kept.push(Kept { key, call, answer: answer.text.clone(), at });
        }
    }

    /// A token of this deployment was made: it is the one there is, or a new one if there was none.
    pub(super) fn deployed(&mut self, agent: &str, environment: &str, id: &str) {
        let known = self.deployments.iter().find(|(one, other, _)| one == agent && other == environment);
        match known {
            Some((_, _, known)) => assert_eq!(known, id, "the same deployment"),
            None => self.deployments.push((agent.to_owned(), environment.to_owned(), id.to_owned())),
        }
    }

    /// What some tokens belonged to has gone.
    pub(super) fn end(&mut self, is_of: impl Fn(&Scope) -> bool) {
        self.tokens.iter_mut().filter(|token| is_of(&token.scope)).for_each(|token| token.ended = true);
        self.deployments.retain(|(agent, environment, _)| {
            !is_of(&Scope::Deployment { agent: agent.clone(), environment: environment.clone() })
        });
    }
}

impl TokenModel {
    pub(super) fn new(token: Token, scope: Scope, now: Timestamp) -> Self {
        Self { token, scope, status: "active", deleted: false, ended: false, updated_at: now, last_used_at: None }
    }

    pub(super) fn act(&mut self, action: &str, now: Timestamp) -> Result<(), (u16, &'static str)> {
        if self.deleted {
            return Err((404, "not_found"));
        }
        match (self.status, action) {
            ("active", "suspend") => self.status = "suspended",
            ("suspended", "activate") => self.status = "active",
            ("active" | "suspended", "revoke") => self.status = "revoked",
            ("revoked", "delete") => {
                self.deleted = true;
                return Ok(());
            }
            _ => return Err((409, "invalid_action")),
        }
        self.updated_at = now;
        Ok(())
    }

    /// Whether it is good, or the gate's word of why not.
    pub(super) fn admitted(&self, now: Timestamp) -> Result<(), &'static str> {
        let expires_at = Timestamp::parse_rfc3339(self.token.details["expires_at"].as_str().unwrap()).unwrap();
        match self.status {
            _ if self.deleted || self.ended => Err("invalid"),
            "revoked" => Err("revoked"),
            "suspended" => Err("disabled"),
            _ if now >= expires_at => Err("expired"),
            _ => Ok(()),
        }
    }

    /// Its row in a list.
    pub(super) fn shown(&self) -> Value {
        let mut row = self.token.details.clone();
        row.as_object_mut().unwrap().remove("available_actions");
        row["status"] = json!(self.status);
        row["updated_at"] = json!(self.updated_at.to_string());
        row["last_used_at"] = json!(self.last_used_at.map(|at| at.to_string()));
        row
    }
}
