"""What /proc/cpuinfo tells of the first processor: its model, and its vector instructions."""

from __future__ import annotations

import re

from runcontext import NotInContext

_MODEL_FIELDS = ("model name", "cpu")
"""What the model is called on x86, and on POWER."""

_FLAG_FIELDS = ("flags", "Features", "features")
"""What the list of abilities is called on x86, on Arm, and on IBM Z."""

_VECTOR_FLAG = re.compile(
    r"""
    sse4_[12] | ssse3 | f16c | fma | avx\w* | amx_\w+              # x86
    | neon | asimd\w* | fphp | i8mm | bf16 | sve\w* | sme(?!p\b)\w*       # Arm
    | vx[de]?\d? | vxe2 | nnpa                                     # IBM Z
    """,
    re.VERBOSE,
)
"""Which abilities are instructions on vectors and matrices, by the kernel's names.

Sources: Linux, arch/x86/include/asm/cpufeatures.h, Documentation/arch/arm64/elf_hwcaps.rst, and
arch/s390/kernel/processor.c.
"""


class Processor:
    """The first processor of /proc/cpuinfo below ``root``: the others are like it, up to kinds of cores.

    Raises OSError where the file cannot be read.
    """

    def __init__(self, root: str = "/") -> None:
        """Read the fields of the first processor, and no further: on a large machine the rest takes milliseconds."""
        self._fields: dict[str, str] = {}
        with open(f"{root.rstrip('/')}/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                field, _, value = line.partition(":")
                if not field.strip() and self._is_complete():
                    break
                self._fields.setdefault(field.strip(), value.strip())

    def _is_complete(self) -> bool:
        # Old kernels for Arm list what all processors can only after the last of them.
        return any(field in self._fields for field in (*_MODEL_FIELDS, *_FLAG_FIELDS))

    def model(self) -> str:
        """Give the model's name; raises NotInContext where there is none, as on arm64."""
        model = self._first(_MODEL_FIELDS)
        if not model:
            message = "/proc/cpuinfo has no model name, as on arm64"
            raise NotInContext(message)
        return model

    def vector_flags(self) -> str:
        """Give the vector instructions, sorted, with commas; raises NotInContext where none is listed."""
        listed = self._first(_FLAG_FIELDS).split()
        flags = sorted({flag for flag in listed if _VECTOR_FLAG.fullmatch(flag)})
        if not flags:
            why = "lists no vector instructions" if listed else "does not list instructions, as on POWER and RISC-V"
            message = f"/proc/cpuinfo {why}"
            raise NotInContext(message)
        return ",".join(flags)

    def _first(self, fields: tuple[str, ...]) -> str:
        return next((self._fields[field] for field in fields if self._fields.get(field)), "")
