"""Traffic of HTTP/2 and gRPC through Envoy: clients, an application, and what must become of it."""

import concurrent.futures
import json
import threading

import grpc
import httpx
from behind import IDENTITY, NEVER_PASSED
from wire import PATIENCE, credentials

ONCE = "/conformance.Echo/Once"
EACH = "/conformance.Echo/Each"


class Http2:
    """Clients that speak HTTP/2 to the proxy."""

    def http2(self):
        client = httpx.Client(http1=False, http2=True, base_url=f"http://127.0.0.1:{self.proxy.port}", timeout=PATIENCE)
        self.addCleanup(client.close)
        return client

    def test_http2(self):
        token = self.create()
        client = self.http2()
        spoofed = [(name.lower(), "spoofed") for name in (*IDENTITY, "Cf-Access-Jwt-Assertion", "X-Forwarded-For")]
        answer = client.get("/", headers=[*credentials(token), *spoofed])
        self.assertEqual((answer.http_version, answer.status_code), ("HTTP/2", 200))
        self.assertNotIn("spoofed", answer.text)
        seen = {name.lower(): value for name, value in answer.json()["headers"]}
        self.assertEqual(seen["countersign-token-id"], token["id"])
        for name in NEVER_PASSED:
            self.assertNotIn(name.lower(), seen)
        reached = self.application.reached
        for headers, status in (([], 401), (credentials({**token, "client_secret": "wrong"}), 401),
                                (credentials(self.create(scope=f"accounts/{self.stranger()}")), 403)):
            answer = client.get("/", headers=[*headers, *spoofed])
            self.assertEqual(answer.status_code, status)
            self.assertEqual("www-authenticate" in answer.headers, status == 401)
        self.assertEqual(self.application.reached, reached)

    def test_streams_are_judged_one_by_one(self):
        tokens = [self.create() for _ in range(4)]
        client = self.http2()

        def ask(number):
            if number % 5 == 4:
                return number, client.get("/", headers=credentials({**tokens[0], "client_secret": f"wrong{number}"}))
            return number, client.get("/", headers=credentials(tokens[number % 5]))

        with concurrent.futures.ThreadPoolExecutor(16) as clients:
            for number, answer in clients.map(ask, range(200)):
                self.assertEqual(answer.status_code, 401 if number % 5 == 4 else 200)
                if answer.status_code == 200:
                    seen = {name.lower(): value for name, value in answer.json()["headers"]}
                    self.assertEqual(seen["countersign-token-id"], tokens[number % 5]["id"])


class GrpcApplication:
    """The upstream as a gRPC server: every answer is what reached it."""

    def __init__(self):
        self.reached = 0
        self._lock = threading.Lock()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers([self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, call):
        with self._lock:
            self.reached += 1
        seen = json.dumps([(name, value if isinstance(value, str) else value.decode("latin-1"))
                           for name, value in call.invocation_metadata]).encode()
        if call.method == EACH:
            return grpc.stream_stream_rpc_method_handler(
                lambda messages, _: (seen + message for message in messages))
        return grpc.unary_unary_rpc_method_handler(lambda message, _: seen + message)

    def close(self):
        self._server.stop(None).wait()


class GrpcTraffic:
    """An application that speaks gRPC, and its clients."""

    @classmethod
    def setUpClass(cls):
        cls.application = GrpcApplication()
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.application.close()

    def channel(self):
        channel = grpc.insecure_channel(f"127.0.0.1:{self.proxy.port}")
        self.addCleanup(channel.close)
        return channel

    def call(self, channel, headers, message=b""):
        metadata = [(name.lower(), value) for name, value in headers]
        return channel.unary_unary(ONCE).with_call(message, metadata=metadata, timeout=PATIENCE, wait_for_ready=True)[0]

    def refusal(self, channel, headers):
        """The status and the metadata with which a call is refused; the application hears nothing of it."""
        reached = self.application.reached
        with self.assertRaises(grpc.RpcError) as refused:
            self.call(channel, headers)
        self.assertEqual(self.application.reached, reached)
        error = refused.exception
        return error.code(), {name: value for name, value in (*error.initial_metadata(), *error.trailing_metadata())}

    def test_calls(self):
        token = self.create()
        channel = self.channel()
        spoofed = [(name, "spoofed") for name in (*IDENTITY, "Cf-Access-Jwt-Assertion")]
        answer = self.call(channel, [*credentials(token), *spoofed], b"x" * 100_000)
        self.assertTrue(answer.endswith(b"x" * 100_000))
        self.assertNotIn(b"spoofed", answer)
        seen = dict(json.JSONDecoder().raw_decode(answer.decode())[0])
        self.assertEqual(seen["countersign-token-id"], token["id"])
        for name in NEVER_PASSED:
            self.assertNotIn(name.lower(), seen)
        for headers, expected in (
                ([], (grpc.StatusCode.UNAUTHENTICATED, "missing")),
                (spoofed, (grpc.StatusCode.UNAUTHENTICATED, "missing")),
                (credentials({**token, "client_secret": "wrong"}), (grpc.StatusCode.UNAUTHENTICATED, "invalid")),
                (credentials(self.create(scope=f"accounts/{self.stranger()}")),
                 (grpc.StatusCode.PERMISSION_DENIED, "not_permitted"))):
            status, metadata = self.refusal(channel, headers)
            self.assertEqual((status, metadata["countersign-reason"]), expected)
            self.assertEqual("www-authenticate" in metadata, status == grpc.StatusCode.UNAUTHENTICATED)

    def test_streams(self):
        token = self.create()
        channel = self.channel()
        metadata = [(name.lower(), value) for name, value in credentials(token)]
        answers = channel.stream_stream(EACH)((str(number).encode() for number in range(50)), metadata=metadata,
                                              timeout=PATIENCE)
        for number, answer in enumerate(answers):
            self.assertTrue(answer.endswith(f"]{number}".encode()))
            self.assertIn(token["id"].encode(), answer)
        self.assertEqual(number, 49)

    def test_the_very_next_call(self):
        token = self.create()
        channel = self.channel()
        for _ in range(20):
            self.update(token, enabled=False)
            self.assertEqual(self.refusal(channel, credentials(token))[1]["countersign-reason"], "disabled")
            self.update(token, enabled=True)
            self.call(channel, credentials(token))

    def test_a_gate_that_is_down(self):
        token = self.create()
        channel = self.channel()
        self.call(channel, credentials(token))
        self.server.stop()
        try:
            for headers in (credentials(token), []):
                self.assertEqual(self.refusal(channel, headers)[0], grpc.StatusCode.UNAVAILABLE)
        finally:
            self.server.start()
        self.call(channel, credentials(token))


class GrpcStandIn:
    """In the gate's place, something that speaks gRPC and answers as it is told: bytes, a status, or "hang"."""

    # A CheckResponse whose status is that of a yes.
    YES = b"\x0a\x00"

    def __init__(self):
        self.manner = self.YES
        self.hanging = threading.Event()
        self._released = threading.Event()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(16))
        self._server.add_generic_rpc_handlers([self])
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
        self._server.start()

    def service(self, _call):
        return grpc.unary_unary_rpc_method_handler(self._answer)

    def _answer(self, _message, context):
        if self.manner == "hang":
            self.hanging.set()
            self._released.wait(PATIENCE)
        if not isinstance(self.manner, bytes):
            context.abort(self.manner if isinstance(self.manner, grpc.StatusCode) else grpc.StatusCode.UNKNOWN, "no")
        return self.manner

    def close(self):
        self._released.set()
        self._server.stop(None).wait()
