"""Sends points to a tracking server with MLflow's client, one in a call, and prints how many that is a second."""

import json
import time

from mlflow import MlflowClient

POINTS, METRICS = 500, 10

client = MlflowClient()
run_id = client.create_run("0").info.run_id
began = time.perf_counter()
for number in range(POINTS):
    client.log_metric(run_id, f"loss {number % METRICS}", 1 / (number + 1), step=number // METRICS)
seconds = time.perf_counter() - began
client.set_terminated(run_id)

print(json.dumps({"rate": POINTS / seconds}))
