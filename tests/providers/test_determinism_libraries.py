"""The determinism provider in programs that use the real numerical libraries."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from runcontext_providers.determinism import DeterminismProvider

pytestmark = pytest.mark.slow

ASKED = """
import json, os, sys, warnings
warnings.simplefilter("error")
from runcontext.resolution import Resolution
from runcontext_providers.determinism import DeterminismProvider

provider = DeterminismProvider()

def asked(method="tags"):
    before, threads = set(sys.modules), len(os.listdir("/proc/self/task"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        outcome = Resolution("determinism", "inline").run(lambda: provider, method)
    imported = sorted(name for name in set(sys.modules) - before if not name.startswith("runcontext"))
    assert not imported, imported
    assert len(os.listdir("/proc/self/task")) == threads
    odd = [reason for reason in outcome["failures"].values() if "absent: " not in reason or "does not tell" in reason]
    assert not odd, odd
    return outcome["tags"]

def told(*what):
    print(json.dumps(what))
"""
"""How each program asks: nothing may be imported, no thread started, nothing warned of, and no fact may fail."""

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="this system does not list its threads")


def told(program: str, *libraries: str, **variables: str) -> list[Any]:
    """Run a program that asks the provider, and give what it tells; skip where a library is not installed."""
    for library in libraries:
        if importlib.util.find_spec(library) is None:
            pytest.skip(f"{library} is not installed")
    path = os.pathsep.join(filter(os.path.isabs, sys.path))
    asked = subprocess.run(
        [sys.executable, "-c", ASKED + program],
        env={**os.environ, "PYTHONPATH": path, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )
    assert asked.returncode == 0, asked.stderr
    found: list[Any] = json.loads(asked.stdout.splitlines()[-1])
    return found


@needs_proc
def test_numpy_that_was_just_imported() -> None:
    """BLAS and instruction sets are told; a generator that NumPy itself has not made yet is not made for it."""
    tags, loaded = told("import numpy\ntags = asked()\ntold(tags, 'numpy.random.mtrand' in sys.modules)", "numpy")
    assert tags["numpy.blas"]
    assert tags["numpy.simd"]
    assert ("numpy.random.state" in tags) == loaded


@needs_proc
def test_numpys_own_account() -> None:
    """What is told of NumPy is what ``numpy.show_config()`` says, and the CPU features that it may use."""
    program = """
import numpy
tags = asked()
config = numpy.show_config(mode="dicts")
told(tags, config["Build Dependencies"]["blas"], config["SIMD Extensions"])
"""
    tags, blas, simd = told(program, "numpy")
    assert tags["numpy.blas"] == f"{blas['name']} {blas['version']}"
    assert tags["numpy.simd"].split() == [*simd.get("baseline", []), *simd.get("found", [])]


@needs_proc
def test_instruction_sets_that_were_switched_off() -> None:
    """An instruction set that the environment forbids NumPy is not told, and the variable is."""
    (before,) = told("import numpy\ntold(asked())", "numpy")
    (config,) = told("import numpy\ntold(numpy.show_config(mode='dicts')['SIMD Extensions'])", "numpy")
    dispatched = config.get("found", [])
    if not dispatched:
        pytest.skip("this CPU has no instruction set that NumPy could do without")
    (after,) = told("import numpy\ntold(asked())", "numpy", NPY_DISABLE_CPU_FEATURES=dispatched[-1])
    assert set(before["numpy.simd"].split()) - set(after["numpy.simd"].split()) == {dispatched[-1]}
    assert f"NPY_DISABLE_CPU_FEATURES={dispatched[-1]}" in after["determinism.variables"]


@needs_proc
@pytest.mark.parametrize(
    ("seed", "draw", "tag"),
    [
        ("import random; random.seed(7)", "[random.random() for _ in range(99)]", "random.state"),
        ("import numpy; numpy.random.seed(7)", "numpy.random.rand(99).tolist()", "numpy.random.state"),
        ("import numpy; numpy.random.seed(7)", "numpy.random.randn(3).tolist()", "numpy.random.state"),
        ("import torch; torch.manual_seed(7)", "torch.rand(99).tolist()", "torch.random.state"),
    ],
)
def test_no_number_is_drawn(seed: str, draw: str, tag: str) -> None:
    """The numbers that a program draws are the same whether it is looked at or not, and the fingerprint moves on."""
    library = seed.split()[1].rstrip(";")
    ask = f"{seed}\nfirst = asked()\nnumbers = {draw}\nsecond = asked('tags_at_end')\n"
    first, numbers, second = told(f"{ask}told(first, numbers, second)", library)
    (unwatched,) = told(f"{seed}\ntold({draw})", library)
    assert numbers == unwatched
    assert first[tag] != second[tag]
    again, *_ = told(f"{ask}told(first, numbers, second)", library)
    assert again[tag] == first[tag]


@needs_proc
def test_another_generator_behind_numpys_functions() -> None:
    """NumPy lets a program replace the generator behind ``numpy.random.rand``: its state is fingerprinted as well."""
    program = """
import numpy
first = asked()
numpy.random.set_bit_generator(numpy.random.PCG64(3))
second = asked()
numpy.random.rand()
told(first, second, asked("tags_at_end"))
"""
    first, second, third = told(program, "numpy")
    assert len({tags["numpy.random.state"] for tags in (second, third)}) == 2
    assert second["numpy.random.state"] != first.get("numpy.random.state")


@pytest.mark.parametrize("libraries", [("numpy", "torch", "threadpoolctl"), ("jax",), ("tensorflow",)])
def test_names_are_the_same_whatever_is_imported(libraries: tuple[str, ...]) -> None:
    """The provider gives the names of all facts, also of libraries that are not there."""
    program = "".join(f"import {library}\n" for library in libraries) + "told(sorted(provider.tags()))"
    (names,) = told(f"warnings.simplefilter('ignore')\n{program}", *libraries)
    assert names == sorted(DeterminismProvider().tags())


@needs_proc
def test_what_torch_was_told_to_do() -> None:
    """What a program sets is seen at its end; before, what PyTorch begins with."""
    program = """
import torch
first = asked()
torch.use_deterministic_algorithms(True, warn_only=True)
torch.backends.cudnn.benchmark = True
torch.backends.cudnn.deterministic = True
torch.set_float32_matmul_precision("high")
torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
torch.manual_seed(1234)
told(first, asked("tags_at_end"))
"""
    first, last = told(program, "torch")
    assert first["torch.deterministic"].startswith("algorithms=false warn_only=false")
    assert last["torch.deterministic"].startswith("algorithms=true warn_only=true")
    assert "benchmark=false deterministic=false" in first["torch.cudnn"]
    assert "benchmark=true deterministic=true" in last["torch.cudnn"]
    assert first["torch.precision"].startswith("dtype=float32 ")
    assert last["torch.precision"].startswith("dtype=float64 ")
    assert "matmul=tf32" in last["torch.precision"] or "matmul=high" in last["torch.precision"]
    assert last["torch.threads"].startswith("intra=1 ")
    assert last["torch.random.state"].startswith("seed=1234 cpu=")
    assert ("torch.cuda.libraries" in first) == (" nccl=" in first.get("torch.cuda.libraries", ""))


@needs_proc
def test_precision_set_by_the_newer_interface() -> None:
    """Where a program has used ``fp32_precision``, the older functions raise; nothing of ours does."""
    program = """
import torch
if not hasattr(torch.backends.cuda.matmul, "fp32_precision"):
    told(None)
else:
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    told(asked())
"""
    (tags,) = told(program, "torch")
    if tags is None:
        pytest.skip("this PyTorch has only the older interface")
    assert "cuda.matmul=tf32" in tags["torch.precision"]


@needs_proc
def test_cuda_is_not_initialised() -> None:
    """To look at PyTorch, at its start and at the end, initialises no device and leaves the thread pool unmade."""
    program = """
import torch
asked(), asked("tags_at_end")
torch.set_num_interop_threads(3)
told(torch.cuda.is_initialized(), asked()["torch.threads"])
"""
    is_initialized, threads = told(program, "torch")
    assert is_initialized is False
    assert threads.endswith("inter=3")


@needs_proc
def test_modes_of_the_programs_own() -> None:
    """A program's function mode, dispatch mode, fake tensors and default device see nothing of ours."""
    program = """
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

seen = []

class Functions(TorchFunctionMode):
    def __torch_function__(self, function, types, args=(), kwargs=None):
        seen.append(str(function))
        return function(*args, **(kwargs or {}))

class Dispatched(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        seen.append(str(function))
        return function(*args, **(kwargs or {}))

plain = asked()
with Functions(), Dispatched():
    watched = asked()
with FakeTensorMode():
    faked = asked()
with torch.device("meta"):
    elsewhere = asked()
told(seen, plain, watched, faked, elsewhere)
"""
    seen, plain, *others = told(program, "torch")
    assert seen == []
    names = [name for name in plain if name.startswith("torch.")]
    assert all({name: tags[name] for name in names} == {name: plain[name] for name in names} for tags in others)


@needs_proc
def test_thread_pools() -> None:
    """Where the program has threadpoolctl, the pools that it finds are told; where it has not, nothing is."""
    program = """
import numpy
without = asked()
import threadpoolctl
first = asked()
with threadpoolctl.threadpool_limits(1):
    told(without, first, asked(), threadpoolctl.threadpool_info())
"""
    without, first, limited, pools = told(program, "numpy", "threadpoolctl")
    assert "threadpools" not in without
    assert first["threadpools"].count("threads=") == len(pools) > 0
    assert all(each.endswith(" threads=1") for each in limited["threadpools"].split(","))
    assert all(pool["internal_api"] in first["threadpools"] for pool in pools)


@needs_proc
def test_jax() -> None:
    """JAX's options are told, before and after the program has set them, and no backend is made for it."""
    program = """
import jax
first = asked()
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update("jax_default_prng_impl", "rbg")
last = asked("tags_at_end")
from jax._src import xla_bridge
told(first["jax.settings"], last["jax.settings"], len(xla_bridge._backends))
"""
    first, last, backends = told(program, "jax")
    assert first.startswith("enable_x64=false matmul_precision=default prng_impl=threefry2x32")
    assert last.startswith("enable_x64=true matmul_precision=highest prng_impl=rbg")
    assert backends == 0


@needs_proc
def test_tensorflow() -> None:
    """TensorFlow's determinism is told, before and after the program has asked for it."""
    program = """
warnings.simplefilter("ignore")
import tensorflow
first = asked()
tensorflow.config.experimental.enable_op_determinism()
tensorflow.config.experimental.enable_tensor_float_32_execution(False)
last = asked("tags_at_end")
from tensorflow.python.eager import context
told(first["tensorflow.settings"], last["tensorflow.settings"], context.context()._initialized)
"""
    first, last, is_initialized = told(program, "tensorflow")
    assert first == "deterministic_ops=false tensor_float_32=true"
    assert last == "deterministic_ops=true tensor_float_32=false"
    assert is_initialized is False


@needs_proc
def test_a_run_says_what_changed() -> None:
    """A real run's record has what the program set between its start and its end, under ``changed.``."""
    program = """
import tempfile
os.chdir(tempfile.mkdtemp())
import runcontext, torch
with runcontext.start_run() as run:
    torch.manual_seed(5)
    torch.use_deterministic_algorithms(True)
told(dict(run.tags))
"""
    (tags,) = told(program, "torch")
    assert tags["torch.deterministic"].startswith("algorithms=false")
    assert tags["changed.torch.deterministic"].startswith("algorithms=true")
    assert tags["changed.torch.random.state"].startswith("seed=5 ")
    assert "changed.torch.threads" not in tags
