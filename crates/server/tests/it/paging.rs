//! Walking thousands of tokens, as each of the clients' paginators does (contract section 2.1).

use serde_json::json;

use crate::world::{HOUR, Issued, START, World, on_both};

const MANY: usize = 2500;

/// A page's ids.
async fn page(world: &World, tokens: &str, query: &str) -> Vec<String> {
    let list = world.reader().get(&format!("{tokens}?{query}")).await.ok();
    list.as_array().unwrap().iter().map(|token| token["id"].as_str().unwrap().to_owned()).collect()
}

/// The newest TypeScript, Python and Go: the first page without a number, then the next number until a page is empty.
/// Returns what was found, and how many requests that took.
async fn walk(world: &World, tokens: &str, per_page: Option<usize>) -> (Vec<String>, usize) {
    let mut found = Vec::new();
    for number in 1.. {
        let mut query = per_page.map(|per_page| format!("per_page={per_page}&")).unwrap_or_default();
        if number > 1 {
            query.push_str(&format!("page={number}"));
        }
        let ids = page(world, tokens, &query).await;
        if ids.is_empty() {
            return (found, number);
        }
        assert!(number <= MANY + 1, "this walk does not end");
        found.extend(ids);
    }
    unreachable!("pages are numbered without end");
}

fn ids(issued: &[Issued]) -> Vec<String> {
    issued.iter().map(|token| token.id.clone()).collect()
}

async fn issue(world: &World, tokens: &str, count: usize) -> Vec<Issued> {
    let mut issued = Vec::new();
    while issued.len() < count {
        let some = (count - issued.len()).min(500);
        issued.extend(world.issue_many(tokens, (0..some).map(|number| json!({"name": format!("t{number}")}))).await);
    }
    issued
}

#[test]
fn case_19_a_walk_finds_all_and_ends() {
    on_both(async |world| {
        let tokens = world.tokens();
        let expected = ids(&issue(world, &tokens, MANY).await);
        // Others' tokens are not in the way.
        issue(world, &world.zone_tokens(), 10).await;

        // By default a thousand a page: three pages, and the empty one.
        assert_eq!(walk(world, &tokens, None).await, (expected.clone(), 4));
        assert_eq!(walk(world, &tokens, None).await, (expected.clone(), 4));
        for per_page in [1000, 999, 500, 137, 5000] {
            let real = per_page.min(1000);
            assert_eq!(walk(world, &tokens, Some(per_page)).await, (expected.clone(), MANY.div_ceil(real) + 1));
        }

        // Clients that read one page only, and send nothing about pages.
        assert_eq!(page(world, &tokens, "").await, expected[..1000]);
        // Clients that go by the numbers in the answer.
        let info = world.reader().get(&tokens).await.json["result_info"].clone();
        assert_eq!(info, json!({"page": 1, "per_page": 1000, "count": 1000, "total_count": MANY, "total_pages": 3}));
        let last = world.reader().get(&format!("{tokens}?page=3")).await.json["result_info"].clone();
        assert_eq!(last, json!({"page": 3, "per_page": 1000, "count": 500, "total_count": MANY, "total_pages": 3}));

        // Straight to any page, also to those whose neighbours nobody has read, back and forth.
        for per_page in [7, 100, 1000] {
            let pages = MANY.div_ceil(per_page);
            for number in [pages, 1, pages / 2 + 1, 2, pages, pages + 1, pages + 100, 3, pages - 1, 1] {
                let expected: Vec<String> =
                    expected.iter().skip((number - 1) * per_page).take(per_page).cloned().collect();
                assert_eq!(
                    page(world, &tokens, &format!("per_page={per_page}&page={number}")).await,
                    expected,
                    "{number} of {per_page}"
                );
            }
        }

        // A filter counts its own pages.
        let named: Vec<String> = page(world, &tokens, "name=t7").await;
        assert_eq!(
            named,
            [&expected[7], &expected[507], &expected[1007], &expected[1507], &expected[2007]].map(String::clone)
        );
        assert_eq!(page(world, &tokens, "name=t7&per_page=2&page=3").await, named[4..]);
        let found = world.reader().get(&format!("{tokens}?search=T49&per_page=20&page=2")).await;
        assert_eq!(
            found.json["result_info"],
            json!({"page": 2, "per_page": 20, "count": 20, "total_count": 55, "total_pages": 3})
        );
    });
}

#[test]
fn case_20_a_thousand_come_at_once() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let expected = ids(&issue(world, &tokens, 1000).await);
            let answer = world.reader().get(&tokens).await;
            assert_eq!(
                answer.json["result_info"],
                json!({"page": 1, "per_page": 1000, "count": 1000, "total_count": 1000, "total_pages": 1})
            );
            assert_eq!(page(world, &tokens, "").await, expected);
            assert!(page(world, &tokens, "page=2").await.is_empty());
        }
    });
}

/// Tokens that come while somebody walks come at the end, and change nothing of what was read.
#[test]
fn creations_between_pages() {
    on_both(async |world| {
        let tokens = world.tokens();
        let mut expected = ids(&issue(world, &tokens, 45).await);
        for per_page in [10, 15, 45] {
            let mut found = Vec::new();
            for number in 1.. {
                let ids = page(world, &tokens, &format!("per_page={per_page}&page={number}")).await;
                if ids.is_empty() {
                    break;
                }
                found.extend(ids);
                if number < 4 {
                    expected.push(world.issue_many(&tokens, [json!({"name": "late"})]).await.remove(0).id);
                }
            }
            assert_eq!(found, expected[..found.len()], "{per_page}");
            assert!(found.len() >= 45);
            assert_eq!(walk(world, &tokens, Some(per_page)).await.0, expected);
        }
    });
}

