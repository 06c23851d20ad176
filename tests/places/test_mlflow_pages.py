"""What a person sees of a run on the pages of an MLflow server, in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests import browser

if TYPE_CHECKING:
    from pathlib import Path

    from tests.places.servers_mlflow import MLflowServer

pytestmark = pytest.mark.skipif(browser.BROWSER is None, reason=browser.MISSING)

PROGRAM = """\
import runcontext

with runcontext.start_run(run_name="baseline", description="the *first* one", tags={"team": "vision"}) as run:
    run.log_metric("loss", 0.31)
    run.log_param("optimizer", "adam")
print(run.url)
"""


def test_a_run_is_shown_as_mlflows_own(
    mlflow_newest: MLflowServer, program_environment: dict[str, str], tmp_path: Path
) -> None:
    """User, source, commit, description, status, metrics and params stand where MLflow's own do; tags are there."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "train.py").write_text(PROGRAM)
    commit = _committed(project, program_environment)
    environment = {
        **program_environment,
        "MLFLOW_TRACKING_USERNAME": "ada",
        "RUNCONTEXT_TRACKING_URI": mlflow_newest.url,
        "RUNCONTEXT_SYNC_TIMEOUT": "60",
    }
    words = [sys.executable, "train.py"]
    done = subprocess.run(words, cwd=project, env=environment, check=True, capture_output=True, text=True)
    seen = browser.text_of(browser.opened(done.stdout.strip(), tmp_path))
    for pattern in (
        r"Created by\nada\n",
        rf"Source\ntrain\.py\nmain\n{commit[:7]}\n",
        r"Description\nthe\nfirst\none\n",
        r"Status\nFinished\n",
        r"loss\n0\.31\n",
        r"optimizer\nadam\n",
        r"team\n: vision\n",
        r"process\.runtime\.name\n: \w+\n",
        r"runcontext\.run_id\n: [0-9a-f]{32}\n",
    ):
        assert re.search(pattern, seen), f"{pattern} is not in {seen}"


def _committed(project: Path, environment: dict[str, str]) -> str:
    name = ["-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q", "-b", "main"], ["add", "train.py"], [*name, "commit", "-q", "-m", "begin"]):
        subprocess.run(["git", *words], cwd=project, env=environment, check=True)
    head = ["git", "rev-parse", "HEAD"]
    return subprocess.run(head, cwd=project, env=environment, check=True, capture_output=True, text=True).stdout.strip()
