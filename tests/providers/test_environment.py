"""The environment provider: which variables are told, how they are written, and that secrets in them are not."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from runcontext.record import OutcomeStatus
from runcontext.testing import ProviderContract, resolve_provider
from runcontext_providers.environment import EnvironmentProvider

if TYPE_CHECKING:
    from pathlib import Path

    from runcontext.record import Context

HUB_TOKEN = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz01234567"


def told(*patterns: str, method: str = "tags", **variables: str) -> Context:
    """Give what the provider tells of ``variables``, where the user asked for ``patterns``."""
    return resolve_provider(EnvironmentProvider(variables, patterns=patterns), method=method)


class TestEnvironmentProvider(ProviderContract):
    """It keeps what every provider keeps, whatever this machine's environment says."""

    provider = EnvironmentProvider


class TestWithPatterns(ProviderContract):
    """It keeps it where variables are asked for, too."""

    provider = EnvironmentProvider({"LANG": "C", "TEAM": "vision"}, patterns=("TEAM", "ABSENT", "L*"))


def test_known_variables_are_one_tag_as_a_shell_writes_them() -> None:
    """Sorted assignments, quoted so that a shell reads the same values."""
    variables = {
        "TZ": "Europe/Zurich",
        "LD_LIBRARY_PATH": "/opt/my libs:/usr/lib",
        "NCCL_DEBUG": "INFO",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "HF_HUB_OFFLINE": "1",
    }
    value = told(**variables).tags["environment.variables"]
    assert value.startswith("CUDA_VISIBLE_DEVICES='' HF_HUB_OFFLINE=1 LD_LIBRARY_PATH='/opt/my libs:/usr/lib' NCCL_")
    assert dict(each.split("=", 1) for each in shlex.split(value)) == variables


def test_other_variables_are_not_told() -> None:
    """A person's own variables are nobody's business, and PATH changes no result."""
    context = told(TZ="UTC", PATH="/bin", HOME="/home/ada", TEAM="vision", SSH_AUTH_SOCK="/run/agent", PS1="$ ")
    assert dict(context.tags) == {"environment.variables": "TZ=UTC"}


@pytest.mark.parametrize(
    "name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "CUBLAS_WORKSPACE_CONFIG", "XLA_FLAGS", "TF_DETERMINISTIC_OPS"]
)
def test_what_another_provider_tells_is_not_told_twice(name: str) -> None:
    """Threads, precision and algorithms are the determinism provider's."""
    assert "environment.variables" not in told(**{name: "1"}).tags


def test_no_such_variable_is_absent_and_says_how_to_name_more() -> None:
    """A bare environment has the reason in the tag's place."""
    outcome = told(PATH="/bin").outcomes["provider"]
    assert not outcome.tags
    assert outcome.failures["environment.variables"].startswith("absent: no variable that is known to change results")
    assert "RUNCONTEXT_ENV" in outcome.failures["environment.variables"]


def test_what_the_user_asks_for_is_a_tag_each() -> None:
    """Names and globs of RUNCONTEXT_ENV, in the letters' own case."""
    context = told("TEAM", "LAB_*", TEAM="vision", LAB_BENCH="4", LAB_ROOM="", team="no", COLLAB_X="no")
    assert dict(context.tags) == {"env.TEAM": "vision", "env.LAB_BENCH": "4", "env.LAB_ROOM": ""}


def test_a_known_variable_that_is_asked_for_is_told_in_both_ways() -> None:
    """To ask for one takes nothing away from the others."""
    assert dict(told("TZ", TZ="UTC").tags) == {"environment.variables": "TZ=UTC", "env.TZ": "UTC"}


def test_a_variable_that_is_asked_for_and_not_set_is_absent() -> None:
    """A name has its reason; a glob that matches nothing names no variable."""
    failures = told("TEAM", "LAB_*", "[A-C]*", TZ="UTC").outcomes["provider"].failures
    assert dict(failures) == {"env.TEAM": "absent: TEAM is not set"}


