"""Makes an API token that survives a lost answer, stops it and lets it go on, and ends it; asks the gate after each step.

    pip install -r requirements.txt
    PREFACTOR_API_URL=http://127.0.0.1:8787 PREFACTOR_API_TOKEN=eyJ… PREFACTOR_ACCOUNT_ID=… python example.py
"""

import asyncio
import os
import urllib.error
import urllib.request
import uuid

from prefactor_http import HttpClientConfig, PrefactorHttpClient

account_id = os.environ["PREFACTOR_ACCOUNT_ID"]
gate = os.environ.get("COUNTERSIGN_GATE", "http://127.0.0.1:8788")
config = HttpClientConfig(api_url=os.environ["PREFACTOR_API_URL"], api_token=os.environ["PREFACTOR_API_TOKEN"])


def ask(what: str, token: str) -> None:
    """What a proxy would be told about this token."""
    request = urllib.request.Request(f"{gate}/verify?account_id={account_id}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            print(f"{what}: {answer.status}")
    except urllib.error.HTTPError as refusal:
        print(f"{what}: {refusal.code} {refusal.headers['Countersign-Reason']}")


async def main() -> None:
    async with PrefactorHttpClient(config) as client:
        await client.validate_token()

        # The client repeats a request whose answer it did not get. With a key, the same token comes back: there is one.
        create = {"details": {"token_scope": "account"}, "idempotency_key": str(uuid.uuid4())}
        made = await client.request("POST", "/api/v1/api_token", json_data=create)
        again = await client.request("POST", "/api/v1/api_token", json_data=create)
        path = f"/api/v1/api_token/{made['details']['id']}"
        token = made["token"]
        ask("created", token)
        print(f"the same again: {again == made}")

        for action, done in (("suspend", "suspended"), ("activate", "activated")):
            await client.request("POST", f"{path}/{action}", json_data={"idempotency_key": str(uuid.uuid4())})
            ask(done, token)

        newest = {"sorting": "-created_at", "pagination[page_size]": "5"}
        for listed in (await client.request("GET", "/api/v1/api_token", params=newest))["summaries"]:
            print(f"listed: {listed['id']} is {listed['status']}, last used {listed['last_used_at']}")

        # Only a revoked token can be deleted. Revoking is for ever.
        await client.request("POST", f"{path}/revoke", json_data={})
        ask("revoked", token)
        await client.request("DELETE", path, json_data={"idempotency_key": str(uuid.uuid4())})
        ask("deleted", token)


asyncio.run(main())
