"""Reads and parses every file of a store's runs with the standard library, and prints the milliseconds that took."""

import json
import os
import sys
import time

began = time.perf_counter()
events = 0
runs = os.path.join(sys.argv[1], "runs")
for run in sorted(os.listdir(runs)):
    for name in ("run.json", "context.json"):
        with open(os.path.join(runs, run, name), "rb") as file:
            json.loads(file.read())
    folder = os.path.join(runs, run, "events")
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as file:
            for line in file:
                json.loads(line)
                events += 1
took = (time.perf_counter() - began) * 1_000

assert events, runs
print(json.dumps({"took": took}))
