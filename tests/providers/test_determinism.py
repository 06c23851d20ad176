"""The determinism provider in programs of its own, each with the modules and variables that it names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runcontext.testing import ProviderContract
from runcontext_providers.determinism import DeterminismProvider

ASKED = """
import json, sys
from runcontext.resolution import Resolution
from runcontext_providers.determinism import DeterminismProvider

provider = DeterminismProvider()

def asked(method="tags"):
    return Resolution("determinism", "inline").run(lambda: provider, method)

def told(*outcomes):
    print(json.dumps(outcomes))
"""
"""How each program asks the provider, of one instance, and says what it answered."""


REASONS = {
    "absent: no variable is set that chooses threads, instructions, precision or algorithms",
    "absent: this Python always runs with the lock: it is no free-threaded build",
    *(f"absent: {name} is not imported" for name in ("random", "numpy", "torch", "jax", "tensorflow", "threadpoolctl")),
}
"""Why a fact is not there in a program that has not imported its library, or set its variable."""


class TestContract(ProviderContract):
    """What every provider keeps to, this one keeps to."""

    provider = DeterminismProvider


def answers(program: str, cwd: Path, **variables: str) -> list[dict[str, Any]]:
    """Run a program that asks the provider, with no other variables than these, and give the outcomes that it tells."""
    # Nor with what measures coverage: that imports random before the program begins.
    kept = ("HOME", "LD_LIBRARY_PATH", "PATH", "SYSTEMROOT")
    quiet = {name: value for name, value in os.environ.items() if name.startswith(kept)}
    path = os.pathsep.join([str(cwd), *filter(os.path.isabs, sys.path)])
    asked = subprocess.run(
        [sys.executable, "-c", ASKED + program],
        cwd=cwd,
        env={**quiet, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert asked.returncode == 0, asked.stderr
    assert not asked.stderr
    found: list[dict[str, Any]] = json.loads(asked.stdout.splitlines()[-1])
    return found


def test_nothing_to_say(tmp_path: Path) -> None:
    """A program that has imported no such library gets a reason, and no module that it had not."""
    program = """
for name in ("random", "numpy", "torch"):
    sys.modules.pop(name, None)
before = set(sys.modules)
outcome = asked()
told(outcome, {"imported": sorted(set(sys.modules) - before)})
"""
    outcome, rest = answers(program, tmp_path)
    if "free-threading build" not in sys.version:
        assert outcome["status"] == "absent"
        assert outcome["reason"].startswith("none of random, numpy, torch, jax, tensorflow, threadpoolctl is imported")
    assert rest["imported"] == []


def test_variables(tmp_path: Path) -> None:
    """Variables that choose threads, instructions and algorithms are told, sorted; one with a blank is quoted."""
    variables = {
        "XLA_FLAGS": "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0",
        "OMP_NUM_THREADS": "4",
        "MKL_CBWR": "AVX2",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "TF_DETERMINISTIC_OPS": "1",
        "PYTHONHASHSEED": "0",
        "OMPI_COMM_WORLD_RANK": "3",
        "PATIENCE": "5",
    }
    (outcome,) = answers("told(asked())", tmp_path, **variables)
    assert outcome["tags"]["determinism.variables"] == (
        "CUBLAS_WORKSPACE_CONFIG=:4096:8 MKL_CBWR=AVX2 OMP_NUM_THREADS=4 PYTHONHASHSEED=0 TF_DETERMINISTIC_OPS=1 "
        "XLA_FLAGS='--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0'"
    )


def test_variables_of_others(tmp_path: Path) -> None:
    """Terraform's variables, some of which are secrets, begin like TensorFlow's, and are not told."""
    variables = {
        "TF_VAR_password": "hunter2-hunter2",
        "TF_TOKEN_app_terraform_io": "abcdef",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    (outcome,) = answers("told(asked())", tmp_path, **variables)
    assert "determinism.variables" not in outcome["tags"]
    assert "hunter2" not in json.dumps(outcome)


def test_secrets_among_variables(tmp_path: Path) -> None:
    """A variable that begins like a library's and holds a secret is told without it."""
    variables = {"TF_STORE_PASSWORD": "hunter2-hunter2", "OMP_NUM_THREADS": "2"}
    (outcome,) = answers("told(asked())", tmp_path, **variables)
    assert outcome["tags"]["determinism.variables"] == "OMP_NUM_THREADS=2 TF_STORE_PASSWORD=[redacted]"


def test_variables_that_the_program_sets(tmp_path: Path) -> None:
    """What the program sets while it runs is seen at its end; an empty variable is set."""
    program = """
import os
first = asked()
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MKL_DYNAMIC"] = ""
told(first, asked("tags_at_end"))
"""
    first, last = answers(program, tmp_path, OMP_NUM_THREADS="8")
    assert first["tags"]["determinism.variables"] == "OMP_NUM_THREADS=8"
    assert last["tags"]["determinism.variables"] == "MKL_DYNAMIC= OMP_NUM_THREADS=1"


