"""The live server, as `live.py` describes it to the suite that it runs."""

import json
import os
import types

with open(os.environ["CONFORMANCE_INSTALLATION"], encoding="utf-8") as described:
    LIVE = json.load(described, object_hook=lambda fields: types.SimpleNamespace(**fields))
