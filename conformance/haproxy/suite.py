"""HAProxy with the documented configuration in front of a real application, asking a live gate."""

import contextlib
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import behind
from behind import Admission, Assertion, Behind, GateDown, Refusal, UnderLoad
from proxy import LUA, Haproxy
from wire import Client, credentials


class BehindHaproxy(Behind):
    proxy_class = Haproxy


class OverTcp(Admission, Assertion, Refusal, UnderLoad, GateDown, BehindHaproxy):
    def test_a_script_that_fails_admits_nobody(self):
        token = self.create()
        reached = self.application.reached
        whole = LUA.read_text(encoding="utf-8")
        for place in ("  local sent = ", "  local answer = ", "  txn:set_var(\"txn.countersign_status\""):
            self.assertEqual(whole.count(place), 1)
            with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
                script.write(whole.replace(place, f'  if true then error("fails") end\n{place}'))
                script.flush()
                haproxy = Haproxy(self.gate(), self.application.address, self.account_id, script.name)
                self.addCleanup(haproxy.close)
            with contextlib.closing(Client(haproxy.port)) as client:
                self.check_unavailable(client.request(credentials(token)))
        self.assertEqual(self.application.reached, reached)


class OverUnixSocket(Admission, GateDown, BehindHaproxy):
    @classmethod
    def gate(cls):
        return f"unix@{cls.server.gate_unix}"


class Slowing(behind.Slowing, BehindHaproxy):
    pass


class OddGate(behind.OddGate, BehindHaproxy):
    pass


if __name__ == "__main__":
    sys.exit(behind.run("haproxy", OverTcp, OverUnixSocket, Slowing, OddGate))