/// Where pages ended is forgotten when a row goes: a page means the same rows for everybody, whoever has read what.
#[test]
fn deletions_between_pages() {
    on_both(async |world| {
        for tokens in world.scopes() {
            let mut expected = ids(&issue(world, &tokens, 120).await);
            // Every page's end is known.
            assert_eq!(walk(world, &tokens, Some(10)).await.0, expected);
            for gone in [0, 5, 18, 50, 51, 52, 99, 110] {
                world.writer().delete(&format!("{tokens}/{}", expected.remove(gone))).await.ok();
                // A jump gives what counting the rows gives, in whatever order.
                for number in [7, 2, 12, 1, 11, 3, 20] {
                    let counted: Vec<String> = expected.iter().skip((number - 1) * 10).take(10).cloned().collect();
                    let query = format!("per_page=10&page={number}");
                    assert_eq!(page(world, &tokens, &query).await, counted, "page {number} after {gone} went");
                    // And again, now that the page's end may be known.
                    assert_eq!(page(world, &tokens, &query).await, counted);
                }
                assert_eq!(walk(world, &tokens, Some(10)).await.0, expected);
                let info = world.reader().get(&tokens).await.json["result_info"]["total_count"].clone();
                assert_eq!(info, expected.len());
            }
            // Down to nothing.
            for id in expected {
                world.writer().delete(&format!("{tokens}/{id}")).await.ok();
            }
            assert_eq!(walk(world, &tokens, Some(10)).await, (Vec::new(), 1));
        }
    });
}

/// Ids are drawn before they are written, on any node, by any clock: a token may come late, and belong where somebody has
/// read already.
#[test]
fn a_token_that_comes_late_is_in_its_place() {
    on_both(async |world| {
        for tokens in world.scopes() {
            world.set_clock(START);
            let mut expected = ids(&issue(world, &tokens, 11).await);
            world.advance(2 * HOUR);
            expected.extend(ids(&issue(world, &tokens, 19).await));
            for late in 0..3 {
                assert_eq!(walk(world, &tokens, Some(5)).await.0, expected);
                world.set_clock(START);
                world.advance(HOUR);
                expected.insert(11, world.issue(&tokens, json!({"name": "late"})).await.id);
                expected[11..=11 + late].sort();
                // It shifts what comes after, and changes to it shift nothing.
                for number in [4, 6, 3, 7, 2, 1, 5] {
                    let rows: Vec<String> = expected.iter().skip((number - 1) * 5).take(5).cloned().collect();
                    assert_eq!(page(world, &tokens, &format!("per_page=5&page={number}")).await, rows, "{number}");
                }
                world.writer().act(&format!("{tokens}/{}/refresh", expected[11])).await.ok();
            }
        }
    });
}

/// A walker whose tokens are deleted under them misses at most what has moved, and sees nothing twice.
#[test]
fn a_walk_that_deletes_sees_nothing_twice() {
    on_both(async |world| {
        let tokens = world.tokens();
        let expected = ids(&issue(world, &tokens, 60).await);
        // As a clean-up does it: read the first page, delete all of it, until there is none.
        let mut seen = Vec::new();
        loop {
            let ids = page(world, &tokens, "per_page=7").await;
            if ids.is_empty() {
                break;
            }
            for id in &ids {
                world.writer().delete(&format!("{tokens}/{id}")).await.ok();
            }
            seen.extend(ids);
        }
        assert_eq!(seen, expected);
    });
}

/// Tokens of the same millisecond have one order too, and it stays.
#[test]
fn tokens_of_one_moment_are_in_one_order() {
    on_both(async |world| {
        let tokens = world.tokens();
        for _ in 0..30 {
            world.issue(&tokens, json!({"name": "x"})).await;
        }
        let all = page(world, &tokens, "").await;
        assert_eq!(all.len(), 30);
        let mut sorted = all.clone();
        sorted.sort();
        assert_eq!(all, sorted, "by creation, then by id");
        for _ in 0..2 {
            assert_eq!(walk(world, &tokens, Some(4)).await.0, all);
        }
        // A walk stays in order while more come in that moment: nothing twice.
        let mut seen = std::collections::HashSet::new();
        for number in 1..=20 {
            for id in page(world, &tokens, &format!("per_page=4&page={number}")).await {
                assert!(seen.insert(id), "page {number} repeats a token");
            }
        }
    });
}

/// What a page said before the server was started again, it says afterwards.
#[test]
fn pages_survive_a_restart() {
    on_both(async |world| {
        let tokens = world.tokens();
        let expected = ids(&issue(world, &tokens, 35).await);
        assert_eq!(walk(world, &tokens, Some(10)).await.0, expected);
        world.restart().await;
        let fourth = page(world, &tokens, "per_page=10&page=4").await;
        assert_eq!(fourth, expected[30..]);
        assert_eq!(walk(world, &tokens, Some(10)).await.0, expected);
    });
}

/// Another process deletes: its deletion is known here when it returns, and the pages move.
#[test]
fn what_another_process_deletes_moves_the_pages() {
    on_both(async |world| {
        let tokens = world.tokens();
        let mut expected = ids(&issue(world, &tokens, 30).await);
        assert_eq!(walk(world, &tokens, Some(10)).await.0, expected);
        let outside = world.open_outside().await;
        let gone = expected.remove(3);
        outside.delete(world, &gone).await;
        assert_eq!(page(world, &tokens, "per_page=10&page=3").await, expected[20..]);
        assert_eq!(walk(world, &tokens, Some(10)).await.0, expected);
        outside.close().await;
    });
}
