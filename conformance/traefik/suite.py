"""Traefik with the documented configuration in front of a real application, asking a live gate."""

import http.client
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import behind
from behind import Admission, Assertion, Behind, GateDown, Refusal, UnderLoad
from proxy import Traefik
from scene import told_to_slow
from wire import PATIENCE


class BehindTraefik(Behind):
    proxy_class = Traefik
    unavailable = 500
    retry_after = None


class OverTcp(Admission, Assertion, Refusal, UnderLoad, GateDown, BehindTraefik):
    pass


class Slowing(behind.Slowing, BehindTraefik):
    proxy_class = told_to_slow(Traefik)
    slowed = 429
    hands_on_retry_after = True


class OddGate(behind.OddGate, BehindTraefik):
    @classmethod
    def shown(cls, manner):
        # Traefik hands on whatever the gate says, unless it is a yes.
        return manner if isinstance(manner, int) else cls.unavailable

    def test_a_gate_that_hangs(self):
        # Traefik waits for 30 seconds, and no setting shortens that: so the gate hangs until somebody has seen it.
        self.stand_in.manner = "hang"
        reached = self.application.reached
        connection = http.client.HTTPConnection("127.0.0.1", self.proxy.port, timeout=PATIENCE)
        self.addCleanup(connection.close)
        connection.request("GET", "/")
        self.assertTrue(self.stand_in.hanging.wait(PATIENCE))
        self.assertEqual(self.application.reached, reached)
        self.stand_in.release()
        self.assertEqual(connection.getresponse().status, self.unavailable)
        self.assertEqual(self.application.reached, reached)


if __name__ == "__main__":
    sys.exit(behind.run("traefik", OverTcp, Slowing, OddGate))
