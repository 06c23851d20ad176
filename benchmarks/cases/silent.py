"""Starts a run and logs points of a metric; prints how long the program was held by either, in ms and in us a call."""

import json
import time

began = time.perf_counter()

import runcontext  # noqa: E402 - its import is part of what holds the program

POINTS = 20_000

with runcontext.start_run() as run:
    held = time.perf_counter() - began
    began = time.perf_counter()
    for step in range(POINTS):
        run.log_metric("loss", 1 / (step + 1), step=step)
    logged = time.perf_counter() - began

print(json.dumps({"held": held * 1_000, "call": logged / POINTS * 1_000_000}))
