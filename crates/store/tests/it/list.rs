//! Lists: filters, and pages that neither skip nor repeat.

use countersign_store::{Page, ServiceTokenFilter};
use countersign_token::service_token::Owner;

use crate::{Open, World, at, event, insert, on_both, write};

on_both! {
    pages_by_key_and_by_number_agree,
    pages_stay_put_while_rows_come_and_go,
    names_are_matched_exactly,
    searches_ignore_case_and_take_signs_literally,
    what_no_token_has_is_found_nowhere,
    places_are_kept_apart,
    counts_follow_every_change,
}

async fn ids(store: &Open, filter: &ServiceTokenFilter) -> Vec<String> {
    let listed = store.list_service_tokens(filter, None, Page::ALL).await.unwrap();
    assert_eq!(listed.total, listed.rows.len() as u64, "{filter:?}");
    assert_eq!(store.count_service_tokens(filter).await.unwrap(), listed.total, "{filter:?}");
    listed.rows.into_iter().map(|token| token.id.to_string()).collect()
}

async fn names(store: &Open, filter: &ServiceTokenFilter) -> Vec<String> {
    let listed = store.list_service_tokens(filter, None, Page::ALL).await.unwrap();
    assert_eq!(listed.total, listed.rows.len() as u64, "{filter:?}");
    assert_eq!(store.count_service_tokens(filter).await.unwrap(), listed.total, "{filter:?}");
    listed.rows.into_iter().map(|token| token.name.as_str().to_owned()).collect()
}

async fn pages_by_key_and_by_number_agree(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let mut expected = Vec::new();
    for second in 0..23 {
        let token = world.token(owner, &format!("t{second}"), second);
        insert(&store, &token).await;
        expected.push(token.id);
    }
    let filter = ServiceTokenFilter::all(owner);
    for size in [1, 5, 23, 50] {
        let (mut by_key, mut by_number, mut after, mut offset) = (Vec::new(), Vec::new(), None, 0);
        loop {
            let page =
                store.list_service_tokens(&filter, after.as_ref(), Page { offset: 0, limit: size }).await.unwrap().rows;
            let numbered = store.list_service_tokens(&filter, None, Page { offset, limit: size }).await.unwrap().rows;
            by_number.extend(numbered.iter().map(|token| token.id));
            offset += u64::from(size);
            let Some(last) = page.last() else { break };
            after = Some(last.id);
            by_key.extend(page.iter().map(|token| token.id));
        }
        assert_eq!(by_key, expected, "by {size}");
        assert_eq!(by_number, expected, "by {size}");
    }
    let both =
        store.list_service_tokens(&filter, Some(&expected[4]), Page { offset: 10, limit: 3 }).await.unwrap().rows;
    assert_eq!(both.iter().map(|token| token.id).collect::<Vec<_>>(), expected[15..18]);
    for page in [Page { offset: u64::MAX, limit: 10 }, Page { offset: 0, limit: 0 }] {
        let listed = store.list_service_tokens(&filter, None, page).await.unwrap();
        assert_eq!((listed.rows.len(), listed.total), (0, 23), "{page:?}");
    }
    for (after, step, count) in
        [(None, 5, 9), (None, 1, 50), (None, 23, 1), (None, 24, 1), (Some(7), 4, 9), (None, 3, 2)]
    {
        let skipped = after.map_or(0, |after| after + 1);
        let marks: Vec<_> = expected.iter().skip(skipped + step - 1).step_by(step).take(count).copied().collect();
        let [step, count] = [step, count].map(|number| u32::try_from(number).unwrap());
        let after = after.map(|after| &expected[after]);
        assert_eq!(store.mark_service_tokens(&owner, after, step, count).await.unwrap(), marks, "{step} {count}");
    }
    assert!(store.mark_service_tokens(&world.owner(), None, 1, 9).await.unwrap().is_empty());
}

async fn pages_stay_put_while_rows_come_and_go(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let mut original = Vec::new();
    for second in 0..20 {
        let token = world.token(owner, "t", second);
        insert(&store, &token).await;
        original.push(token);
    }
    let filter = ServiceTokenFilter::all(owner);
    let (mut seen, mut after) = (Vec::new(), None);
    for round in 0.. {
        let page = store.list_service_tokens(&filter, after.as_ref(), Page { offset: 0, limit: 4 }).await.unwrap().rows;
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        seen.extend(page.iter().map(|token| token.id));
        // One that was read goes away, one comes at the end.
        let gone = page[0].clone();
        write!(store, [gone], |tx| {
            tx.delete_service_token(&gone.owner, &gone.id, at(100)).await?;
            tx.record(event("service_token.delete", &gone.id));
            Ok::<_, countersign_store::Error>(())
        })
        .await
        .unwrap();
        if round < 5 {
            insert(&store, &world.token(owner, "new", 200 + round)).await;
        }
    }
    let expected: Vec<_> = original.iter().map(|token| token.id).collect();
    assert_eq!(seen[..20], expected);
    assert_eq!(seen.len(), 25);
    let mut once = seen.clone();
    once.dedup();
    assert_eq!(once, seen);
}

async fn store_with(world: &World, owner: Owner, names: &[&str]) -> Open {
    let store = world.open().await;
    for (second, name) in (0..).zip(names) {
        insert(&store, &world.token(owner, name, second)).await;
    }
    store
}

