//! Zones: the second kind of place that holds service tokens, each part of an account.

use std::collections::HashMap;

use countersign_store::{Account, Page, Zone, ZoneFilter};
use countersign_token::id::{AccountId, ZoneId};
use serde_json::json;

use super::account::part;
use super::commit::gives;
use super::field::parse_name;
use super::{Error, Ops, require_account, require_administrator};
use crate::caller::{Caller, Origin};

impl Ops {
    /// Makes a zone; [`Error::NotFound`] if the account does not exist.
    pub async fn create_zone(&self, by: &Caller, account: &AccountId, name: &str) -> Result<Zone, Error> {
        let actor = require_administrator(by)?;
        let name = parse_name("name", name)?;
        require_account(&self.store, account).await?;
        let now = self.clock.now();
        let zone = Zone { id: ZoneId::generate(&self.entropy), account: *account, name, created_at: now };
        let subject = ("zone", zone.id.to_string());
        let mut event = self.event(&actor, "zone.create", subject, Some(*account), &Origin::default());
        event.detail = json!({ "name": zone.name }).to_string();
        let row = zone.clone();
        self.commit(gives, move |tx| {
            let (row, event) = (row.clone(), event.clone());
            Box::pin(async move {
                tx.insert_zone(&row).await?;
                tx.record(event);
                Ok(())
            })
        })
        .await?;
        Ok(zone)
    }

    /// One zone with its account; [`Error::Forbidden`] if there is none of that id or the caller has no right on its
    /// account, so that ids can't be guessed.
    pub async fn find_zone(&self, by: &Caller, id: &ZoneId) -> Result<(Zone, Account), Error> {
        let zone = self.store.find_zone(id).await?.ok_or(Error::Forbidden)?;
        let account = self.find_account(by, &zone.account).await?;
        Ok((zone, account))
    }

    /// The zones of the accounts on which the caller has a right, each with its account, and how many there are in all.
    /// `account` and `name` narrow the list.
    pub async fn list_zones(
        &self,
        by: &Caller,
        account: Option<&AccountId>,
        name: Option<&str>,
        page: Page,
    ) -> Result<(Vec<(Zone, Account)>, u64), Error> {
        let filter = |account: Option<AccountId>| ZoneFilter { account, name: name.map(str::to_owned), member: None };
        let (zones, total) = match by.visible_accounts() {
            None => {
                let filter = filter(account.copied());
                (self.store.list_zones(&filter, page).await?, self.store.count_zones(&filter).await?)
            }
            Some(visible) => {
                let mut zones = Vec::new();
                for id in visible.iter().filter(|id| account.is_none_or(|account| account == *id)) {
                    zones.extend(self.store.list_zones(&filter(Some(*id)), Page::ALL).await?);
                }
                zones.sort_by_key(|zone| (zone.created_at, zone.id));
                part(zones, page)
            }
        };
        let mut ids: Vec<AccountId> = zones.iter().map(|zone| zone.account).collect();
        ids.sort_unstable();
        ids.dedup();
        let accounts: HashMap<AccountId, Account> =
            self.find_accounts(&ids).await?.into_iter().map(|account| (account.id, account)).collect();
        let zones = zones.into_iter().filter_map(|zone| Some((accounts.get(&zone.account)?.clone(), zone)));
        Ok((zones.map(|(account, zone)| (zone, account)).collect(), total))
    }
}
