"""The newest of Prefactor's Python clients against a live server."""

import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

import crash
import keys
import lists
import neighbours
import race
import refusals
import report
import tokens
from installation import LIVE

EXAMPLE = HERE.parent.parent / "docs" / "clients" / "prefactor" / "example.py"


class Documented(unittest.TestCase):
    """The program that the documentation tells its readers to copy."""

    def test_the_example_runs(self):
        done = subprocess.run([sys.executable, EXAMPLE], capture_output=True, text=True, check=False, timeout=60, env={
            **os.environ, "PREFACTOR_API_URL": LIVE.management, "PREFACTOR_API_TOKEN": LIVE.account_token,
            "PREFACTOR_ACCOUNT_ID": LIVE.account_pfid, "COUNTERSIGN_GATE": LIVE.gate})
        self.assertEqual(done.returncode, 0, done.stderr)
        said = [line for line in done.stdout.splitlines() if not line.startswith("listed: ")]
        self.assertEqual(said, ["created: 200", "the same again: True", "suspended: 401 disabled", "activated: 200",
                                "revoked: 401 revoked", "deleted: 401 invalid"])
        self.assertIn("listed: ", done.stdout)


if __name__ == "__main__":
    parts = (tokens, lists, refusals, keys, neighbours, race, crash)
    sys.exit(report.run(*(case for part in parts for case in part.CASES), Documented))
