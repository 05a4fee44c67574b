#!/bin/sh
# Makes a service token, rotates it without an outage, and ends it; asks the gate after each step. Needs curl and jq.
#
#   CLOUDFLARE_API_TOKEN=csat_… CLOUDFLARE_ACCOUNT_ID=… sh example.sh
set -eu

base=${CLOUDFLARE_BASE_URL:-http://127.0.0.1:8787/client/v4}
gate=${COUNTERSIGN_GATE:-http://127.0.0.1:8788}
tokens=$base/accounts/$CLOUDFLARE_ACCOUNT_ID/access/service_tokens

# call METHOD URL [BODY]: the result. The token goes in through standard input, out of sight of `ps`.
call() {
    printf 'header = "Authorization: Bearer %s"\n' "$CLOUDFLARE_API_TOKEN" |
        curl --silent --show-error --fail-with-body --config - --request "$1" "$2" ${3:+--json "$3"}
}

# ask WHAT ID SECRET: what a proxy would be told about this pair.
ask() {
    printf 'header = "CF-Access-Client-Id: %s"\nheader = "CF-Access-Client-Secret: %s"\n' "$2" "$3" |
        curl --silent --show-error --config - --output /dev/null \
            --write-out "$1: %{http_code} %header{countersign-reason}\n" \
            "$gate/verify?account_id=$CLOUDFLARE_ACCOUNT_ID"
}

first=$(call POST "$tokens" '{"name": "example", "duration": "24h"}')
id=$(printf %s "$first" | jq -r .result.id)
client_id=$(printf %s "$first" | jq -r .result.client_id)
old=$(printf %s "$first" | jq -r .result.client_secret)
ask created "$client_id" "$old"

an_hour=$(date -u -d '+1 hour' +%Y-%m-%dT%H:%M:%SZ)
second=$(call POST "$tokens/$id/rotate" "{\"previous_client_secret_expires_at\": \"$an_hour\"}")
new=$(printf %s "$second" | jq -r .result.client_secret)
ask 'rotated, old secret' "$client_id" "$old"
ask 'rotated, new secret' "$client_id" "$new"

# null, or a time that has passed, ends the grace period now.
call PUT "$tokens/$id" '{"previous_client_secret_expires_at": null}' >/dev/null
ask 'grace ended, old secret' "$client_id" "$old"

call GET "$tokens?name=example" | jq -r '.result[] | "listed: \(.id), last seen \(.last_seen_at)"'

call DELETE "$tokens/$id" >/dev/null
ask 'deleted, new secret' "$client_id" "$new"
