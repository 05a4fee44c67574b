"""The official Python SDK as of mid-2025, which knows neither versions nor `enabled` and asks for one page only.

What it has no argument for is sent in `extra_body`, as its users do.
"""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "python")]

import cloudflare

import report
from dialect import CASES, Crowd


class Paging(Crowd):
    def test_one_request_of_a_thousand(self):
        listed = self.walk()
        self.assertEqual(len(listed), 1000)
        self.assertEqual([request.query for request in self.sent], [{}])

    def test_pages_asked_for_by_hand(self):
        listed = []
        for page in ("1", "2", "3"):
            listed += self.tokens.list(**self.scope, extra_query={"page": page}).result
        self.check_all(listed)
        self.assertEqual(self.tokens.list(**self.scope, extra_query={"page": "4"}).result, [])


if __name__ == "__main__":
    assert cloudflare.__version__ == "4.3.1"
    sys.exit(report.run(*CASES, Paging))
