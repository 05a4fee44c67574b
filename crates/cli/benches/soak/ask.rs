//! Those who ask the gate, and judge every answer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::model::{Held, Known, Verdict, due};
use crate::wire::{Answer, Connection, request};
use crate::{Dice, Soak};

/// What a gate says to a credential of a place, judged by what is known of it. `Ok(true)` if it is right for sure.
pub(crate) fn judge(known: &Known, moved: bool, node: usize, held: &Held, answer: &Answer) -> Result<bool, String> {
    let said = verdict(held, answer)?;
    let due = due(held, answer);
    let is_certain = !moved && due.is_some() && !known.may_be_late(node, answer.asked_at);
    // Another node may learn late of what was granted, never of what was taken away.
    let is_wrong = if is_certain {
        Some(said) != due
    } else {
        !moved && said == Verdict::Admit && matches!(due, Some(Verdict::Refuse(_)))
    };
    if is_wrong {
        return Err(format!("node {node} said {said:?} where {due:?} is due: {held:?}"));
    }
    Ok(is_certain)
}

/// What an answer says. Anything but a 200 that names the token and a 401 with a reason is wrong.
fn verdict(held: &Held, answer: &Answer) -> Result<Verdict, String> {
    const REASONS: [&str; 4] = ["invalid", "expired", "disabled", "revoked"];
    let reason = answer.header("countersign-reason");
    match (answer.status, REASONS.iter().find(|known| Some(**known) == reason)) {
        (200, None) if answer.header("countersign-token-id") == Some(&held.id) => Ok(Verdict::Admit),
        (401, Some(reason)) => Ok(Verdict::Refuse(reason)),
        _ => Err(format!("an odd answer to {held:?}: {answer:?}")),
    }
}

/// One client of the gates: some requests on a connection, then another connection.
pub(crate) async fn run(soak: Arc<Soak>, mut dice: Dice) -> Result<(), String> {
    while !soak.is_over() {
        let node = dice.below(soak.nodes.len());
        let mut gate = Connection::open(soak.nodes[node].gate).await?;
        for _ in 0..=dice.below(2_000) {
            if soak.is_over() {
                break;
            }
            ask(&soak, &mut dice, node, &mut gate).await?;
        }
    }
    Ok(())
}

async fn ask(soak: &Soak, dice: &mut Dice, node: usize, gate: &mut Connection) -> Result<(), String> {
    let own = format!("/verify?account_id={}", soak.account);
    let pick = dice.below(soak.places.len());
    let (known, mut held) = soak.places[pick].known();
    // A place is empty while its token is exchanged for another.
    let held = if held.is_empty() { None } else { Some(held.swap_remove(dice.below(held.len()))) };
    let number = dice.below(100);
    let sure = match (number, held) {
        (0..70, Some(held)) => {
            let answer = gate.send(&request("GET", &own, &held.headers, "")).await?;
            judge(&known, soak.places[pick].has_moved(&known), node, &held, &answer)?
        }
        (70..80, _) => match soak.graveyard.pick(dice.below(usize::MAX)) {
            Some(held) => {
                let answer = gate.send(&request("GET", &own, &held.headers, "")).await?;
                expect(&answer, 401, "invalid", &held.headers)?
            }
            None => false,
        },
        (80..85, Some(held)) if held.headers.starts_with("cf-") => {
            // A secret with a digit more, or another one, is as wrong as any.
            let headers = held.headers.trim_end().to_owned() + "0\r\n";
            let answer = gate.send(&request("GET", &own, &headers, "")).await?;
            expect(&answer, 401, "invalid", &headers)?
        }
        (85..88, Some(held)) => {
            // Nobody has this account. State comes before demand, so a refusal has the reason that it always has.
            let elsewhere = "/verify?account_id=00000000000000000000000000000001";
            let answer = gate.send(&request("GET", elsewhere, &held.headers, "")).await?;
            if answer.status != 401 { expect(&answer, 403, "not_permitted", &held.headers)? } else { false }
        }
        (88..93, _) => {
            let headers = format!(
                "cf-access-client-id: {:032x}.access\r\ncf-access-client-secret: {:064x}\r\n",
                dice.next(),
                dice.next()
            );
            let answer = gate.send(&request("GET", &own, &headers, "")).await?;
            expect(&answer, 401, "invalid", &headers)?
        }
        (93..95, _) => expect(&gate.send(&request("GET", &own, "", "")).await?, 401, "missing", "")?,
        (95..97, _) => {
            let headers = "cf-access-client-id: nonsense\r\n";
            expect(&gate.send(&request("GET", &own, headers, "")).await?, 401, "malformed", headers)?
        }
        (97.., _) => expect(&gate.send(&request("GET", "/verify", "", "")).await?, 403, "no_demand", "")?,
        _ => return Ok(()),
    };
    soak.counts.asked.fetch_add(1, Ordering::Relaxed);
    soak.counts.certain.fetch_add(u64::from(sure), Ordering::Relaxed);
    Ok(())
}

fn expect(answer: &Answer, status: u16, reason: &str, headers: &str) -> Result<bool, String> {
    let right = answer.status == status && answer.header("countersign-reason") == Some(reason);
    if right { Ok(true) } else { Err(format!("{status} {reason} was due to {headers:?}: {answer:?}")) }
}
