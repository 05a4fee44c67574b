"""Envoy with the documented configurations in front of a real application, asking a live gate by HTTP and by gRPC."""

import json
import pathlib
import sys
import time

import grpc

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import behind
from behind import Admission, Assertion, Behind, GateDown, Refusal, UnderLoad
from proxy import Envoy, EnvoyByGrpc, TellingAll, routed, socket_address, to_http2
from scene import told_to_slow
from traffic import GrpcStandIn, GrpcTraffic, Http2
from wire import PATIENCE, credentials


class BehindEnvoy(Behind):
    proxy_class = Envoy
    naming = 400

    @classmethod
    def gate(cls):
        return socket_address(super().gate())


class OverTcp(Admission, Assertion, Refusal, UnderLoad, GateDown, Http2, BehindEnvoy):
    pass


class OverUnixSocket(Admission, GateDown, BehindEnvoy):
    @classmethod
    def gate(cls):
        return f"pipe: {{ path: {cls.server.gate_unix} }}"


class Slowing(behind.Slowing, BehindEnvoy):
    proxy_class = told_to_slow(Envoy)
    slowed = 429


class SlowingByGrpc(behind.Slowing, BehindEnvoy):
    proxy_class = told_to_slow(EnvoyByGrpc, f'account_id: "{{}}"\n{" " * 30}throttle_status: "429"')
    slowed = 429
    hands_on_retry_after = True


class OddGate(behind.OddGate, BehindEnvoy):
    @classmethod
    def gate(cls):
        return socket_address(super().gate())

    @classmethod
    def shown(cls, manner):
        # Envoy hands on whatever the gate says below 500, unless it is a yes.
        return manner if isinstance(manner, int) and manner < 500 else cls.unavailable


class GrpcThrough(GrpcTraffic, BehindEnvoy):
    proxy_class = to_http2(Envoy)


class ByGrpc(Admission, Refusal, UnderLoad, GateDown, Http2, BehindEnvoy):
    proxy_class = EnvoyByGrpc

    def test_a_refusal_has_the_reason_as_its_body(self):
        for headers, body in (([], b"missing\n"), (credentials({"client_id": "x", "client_secret": "y"}), b"invalid\n")):
            self.assertEqual(self.client.request(headers).body, body)


class ByGrpcOverUnixSocket(Admission, GateDown, BehindEnvoy):
    proxy_class = EnvoyByGrpc

    @classmethod
    def gate(cls):
        return f"pipe: {{ path: {cls.server.gate_unix} }}"


class GrpcThroughByGrpc(GrpcTraffic, BehindEnvoy):
    proxy_class = to_http2(EnvoyByGrpc)


class TheGateAlone(BehindEnvoy):
    """Where the proxy drops nothing, what the gate removes is enough, and the proxy's log knows who asked."""

    proxy_class = TellingAll

    test_spoofed_headers_never_arrive = Admission.test_spoofed_headers_never_arrive
    test_spoofed_headers_admit_nobody = Admission.test_spoofed_headers_admit_nobody
    test_a_bearer_is_judged_and_kept_back = Admission.test_a_bearer_is_judged_and_kept_back
    test_authorization_beside_a_pair_is_the_applications = Admission.test_authorization_beside_a_pair_is_the_applications
    test_no_or_broken_credentials = Refusal.test_no_or_broken_credentials

    def test_the_log_knows_who_asked(self):
        token = self.create(name="nämed")
        self.ask(token, path="/of-the-token")
        self.client.request(path="/of-nobody")
        of_the_token, of_nobody = self.logged("/of-the-token"), self.logged("/of-nobody")
        self.assertEqual((of_the_token["token"], of_the_token["name"], of_the_token["account"], of_the_token["reason"]),
                         (token["id"], "n%C3%A4med", self.account_id, None))
        self.assertEqual((of_nobody["token"], of_nobody["reason"]), (None, "missing"))

    def logged(self, path):
        """The line of the access log about a request to this path; Envoy writes after a while."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            lines = (self.proxy.directory / "access.log").read_text(encoding="utf-8").splitlines()
            for line in lines:
                if json.loads(line)["path"] == path:
                    return json.loads(line)
        raise AssertionError(f"{path} is not in the access log")


class RoutesOfTheirOwn(BehindEnvoy):
    """A route demands more than the rest, and no client can change that."""

    @classmethod
    def start_proxy(cls):
        cls.wanted = cls().api("POST", "", {"name": "wanted"})
        proxy_class = routed(EnvoyByGrpc, {"service_token_id": cls.wanted["id"]})
        return proxy_class(cls.gate(), cls.application.address, cls.account_id)

    def test_who_gets_where(self):
        other = self.create()
        self.assertEqual([self.ask(self.wanted, path=path).status for path in ("/", "/narrow")], [200, 200])
        self.assertEqual([self.ask(other, path=path).status for path in ("/", "/narrow")], [200, 403])
        for path in ("/narrow?service_token_id=" + other["id"], "/narrow?account_id=" + self.account_id):
            headers = [*credentials(other), ("service_token_id", other["id"]), ("account_id", self.account_id),
                       ("x-envoy-original-path", "/")]
            answer = self.client.request(headers, path=path)
            self.assertEqual((answer.status, answer.reason), (403, "not_permitted"))


class OddGateByGrpc(BehindEnvoy):
    """Whatever the gate may say by gRPC that is neither yes nor no, Envoy does not take for a yes."""

    proxy_class = EnvoyByGrpc

    @classmethod
    def gate(cls):
        cls.stand_in = GrpcStandIn()
        return socket_address(cls.stand_in.address)

    @classmethod
    def tearDownClass(cls):
        cls.stand_in.close()
        super().tearDownClass()

    def test_errors_and_garbage_admit_nobody(self):
        self.stand_in.manner = GrpcStandIn.YES
        self.assertEqual(self.client.request().status, 200)
        reached = self.application.reached
        for manner in (*list(grpc.StatusCode)[1:], b"\xff\xff\xff", b"\x0a"):
            self.stand_in.manner = manner
            with self.subTest(manner=manner):
                self.check_unavailable(self.client.request())
        # A no without a word on it.
        self.stand_in.manner = b"\x0a\x02\x08\x07"
        self.assertEqual(self.client.request().status, 403)
        self.assertEqual(self.application.reached, reached)

    def test_a_gate_that_hangs(self):
        self.stand_in.manner = "hang"
        reached = self.application.reached
        self.check_unavailable(self.client.request())
        self.assertEqual(self.application.reached, reached)


class NotEvenGrpc(behind.OddGate, BehindEnvoy):
    """Where the gate should be is something that speaks no HTTP/2."""

    proxy_class = EnvoyByGrpc
    test_only_two_hundreds_admit = None
    test_a_gate_that_hangs = None

    @classmethod
    def gate(cls):
        return socket_address(super().gate())

    def test_nothing_that_it_says_admits(self):
        reached = self.application.reached
        for manner in (200, 401, "cut", "garbage"):
            self.stand_in.manner = manner
            self.check_unavailable(self.client.request())
        self.assertEqual(self.application.reached, reached)


if __name__ == "__main__":
    sys.exit(behind.run("envoy", OverTcp, OverUnixSocket, Slowing, OddGate, GrpcThrough, ByGrpc, ByGrpcOverUnixSocket, SlowingByGrpc,
                        GrpcThroughByGrpc, TheGateAlone, RoutesOfTheirOwn, OddGateByGrpc, NotEvenGrpc))
