//! Service tokens that another system has issued.

use countersign_server::caller::{Caller, Origin, Permit, Write};
use countersign_server::ops::{Error, Import, ImportedSecret, ImportedServiceToken, Ops};
use countersign_token::duration::TokenDuration;
use countersign_token::id::ClientId;
use countersign_token::secret::Secret;
use countersign_token::service_token::Name;
use countersign_token::time::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::world::{DAY, HOUR, World, on_both};

fn id(number: u8) -> ClientId {
    ClientId::from_bytes([number; 16])
}

/// A secret in the form of another system's, and different for each token.
fn secret(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn token(number: u8) -> ImportedServiceToken {
    ImportedServiceToken {
        name: Name::parse(&format!("imported {number}")).unwrap(),
        client_id: id(number),
        secret: ImportedSecret::Plain(Secret::from(secret(number))),
        duration: TokenDuration::default_year(),
        expires_at: None,
        enabled: true,
    }
}

/// The operator's permits on account A and on its zone.
async fn permits(world: &World) -> [Permit<Write>; 2] {
    let (zone, account) = world.ops().find_zone(&Caller::Operator, &world.zone).await.unwrap();
    [Permit::of_operator(&account), Permit::of_operator_at(&account, Some(&zone))]
}

async fn import(ops: &Ops, permit: &Permit<Write>, tokens: Vec<ImportedServiceToken>) -> Result<Import, Error> {
    ops.import_service_tokens(permit, tokens, false, &Origin::default()).await
}

#[test]
fn imported_pairs_are_admitted_at_once() {
    on_both(async |world| {
        for (place, (permit, tokens)) in permits(world).await.iter().zip(world.scopes()).enumerate() {
            let number = |of: u8| of + 10 * u8::try_from(place).unwrap();
            let exported = ImportedServiceToken {
                secret: ImportedSecret::Sha256(Sha256::digest(secret(number(2))).into()),
                ..token(number(2))
            };
            let expired = ImportedServiceToken { expires_at: Some(world.now()), ..token(number(3)) };
            let disabled = ImportedServiceToken { enabled: false, ..token(number(4)) };
            let forever =
                ImportedServiceToken { duration: TokenDuration::parse("forever").unwrap(), ..token(number(5)) };
            let before = world.audit_end().await;
            let all = vec![token(number(1)), exported, expired, disabled, forever];
            assert_eq!(import(world.ops(), permit, all).await.unwrap(), Import::Done);

            let admits = async |of: u8| world.admits(&id(number(of)).to_string(), &secret(number(of))).await;
            assert_eq!(admits(1).await, Ok(()));
            assert_eq!(admits(2).await, Ok(()));
            assert_eq!(admits(3).await, Err("expired".to_owned()));
            assert_eq!(admits(4).await, Err("disabled".to_owned()));
            assert_eq!(admits(5).await, Ok(()));
            let wrong = world.admits(&id(number(1)).to_string(), &secret(number(2))).await;
            assert_eq!(wrong, Err("invalid".to_owned()));

            // An event for each of them, which says what it was, and no secret.
            let events = world.audit(before).await;
            assert_eq!(events.len(), 5);
            for event in &events {
                assert_eq!((event.action.as_str(), event.actor_kind.as_str()), ("service_token.import", "operator"));
                let shown = world.writer().get(&format!("{tokens}/{}", event.subject_id)).await.ok();
                let detail: serde_json::Value = serde_json::from_str(&event.detail).unwrap();
                for field in ["name", "client_id", "duration", "expires_at", "enabled"] {
                    assert_eq!(detail[field], shown[field], "{field}");
                }
                assert!(!event.detail.contains(&secret(number(1))) && !event.detail.contains(&secret(number(2))));
            }
            let list = world.writer().get(&tokens).await;
            assert_eq!(list.json["result_info"]["total_count"], 5);
        }
        world.restart().await;
        for number in [1, 2, 5, 11, 12, 15] {
            assert_eq!(world.admits(&id(number).to_string(), &secret(number)).await, Ok(()));
        }
    });
}

/// From here on they are tokens like all others.
#[test]
fn an_imported_token_lives_on() {
    on_both(async |world| {
        let [permit, _] = permits(world).await;
        let ends = Timestamp::parse_rfc3339(&world.after(DAY)).unwrap();
        let one = ImportedServiceToken { expires_at: Some(ends), ..token(1) };
        import(world.ops(), &permit, vec![one]).await.unwrap();
        let shown = world.writer().get(&world.tokens()).await.ok()[0].clone();
        assert_eq!((&shown["duration"], &shown["expires_at"]), (&"8760h".into(), &world.after(DAY).into()));
        assert_eq!(
            (&shown["client_secret_version"], &shown["created_at"]),
            (&1.into(), &world.now().to_string().into())
        );
        let path = format!("{}/{}", world.tokens(), shown["id"].as_str().unwrap());
        let rotated = world.writer().act(&format!("{path}/rotate")).await.ok();
        assert_eq!(world.admits(&id(1).to_string(), &secret(1)).await, Err("invalid".to_owned()));
        let new = rotated["client_secret"].as_str().unwrap();
        assert_eq!(world.admits(&id(1).to_string(), new).await, Ok(()));
        world.advance(DAY);
        assert_eq!(world.admits(&id(1).to_string(), new).await, Err("expired".to_owned()));
        world.writer().act(&format!("{path}/refresh")).await.ok();
        assert_eq!(world.admits(&id(1).to_string(), new).await, Ok(()));
    });
}

#[test]
fn a_trial_does_nothing() {
    on_both(async |world| {
        let [permit, _] = permits(world).await;
        let store = world.ops().store();
        let before = (store.revision().await.unwrap(), world.audit_end().await);
        let trial = async |numbers: &[u8]| {
            let tokens = numbers.iter().map(|number| token(*number)).collect();
            world.ops().import_service_tokens(&permit, tokens, true, &Origin::default()).await.unwrap()
        };
        assert_eq!(trial(&[1, 2]).await, Import::Done);
        assert_eq!((store.revision().await.unwrap(), world.audit_end().await), before);
        assert_eq!(world.admits(&id(1).to_string(), &secret(1)).await, Err("invalid".to_owned()));
        import(world.ops(), &permit, vec![token(1)]).await.unwrap();
        assert_eq!(trial(&[1, 2]).await, Import::Taken(vec![id(1)]));
    });
}

/// A client id is taken wherever its token lives, and for a week after it was deleted.
#[test]
fn all_or_nothing() {
    on_both(async |world| {
        let [account, zone] = permits(world).await;
        import(world.ops(), &zone, vec![token(1)]).await.unwrap();
        let issued = world.issue_default().await;
        let gone = world.issue_default().await;
        world.writer().delete(&gone.path).await.ok();
        let before = world.audit_end().await;
        for taken in [id(1), issued.client_id.parse().unwrap(), gone.client_id.parse().unwrap()] {
            let tokens = vec![token(2), ImportedServiceToken { client_id: taken, ..token(3) }, token(4)];
            assert_eq!(import(world.ops(), &account, tokens).await.unwrap(), Import::Taken(vec![taken]));
        }
        let twice = import(world.ops(), &account, vec![token(2), token(2)]).await;
        assert!(matches!(twice, Err(Error::Invalid { field: "client_id", .. })), "{twice:?}");
        assert_eq!(world.audit_end().await, before);
        assert_eq!(world.admits(&id(2).to_string(), &secret(2)).await, Err("invalid".to_owned()));
        assert_eq!(world.admits(&id(1).to_string(), &secret(1)).await, Ok(()));
        world.assert_admitted(&issued).await;

        world.advance(8 * DAY);
        world.ops().store().sweep_tombstones(world.now()).await.unwrap();
        let again = ImportedServiceToken { client_id: gone.client_id.parse().unwrap(), ..token(3) };
        assert_eq!(import(world.ops(), &account, vec![token(2), again]).await.unwrap(), Import::Done);
        assert_eq!(world.admits(&gone.client_id, &secret(3)).await, Ok(()));
    });
}

/// A command in another process: the running server admits them when it ends.
#[test]
fn a_running_server_knows_them_when_the_command_ends() {
    on_both(async |world| {
        let [permit, _] = permits(world).await;
        let outside = world.open_outside().await;
        assert_eq!(import(&outside.ops, &permit, (1..=200).map(token).collect()).await.unwrap(), Import::Done);
        outside.close().await;
        for number in [1, 100, 200] {
            assert_eq!(world.admits(&id(number).to_string(), &secret(number)).await, Ok(()));
        }
        world.advance(HOUR);
        let list = world.writer().get(&world.tokens()).await;
        assert_eq!(list.json["result_info"]["total_count"], 200);
    });
}

#[test]
fn there_is_a_most() {
    on_both(async |world| {
        let [permit, _] = permits(world).await;
        let many = (0..=Ops::IMPORT_MAX).map(|number| {
            let mut bytes = [0; 16];
            bytes[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            ImportedServiceToken { client_id: ClientId::from_bytes(bytes), ..token(0) }
        });
        let refused = import(world.ops(), &permit, many.collect()).await;
        assert!(matches!(refused, Err(Error::Invalid { field: "tokens", .. })), "{refused:?}");
    });
}
