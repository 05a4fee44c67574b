"""Prefactor's command line as a stand-in of ours speaks it, and Prefactor's JavaScript libraries, against a live server."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import report
import wire
from installation import LIVE
from page import Page
from relay import JWT, Relay

RELAY = Relay(LIVE.management)
# Where `conformance/run` has put the programs beside the packages that they import.
PROGRAMS = pathlib.Path(os.environ["CONFORMANCE_PROGRAMS"])
NOBODY = "013xrzp12g3nqk8n7f8f9jbg8d18q7tm"


def node(program, *arguments, **options):
    return subprocess.run(["node", PROGRAMS / program, *arguments], capture_output=True, text=True, check=False, timeout=60,
                          **options)


class Case(unittest.TestCase):
    """Each test has a folder of its own, with a profile in it, and every request is seen on its way."""

    def setUp(self):
        RELAY.lose(0)
        RELAY.sent.clear()
        RELAY.problems.clear()
        self.folder = tempfile.mkdtemp(prefix="countersign-prefactor-cli-")
        self.addCleanup(shutil.rmtree, self.folder)
        profile = {"default": {"api_key": LIVE.account_token, "base_url": RELAY.url}}
        pathlib.Path(self.folder, "prefactor.json").write_text(json.dumps(profile), encoding="utf-8")

    def tearDown(self):
        self.assertEqual(RELAY.problems, [])

    @property
    def sent(self):
        return RELAY.sent

    def run_cli(self, *arguments, typed="", **environment):
        return node("prefactor.mjs", *arguments, cwd=self.folder, input=typed, env={**os.environ, **environment})

    def cli(self, *arguments, **options):
        """What a command prints, which must succeed; JSON as what it means."""
        done = self.run_cli(*arguments, **options)
        self.assertEqual((done.returncode, done.stderr), (0, ""), arguments)
        return json.loads(done.stdout) if done.stdout.startswith("{") else done.stdout

    def fails(self, status, code, *arguments, **options):
        """The command ends with 1 after exactly one request, and says which status and code came back."""
        self.sent.clear()
        done = self.run_cli(*arguments, **options)
        self.assertEqual((done.returncode, done.stdout), (1, ""), arguments)
        self.assertIn(f"HTTP request failed with status {status}", done.stderr)
        self.assertIn(f'"code": "{code}"', done.stderr)
        self.assertEqual(len(self.sent), 1)

    def refuses(self, *arguments):
        """The command ends with 1 before it has asked anything."""
        self.sent.clear()
        self.assertEqual(self.run_cli(*arguments).returncode, 1, arguments)
        self.assertEqual(self.sent, [])

    def profile(self, name, url, token):
        self.assertEqual(self.cli("profiles", "add", name, url, "--api-token", token), f"Profile '{name}' saved.\n")

    def create(self, *options):
        return self.cli("api_tokens", "create", "--token_scope", "account", *options)["details"]

    def gate(self, token, demand=f"account_id={LIVE.account_id}"):
        answer = wire.ask(LIVE.gate, [("Authorization", f"Bearer {token}")], demand)
        return answer.status, answer.reason

    def said(self):
        """The last request: method, path with query, and body."""
        last = self.sent[-1]
        return last.method, last.path + (last.query and f"?{last.query}"), last.body.decode()


class Tokens(Case):
    def test_create(self):
        created = self.create()
        self.assertEqual(self.said(), ("POST", "/api/v1/api_token", '{"details":{"token_scope":"account"}}'))
        self.assertEqual(self.gate(created["token"]), (200, None))
        late = self.create("--expires_at", "2099-01-01T00:00:00Z", "--account_id", LIVE.account_pfid)
        self.assertEqual(late["expires_at"], "2099-01-01T00:00:00Z")

    def test_the_whole_life(self):
        created = self.create()
        token_id, token = created["id"], created.pop("token")
        self.assertIn(token_id, [one["id"] for one in self.cli("api_tokens", "list")["summaries"]])
        self.cli("api_tokens", "list", "--account_id", LIVE.account_pfid)
        self.assertEqual(self.said(), ("GET", f"/api/v1/api_token?account_id={LIVE.account_pfid}", ""))
        self.assertEqual(self.cli("api_tokens", "retrieve", token_id)["details"], created)
        for verb, status, outcome in (("suspend", "suspended", (401, "disabled")), ("activate", "active", (200, None)),
                                      ("revoke", "revoked", (401, "revoked"))):
            self.assertEqual(self.cli("api_tokens", verb, token_id)["details"]["status"], status)
            self.assertEqual(self.said(), ("POST", f"/api/v1/api_token/{token_id}/{verb}", "{}"))
            self.assertEqual(self.gate(token), outcome)
        self.assertEqual(self.cli("api_tokens", "delete", token_id), {"ok": True})
        self.assertEqual(self.said(), ("DELETE", f"/api/v1/api_token/{token_id}", ""))
        self.fails(404, "not_found", "api_tokens", "retrieve", token_id)
        self.assertEqual(self.gate(token), (401, "invalid"))

    def test_an_action_that_is_not_allowed(self):
        created = self.create()
        self.fails(409, "invalid_action", "api_tokens", "delete", created["id"])
        self.fails(409, "invalid_action", "api_tokens", "activate", created["id"])
        self.cli("api_tokens", "revoke", created["id"])
        for verb in ("activate", "suspend", "revoke"):
            self.fails(409, "invalid_action", "api_tokens", verb, created["id"])

    def test_of_a_deployment(self):
        agent = self.cli("agents", "create", "--name", "deployed")["details"]
        created = self.cli("api_tokens", "create", "--token_scope", "agent_deployment", "--agent_id", f" {agent['id']} ",
                           "--environment_id", LIVE.environment_id)["details"]
        self.assertEqual((created["agent_id"], created["environment_id"]), (agent["id"], LIVE.environment_id))
        self.assertEqual(self.gate(created["token"], f"environment_id={LIVE.environment_id}"), (200, None))

    def test_what_the_command_line_refuses_itself(self):
        self.refuses("api_tokens", "create", "--token_scope", "environment", "--environment_id", LIVE.environment_id)
        self.refuses("api_tokens", "create", "--token_scope", "agent_deployment", "--agent_id", NOBODY)
        self.refuses("environments", "create", "--name", "x", "--account_id", LIVE.account_pfid, "--id", "not-a-pfid")

    def test_refusals(self):
        self.fails(422, "invalid_value", "api_tokens", "create", "--token_scope", "account", "--expires_at", "tomorrow")
        self.fails(403, "not_permitted", "api_tokens", "list", "--account_id", LIVE.other.account_pfid)
        self.fails(404, "not_found", "api_tokens", "suspend", NOBODY)


class Transport(Case):
    def test_what_goes_out(self):
        created = self.create()
        self.cli("api_tokens", "retrieve", created["id"])
        self.cli("api_tokens", "revoke", created["id"])
        self.cli("api_tokens", "delete", created["id"])
        for sent in self.sent:
            with self.subTest(method=sent.method):
                self.assertEqual(sent.headers["Accept"], "*/*")
                self.assertEqual(sent.headers["Authorization"], f"Bearer {LIVE.account_token}")
                self.assertIn("@prefactor/cli@", sent.headers["X-Prefactor-SDK"])
                self.assertNotIn("Idempotency-Key", sent.headers)
                typed = "application/json" if sent.method == "POST" else None
                self.assertEqual((sent.headers["Content-Type"], bool(sent.body)), (typed, sent.method == "POST"))
        self.assertEqual({sent.method for sent in self.sent}, {"GET", "POST", "DELETE"})

    def test_a_lost_answer_is_asked_for_again(self):
        for lost in (1, 2):
            self.sent.clear()
            RELAY.lose(lost)
            self.assertEqual(self.cli("ping")["details"]["token_type"], "api")
            self.assertEqual(len(self.sent), lost + 1)
        self.sent.clear()
        RELAY.lose(3)
        done = self.run_cli("ping")
        self.assertEqual((done.returncode, len(self.sent)), (1, 3))
        self.assertIn("network error", done.stderr)

    def test_a_create_that_is_asked_for_again_makes_two(self):
        before = self.cli("api_tokens", "list")["pagination"]["item_count"]
        RELAY.lose(1)
        created = self.create()
        self.assertEqual(self.cli("api_tokens", "list")["pagination"]["item_count"], before + 2)
        self.assertEqual(self.gate(created["token"]), (200, None))

    def test_the_base_urls_path_is_dropped(self):
        self.profile("deep", f"{RELAY.url}/some/path", LIVE.account_token)
        self.cli("ping", "--profile", "deep")
        self.assertEqual(self.said(), ("GET", "/api/v1/ping", ""))

    def test_who_one_is(self):
        token = self.create()["token"]
        self.profile("named", RELAY.url, token)

        def asked_with(*arguments, **environment):
            self.cli("ping", *arguments, **environment)
            return self.sent[-1].headers["Authorization"].removeprefix("Bearer ")

        environment = {"PREFACTOR_API_URL": RELAY.url, "PREFACTOR_API_TOKEN": token}
        self.assertEqual(asked_with("--profile", "named"), token)
        self.assertEqual(asked_with(PREFACTOR_PROFILE="named"), token)
        self.assertEqual(asked_with("--api-token", token, "--api-url", RELAY.url), token)
        self.assertEqual(asked_with(**environment), LIVE.account_token)
        self.cli("profiles", "remove", "default")
        self.assertEqual(asked_with(**environment), token)
        self.refuses("ping")

    def test_a_token_that_is_none(self):
        created = self.create()
        self.cli("api_tokens", "suspend", created["id"])
        for token in (created["token"], "garbage", LIVE.account_token[:-1]):
            self.fails(401, "bad_authtoken", "ping", "--api-token", token, "--api-url", RELAY.url)


class Neighbours(Case):
    ACCOUNT = ("--account_id", LIVE.account_pfid)

    def test_accounts(self):
        [listed] = self.cli("accounts", "list")["summaries"]
        shown = self.cli("accounts", "retrieve", listed["id"])["details"]
        self.assertEqual(listed["id"], LIVE.account_pfid)
        self.assertEqual(self.cli("accounts", "update", listed["id"], "--name", "N")["details"]["name"], "N")
        self.assertEqual(self.said(), ("PUT", f"/api/v1/account/{listed['id']}", '{"details":{"name":"N"}}'))
        self.cli("accounts", "update", listed["id"], "--name", shown["name"])

    def test_environments(self):
        chosen = self.cli("pfid", "generate")["pfids"][0]
        made = self.cli("environments", "create", "--name", "N", *self.ACCOUNT, "--id", chosen)["details"]
        self.assertEqual(made["id"], chosen)
        listed = self.cli("environments", "list", *self.ACCOUNT)["summaries"]
        self.assertEqual([one["name"] for one in listed if one["id"] == chosen], ["N"])
        self.assertEqual(self.cli("environments", "update", chosen, "--name", "M")["details"]["name"], "M")
        self.assertEqual(self.cli("environments", "retrieve", chosen)["details"]["name"], "M")
        self.assertEqual(self.cli("environments", "delete", chosen), {"ok": True})
        self.fails(404, "not_found", "environments", "delete", chosen)

    def test_agents_and_deployments(self):
        agent = self.cli("agents", "create", "--name", "N", "--environment_id", LIVE.environment_id)["details"]
        listed = self.cli("agents", "list", "--environment_id", LIVE.environment_id)["summaries"]
        self.assertIn(agent["id"], [one["id"] for one in listed])
        self.assertEqual(self.cli("agents", "update", agent["id"], "--name", "M")["details"]["name"], "M")
        self.assertEqual(self.cli("agents", "retrieve", agent["id"])["details"]["name"], "M")
        made = self.cli("agent_deployments", "create", "--agent_id", agent["id"], "--environment_id", LIVE.environment_id)
        deployment = made["details"]["id"]
        self.assertEqual(self.cli("agent_deployments", "retrieve", deployment), made)
        listed = self.cli("agent_deployments", "list", "--agent_id", agent["id"])["summaries"]
        self.assertEqual([(one["id"], one["current_version_id"]) for one in listed], [(deployment, None)])
        self.assertEqual(self.cli("agent_deployments", "delete", deployment), {"ok": True})
        self.assertEqual(self.cli("agents", "delete", agent["id"]), {"ok": True})

    def test_people_and_invites(self):
        [person] = self.cli("admin_users", "list", *self.ACCOUNT)["summaries"]
        self.assertEqual((person["id"], person["email"]), (LIVE.user_pfid, LIVE.email))
        named = self.cli("admin_users", "update", person["id"], "--name", "Ada", "--job_title", "Engineer",
                         "--profile_completed_at", "2026-01-01T00:00:00Z")["details"]
        self.assertEqual(self.cli("admin_users", "retrieve", person["id"])["details"], named)
        invite = self.cli("admin_user_invites", "create", "--email", "grace@example.com", *self.ACCOUNT)["details"]
        self.assertEqual(invite["status"], "pending")
        self.assertIn(invite["id"], [one["id"] for one in self.cli("admin_user_invites", "list")["summaries"]])
        self.assertEqual(self.cli("admin_user_invites", "retrieve", invite["id"])["details"]["email"], "grace@example.com")
        self.assertEqual(self.cli("admin_user_invites", "revoke", invite["id"])["details"]["status"], "revoked")
        self.fails(409, "invalid_action", "admin_user_invites", "revoke", invite["id"])

    def test_pfids(self):
        generated = self.cli("pfid", "generate", "--count", "3", *self.ACCOUNT)
        self.assertEqual(self.said(), ("POST", "/api/v1/pfid/generate", f'{{"count":3,"account_id":"{LIVE.account_pfid}"}}'))
        self.assertEqual((generated["account_id"], len(set(generated["pfids"]))), (LIVE.account_pfid, 3))

    def test_bulk(self):
        items = [{"_type": "api_tokens/create", "idempotency_key": "the create", "details": {"token_scope": "account"}},
                 {"_type": "api_tokens/list", "idempotency_key": "the list"}]
        outputs = self.cli("bulk", "execute", "--items", json.dumps(items))["outputs"]
        made = outputs["the create"]["details"]["id"]
        self.assertEqual(self.cli("bulk", "execute", "--items", json.dumps(items[:1]))["outputs"]["the create"],
                         outputs["the create"])
        self.assertEqual(self.cli("api_tokens", "retrieve", made)["details"]["status"], "active")
        old = [{"method": "GET", "path": "/api/v1/account"}]
        self.fails(422, "validation_errors", "bulk", "execute", "--items", json.dumps(old))


class Setup(Case):
    def check(self, agent_id, *requests):
        """Prints what a program needs, after these requests; the token is the deployment's."""
        self.sent.clear()
        said = dict(line.split("=", 1) for line in self.cli("setup", agent_id).splitlines())
        self.assertEqual([(sent.method, sent.path.removeprefix("/api/v1")) for sent in self.sent],
                         [("GET", f"/agent/{agent_id}"), ("GET", "/agent_deployment"), *requests, ("POST", "/api_token")])
        self.assertEqual((said["PREFACTOR_API_URL"], said["PREFACTOR_AGENT_ID"]), (RELAY.url, agent_id))
        token = said["PREFACTOR_API_TOKEN"]
        self.assertEqual(self.gate(token, f"account_id={LIVE.account_id}"), (200, None))
        pinged = self.cli("ping", "--api-token", token, "--api-url", said["PREFACTOR_API_URL"])
        self.assertEqual(pinged["details"]["token_type"], "api")
        return said

    def test_an_agent_that_is_not_deployed_yet(self):
        agent = self.cli("agents", "create", "--name", "N")["details"]["id"]
        self.check(agent, ("GET", "/account"), ("GET", "/environment"), ("POST", "/agent_deployment"))
        self.check(agent)

    def test_no_agent(self):
        self.fails(404, "not_found", "setup", NOBODY)

    def test_a_watched_program_runs_without_telemetry(self):
        agent = self.cli("agents", "create", "--name", "N")["details"]["id"]
        said = self.check(agent, ("GET", "/account"), ("GET", "/environment"), ("POST", "/agent_deployment"))
        self.sent.clear()
        done = node("telemetry.mjs", env={**os.environ, **said})
        self.assertEqual(done.returncode, 0, done.stderr)
        told = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(told.pop("ping")["details"]["token_type"], "api")
        self.assertEqual(told, {
            "absent": {"isOurs": True, "status": 404, "retryable": False, "code": "not_found"},
            "invalid": {"isOurs": True, "status": 422, "retryable": False, "code": "validation_errors"}})
        self.assertIn("/api/v1/agent_instance/register", [sent.path for sent in self.sent])
        self.assertEqual({sent.status for sent in self.sent}, {200, 404, 422})


