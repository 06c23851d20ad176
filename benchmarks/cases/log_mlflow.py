"""Logs points of a metric with MLflow, and prints how many that is a second."""

import json
import time

import mlflow

POINTS = 200

with mlflow.start_run():
    mlflow.log_metric("loss", 1.0, step=0)
    began = time.perf_counter()
    for step in range(POINTS):
        mlflow.log_metric("loss", 1 / (step + 1), step=step)
    seconds = time.perf_counter() - began

print(json.dumps({"rate": POINTS / seconds}))
