"""Caddy with the documented configuration in front of a real application, asking a live gate."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import behind
from behind import Admission, Assertion, Behind, GateDown, Refusal, UnderLoad
from proxy import Caddy


class BehindCaddy(Behind):
    proxy_class = Caddy


class OverTcp(Admission, Assertion, Refusal, UnderLoad, GateDown, BehindCaddy):
    pass


class OverUnixSocket(Admission, GateDown, BehindCaddy):
    @classmethod
    def gate(cls):
        return f"unix/{cls.server.gate_unix}"


class Slowing(behind.Slowing, BehindCaddy):
    hands_on_retry_after = True


class OddGate(behind.OddGate, BehindCaddy):
    pass


if __name__ == "__main__":
    sys.exit(behind.run("caddy", OverTcp, OverUnixSocket, Slowing, OddGate))
