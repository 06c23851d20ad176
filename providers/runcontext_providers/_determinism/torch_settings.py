"""How PyTorch computes, read from a PyTorch that the program has imported, without initialising any device."""

from __future__ import annotations

import sys

from runcontext import NotInContext
from runcontext_providers._determinism.readings import fingerprint, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from runcontext.provider import TagValue

_FLOAT32_PRECISIONS = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
"""What in ``torch.backends`` has a ``fp32_precision``: PyTorch's notes on CUDA semantics, "TensorFloat-32"."""


def facts(torch: Any) -> Mapping[str, TagValue]:
    """Give its facts, each read when it is called."""
    return {
        "torch.random.state": lambda: _random_state(torch),
        "torch.deterministic": lambda: _deterministic(torch),
        "torch.cudnn": lambda: _cudnn(torch),
        "torch.precision": lambda: _precision(torch),
        "torch.threads": lambda: pairs(intra=torch.get_num_threads(), inter=torch.get_num_interop_threads()),
        "torch.cuda.libraries": lambda: _libraries(torch),
    }


def _random_state(torch: Any) -> str:
    """Give the seed of the default generator, and fingerprints of its state and of the initialised GPUs' generators."""
    # Neither a mode of the program's own nor a default device has a part in this.
    with torch._C.DisableTorchFunction():
        cpu = torch.default_generator
        cuda = torch.cuda.default_generators if torch.cuda.is_initialized() else ()
        return pairs(
            seed=cpu.initial_seed(), cpu=_fingerprint(cpu), cuda=",".join(_fingerprint(each) for each in cuda) or None
        )


def _fingerprint(generator: Any) -> str:
    return fingerprint(bytes(generator.get_state().tolist()))


def _deterministic(torch: Any) -> str:
    """Read what ``torch.use_deterministic_algorithms()`` set: PyTorch's notes on reproducibility."""
    return pairs(
        algorithms=torch.are_deterministic_algorithms_enabled(),
        warn_only=torch.is_deterministic_algorithms_warn_only_enabled(),
        fill_uninitialized=getattr(sys.modules.get("torch.utils.deterministic"), "fill_uninitialized_memory", None),
    )


def _cudnn(torch: Any) -> str:
    cudnn = torch.backends.cudnn
    # ``cudnn.version()`` would look at the devices' capabilities, and so initialise CUDA.
    library = getattr(torch._C, "_cudnn", None)
    version = ".".join(map(str, library.getRuntimeVersion())) if library is not None else "none"
    return pairs(enabled=cudnn.enabled, benchmark=cudnn.benchmark, deterministic=cudnn.deterministic, version=version)


def _precision(torch: Any) -> str:
    matmul = torch.backends.cuda.matmul
    # Once a program has used the newer interface, the older one raises; where there is the newer, the older may warn.
    if hasattr(matmul, "fp32_precision"):
        float32 = {name: _attribute(torch.backends, f"{name}.fp32_precision") for name in _FLOAT32_PRECISIONS}
    else:
        float32 = {
            "matmul": torch.get_float32_matmul_precision(),
            "cuda.matmul.tf32": matmul.allow_tf32,
            "cudnn.tf32": torch.backends.cudnn.allow_tf32,
        }
    return pairs(
        dtype=str(torch.get_default_dtype()).removeprefix("torch."),
        **float32,
        fp16_reduction=matmul.allow_fp16_reduced_precision_reduction,
        bf16_reduction=matmul.allow_bf16_reduced_precision_reduction,
    )


def _attribute(holder: Any, path: str) -> Any:
    for name in path.split("."):
        holder = getattr(holder, name)
    return holder


def _libraries(torch: Any) -> str:
    """Give the versions of the GPU libraries that it brings."""
    nccl = sys.modules.get("torch.cuda.nccl") if hasattr(torch._C, "_nccl_version") else None
    version = nccl.version() if nccl is not None else None
    found = pairs(
        cuda=torch.version.cuda,
        hip=getattr(torch.version, "hip", None),
        nccl=".".join(map(str, version)) if isinstance(version, tuple) else version,
    )
    if not found:
        reason = "this PyTorch was built without CUDA and without HIP"
        raise NotInContext(reason)
    return found