class Identifiers(Case):
    def test_prefactors_library_takes_ours_and_we_take_its(self):
        generated = self.cli("pfid", "generate", "--count", "1000")["pfids"]
        ours = [LIVE.account_pfid, LIVE.environment_id, LIVE.user_pfid, self.create()["id"],
                self.cli("agents", "create", "--name", "N")["details"]["id"], *generated]
        done = node("identifiers.mjs", input=json.dumps([*ours, ours[0].upper(), ours[0][1:]]))
        said = json.loads(done.stdout)
        self.assertEqual(said["partitions"], said["partitions"][:1] * len(ours) + [None, None])
        self.assertIsInstance(said["partitions"][0], int)
        made = self.cli("environments", "create", "--name", "N", "--account_id", LIVE.account_pfid, "--id", said["related"])
        self.assertEqual(made["details"]["id"], said["related"])


class Login(Case):
    """The page that the command line opens, without scripts; the suite `browser` uses it with them."""

    PAGE = f"{LIVE.management}/cli/connect"

    def fill(self, page, email=LIVE.email, key=LIVE.api_key, **more):
        return page.submit(email=email, key=key, **more)

    def test_from_the_page_to_a_profile(self):
        page = Page(self.PAGE)
        self.assertEqual((page.status, page.headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertEqual(page.labels, {"email", "key"})
        # This user has several accounts, and must say which.
        asked = self.fill(page)
        self.assertEqual(asked.status, 422)
        self.assertLessEqual({"", LIVE.account_pfid, LIVE.other.account_pfid}, set(asked.options))
        shown = self.fill(asked, account=LIVE.account_pfid)
        self.assertEqual((shown.status, shown.headers["Cache-Control"]), (200, "no-store"))
        [token] = JWT.findall(shown.text)
        self.assertEqual(shown.by_id["secret"], token)
        said = self.cli("login", typed=f"{token}\n")
        self.assertIn(f"{RELAY.url}/cli/connect", said)
        self.cli("ping")
        self.assertEqual(self.sent[-1].headers["Authorization"], f"Bearer {token}")
        newest = self.cli("api_tokens", "list")["summaries"][-1]
        self.assertEqual((newest["token_scope"], newest["created_by_admin_user_id"]), ("account", LIVE.user_pfid))

    def test_a_form_makes_one_token(self):
        page = self.fill(Page(self.PAGE))
        first = self.fill(page, account=LIVE.other.account_pfid)
        self.assertEqual(first.status, 200)
        again = self.fill(page, account=LIVE.other.account_pfid)
        self.assertNotEqual(again.status, 200)
        self.assertNotIn(first.by_id["secret"], again.text)

    def test_a_wrong_key(self):
        refused = self.fill(Page(self.PAGE), key="0" * 37)
        self.assertEqual((refused.status, JWT.findall(refused.text)), (401, []))
        self.assertTrue(refused.by_id["problem"])
        self.assertNotIn("0" * 37, refused.text)
        self.assertEqual(refused.fields["email"], LIVE.email)

    def test_a_form_from_nowhere(self):
        page = Page(self.PAGE)
        page.fields["form"] = "1.2.3"
        self.assertEqual(self.fill(page).status, 403)

    def test_an_invite_is_accepted(self):
        invite = self.cli("admin_user_invites", "create", "--email", "joan@example.com")["details"]
        path = urllib.parse.urlsplit(invite["invite_url"]).path
        page = Page(LIVE.management + path)
        self.assertIn("joan@example.com", page.text)
        joined = page.submit()
        self.assertEqual(joined.status, 200)
        self.assertEqual(self.cli("admin_user_invites", "retrieve", invite["id"])["details"]["status"], "used")
        self.assertIn("joan@example.com", [one["email"] for one in self.cli("admin_users", "list")["summaries"]])
        shown = self.fill(Page(self.PAGE), email="joan@example.com", key=joined.by_id["secret"])
        self.assertEqual(self.gate(shown.by_id["secret"]), (200, None))
        self.assertEqual(Page(LIVE.management + path).status, 404)


if __name__ == "__main__":
    sys.exit(report.run(Tokens, Transport, Neighbours, Setup, Identifiers, Login))
