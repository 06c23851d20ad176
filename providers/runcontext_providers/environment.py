"""The environment provider: variables that change results, and those that the user named."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from runcontext import NotInContext, current_settings
from runcontext.redaction import MARK, is_secret_name, redact_text

if TYPE_CHECKING:
    from runcontext.provider import Placement, TagValue

_NAMES = frozenset(
    (
        # How texts and numbers are read, sorted and printed; local time.
        *("LANG", "LANGUAGE", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_NUMERIC", "LC_TIME", "TZ"),
        # Which libraries are loaded, and in whose place.
        *("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_AUDIT", "DYLD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES"),
        # Where models and data come from, and whether newer ones may be fetched. HF_TOKEN is a secret, so no prefix.
        *("HF_HOME", "HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE"),
        *("KERAS_BACKEND", "KERAS_HOME", "TOKENIZERS_PARALLELISM"),
    )
)
"""Variables that change results, or say where inputs come from."""

_PREFIXES = (
    # Devices, kernels and communication: CUDA, ROCm, oneAPI, TPU, and what moves data between them.
    *("CUDA_", "NCCL_", "HSA_", "HIP_", "ROCR_", "ROCBLAS_", "MIOPEN_", "RCCL_"),
    *("ONEAPI_", "SYCL_", "ZE_", "CCL_", "TPU_", "UCX_"),
    # Frameworks: PyTorch and its compilers, Hugging Face's libraries, DeepSpeed, vLLM.
    *("PYTORCH_", "TORCH_", "TORCHINDUCTOR_", "TORCHDYNAMO_", "TRITON_", "FSDP_"),
    *("ACCELERATE_", "TRANSFORMERS_", "DS_", "VLLM_"),
    # glibc's allocator, on which out-of-memory and speed depend.
    "MALLOC_",
)
"""How the names of families of such variables begin."""

_NONE_SET = (
    "no variable that is known to change results is set; "
    "RUNCONTEXT_ENV=NAME,PREFIX_* names others that are to be recorded"
)
_OWN = "RUNCONTEXT_"
_GLOB = re.compile(r"[*?\[]")
_UNFIT_FOR_A_TAG = re.compile(r"[^\w.\-]")


class EnvironmentProvider:
    """Tell the variables that change results, in one tag, and each of those that the user asked for.

    What decides threads, instructions, precision and algorithms of numerical libraries is the determinism provider's,
    and ``PYTHON*`` the source provider's.

    Args:
        environment: what stands for ``os.environ``.
        patterns: names and globs of the variables that are asked for; those of ``RUNCONTEXT_ENV`` unless given.
    """

    placement: Placement = "companion"

    def __init__(
        self, environment: Mapping[str, str] | None = None, *, patterns: tuple[str, ...] | None = None
    ) -> None:
        """Read ``environment``, the program's own unless given."""
        self._environment = _environment() if environment is None else environment
        self._patterns = current_settings().environment_patterns if patterns is None else patterns

    def in_context(self) -> bool:
        """Say yes: every program has an environment."""
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give ``environment.variables``, as a shell writes them, and ``env.<NAME>`` of each variable asked for.

        A value whose variable's name says that it is secret is replaced whole, secrets within other values alone.
        """
        return {"environment.variables": self._known, **dict(self._asked_for()), **dict(self._missing())}

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give the same as it is then: a program may set variables for itself and for what it starts."""
        return self.tags()

    def _known(self) -> str:
        names = sorted(name for name in self._environment if name in _NAMES or name.startswith(_PREFIXES))
        if not names:
            raise NotInContext(_NONE_SET)
        return " ".join(f"{name}={shlex.quote(_redacted(name, self._environment[name]))}" for name in names)

    def _asked_for(self) -> Iterator[tuple[str, TagValue]]:
        if self._patterns:
            for name, value in self._environment.items():
                if any(fnmatchcase(name, pattern) for pattern in self._patterns):
                    yield _tag(name), _redacted(name, value)

    def _missing(self) -> Iterator[tuple[str, TagValue]]:
        for name in self._patterns:
            if name not in self._environment and not _GLOB.search(name):
                yield _tag(name), _not_set(name)


def _environment() -> Mapping[str, str]:
    """Give the program's variables: in a worker of the companion without those that keep it from starting another."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(_OWN)}
    return {**own, **{name: value for name, value in current_settings().environment.items() if name.startswith(_OWN)}}


def _tag(name: str) -> str:
    # A shell's exported function is a variable called BASH_FUNC_name%%.
    return f"env.{_UNFIT_FOR_A_TAG.sub('_', name)}"


def _not_set(name: str) -> TagValue:
    def absent() -> str:
        message = f"{name} is not set"
        raise NotInContext(message)

    return absent


def _redacted(name: str, value: str) -> str:
    return MARK if value and is_secret_name(name) else redact_text(value)


__all__ = ["EnvironmentProvider"]
