"""What ``runcontext.testing`` gives the authors of plugins besides its contracts."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TESTS = """
import pytest
from runcontext.testing import ProviderContract

class Broken:
    def in_context(self):
        return True
    def tags(self):
        return 55

class TestBroken(ProviderContract):
    provider = Broken
"""


def test_a_failed_contract_shows_values(tmp_path: Path) -> None:
    """Authors see what an assertion of a contract has compared, not only that it failed."""
    file = tmp_path / "test_broken.py"
    file.write_text(_TESTS, encoding="utf-8")
    command = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file.name)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "E       " in done.stdout
    assert "+  where" in done.stdout
    assert "PytestAssertRewriteWarning" not in done.stdout


def test_without_pytest_nothing_is_asked_of_it() -> None:
    """A program that resolves a provider does not import pytest by that."""
    source = "import sys, runcontext.testing; print('pytest' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
