"""Searches a store that is named on the command line, and prints the milliseconds that took."""

import json
import sys
import time

import runcontext
import runcontext.tracking.reading

began = time.perf_counter()
found = runcontext.search_runs(tracking_uri=sys.argv[1])
took = (time.perf_counter() - began) * 1_000

assert len(found) == int(sys.argv[2]), len(found)
print(json.dumps({"took": took}))
