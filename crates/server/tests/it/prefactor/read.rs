//! Looking at a token: cases 49 to 53 of the contract.

use http::Method;
use serde_json::json;

use super::{MALFORMED, NOBODY};
use crate::world::on_both;

#[test]
fn case_49_as_it_was_made() {
    on_both(async |world| {
        let agent = world.agent().await;
        for token in [
            world.token().await,
            world.environment_token(&world.environment).await,
            world.deployment_token(&agent, &world.environment).await,
        ] {
            assert_eq!(world.prefactor().show(&token).await, token.details);
        }
    });
}

#[test]
fn case_50_an_unknown_token() {
    on_both(async |world| {
        world.prefactor().get(&format!("/api_token/{NOBODY}")).await.refused(404, "not_found");
        for action in ["suspend", "activate", "revoke"] {
            let answer = world.prefactor().act(&format!("/api_token/{NOBODY}/{action}")).await;
            answer.refused(404, "not_found");
        }
        world.prefactor().delete(&format!("/api_token/{NOBODY}")).await.refused(404, "not_found");
    });
}

#[test]
fn case_51_a_malformed_id() {
    on_both(async |world| {
        let token = world.token().await;
        let upper = token.id.to_uppercase();
        let ids = ["%00", "%20", "%2F", "..%2F", "%F0%9F%94%91", "'", "%27%20OR%201=1", "*", "-1", &upper];
        for id in MALFORMED.into_iter().chain(ids) {
            for collection in ["/api_token", "/environment", "/agent", "/agent_deployment", "/admin_user"] {
                let answer = world.prefactor().get(&format!("{collection}/{id}")).await;
                answer.refused(404, "not_found");
            }
            for action in ["suspend", "activate", "revoke"] {
                let answer = world.prefactor().act(&format!("/api_token/{id}/{action}")).await;
                answer.refused(404, "not_found");
            }
            world.prefactor().delete(&format!("/api_token/{id}")).await.refused(404, "not_found");
        }
        for id in ["%FF", "%C3", "%ED%A0%80"] {
            world.prefactor().get(&format!("/api_token/{id}")).await.refused(404, "not_found");
        }
        world.assert_good(&token).await;
    });
}

#[test]
fn case_52_a_token_of_another_account() {
    on_both(async |world| {
        let foreign = world.foreign_prefactor().create(json!({"token_scope": "account"})).await;
        for (method, path) in [
            (Method::GET, foreign.path.clone()),
            (Method::POST, format!("{}/suspend", foreign.path)),
            (Method::POST, format!("{}/activate", foreign.path)),
            (Method::POST, format!("{}/revoke", foreign.path)),
            (Method::DELETE, foreign.path.clone()),
        ] {
            let unknown = path.replace(&foreign.id, NOBODY);
            let message = world.prefactor().call(method.clone(), &path, "").await.refused(404, "not_found").to_owned();
            let nobody = world.prefactor().call(method, &unknown, "").await;
            assert_eq!(message.replace(&foreign.id, NOBODY), nobody.refused(404, "not_found"), "the two are alike");
        }
        assert_eq!(world.foreign_prefactor().show(&foreign).await["status"], "active");
        world.nobody().with_token(&foreign.secret).get("/ping").await.ok();
    });
}

#[test]
fn case_53_an_id_of_another_kind() {
    on_both(async |world| {
        let caller = world.prefactor();
        let (agent, token) = (world.agent().await, world.token().await);
        let user = caller.ids("/admin_user").await[0].clone();
        let ids = [
            ("/account", world.account_pfid.clone()),
            ("/environment", world.environment.clone()),
            ("/agent", agent),
            ("/api_token", token.id.clone()),
            ("/admin_user", user),
        ];
        for (collection, id) in &ids {
            caller.get(&format!("{collection}/{id}")).await.ok();
            for (other, _) in ids.iter().filter(|(other, _)| other != collection) {
                caller.get(&format!("{other}/{id}")).await.refused(404, "not_found");
            }
            for other in ["/agent_deployment", "/admin_user_invite"] {
                caller.get(&format!("{other}/{id}")).await.refused(404, "not_found");
            }
        }
        caller.delete(&format!("/api_token/{}", world.environment)).await.refused(404, "not_found");
        caller.delete(&format!("/environment/{}", token.id)).await.refused(404, "not_found");
        world.assert_good(&token).await;
    });
}
