"""What schemathesis can't know of this server: ids of what exists, and the rules beyond schemas that the document itself
declares, by `x-countersign-rule` on a schema and by `x-countersign-unauthenticated` on a response."""

import atexit
import base64
import collections
import copy
import itertools
import json
import os
import re
import urllib.error
import urllib.request

import schemathesis

from installation import LIVE

RULE = "x-countersign-rule"
UNAUTHENTICATED = "x-countersign-unauthenticated"
# By operation, how often it was answered with which status.
answered = collections.defaultdict(collections.Counter)
calls = itertools.count()
# The ids of what was made and not yet deleted, by the path that makes them.
made = collections.defaultdict(list)
# The ids of what may be gone although a create was answered with it just now: that answer was the replay of an old one,
# or it has ended with what it belonged to.
ended = set()
# What each deployment belongs to.
parents = {}


def own_token_id():
    payload = LIVE.account_token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]


OWN_TOKEN = own_token_id()
HEX_ID = re.compile("[0-9a-f]{32}")
PFID = re.compile("[0-7][0-9abcdefghjkmnpqrstvwxyz]{31}")
UUID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
INVITE = re.compile(r"[0-9a-z]{32}\.[0-9a-f]{64}")
KEY = re.compile("[!#-~]([ -~]{0,62}[!#-~])?")
# What every installation has, by the beginning of a path and the name of an id.
EXISTING = {
    ("/client/v4/", "account_id"): LIVE.account_id,
    ("/client/v4/", "zone_id"): LIVE.zone_id,
    ("/admin/v1/", "account_id"): LIVE.account_id,
    ("/admin/v1/", "zone_id"): LIVE.zone_id,
    ("/api/v1/", "account_id"): LIVE.account_pfid,
    ("/api/v1/", "admin_user_id"): LIVE.user_pfid,
}


def is_well_formed(value):
    """Whether a value has the form of an id. Those that begin with zeros stay as they are: they are of nothing."""
    if not isinstance(value, str) or value.startswith("00000000"):
        return False
    return any(form.fullmatch(value) for form in (HEX_ID, PFID, UUID, INVITE))


def pool(path, name):
    """The ids that are good for this name in this path."""
    if name == "id":
        # What our own API shows was made in the Cloudflare dialect.
        made_by = path.replace("/admin/v1/", "/client/v4/").replace("}/service_tokens", "}/access/service_tokens")
        return made[made_by.partition("/{id}")[0]]
    return made["/invite" if name == "token" else "/api/v1/" + name.removesuffix("_id")]


def existing(path, name, ends=False):
    """An id of something that exists; None where nothing does. What `ends` its life gets the oldest."""
    for (prefix, known), value in EXISTING.items():
        if path.startswith(prefix) and name == known:
            return value
    ids = pool(path, name)
    return ids[0 if ends else -1] if ids else None


def put_existing(path, members):
    """Puts ids of what exists in the place of well-formed ones."""
    for name in ("account_id", "environment_id", "agent_id"):
        if is_well_formed(members.get(name)):
            members[name] = existing(path, name) or members[name]


