"""Sends the same points to a tracking server with MLflow's client, a thousand in a call, and prints the rate."""

import json
import time

from mlflow import MlflowClient
from mlflow.entities import Metric

POINTS, METRICS, BATCH = 100_000, 10, 1_000

client = MlflowClient()
run_id = client.create_run("0").info.run_id
began = time.perf_counter()
for first in range(0, POINTS, BATCH):
    now = int(time.time() * 1_000)
    points = [
        Metric(f"loss {number % METRICS}", 1 / (number + 1), now, number // METRICS)
        for number in range(first, first + BATCH)
    ]
    client.log_batch(run_id, metrics=points)
seconds = time.perf_counter() - began
client.set_terminated(run_id)

print(json.dumps({"rate": POINTS / seconds}))
