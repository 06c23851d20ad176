"""The host provider: on which machine, under which operating system, with how much of it for the program."""

from __future__ import annotations

import functools
import os
import platform
import time
from typing import TYPE_CHECKING

import psutil

from runcontext import NotInContext, current_program
from runcontext_providers._container.clues import image_holds_machine_id
from runcontext_providers._host.cgroups import CgroupError, ControlGroups
from runcontext_providers._host.file_systems import shared_memory_size, working_file_system
from runcontext_providers._host.living_process import ProcessEnded, of_living
from runcontext_providers._host.machine_id import application_machine_id
from runcontext_providers._host.operating_system import OperatingSystem, architecture, system_type
from runcontext_providers._host.process_files import ProcessFiles, ProcessOutOfSightError
from runcontext_providers._host.process_limits import LIMIT_TAGS, limit
from runcontext_providers._host.processor import Processor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from runcontext.provider import Placement, TagValue


class HostProvider:
    """Tell on which machine the program runs, and how much of it the program may use.

    ``root`` is the folder that stands for ``/`` where /etc, /proc and the control groups are read, so that a
    recorded tree can be described, and ``environment`` are the program's variables, ``os.environ`` unless given.
    """

    placement: Placement = "companion"

    def __init__(self, root: str = "/", environment: Mapping[str, str] | None = None) -> None:
        """Read system files below ``root``."""
        self._root = root
        self._environment = os.environ if environment is None else environment

    def in_context(self) -> bool:
        """Say yes: every program runs on a host."""
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give the names of the host and its system, its processors and memory, and the program's share and limits.

        Names and values are those of OpenTelemetry's host and os resource conventions where it has them; CPUs
        are counted in logical processors, memory in bytes.
        """
        return {
            tag: functools.partial(_told, fact)
            for tag, fact in {**self._names(), **self._resources(), **self._process_facts()}.items()
        }

    def tags_at_end(self) -> Mapping[str, TagValue]:
        """Give what a program can change of its share and its limits; nothing where it has ended, as a command has."""
        facts = {"cpu.available": self._cpus_available, "memory.limit": self._memory_limit, **self._limits()}
        return {tag: functools.partial(_told_of_living, fact) for tag, fact in facts.items()}

    def _names(self) -> dict[str, Callable[[], str | None]]:
        system = OperatingSystem(self._root)
        return {
            "host.name": lambda: platform.node() or None,
            "host.id": self._host_id,
            "host.arch": architecture,
            "host.boot_time": _boot_time,
            "os.type": system_type,
            "os.name": system.name,
            "os.version": system.version,
            "os.description": system.description,
        }

    def _resources(self) -> dict[str, Callable[[], str | None]]:
        return {
            "host.cpu.model.name": self._cpu_model,
            "cpu.flags": self._cpu_flags,
            "cpu.count": _cpu_count,
            "cpu.available": self._cpus_available,
            "memory.total": lambda: str(psutil.virtual_memory().total),
            "memory.limit": self._memory_limit,
            "load": self._load,
        }

    def _process_facts(self) -> dict[str, Callable[[], str | None]]:
        return {**self._limits(), "shm.size": self._shared_memory, "cwd.filesystem": self._file_system}

    def _limits(self) -> dict[str, Callable[[], str | None]]:
        return {tag: functools.partial(self._limit, tag) for tag in LIMIT_TAGS}

    @functools.cached_property
    def _processor(self) -> Processor:
        _only_linux("/proc/cpuinfo")
        return Processor(self._root)

    @functools.cached_property
    def _process(self) -> ProcessFiles:
        return ProcessFiles(current_program().pid, self._root)

    def _host_id(self) -> str:
        _only_linux("/etc/machine-id")
        # It is this process that reads the file, and so its container that counts.
        if image_holds_machine_id(ProcessFiles(os.getpid(), self._root), self._environment):
            message = "a container's /etc/machine-id is its image's: mount the host's into it to have its id"
            raise NotInContext(message)
        return application_machine_id(self._root)

    def _cpu_model(self) -> str:
        return self._processor.model()

    def _cpu_flags(self) -> str:
        return self._processor.vector_flags()

    def _cpus_available(self) -> str:
        """Give the smallest of the program's affinity and every CPU quota that holds for it."""
        quota = of_living(lambda _: ControlGroups(self._process).cpu_quota()) if psutil.LINUX else None
        affinity = of_living(_affinity)
        available = affinity if quota is None else min(affinity, quota)
        return f"{available:.3f}".rstrip("0").rstrip(".")

    def _memory_limit(self) -> str:
        limit = of_living(lambda _: ControlGroups(self._process).memory_limit()) if psutil.LINUX else None
        if limit is None:
            message = "no memory limit"
            raise NotInContext(message)
        return str(limit)

    def _load(self) -> str:
        """Give how many processes wanted a processor in the last minute, for each that there is."""
        if psutil.LINUX:
            with open(os.path.join(self._root, "proc/loadavg"), encoding="ascii") as file:
                minute = float(file.read().split()[0])
        elif hasattr(os, "getloadavg"):
            minute = os.getloadavg()[0]
        else:
            message = "this system keeps no load average"
            raise NotInContext(message)
        return f"{minute / _logical_processors():.2f}"

    def _limit(self, tag: str) -> str:
        _only_linux("/proc/<pid>/limits")
        return of_living(lambda _: limit(self._process, tag))

    def _shared_memory(self) -> str:
        _only_linux("/proc/<pid>/mountinfo")
        return of_living(lambda _: shared_memory_size(self._process))

    def _file_system(self) -> str:
        _only_linux("/proc/<pid>/mountinfo")
        return of_living(lambda _: working_file_system(self._process, current_program().cwd))


def _told(fact: Callable[[], str | None]) -> str | None:
    """Ask for a fact; what the system hides is absent, for the reason that the system gives."""
    try:
        return fact()
    except PermissionError as error:
        message = f"{error.filename or 'what it is read from'} may not be read: {error.strerror}"
        raise NotInContext(message) from None
    except FileNotFoundError as error:
        message = f"{error.filename or 'what it is read from'} is not there"
        raise NotInContext(message) from None
    except (CgroupError, ProcessOutOfSightError, psutil.AccessDenied) as error:
        raise NotInContext(str(error)) from None


def _told_of_living(fact: Callable[[], str | None]) -> str | None:
    try:
        return _told(fact)
    except ProcessEnded:
        return None


def _only_linux(file: str) -> None:
    if not psutil.LINUX:
        message = f"it is read from {file}, which only Linux has"
        raise NotInContext(message)


def _boot_time() -> str:
    """Give when the system was started, to the second: finer digits come and go as its clock is set."""
    try:
        # What psutil reads takes milliseconds on a machine with many interrupts; see clock_gettime(2).
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    except (AttributeError, OSError):
        booted = psutil.boot_time()
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(round(booted)))


def _cpu_count() -> str:
    """Give physical cores and logical processors as ``4/8``; one that the system does not tell is empty."""
    physical, logical = psutil.cpu_count(logical=False), psutil.cpu_count()
    return f"{physical or ''}/{logical or ''}"


def _affinity(pid: int) -> int:
    """Count the processors that process ``pid`` may run on; all of them where the system has no affinity."""
    process = psutil.Process(pid)
    if hasattr(process, "cpu_affinity"):
        return len(process.cpu_affinity() or ())
    return _logical_processors()


def _logical_processors() -> int:
    processors = psutil.cpu_count()
    if processors is None:
        message = "the system does not tell how many processors it has"
        raise NotInContext(message)
    return processors
