//! A server that is started again knows what the one before it knew.

use serde_json::{Value, json};

use crate::world::{HOUR, World, on_both};

async fn answers(world: &World) -> Vec<Value> {
    let mut answers = Vec::new();
    for collection in
        ["/api_token", "/account", "/environment", "/agent", "/agent_deployment", "/admin_user", "/admin_user_invite"]
    {
        for row in world.prefactor().get(collection).await.summaries() {
            let path = format!("{collection}/{}", row["id"].as_str().unwrap());
            answers.push(world.prefactor().get(&path).await.ok());
        }
        answers.push(world.prefactor().get(&format!("{collection}?sorting=-updated_at")).await.ok());
    }
    answers
}

#[test]
fn a_restart_changes_no_answer_and_no_admission() {
    on_both(async |world| {
        let caller = world.prefactor();
        let agent = world.agent().await;
        let gone = world.new_environment().await;
        let account = world.token().await;
        let scoped = world.environment_token(&world.environment).await;
        let deployed = world.deployment_token(&agent, &world.environment).await;
        let short = caller.create(json!({"token_scope": "account", "expires_at": world.after(HOUR)})).await;
        let (suspended, revoked, deleted) = (world.token().await, world.token().await, world.token().await);
        let orphan = world.environment_token(&gone).await;
        caller.do_to(&suspended, "suspend").await.ok();
        caller.do_to(&revoked, "revoke").await.ok();
        caller.do_to(&deleted, "revoke").await.ok();
        caller.do_to(&deleted, "delete").await.ok();
        caller.delete(&format!("/environment/{gone}")).await.ok();
        caller.make("/admin_user_invite", json!({"email": "a@example.com"})).await;
        for token in [&account, &scoped, &deployed, &short] {
            world.assert_good(token).await;
        }
        let before = answers(world).await;
        for _ in 0..2 {
            world.restart().await;
            assert_eq!(answers(world).await, before);
            for token in [&account, &scoped, &deployed, &short] {
                world.assert_good(token).await;
            }
            world.assert_bad(&suspended, "disabled").await;
            world.assert_bad(&revoked, "revoked").await;
            world.assert_bad(&deleted, "invalid").await;
            world.assert_bad(&orphan, "invalid").await;
        }
        world.advance(HOUR);
        world.restart().await;
        world.assert_bad(&short, "expired").await;
        // And it can go on.
        let caller = world.prefactor();
        caller.do_to(&suspended, "activate").await.ok();
        world.assert_good(&suspended).await;
        let again = world.deployment_token(&agent, &world.environment).await;
        assert_eq!(again.details["agent_deployment_id"], deployed.details["agent_deployment_id"]);
        world.assert_good(&again).await;
    });
}
