"""The pages for people in a real browser, by keyboard and mouse."""

import json
import pathlib
import sys
import unittest
import urllib.parse
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import report
import wire
from chromium import Chromium
from installation import LIVE
from relay import JWT


class Case(unittest.TestCase):
    scripts = True

    def setUp(self):
        self.browser = Chromium()
        self.addCleanup(self.browser.close)
        if not self.scripts:
            self.browser.call("Emulation.setScriptExecutionDisabled", value=True)

    def tearDown(self):
        self.assertEqual(self.browser.complaints(), [])

    def ask(self, method, path, body=None):
        """One call of the API."""
        request = urllib.request.Request(f"{LIVE.management}/api/v1{path}", json.dumps(body).encode() if body else None, {
            "Authorization": f"Bearer {LIVE.account_token}", "Content-Type": "application/json"}, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def admitted(self, token, account_id=LIVE.account_id):
        answer = wire.ask(LIVE.gate, [("Authorization", f"Bearer {token}")], f"account_id={account_id}")
        self.assertEqual((answer.status, answer.reason), (200, None))

    def log_in(self, email=LIVE.email, key=LIVE.api_key):
        """Fills the form as it stands there: the first field has the focus."""
        self.browser.open(f"{LIVE.management}/cli/connect")
        self.assertEqual(self.browser.focused(), "email")
        self.browser.type(email)
        self.browser.press("Tab")
        self.assertEqual(self.browser.focused(), "key")
        self.browser.type(key)
        self.browser.submit()

    def choose(self, account):
        """Which account, on the form that asks for it; then the key once more."""
        self.assertEqual(self.browser.focused(), "account")
        offered = self.browser.evaluate("[...document.querySelectorAll('option')].map((one) => one.value)")
        self.browser.press("Home")
        for _ in range(offered.index(account)):
            self.browser.press("ArrowDown")
        self.assertEqual(self.browser.evaluate("document.getElementById('account').value"), account)
        self.browser.press("Tab")
        self.browser.type(LIVE.api_key)
        self.browser.submit()


class Pages:
    """With scripts and without."""

    def test_a_token_for_the_command_line(self):
        self.log_in()
        self.assertIn("several accounts", self.browser.text("[role=alert]"))
        self.assertEqual(self.browser.evaluate("document.getElementById('email').value"), LIVE.email)
        self.assertEqual(self.browser.evaluate("document.getElementById('key').value"), "")
        self.choose(LIVE.account_pfid)
        token = self.browser.text("#secret")
        self.assertRegex(token, f"^{JWT.pattern}$")
        self.admitted(token)
        self.assertIn(LIVE.account_pfid, self.browser.text("main"))
        self.assertEqual(self.browser.text("#copy"), "Copy" if self.scripts else None)

    def test_a_wrong_key(self):
        self.log_in(key="0" * 37)
        self.assertIn("do not belong together", self.browser.text("[role=alert]"))
        self.assertEqual(self.browser.evaluate("document.getElementById('email').value"), LIVE.email)
        self.assertIsNone(self.browser.text("#secret"))

    def test_an_empty_form_is_not_sent(self):
        self.browser.open(f"{LIVE.management}/cli/connect")
        self.browser.press("Enter")
        self.assertTrue(self.browser.evaluate("document.getElementById('email').matches(':invalid:focus')"))
        self.assertIsNone(self.browser.text("[role=alert]"))

    def test_an_invite(self):
        email = f"{type(self).__name__.lower()}@example.com"
        invite = self.ask("POST", "/admin_user_invite", {"details": {"email": email}})["details"]
        self.browser.open(LIVE.management + urllib.parse.urlsplit(invite["invite_url"]).path)
        self.assertIn(email, self.browser.text("main"))
        self.assertEqual(self.browser.focused(), "BUTTON")
        self.browser.submit()
        key = self.browser.text("#secret")
        self.assertEqual(self.ask("GET", f"/admin_user_invite/{invite['id']}")["details"]["status"], "used")
        self.log_in(email, key)
        self.admitted(self.browser.text("#secret"))


class WithScripts(Pages, Case):
    def test_the_button_copies(self):
        self.browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
        self.log_in()
        self.choose(LIVE.account_pfid)
        self.browser.click("#copy")
        token = self.browser.text("#secret")
        self.assertEqual(self.browser.evaluate("navigator.clipboard.readText()"), token)
        self.assertEqual(self.browser.text("#copied"), "Copied.")

    def test_on_a_narrow_screen(self):
        self.browser.call("Emulation.setDeviceMetricsOverride", width=320, height=640, deviceScaleFactor=2, mobile=True)
        fits = "document.documentElement.scrollWidth <= innerWidth"
        self.log_in()
        self.assertTrue(self.browser.evaluate(fits))
        self.choose(LIVE.account_pfid)
        self.assertTrue(self.browser.evaluate(fits))


class WithoutScripts(Pages, Case):
    scripts = False


if __name__ == "__main__":
    sys.exit(report.run(WithScripts, WithoutScripts))