def test_an_exported_function_of_a_shell_is_a_tag_like_others() -> None:
    """Its variable's name has signs that a tag's may not have."""
    context = told("*", **{"BASH_FUNC_module%%": "() { :; }"})
    assert context.tags["env.BASH_FUNC_module__"] == "() { :; }"
    assert context.outcomes["provider"].status is OutcomeStatus.CAPTURED


@pytest.mark.parametrize("name", ["HF_TOKEN", "WANDB_API_KEY", "DB_PASSWORD", "VLLM_API_KEY", "AWS_SECRET_ACCESS_KEY"])
def test_a_variable_with_a_secrets_name_is_never_told(name: str) -> None:
    """Whatever its value looks like, and even where it is asked for by name; that it is set is told, and counted."""
    context = told("*", **{name: "plain-looking", "TZ": "UTC"})
    assert context.tags[f"env.{name}"] == "[redacted]"
    assert "plain-looking" not in str(context.to_json())
    assert context.outcomes["provider"].redacted >= 1


def test_a_secret_in_a_value_is_never_told() -> None:
    """Values are searched, in the tag that they share and in their own."""
    context = told(
        "MY_*",
        HF_ENDPOINT=f"https://ada:{HUB_TOKEN}@hub.example.org",
        VLLM_API_KEY="plain-looking",
        MY_URL="https://hub.example.org/?access_token=abcdef0123456789",
        MY_TEXT=f"use {HUB_TOKEN} here",
    )
    told_of = str(context.to_json())
    assert HUB_TOKEN not in told_of
    assert "plain-looking" not in told_of
    assert "abcdef0123456789" not in told_of
    assert context.tags["environment.variables"] == (
        "HF_ENDPOINT='https://[redacted]@hub.example.org' VLLM_API_KEY='[redacted]'"
    )


def test_a_value_that_is_no_text_is_told() -> None:
    """Bytes that are not UTF-8 reach Python as surrogates: they cost nothing else."""
    context = told("LAB", LAB="a\udcffb", TZ="UTC")
    assert context.tags["env.LAB"] == r"a\udcffb"
    assert context.tags["environment.variables"] == "TZ=UTC"


def test_the_end_is_told_as_it_is_then() -> None:
    """A variable that the program set, changed or took away meanwhile shows in what is asked at the end."""
    variables = {"TZ": "UTC", "LAB": "4"}
    provider = EnvironmentProvider(variables, patterns=("LAB", "LATER"))
    assert dict(resolve_provider(provider).tags) == {"environment.variables": "TZ=UTC", "env.LAB": "4"}
    del variables["LAB"]
    variables.update(NCCL_DEBUG="INFO", LATER="1")
    at_end = resolve_provider(provider, method="tags_at_end")
    assert dict(at_end.tags) == {"environment.variables": "NCCL_DEBUG=INFO TZ=UTC", "env.LATER": "1"}
    assert at_end.outcomes["provider"].failures["env.LAB"] == "absent: LAB is not set"


RUN = """
import json, os, runcontext
with runcontext.start_run() as run:
    os.environ["LAB_BENCH"] = "5"
print(json.dumps(dict(runcontext.get_run(run.run_id).tags)))
"""


def test_runcontext_env_names_variables_of_a_run(tmp_path: Path) -> None:
    """The setting reaches the provider where it runs, and what changed during the run is on record."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "RUNCONTEXT_ENV": "LAB_*,HUB_TOKEN",
        "RUNCONTEXT_PROVIDERS": "environment",
        "RUNCONTEXT_CACHE_DIR": f"{tmp_path}/cache",
        "RUNCONTEXT_TIMEOUT": "30",
        "LAB_BENCH": "4",
        "HUB_TOKEN": HUB_TOKEN,
    }
    ran = subprocess.run(
        [sys.executable, "-c", RUN], cwd=str(tmp_path), env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert '"env.LAB_BENCH": "4"' in ran.stdout
    assert '"env.HUB_TOKEN": "[redacted]"' in ran.stdout
    assert '"changed.env.LAB_BENCH": "5"' in ran.stdout
    assert HUB_TOKEN not in ran.stdout
