//! The dialect of API tokens: the cases of section 9 of its contract, each a test named after it, and more.

mod account;
mod action;
mod admin_user;
mod agent;
mod audit;
mod bulk;
mod concurrent;
mod create;
mod environment;
mod error;
mod gate;
mod history;
mod hostile;
mod idempotency;
mod invite;
mod jwt;
mod list;
mod openapi;
mod order;
mod pagination;
mod pfid;
mod ping;
mod random;
mod read;
mod reference;
mod replay;
mod restart;
mod scope;
mod snapshot;
mod sorting;
mod sweep;

/// A PFID that nobody has.
const NOBODY: &str = "013xrzp12g3nqk8n7f8f9jbg8d18q7tm";

/// What no PFID looks like.
const MALFORMED: [&str; 9] = [
    "not-a-pfid",
    "013XRZP12G3NQK8N7F8F9JBG8D18Q7TM",
    "013xrzp12g3nqk8n7f8f9jbg8d18q7t",
    "013xrzp12g3nqk8n7f8f9jbg8d18q7tm0",
    "813xrzp12g3nqk8n7f8f9jbg8d18q7tm",
    "013xrzp12g3nqk8n7f8f9jbg8d18q7tl",
    "013xrzp12g3nqk8n7f8f9jbg8d18q7t-",
    "0",
    "null",
];
