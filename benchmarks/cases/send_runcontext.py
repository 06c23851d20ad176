"""Logs points of metrics into a run that goes to a tracking server, and prints how many a second are there."""

import json
import os
import time

import runcontext
from runcontext.mirror import state

POINTS, METRICS = 100_000, 10

with runcontext.start_run() as run:
    assert run.remote_id is not None
    began = time.perf_counter()
    for number in range(POINTS):
        run.log_metric(f"loss {number % METRICS}", 1 / (number + 1), step=number // METRICS)
    logged = time.perf_counter()
seconds = time.perf_counter() - began

folder = os.fspath(run.path)
assert state.is_all_sent(folder, state.read(folder)), state.unsent(folder, state.read(folder))
print(json.dumps({"rate": POINTS / seconds, "logged": (logged - began) * 1_000}))
