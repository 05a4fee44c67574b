//! What a machine credential is, and whether a presented one is valid.
//!
//! This crate performs no I/O but reading the clock and the random source, each in one module ([`time`], [`entropy`]) and
//! only when asked. There is no storage, no network and no asynchronous code in it: the server is made around it, and so is
//! any program that verifies credentials itself.
//!
//! - **What there is**: typed [ids](id), [secrets](secret) and their keyed [digests](digest), the
//!   [service token](service_token) with everything that can happen to it, [API tokens](api_token).
//! - **What is presented**: a [credential] found in a request's headers, and the [demand] of the proxy
//!   that asks.
//! - **Whether it is good**: an [`Index`](index::Index) in memory, made from a [feed] of changes and from nothing
//!   else, and [`verify`](verify::verify) over it.
//!
//! # Verifying inside a program
//!
//! ```
//! use countersign_token::credential::Presented;
//! use countersign_token::demand::Demand;
//! use countersign_token::digest::InstallationKey;
//! use countersign_token::entropy::Entropy;
//! use countersign_token::feed::{Change, Revision, Subject};
//! use countersign_token::id::{AccountId, ClientId, ServiceTokenId};
//! use countersign_token::index::{Detail, Index};
//! use countersign_token::secret::{Secret, SecretFormat};
//! use countersign_token::service_token::Owner;
//! use countersign_token::time::Clock;
//! use countersign_token::verify::{Decision, Reason, verify};
//!
//! let (clock, entropy) = (Clock::System, Entropy::System);
//! let key = InstallationKey::generate(&entropy).digest_key();
//! let index = Index::new(key.clone(), &entropy);
//!
//! // A change comes from the feed. This one says that there is a token.
//! let account = AccountId::generate(&entropy);
//! let client_id = ClientId::generate(&entropy);
//! let secret = Secret::service_token(SecretFormat::Scannable, &entropy);
//! index.apply(&Change {
//!     revision: Revision::new(1),
//!     subject: Subject::ServiceToken {
//!         id: ServiceTokenId::generate(clock.now(), &entropy),
//!         owner: Owner { account, zone: None },
//!         client_id,
//!         name: "deploy".to_owned(),
//!         allow_from: None,
//!         digest: key.pair(&client_id, secret.expose()),
//!         secret_version: 1,
//!         previous: None,
//!         previous_version: None,
//!         enabled: true,
//!         expires_at: None,
//!         last_seen_at: None,
//!         deleted: false,
//!     },
//! });
//!
//! // A request comes with headers.
//! let id = client_id.to_string();
//! let headers = [
//!     ("cf-access-client-id", id.as_bytes()),
//!     ("cf-access-client-secret", secret.expose().as_bytes()),
//! ];
//! let Presented::Credential(credential) = Presented::from_headers(headers, None) else {
//!     panic!("there is a credential");
//! };
//! let demand = Demand::default().with_account(&index, &account);
//! let now = clock.now();
//! let Decision::Allow(verified) = verify(&index, &credential, &demand, now) else {
//!     panic!("the credential is good");
//! };
//! index.mark_seen(&verified, now);
//! assert!(matches!(
//!     index.describe(verified.handle),
//!     Some(Detail::ServiceToken { name, .. }) if name.as_str() == "deploy"
//! ));
//!
//! // Elsewhere it is good for nothing.
//! let elsewhere = Demand::default().with_account(&index, &AccountId::generate(&entropy));
//! let Decision::Refuse(refusal) = verify(&index, &credential, &elsewhere, now) else {
//!     panic!("the credential belongs to another account");
//! };
//! assert_eq!(refusal.reason, Reason::NotPermitted);
//! ```
//!
//! Whether an index still is what the store says is for its owner to know: [`Freshness`](feed::Freshness) keeps the age.

#![deny(missing_docs)]

pub mod allow_from;
pub mod api_token;
pub mod credential;
pub mod demand;
pub mod digest;
pub mod duration;
pub mod entropy;
pub mod feed;
pub mod id;
pub mod index;
pub mod permission;
pub mod secret;
pub mod service_token;
pub mod time;
pub mod verify;
