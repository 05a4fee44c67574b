//! The first write of all: what `init` makes.

use countersign_store::{Account, AuditActor, Environment, Installation, ManagementToken, Membership, User, Zone};
use countersign_token::digest::BearerKind;
use countersign_token::feed::{Grant, TokenOwner};
use countersign_token::id::{InstallationId, ManagementTokenId, ZoneId};
use countersign_token::permission::Permission;
use countersign_token::secret::Secret;
use serde_json::json;

use super::account::Founding;
use super::api_token::Mint;
use super::commit::gives;
use super::field::{parse_email, parse_name};
use super::{Error, Ops};
use crate::caller::Origin;

/// The name of the first account.
const ACCOUNT_NAME: &str = "Default";

/// What a new installation is made of.
#[derive(Clone, Debug)]
pub struct NewInstallation {
    /// The first user, who owns the installation.
    pub email: String,
    /// The name of the first zone.
    pub zone_name: String,
}

/// A new installation, with the secrets that are shown this once.
#[derive(Debug)]
pub struct Initialised {
    /// The first account.
    pub account: Account,
    /// Its first zone.
    pub zone: Zone,
    /// Its first environment.
    pub environment: Environment,
    /// The first user.
    pub user: User,
    /// The user's global API key.
    pub api_key: Secret,
    /// A management token of the user's, with every permission on the account.
    pub api_token: Secret,
    /// An account-scoped API token.
    pub account_token: Secret,
}

impl Ops {
    /// Makes the installation; [`Error::Store`] if there is one, and then nothing has changed.
    pub async fn initialise(&self, new: &NewInstallation) -> Result<Initialised, Error> {
        let email = parse_email(&new.email)?;
        let zone_name = parse_name("zone", &new.zone_name)?;
        let now = self.clock.now();
        let entropy = &self.entropy;
        let installation = Installation {
            id: InstallationId::generate(entropy),
            created_at: now,
            max_staleness: Installation::MAX_STALENESS,
        };

        let founding = self.draw_account(ACCOUNT_NAME.to_owned(), now);
        let Founding { account, environment, .. } = founding.clone();
        let zone = Zone { id: ZoneId::generate(entropy), account: account.id, name: zone_name, created_at: now };
        let (user, api_key) = self.draw_user(email, account.pfid.as_pfid().partition(), now);
        let user = User { installation_owner: true, ..user };
        let api_token = Secret::management_token(entropy);
        let management_token = ManagementToken {
            id: ManagementTokenId::generate(entropy),
            owner: TokenOwner::User(user.id),
            name: "initial".to_owned(),
            digest: self.digest_key().bearer(BearerKind::ManagementToken, api_token.expose()),
            grants: vec![Grant { account: account.id, permission: Permission::Everything }],
            created_at: now,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        let mint = self.mint(installation.id);

        let operator = AuditActor { kind: "operator", id: String::new() };
        let subject = ("installation", installation.id.to_string());
        let mut event = self.event(&operator, "installation.create", subject, None, &Origin::default());
        event.detail = json!({ "account": account.name, "zone": zone.name, "email": user.email }).to_string();
        let rows = Rows {
            installation,
            founding,
            zone: zone.clone(),
            user: user.clone(),
            management_token,
            mint: mint.clone(),
        };
        let (token, _) = self
            .commit(gives, move |tx| {
                let (rows, event) = (rows.clone(), event.clone());
                Box::pin(async move {
                    tx.insert_installation(&rows.installation).await?;
                    let token = rows.founding.insert(tx, &rows.mint, Some(rows.user.pfid)).await?;
                    tx.insert_zone(&rows.zone).await?;
                    tx.insert_user(&rows.user).await?;
                    let (user, account) = (rows.user.id, rows.zone.account);
                    tx.insert_membership(&Membership { user, account, created_at: now }).await?;
                    tx.insert_management_token(&rows.management_token).await?;
                    tx.record(event);
                    Ok(token)
                })
            })
            .await?;
        let account_token = mint.secret(account.pfid, &token)?;
        Ok(Initialised { account, zone, environment, user, api_key, api_token, account_token })
    }
}

#[derive(Clone)]
struct Rows {
    installation: Installation,
    founding: Founding,
    zone: Zone,
    user: User,
    management_token: ManagementToken,
    mint: Mint,
}
