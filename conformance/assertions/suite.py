"""Assertions, before those who check what Cloudflare Access asserts: jose, PyJWT with its client of key sets, and a
middleware for Pyramid."""

import base64
import json
import os
import pathlib
import subprocess
import sys
import time
import unittest
import urllib.error
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import jwt
from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPForbidden
from pyramid.request import Request
from pyramid.response import Response

import report
from installation import LIVE

AUDIENCE = "4f0ac71a5c4c4f2a8d3f5b1f0e9d8c7b6a594837261504f3e2d1c0b9a8f7e6d5"
HEADER = "Cf-Access-Jwt-Assertion"
PROGRAMS = pathlib.Path(os.environ["CONFORMANCE_PROGRAMS"])
# Nobody told the server another issuer.
ISSUER = LIVE.gate


def call(method, url, body=None, headers=None):
    """Status, headers and body of an answer, whatever it is."""
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def manage(method, path, body=None):
    url = f"{LIVE.management}/client/v4/accounts/{LIVE.account_id}/access/{path}"
    status, _, answer = call(method, url, body, {"Authorization": f"Bearer {LIVE.api_token}"})
    assert status in (200, 201), answer
    return json.loads(answer)["result"]


def forged(assertion):
    """The same head and signature over claims that were not signed."""
    head, claims, signature = assertion.split(".")
    claims = json.loads(base64.urlsafe_b64decode(claims + "=="))
    claims["common_name"] = "somebody else"
    claims = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return ".".join((head, claims, signature))


class Accepted(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.token = manage("POST", "service_tokens", {"name": "asserted"})
        # The second key is made soon after the first start.
        patience = time.monotonic() + 30
        while len(json.loads(call("GET", f"{LIVE.gate}/cdn-cgi/access/certs")[2])["keys"]) < 2:
            assert time.monotonic() < patience, "there is no second key"

    def ask(self, audience=AUDIENCE):
        pair = {"CF-Access-Client-Id": self.token["client_id"], "CF-Access-Client-Secret": self.token["client_secret"]}
        return call("GET", f"{LIVE.gate}/verify?account_id={LIVE.account_id}&aud={audience}", headers=pair)

    def assertion(self, audience=AUDIENCE):
        status, headers, _ = self.ask(audience)
        self.assertEqual(status, 200)
        return headers[HEADER]

    def check_claims(self, claims):
        self.assertEqual(claims.pop("exp") - claims.pop("iat"), 24 * 3600)
        self.assertEqual(claims, {"type": "app", "aud": [AUDIENCE], "iss": ISSUER, "sub": "",
                                  "common_name": self.token["client_id"]})

    def test_jose(self):
        lines = [self.assertion(), self.assertion("another"), forged(self.assertion())]
        done = subprocess.run(["node", PROGRAMS / "accept.mjs", ISSUER, AUDIENCE], input="\n".join(lines) + "\n",
                              capture_output=True, text=True, check=True, timeout=60)
        accepted, other, forgery = map(json.loads, done.stdout.splitlines())
        self.check_claims(accepted["claims"])
        self.assertEqual((accepted["head"]["alg"], accepted["head"]["typ"]), ("RS256", "JWT"))
        self.assertEqual(other, {"refused": "ERR_JWT_CLAIM_VALIDATION_FAILED"})
        self.assertEqual(forgery, {"refused": "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"})

    def test_pyjwt(self):
        # By the address of the management API, too: it publishes the same keys.
        for listener in (LIVE.gate, LIVE.management):
            keys = jwt.PyJWKClient(f"{listener}/cdn-cgi/access/certs")

            def accept(assertion):
                key = keys.get_signing_key_from_jwt(assertion).key
                return jwt.decode(assertion, key, algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)

            self.check_claims(accept(self.assertion()))
            self.assertRaises(jwt.InvalidAudienceError, accept, self.assertion("another"))
            self.assertRaises(jwt.InvalidSignatureError, accept, forged(self.assertion()))

    def test_pyramid(self):
        settings = {"pyramid_cloudflare_access.team": ISSUER, "pyramid_cloudflare_access.policy_audience": AUDIENCE}
        with Configurator(settings=settings) as config:
            config.include("pyramid_cloudflare_access")
            config.add_route("root", "/")
            config.add_view(lambda request: Response("inside"), route_name="root")
            application = config.make_wsgi_app()

        def visit(assertion):
            # The middleware reads what Cloudflare gives a browser: the same assertion as a cookie.
            request = Request.blank("/", headers={"Cookie": f"CF_Authorization={assertion}"})
            return request.get_response(application).text

        self.assertEqual(visit(self.assertion()), "inside")
        # It stands outside of what turns an exception into an answer.
        self.assertRaises(HTTPForbidden, visit, self.assertion("another"))
        self.assertRaises(HTTPForbidden, visit, forged(self.assertion()))

    def test_certificates_hold_the_same_keys(self):
        from cryptography import x509
        certs = json.loads(call("GET", f"{LIVE.gate}/cdn-cgi/access/certs")[2])
        keys = {key.key_id: key.key for key in jwt.PyJWKSet.from_dict(certs).keys}
        self.assertEqual(len(certs["public_certs"]), len(keys))
        for cert in certs["public_certs"]:
            certificate = x509.load_pem_x509_certificate(cert["cert"].encode())
            self.assertEqual(certificate.public_key().public_numbers(), keys[cert["kid"]].public_numbers())
            certificate.verify_directly_issued_by(certificate)

    def test_an_early_rotation_breaks_nothing(self):
        before = self.assertion()
        self.assertEqual(manage("POST", "keys/rotate")["days_until_next_rotation"], 1)
        self.assertEqual(manage("GET", "keys")["key_rotation_interval_days"], 42)
        key = jwt.PyJWKClient(f"{LIVE.gate}/cdn-cgi/access/certs").get_signing_key_from_jwt(before).key
        jwt.decode(before, key, algorithms=["RS256"], audience=AUDIENCE)
        self.assertEqual(self.assertion(), before)

    def test_z_a_deleted_token_gets_none(self):
        manage("DELETE", f"service_tokens/{self.token['id']}")
        status, headers, _ = self.ask()
        self.assertEqual((status, headers[HEADER]), (401, None))
        type(self).token = manage("POST", "service_tokens", {"name": "asserted"})


if __name__ == "__main__":
    sys.exit(report.run(Accepted))
