"""MLflow's own client in a process of its own that answers many questions, since its import takes seconds.

Run as a program, in an environment that has MLflow, it reads a line of JSON for each question: the tracking URI, the
name of a function below, and its arguments; and prints a line of JSON for each answer.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(slots=True)
class Client:
    """The process, as tests see it."""

    process: subprocess.Popen[str]

    @classmethod
    def start(cls, python: str, environment: Mapping[str, str]) -> Client:
        """Start it with an interpreter that has MLflow."""
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return cls(subprocess.Popen([python, __file__], env=dict(environment), text=True, **pipes))

    def ask(self, url: str, question: str, *arguments: Any) -> Any:
        """Ask MLflow's client of a tracking server."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([url, question, arguments]) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate(timeout=30)


def run(client: Any, run_id: str, keys: list[str]) -> dict[str, Any]:
    """Give a run, and the whole history of some of its metrics."""
    found = client.get_run(run_id)
    info = found.info
    history = {
        key: [[each.step, each.timestamp, repr(each.value)] for each in client.get_metric_history(run_id, key)]
        for key in keys
    }
    return {
        "name": info.run_name,
        "status": info.status,
        "start": info.start_time,
        "end": info.end_time,
        "user": info.user_id,
        "tags": found.data.tags,
        "params": found.data.params,
        "metrics": {key: repr(value) for key, value in found.data.metrics.items()},
        "history": history,
        "experiment": client.get_experiment(info.experiment_id).name,
    }


def runs(client: Any, experiment: str) -> list[list[Any]]:
    """Give every run of an experiment, deleted ones too: id, stage, number of params."""
    found = client.get_experiment_by_name(experiment)
    rows = client.search_runs([found.experiment_id], run_view_type=3) if found else []
    return [[each.info.run_id, each.info.lifecycle_stage, len(each.data.params)] for each in rows]


def make_run(client: Any, experiment: str, tags: dict[str, str]) -> str:
    """Make a run as MLflow's users do, in an experiment that may be there, and give its id."""
    known = client.get_experiment_by_name(experiment)
    made = client.create_run(known.experiment_id if known else client.create_experiment(experiment), tags=tags)
    run_id: str = made.info.run_id
    return run_id


def log(client: Any, run_id: str) -> None:
    """Log a param and a metric, and end the run."""
    client.log_param(run_id, "p", 1)
    client.log_metric(run_id, "m", 2, step=3)
    client.set_terminated(run_id)


def delete_run(client: Any, run_id: str) -> None:
    """Delete a run, as its page does."""
    client.delete_run(run_id)


def delete_experiment(client: Any, experiment: str) -> None:
    """Delete an experiment, as its page does."""
    client.delete_experiment(client.get_experiment_by_name(experiment).experiment_id)


def rename_experiment(client: Any, experiment: str, name: str) -> None:
    """Give an experiment another name, as its page does."""
    client.rename_experiment(client.get_experiment_by_name(experiment).experiment_id, name)


def answer() -> None:
    """Answer questions until there are no more."""
    # MLflow prints pages of runs to standard output.
    answers, sys.stdout = sys.stdout, sys.stderr
    import mlflow

    for line in sys.stdin:
        url, question, arguments = json.loads(line)
        found = globals()[question](mlflow.MlflowClient(url), *arguments)
        answers.write(json.dumps(found) + "\n")
        answers.flush()


if __name__ == "__main__":
    answer()
