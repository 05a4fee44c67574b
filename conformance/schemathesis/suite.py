"""Everything that /openapi.json describes, called by schemathesis in every way that it can think of."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from installation import LIVE

PATIENCE = 600


def main():
    """Runs schemathesis; one line for each operation, as the other suites have one for each test."""
    with tempfile.TemporaryDirectory(prefix="countersign-schemathesis-") as directory:
        report = pathlib.Path(directory) / "report.xml"
        answered = pathlib.Path(directory) / "answered.json"
        done = subprocess.run(
            [pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", HERE / "schemathesis.toml", "run",
             f"{LIVE.management}/openapi.json", "--report-junit-path", report, "--no-color"],
            cwd=directory, timeout=PATIENCE, check=False,
            env={**os.environ, "PYTHONPATH": str(HERE.parent), "SCHEMATHESIS_HOOKS": str(HERE / "hooks.py"),
                 "COUNTERSIGN_API_TOKEN": LIVE.account_token, "COUNTERSIGN_MANAGEMENT_TOKEN": LIVE.api_token,
                 "COUNTERSIGN_ACCOUNT_TOKEN": LIVE.write_token, "COUNTERSIGN_ANSWERED": str(answered)})
        statuses = json.loads(answered.read_text(encoding="utf-8"))
        operations = list(xml.etree.ElementTree.parse(report).iter("testcase"))
    # A check of answers says nothing where nobody has got any but errors.
    unserved = {name for name, counts in statuses.items() if not {"200", "201"} & counts.keys()}
    failed = 0
    for operation in operations:
        name = operation.get("name")
        bad = operation.find("failure") is not None or operation.find("error") is not None or name in unserved
        failed += bad
        print(f"  {'FAILED ' if bad else 'ok     '} {name}: {sum(statuses.get(name, {}).values())} calls"
              + (", none of which succeeded" if name in unserved else ""))
    # What belongs to no operation shows in the status alone.
    failed = failed or int(done.returncode != 0)
    print(f"{len(operations) - failed} passed, {failed} failed", flush=True)
    return int(failed > 0 or not operations)


if __name__ == "__main__":
    sys.exit(main())
