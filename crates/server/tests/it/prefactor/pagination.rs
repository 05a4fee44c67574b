//! Pages of lists: cases 36 to 41 of the contract, and its table of vectors.

use serde_json::{Value, json};

use crate::world::prefactor::{Actor, join_all};
use crate::world::{World, on_both};

/// Makes tokens until there are `count`.
async fn tokens(world: &World, count: u64) {
    let caller = world.prefactor();
    let missing = count - caller.count("/api_token").await;
    join_all((0..missing).map(|_| caller.create(json!({"token_scope": "account"})))).await;
    assert_eq!(caller.count("/api_token").await, count);
}

/// Makes agents until there are `count`.
async fn agents(world: &World, count: u64) {
    let caller = world.prefactor();
    let missing = count - caller.count("/agent").await;
    join_all((0..missing).map(|_| caller.make("/agent", json!({"name": "x"})))).await;
    assert_eq!(caller.count("/agent").await, count);
}

async fn page(caller: &Actor<'_>, offset: u64, size: u64) -> Value {
    caller.get(&format!("/api_token?pagination[offset]={offset}&pagination[page_size]={size}")).await.ok()
}

fn ids(body: &Value) -> Vec<String> {
    body["summaries"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

/// The contract's table, in the order of its lines.
fn vectors() -> Vec<(u64, u64, u64, [Option<u64>; 7])> {
    let mut lines = include_str!("../../data/prefactor-pagination-vectors.csv").lines();
    let head = "item_count,req_offset,req_page_size,item_start,item_end,next_page_offset,page_count,page_index,\
                page_offset,page_size,previous_page_offset,summaries_len";
    assert_eq!(lines.next(), Some(head));
    let mut vectors: Vec<_> = lines
        .map(|line| {
            let cells: Vec<Option<u64>> = line.split(',').map(|cell| cell.parse().ok()).collect();
            let [count, offset, size, start, end, next, pages, index, page_offset, page_size, previous, rows] =
                cells.try_into().unwrap();
            assert_eq!((offset, size), (page_offset, page_size));
            let shown = [start, end, next, pages, index, previous, rows];
            (count.unwrap(), offset.unwrap(), size.unwrap(), shown)
        })
        .collect();
    assert_eq!(vectors.len(), 18);
    // What is made is not taken away again.
    vectors.sort_by_key(|(count, ..)| *count);
    vectors
}

#[test]
fn case_36_every_row_of_the_table() {
    on_both(async |world| {
        for (count, offset, size, [start, end, next, pages, index, previous, rows]) in vectors() {
            agents(world, count).await;
            let mut collections = vec!["/agent"];
            // Whoever asks has a token.
            if count > 0 {
                tokens(world, count).await;
                collections.push("/api_token");
            }
            for collection in collections {
                let query = format!("{collection}?pagination[offset]={offset}&pagination[page_size]={size}");
                let body = world.prefactor().get(&query).await.ok();
                let expected = json!({
                    "item_count": count, "page_size": size, "page_offset": offset,
                    "item_start": start, "item_end": end, "next_page_offset": next,
                    "page_count": pages, "page_index": index, "previous_page_offset": previous,
                });
                assert_eq!(body["pagination"], expected, "{query}");
                assert_eq!(Some(body["summaries"].as_array().unwrap().len() as u64), rows, "{query}");
            }
        }
    });
}

#[test]
fn case_36_pages_together_are_the_list() {
    on_both(async |world| {
        tokens(world, 25).await;
        let caller = world.prefactor();
        let whole = caller.ids("/api_token").await;
        assert_eq!(whole.len(), 25);
        assert!(whole.is_sorted(), "by id unless asked otherwise");
        let mut together = Vec::new();
        for offset in [0, 10, 20] {
            together.extend(ids(&page(&caller, offset, 10).await));
        }
        assert_eq!(together, whole);
        // Either parameter alone.
        assert_eq!(caller.ids("/api_token?pagination[offset]=5").await, whole[5..]);
        assert_eq!(caller.ids("/api_token?pagination[page_size]=5").await, whole[..5]);
    });
}

/// What has been read is remembered: a place means the same rows for everybody, whoever has read what, and whatever came
/// or went.
#[test]
fn a_place_in_the_list_moves_with_its_rows() {
    on_both(async |world| {
        tokens(world, 30).await;
        let caller = world.prefactor();
        let mut expected = caller.ids("/api_token").await;
        // The caller's own token is the oldest.
        for gone in [28, 1, 13, 14, 20, 9] {
            for offset in (0..30).step_by(4) {
                let rows: Vec<_> = expected.iter().skip(offset).take(4).cloned().collect();
                assert_eq!(ids(&page(&caller, offset as u64, 4).await), rows, "from {offset}");
            }
            let path = format!("/api_token/{}", expected.remove(gone));
            caller.act(&format!("{path}/revoke")).await.ok();
            caller.delete(&path).await.ok();
            for offset in [11, 3, 25, 12, 0, 18, 11, 40] {
                let rows: Vec<_> = expected.iter().skip(offset).take(7).cloned().collect();
                let body = page(&caller, offset as u64, 7).await;
                assert_eq!(ids(&body), rows, "from {offset} after {gone} went");
                assert_eq!(body["pagination"]["item_count"], expected.len());
            }
        }
        // Ids are drawn before they are written, on any node, by any clock: this one belongs before all that were read.
        world.set_clock("2025-01-01T00:00:00Z");
        expected.insert(0, caller.create(json!({"token_scope": "account"})).await.id);
        for offset in [20, 4, 11, 0] {
            let rows: Vec<_> = expected.iter().skip(offset).take(7).cloned().collect();
            assert_eq!(ids(&page(&caller, offset as u64, 7).await), rows, "from {offset}");
        }
        // Another order has places of its own.
        expected.reverse();
        assert_eq!(caller.ids("/api_token?sorting=-id&pagination[offset]=12").await, expected[12..]);
    });
}

#[test]
fn case_37_past_the_end() {
    on_both(async |world| {
        tokens(world, 25).await;
        let body = page(&world.prefactor(), 40, 10).await;
        let pagination = json!({
            "item_count": 25, "page_size": 10, "page_offset": 40, "item_start": 0, "item_end": 0,
            "page_count": 3, "page_index": 5, "next_page_offset": null, "previous_page_offset": 30,
        });
        assert_eq!((&body["summaries"], &body["pagination"]), (&json!([]), &pagination));
        for offset in [1_u64 << 31, 1 << 53, i64::MAX.unsigned_abs()] {
            let answer = world
                .prefactor()
                .get(&format!("/api_token?pagination[offset]={offset}&pagination[page_size]=10"))
                .await;
            if answer.status == 200 {
                assert_eq!(answer.ids().len(), 0);
            } else {
                answer.invalid("pagination.offset", "invalid_value");
            }
        }
    });
}

#[test]
fn case_38_out_of_range() {
    on_both(async |world| {
        let huge = "9".repeat(400);
        let odd = ["x", "1.5", "1x", "", "%20", "%201", "1%20", "%2B1", "0x10", "1e1", "٣", "%00", "1,2", "true", "-1"];
        let encoded = |value: &str| {
            value
                .bytes()
                .map(|byte| if byte.is_ascii() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
                .collect::<String>()
        };
        for parameter in ["page_size", "offset"] {
            for value in odd.into_iter().chain([huge.as_str()]) {
                let path = format!("/api_token?pagination[{parameter}]={}", encoded(value));
                let answer = world.prefactor().get(&path).await;
                answer.invalid(&format!("pagination.{parameter}"), "invalid_value");
            }
        }
        for size in ["0", "101", "1000", "4294967297"] {
            let answer = world.prefactor().get(&format!("/api_token?pagination[page_size]={size}")).await;
            answer.invalid("pagination.page_size", "invalid_value");
            for collection in ["/agent", "/environment", "/account", "/admin_user"] {
                let answer = world.prefactor().get(&format!("{collection}?pagination[page_size]={size}")).await;
                answer.invalid("pagination.page_size", "invalid_value");
            }
        }
        let both = world.prefactor().get("/api_token?pagination[page_size]=0&pagination[offset]=-1").await;
        both.invalid_parameter("pagination");
    });
}

#[test]
fn case_39_the_largest_page() {
    on_both(async |world| {
        for size in [1, 2, 99, 100] {
            let body = page(&world.prefactor(), 0, size).await;
            assert_eq!(body["pagination"]["page_size"], size);
        }
    });
}

#[test]
fn case_40_brackets_may_be_encoded() {
    on_both(async |world| {
        tokens(world, 3).await;
        let caller = world.prefactor();
        let raw = caller.get("/api_token?pagination[offset]=1&pagination[page_size]=1").await.ok();
        assert_eq!(raw["pagination"]["page_offset"], 1);
        for query in [
            "pagination%5Boffset%5D=1&pagination%5Bpage_size%5D=1",
            "pagination%5boffset%5d=1&pagination%5bpage_size%5d=1",
            "pagination[page_size]=1&pagination[offset]=1",
            "p%61gination%5Boffset]=%31&pagination[page%5Fsize%5D=1",
        ] {
            assert_eq!(caller.get(&format!("/api_token?{query}")).await.ok(), raw, "{query}");
        }
    });
}

#[test]
fn case_41_from_page_to_page() {
    on_both(async |world| {
        tokens(world, 25).await;
        let caller = world.prefactor();
        for sorting in ["id", "-id", "-created_at", "status", "last_used_at"] {
            let mut offset = Some(0);
            let mut together = Vec::new();
            let mut pages = 0;
            while let Some(from) = offset {
                let query = format!("/api_token?sorting={sorting}&pagination[offset]={from}&pagination[page_size]=7");
                let body = caller.get(&query).await.ok();
                together.extend(ids(&body));
                offset = body["pagination"]["next_page_offset"].as_u64();
                pages += 1;
            }
            assert_eq!(pages, 4);
            let whole = caller.ids(&format!("/api_token?sorting={sorting}")).await;
            assert_eq!(together, whole, "no gap, no repeat");
            together.sort_unstable();
            together.dedup();
            assert_eq!(together.len(), 25);
        }
    });
}