def post(path, body):
    """The object that a call makes or changes; None where it fails."""
    request = urllib.request.Request(LIVE.management + path, json.dumps(body).encode(), {
        "Authorization": f"Bearer {LIVE.account_token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["details"]
    except urllib.error.HTTPError:
        return None


def new_deployment():
    """The id of a deployment that nothing has ended with its agent or its environment."""
    agent, environment = (post(f"/api/v1/{kind}", {"details": {"name": "deployed"}}) for kind in ("agent", "environment"))
    return post("/api/v1/agent_deployment", {"details": {"agent_id": agent["id"], "environment_id": environment["id"]}})["id"]


def leave(verifier):
    """Takes a verifier off the list of nodes that asked once and will not ask again: whoever revokes would wait for it."""
    request = urllib.request.Request(f"{LIVE.management}/admin/v1/feed/{verifier}", method="DELETE", headers={
        "Authorization": f"Bearer {LIVE.api_token}"})
    urllib.request.urlopen(request).close()


@schemathesis.hook
def before_call(context, case, kwargs):
    """Lets a call be about what exists, and keeps it from contradicting itself."""
    follows_link = case.meta and case.meta.phase.name.name == "STATEFUL"
    for name, value in (case.path_parameters or {}).items():
        is_of_all = any(case.path.startswith(prefix) and name == known for prefix, known in EXISTING)
        if name == "token" or is_well_formed(value) and (is_of_all or not follows_link):
            ends = case.method == "DELETE" or case.path.endswith("/revoke")
            case.path_parameters[name] = existing(case.path, name, ends) or value
            if case.path.endswith("/activate"):
                post(f"/api/v1/api_token/{case.path_parameters[name]}/suspend", {})
            if ends and name == "agent_deployment_id":
                case.path_parameters[name] = new_deployment()
        if name == "api_token_id" and case.path_parameters[name] == OWN_TOKEN and case.method != "GET":
            # It would be the last call that is permitted.
            case.path_parameters[name] = "0" * 32
    if case.path.startswith("/api/v1/"):
        put_existing(case.path, case.query or {})
    in_header = (case.headers or {}).get("Idempotency-Key")
    if isinstance(in_header, str) and KEY.fullmatch(in_header) and next(calls) % 4:
        # Keys are good once: most calls have one of their own.
        case.headers["Idempotency-Key"] = f"{in_header[:50]}-{next(calls)}"
    if not isinstance(case.body, dict):
        return
    case.body = copy.deepcopy(case.body)
    put_existing(case.path, case.body)
    if isinstance(details := case.body.get("details"), dict):
        put_existing(case.path, details)
        if is_well_formed(details.get("id")):
            # Whatever it is, it is of another account.
            details["id"] = None
        if str(details.get("expires_at")) < "2099":
            details["expires_at"] = "2099-01-01T00:00:00Z"
    if isinstance(case.body.get("idempotency_key"), str) and isinstance(in_header, str) and KEY.fullmatch(in_header):
        del case.headers["Idempotency-Key"]
    if case.method == "POST" and case.path.startswith(("/cli/", "/invite/")) and isinstance(case.body.get("form"), str):
        fill_in(case)


def fill_in(case):
    """Every fourth form is one that was shown, and filled in by somebody who knows how."""
    if next(calls) % 4:
        return
    try:
        with urllib.request.urlopen(LIVE.management + case.formatted_path) as page:
            form = re.search('name="form" value="([^"]+)"', page.read().decode())
    except urllib.error.HTTPError:
        return
    case.body = {"form": form[1], "email": LIVE.email, "key": LIVE.api_key, "account": LIVE.account_pfid}


@schemathesis.hook
def after_call(context, case, response):
    answered[case.operation.label][response.status_code] += 1
    if case.path == "/admin/v1/feed" and case.method == "POST" and response.status_code == 200:
        leave(case.body["verifier"])
    if case.method == "POST" and response.status_code == 201:
        made[case.path].append(response.json()["result"]["id"])
    for name, value in (case.path_parameters or {}).items():
        is_gone = response.status_code == 404 or response.status_code == 200 and (
            case.method == "DELETE" or case.path.startswith("/invite/") and case.method == "POST")
        if is_gone and value in pool(case.path, name):
            pool(case.path, name).remove(value)
        if case.method == "DELETE" and response.status_code == 200:
            ended.update(child for child, of in parents.items() if value in of)
    if case.operation.definition.raw["operationId"].endswith("s/create") and response.status_code == 200:
        details = response.json()["details"]
        made[case.path].append(details["id"])
        if "idempotency-replayed" in response.headers:
            ended.add(details["id"])
        if details["type"] == "agent_deployment":
            parents[details["id"]] = (details["agent_id"], details["environment_id"])
        made["/invite"].extend(filter(None, [details.get("token")]))


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """Whether a failure is one, or the document says that it may happen."""
    if failure.code == "ST202":
        if case.path.startswith(("/cli/", "/invite/")):
            return not ruled(case.operation)
        wrong = set(blamed(response.json()))
        return not wrong or not wrong <= ruled(case.operation)
    if failure.code == "ST201" and not case.operation.definition.raw.get("requestBody", {}).get("required", True):
        # White space is no body.
        return bool((response.request.body or b"").strip())
    if failure.code == "ST302":
        return ended.isdisjoint((case.path_parameters or {}).values())
    if failure.code == "ST401" and "got `400 " in failure.message:
        answers = case.operation.definition.raw["responses"]
        return UNAUTHENTICATED not in resolved(case.operation, answers.get("400", {}))
    return True


def blamed(answer):
    """The members of the body that an answer finds wrong, by their paths; numbers of a list's items are left out."""
    if "code" in answer and "detail" in answer:
        yield answer.get("pointer", "").removeprefix("/")
        return
    if "success" in answer:
        for error in answer["errors"]:
            pointer = error.get("source", {}).get("pointer", "").removeprefix("/")
            yield pointer or ("Idempotency-Key" if "idempotency" in error["message"].lower() else "")
        return
    within = answer.get("errors")
    if not within:
        yield ""
        return
    for name, error in within.items():
        for path in blamed(error):
            yield ".".join(part for part in ("" if name.isdigit() else name, path) if part)


def ruled(operation):
    """The headers, and the members of the body by their paths, whose values have to obey rules."""
    found = {parameter["name"] for parameter in operation.definition.raw.get("parameters", ())
             if RULE in parameter["schema"]}
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    return found | {path for media in content.values() for path in rules(operation, media["schema"])}


def rules(operation, schema, path=""):
    schema = resolved(operation, schema)
    if RULE in schema:
        yield path
    for part in ("oneOf", "anyOf", "allOf"):
        for form in schema.get(part, ()):
            yield from rules(operation, form, path)
    if "items" in schema:
        yield from rules(operation, schema["items"], path)
    for name, member in schema.get("properties", {}).items():
        yield from rules(operation, member, f"{path}.{name}" if path else name)


def resolved(operation, value):
    while "$ref" in value:
        target = operation.schema.raw_schema
        for name in value["$ref"].removeprefix("#/").split("/"):
            target = target[name]
        value = target
    return value


@atexit.register
def tell():
    """Leaves for the suite what was answered."""
    with open(os.environ["COUNTERSIGN_ANSWERED"], "w", encoding="utf-8") as file:
        json.dump(answered, file)
