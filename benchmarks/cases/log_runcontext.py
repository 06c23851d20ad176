"""Logs points of a metric with runcontext, and prints how many that is a second."""

import json
import time

import runcontext

POINTS = 20_000

with runcontext.start_run():
    runcontext.log_metric("loss", 1.0, step=0)
    began = time.perf_counter()
    for step in range(POINTS):
        runcontext.log_metric("loss", 1 / (step + 1), step=step)
    seconds = time.perf_counter() - began

print(json.dumps({"rate": POINTS / seconds}))
