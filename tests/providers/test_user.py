"""The user provider, in real processes with the environments that matter."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys

import pytest

SCRIPT = """
import json, os, pwd, sys
from runcontext.testing import resolve_provider
from runcontext_providers.user import UserProvider
if len(sys.argv) > 1:
    os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
print(json.dumps(resolve_provider(UserProvider).to_json()))
"""

UNKNOWN_UID = 54_321


def captured(*arguments: str, **variables: str) -> dict[str, str]:
    """Give the tags of the user provider in a process with just these variables."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith(("USER", "NAME"))}
    asked = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments],
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    tags: dict[str, str] = json.loads(asked.stdout)["tags"]
    return tags


def test_mlflows_variable_comes_first() -> None:
    """MLFLOW_TRACKING_USERNAME names the user, whatever else is set."""
    assert captured(MLFLOW_TRACKING_USERNAME="anna", USER="root", LOGNAME="root") == {"mlflow.user": "anna"}


@pytest.mark.parametrize("variable", ["LOGNAME", "USER", "LNAME", "USERNAME"])
def test_the_environment_names_the_user(variable: str) -> None:
    """The variables that getpass.getuser() reads are read."""
    assert captured(**{variable: "berta"}) == {"mlflow.user": "berta"}


def test_the_environment_is_read_in_getpass_order() -> None:
    """LOGNAME wins over USER, as in getpass.getuser()."""
    assert captured(USER="second", LOGNAME="first") == {"mlflow.user": "first"}


def test_an_empty_variable_names_nobody() -> None:
    """An empty variable counts as unset."""
    assert captured(MLFLOW_TRACKING_USERNAME="", LOGNAME="", USER="carla") == {"mlflow.user": "carla"}


def test_the_password_database_names_the_user() -> None:
    """Without any variable it is the name of the process's uid."""
    assert captured() == {"mlflow.user": pwd.getpwuid(os.getuid()).pw_name}


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user")
def test_a_uid_without_a_name_is_still_somebody() -> None:
    """In a container with no passwd entry the user is its uid, and nothing else is lost."""
    assert captured(str(UNKNOWN_UID)) == {"mlflow.user": f"uid:{UNKNOWN_UID}"}
