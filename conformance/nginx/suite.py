"""nginx with the documented configuration in front of a real application, asking a live gate."""

import contextlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import behind
import live
from behind import Admission, Assertion, Behind, GateDown, Refusal, UnderLoad
from proxy import Certificates, Nginx
from wire import Client, credentials


class BehindNginx(Behind):
    proxy_class = Nginx


class OverTcp(Admission, Assertion, Refusal, UnderLoad, GateDown, BehindNginx):
    def test_the_gates_own_location_is_out_of_reach(self):
        token = self.create()
        self.assertEqual(self.ask(token, path=f"/countersign?account_id={self.account_id}").status, 404)


class OverUnixSocket(Admission, Refusal, UnderLoad, GateDown, BehindNginx):
    @classmethod
    def gate(cls):
        return f"unix:{cls.server.gate_unix}"

class OverTls(Admission, Refusal, GateDown, BehindNginx):
    """The gate demands nginx's certificate, and nginx checks the gate's."""

    certificates = None

    @classmethod
    def start_proxy(cls):
        return Nginx(cls.gate(), cls.application.address, cls.account_id, cls.certificates.lines)

    def check_nobody_passes(self, encryption):
        nginx = Nginx(self.gate(), self.application.address, self.account_id, encryption)
        self.addCleanup(nginx.close)
        client = Client(nginx.port)
        self.addCleanup(client.close)
        token = self.create()
        reached = self.application.reached
        self.check_unavailable(client.request(credentials(token)))
        self.assertEqual(self.application.reached, reached)
        self.assertEqual(self.ask(token).status, 200)

    def test_a_proxy_without_a_certificate(self):
        lines = self.certificates.lines.splitlines()
        self.check_nobody_passes("\n".join(line for line in lines if "proxy_ssl_certificate" not in line))

    def test_a_gate_with_another_name(self):
        self.check_nobody_passes(self.certificates.lines.replace("gate.internal", "proxy.internal"))


class Slowing(behind.Slowing, BehindNginx):
    pass


class OddGate(behind.OddGate, BehindNginx):
    pass


@contextlib.contextmanager
def encrypted():
    """A second server, which speaks TLS at its gate."""
    certificates = Certificates()
    try:
        with live.Countersign(serve=(*certificates.serve(), *behind.TRUSTING)) as server:
            OverTls.certificates = certificates
            OverTls.server = server
            yield
    finally:
        certificates.close()


if __name__ == "__main__":
    sys.exit(behind.run("nginx", OverTcp, OverUnixSocket, OverTls, Slowing, OddGate, also=encrypted))
