"""A real training loop in plain Python: logistic regression by gradient descent, under ``start_run()``."""

from __future__ import annotations

import argparse
import json
import math
import random
from pathlib import Path

import runcontext


def make_data(rows: int, seed: int) -> list[tuple[list[float], int]]:
    """Make points of two overlapping classes, each with a constant feature for the bias."""
    generator = random.Random(seed)
    data = []
    for _ in range(rows):
        label = generator.randrange(2)
        centre = 1.0 if label else -1.0
        data.append(([1.0, generator.gauss(centre, 1.2), generator.gauss(-centre, 1.2)], label))
    return data


def predict(weights: list[float], features: list[float]) -> float:
    """Give the probability of class 1."""
    return 1.0 / (1.0 + math.exp(-sum(weight * value for weight, value in zip(weights, features, strict=True))))


def step(weights: list[float], data: list[tuple[list[float], int]], learning_rate: float) -> tuple[list[float], float]:
    """Take one step of gradient descent, and give the new weights with the mean loss before it."""
    gradient = [0.0] * len(weights)
    loss = 0.0
    for features, label in data:
        probability = predict(weights, features)
        loss -= math.log(max(probability if label else 1.0 - probability, 1e-12))
        for index, value in enumerate(features):
            gradient[index] += (probability - label) * value
    moved = [weight - learning_rate * each / len(data) for weight, each in zip(weights, gradient, strict=True)]
    return moved, loss / len(data)


def accuracy(weights: list[float], data: list[tuple[list[float], int]]) -> float:
    """Give the share of points that are classified rightly."""
    return sum((predict(weights, features) > 0.5) == bool(label) for features, label in data) / len(data)


def main() -> None:
    """Train, log what happens, and keep the weights as an artifact of the run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--learning-rate", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()

    with runcontext.start_run(run_name="baseline", tags={"team": "vision"}) as run:
        run.log_params(vars(options))
        training, held_out = make_data(2_000, options.seed), make_data(500, options.seed + 1)
        weights = [0.0, 0.0, 0.0]
        for number in range(options.steps):
            weights, loss = step(weights, training, options.learning_rate)
            run.log_metric("loss", loss, step=number)
        run.log_metric("accuracy", accuracy(weights, held_out))
        run.log_text(json.dumps({"weights": weights}), "model.json")
    print(f"run {run.run_id[-8:]} {run.run_name}: loss {loss:.4f}, kept in {Path(run.path).name}")


if __name__ == "__main__":
    main()