def test_state_of_random(tmp_path: Path) -> None:
    """The same seed gives the same fingerprint in every process and on every Python; to look draws no number."""
    program = """
import random
random.seed(42)
expected = [random.random() for _ in range(700)]
random.seed(42)
first = asked()
drawn = [random.random() for _ in range(700)]
told(first, asked("tags_at_end"), {"is_as_expected": drawn == expected})
"""
    first, last, rest = answers(program, tmp_path)
    assert first["tags"]["random.state"] == "2965db046dc3341f"
    assert last["tags"]["random.state"] != first["tags"]["random.state"]
    assert rest["is_as_expected"]


@pytest.mark.parametrize("name", ["random", "numpy", "torch", "jax", "tensorflow", "threadpoolctl"])
def test_module_of_the_programs_own(tmp_path: Path, name: str) -> None:
    """A file of the program's that is called like a library is none, and nothing fails for it."""
    (tmp_path / f"{name}.py").write_text("")
    (outcome,) = answers(f"sys.modules.pop({name!r}, None)\nimport {name}\ntold(asked())", tmp_path)
    assert outcome["status"] == "captured"
    assert not [tag for tag in outcome["tags"] if tag.startswith(name)]
    assert set(outcome["failures"].values()) <= REASONS


def test_version_that_tells_less(tmp_path: Path) -> None:
    """Where a library's version has no such attribute, the fact is absent for that reason, and nothing fails."""
    (tmp_path / "threadpoolctl.py").write_text("def threadpool_info():\n    return [].information\n")
    (outcome,) = answers("import threadpoolctl\ntold(asked())", tmp_path)
    assert outcome["status"] == "captured"
    assert outcome["failures"]["threadpools"].startswith("absent: the version of the library that is imported does not")


@pytest.mark.parametrize(("name", "mark"), [("random", "getstate"), ("numpy", "ndarray"), ("torch", "Tensor")])
def test_library_that_is_being_imported(tmp_path: Path, name: str, mark: str) -> None:
    """While another thread is importing a library, whatever is already in it, its facts are not there yet."""
    lines = ["import threading", f"{mark} = None", "begun = threading.Event()", "may_end = threading.Event()"]
    source = "\n".join([*lines, "import waiting", "waiting.begun.set()", "waiting.may_end.wait(30)"])
    (tmp_path / f"{name}.py").write_text(source)
    (tmp_path / "waiting.py").write_text("import threading\nbegun, may_end = threading.Event(), threading.Event()\n")
    program = f"""
import importlib, threading, waiting
sys.modules.pop({name!r}, None)
thread = threading.Thread(target=importlib.import_module, args=({name!r},))
thread.start()
assert waiting.begun.wait(30)
outcome = asked()
waiting.may_end.set()
thread.join()
told(outcome)
"""
    (outcome,) = answers(program, tmp_path)
    assert outcome["status"] == "captured"
    assert outcome["tags"] == {}
    assert outcome["failures"][f"{name}.random.state".removeprefix("random.")] == f"absent: {name} is not imported"


def test_library_that_is_imported_on_use(tmp_path: Path) -> None:
    """A lazy module is not imported by looking at it."""
    (tmp_path / "numpy.py").write_text("print('imported')\n")
    program = """
import importlib.util
spec = importlib.util.find_spec("numpy")
spec.loader = importlib.util.LazyLoader(spec.loader)
sys.modules["numpy"] = module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
outcome = asked()
told(outcome, {"type": type(module).__name__})
"""
    outcome, rest = answers(program, tmp_path)
    assert rest["type"] == "_LazyModule"
    assert outcome["status"] == "captured"
    assert outcome["failures"]["numpy.blas"] == "absent: numpy is not imported"


def test_global_interpreter_lock(tmp_path: Path) -> None:
    """Only a free-threaded build has a choice to tell: whether this process runs with the lock."""
    program = "told(asked(), {'is_enabled': getattr(sys, '_is_gil_enabled', lambda: None)()})"
    outcome, rest = answers(program, tmp_path, OMP_NUM_THREADS="1")
    if "free-threading build" in sys.version:
        assert outcome["tags"]["python.gil"] == ("enabled" if rest["is_enabled"] else "disabled")
    else:
        assert outcome["failures"]["python.gil"].startswith("absent: this Python always runs with the lock")


def test_every_fact_has_a_reason(tmp_path: Path) -> None:
    """Whatever is imported, each fact is there or absent for a reason that names its library."""
    (outcome,) = answers("import random\ntold(asked())", tmp_path)
    assert set(outcome["tags"]) - {"python.gil"} == {"random.state"}
    assert set(outcome["tags"]) | set(outcome["failures"]) == set(DeterminismProvider().tags())
    assert set(outcome["failures"].values()) <= REASONS
