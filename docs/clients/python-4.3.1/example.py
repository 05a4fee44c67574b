"""Makes a service token, rotates it without an outage, and ends it; asks the gate after each step.

This version of the SDK knows neither `enabled`, nor versions, nor grace periods: they go into `extra_body`. It leaves the
API token out when CLOUDFLARE_EMAIL is set, so unset that.

    pip install -r requirements.txt
    CLOUDFLARE_BASE_URL=http://127.0.0.1:8787/client/v4 CLOUDFLARE_API_TOKEN=csat_… CLOUDFLARE_ACCOUNT_ID=… python example.py
"""

import datetime
import os
import urllib.error
import urllib.request

import cloudflare

# Reads CLOUDFLARE_BASE_URL and CLOUDFLARE_API_TOKEN. A program that must not repeat a create sets max_retries=0.
client = cloudflare.Cloudflare(max_retries=0)
account_id = os.environ["CLOUDFLARE_ACCOUNT_ID"]
gate = os.environ.get("COUNTERSIGN_GATE", "http://127.0.0.1:8788")


def ask(what: str, client_id: str, client_secret: str) -> None:
    """What a proxy would be told about this pair."""
    headers = {"CF-Access-Client-Id": client_id, "CF-Access-Client-Secret": client_secret}
    request = urllib.request.Request(f"{gate}/verify?account_id={account_id}", headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            print(f"{what}: {answer.status}")
    except urllib.error.HTTPError as refusal:
        print(f"{what}: {refusal.code} {refusal.headers['Countersign-Reason']}")


tokens = client.zero_trust.access.service_tokens

first = tokens.create(account_id=account_id, name="example", duration="24h")
ask("created", first.client_id, first.client_secret)

now = datetime.datetime.now(datetime.timezone.utc)
an_hour = (now + datetime.timedelta(hours=1)).isoformat()
second = tokens.rotate(
    first.id, account_id=account_id, extra_body={"previous_client_secret_expires_at": an_hour}
)
ask("rotated, old secret", first.client_id, first.client_secret)
ask("rotated, new secret", first.client_id, second.client_secret)

# A time that has passed ends the grace period now.
tokens.update(
    first.id, account_id=account_id, extra_body={"previous_client_secret_expires_at": now.isoformat()}
)
ask("grace ended, old secret", first.client_id, first.client_secret)

for token in tokens.list(account_id=account_id, name="example"):
    print(f"listed: {token.id}, last seen {token.last_seen_at}")

tokens.delete(first.id, account_id=account_id)
ask("deleted, new secret", first.client_id, second.client_secret)