async fn names_are_matched_exactly(world: World) {
    let owner = world.owner();
    let store = store_with(&world, owner, &["CI", "ci", "ci ", "cicd", "CI"]).await;
    let check = async |name: &str, expected: &[&str]| {
        let filter = ServiceTokenFilter { name: Some(name.to_owned()), ..ServiceTokenFilter::all(owner) };
        assert_eq!(names(&store, &filter).await, expected, "{name:?}");
    };
    check("CI", &["CI", "CI"]).await;
    check("ci", &["ci"]).await;
    check("c", &[]).await;
    check("c%", &[]).await;
    check("", &[]).await;
}

async fn searches_ignore_case_and_take_signs_literally(world: World) {
    let owner = world.owner();
    let all =
        ["CI/CD token", "100% sure", "100 percent", "under_score", "underscore", "back\\slash", "Größe ÄÖ", "İstanbul"];
    let store = store_with(&world, owner, &all).await;
    let check = async |search: &str, expected: &[&str]| {
        let filter = ServiceTokenFilter { search: Some(search.to_owned()), ..ServiceTokenFilter::all(owner) };
        assert_eq!(names(&store, &filter).await, expected, "{search:?}");
    };
    check("ci/cd", &["CI/CD token"]).await;
    check("TOKEN", &["CI/CD token"]).await;
    check("100%", &["100% sure"]).await;
    check("r_s", &["under_score"]).await;
    check("\\", &["back\\slash"]).await;
    check("grösse", &[]).await;
    check("GRÖßE äö", &["Größe ÄÖ"]).await;
    check("İSTANBUL", &["İstanbul"]).await;
    check("", &all).await;
    check("nothing like it", &[]).await;
    let one = &store
        .list_service_tokens(&ServiceTokenFilter::all(owner), None, Page { offset: 2, limit: 1 })
        .await
        .unwrap()
        .rows[0];
    check(&one.id.to_string().to_uppercase(), &["100 percent"]).await;
    check(&one.client_id.to_string()[4..20], &["100 percent"]).await;
    check(".access", &all).await;
    let both = ServiceTokenFilter {
        name: Some("underscore".to_owned()),
        search: Some("UNDER".to_owned()),
        ..ServiceTokenFilter::all(owner)
    };
    assert_eq!(names(&store, &both).await, ["underscore"]);
    let neither = ServiceTokenFilter { search: Some("over".to_owned()), ..both };
    assert_eq!(names(&store, &neither).await, [""; 0]);
}

async fn what_no_token_has_is_found_nowhere(world: World) {
    let owner = world.owner();
    let store = store_with(&world, owner, &["t"]).await;
    for text in ["t\0", "\0", &"t".repeat(100_000), &"%".repeat(60_000)] {
        let search = ServiceTokenFilter { search: Some(text.to_owned()), ..ServiceTokenFilter::all(owner) };
        assert_eq!(names(&store, &search).await, [""; 0]);
        let name = ServiceTokenFilter { name: Some(text.to_owned()), ..ServiceTokenFilter::all(owner) };
        assert_eq!(names(&store, &name).await, [""; 0]);
    }
}

async fn places_are_kept_apart(world: World) {
    let store = world.open().await;
    let zone = world.zone_owner();
    let account = Owner { zone: None, ..zone };
    let other = world.owner();
    let (in_zone, in_account) = (world.token(zone, "z", 1), world.token(account, "a", 2));
    insert(&store, &in_zone).await;
    insert(&store, &in_account).await;
    assert_eq!(ids(&store, &ServiceTokenFilter::all(zone)).await, [in_zone.id.to_string()]);
    assert_eq!(ids(&store, &ServiceTokenFilter::all(account)).await, [in_account.id.to_string()]);
    assert_eq!(ids(&store, &ServiceTokenFilter::all(other)).await, [""; 0]);
    for (owner, id, is_there) in [
        (zone, in_zone.id, true),
        (account, in_account.id, true),
        (account, in_zone.id, false),
        (zone, in_account.id, false),
        (other, in_account.id, false),
    ] {
        assert_eq!(store.find_service_token(&owner, &id).await.unwrap().is_some(), is_there);
    }
    // A change in the wrong place changes nothing.
    let wrong = countersign_token::service_token::ServiceToken { owner: other, ..in_zone.clone() };
    let outcome = write!(store, [wrong], |tx| {
        tx.record(event("service_token.update", &wrong.id));
        tx.update_service_token(&wrong).await
    })
    .await;
    assert!(matches!(outcome, Err(countersign_store::Error::Rows { .. })));
    let id = in_zone.id;
    let outcome = write!(store, [], |tx| {
        tx.record(event("service_token.delete", &id));
        tx.delete_service_token(&other, &id, at(3)).await
    })
    .await;
    assert!(matches!(outcome, Err(countersign_store::Error::Rows { .. })));
    assert_eq!(ids(&store, &ServiceTokenFilter::all(zone)).await, [id.to_string()]);
}

async fn counts_follow_every_change(world: World) {
    let store = world.open().await;
    let owner = world.owner();
    let token = world.token(owner, "t", 1);
    insert(&store, &token).await;
    let (second, third) = (world.token(owner, "t", 2), world.token(owner, "t", 3));
    let counted = write!(store, [token, second, third], |tx| {
        let before = tx.count_service_tokens(&owner).await?;
        tx.insert_service_token(&second).await?;
        tx.insert_service_token(&third).await?;
        tx.delete_service_token(&owner, &token.id, at(4)).await?;
        tx.record(event("service_token.change", &token.id));
        Ok::<_, countersign_store::Error>((before, tx.count_service_tokens(&owner).await?))
    })
    .await
    .unwrap();
    assert_eq!(counted.value, (1, 2));
    assert_eq!(ids(&store, &ServiceTokenFilter::all(owner)).await.len(), 2);
    assert_eq!(store.list_accounts(&Default::default(), Page::ALL).await.unwrap(), []);
}
