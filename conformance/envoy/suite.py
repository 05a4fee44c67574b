"""Envoy with the documented configuration in front of a real application, asking a live gate by HTTP."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import behind
from behind import Admission, Behind, GateDown, Refusal, UnderLoad
from proxy import Envoy, socket_address


class BehindEnvoy(Behind):
    proxy_class = Envoy
    naming = 400

    @classmethod
    def gate(cls):
        return socket_address(super().gate())


class OverTcp(Admission, Refusal, UnderLoad, GateDown, BehindEnvoy):
    pass


class OverUnixSocket(Admission, GateDown, BehindEnvoy):
    @classmethod
    def gate(cls):
        return f"pipe: {{ path: {cls.server.gate_unix} }}"


class OddGate(behind.OddGate, BehindEnvoy):
    @classmethod
    def gate(cls):
        return socket_address(super().gate())

    @classmethod
    def shown(cls, manner):
        # Envoy hands on whatever the gate says below 500, unless it is a yes.
        return manner if isinstance(manner, int) and manner < 500 else cls.unavailable


if __name__ == "__main__":
    sys.exit(behind.run("envoy", OverTcp, OverUnixSocket, OddGate))
