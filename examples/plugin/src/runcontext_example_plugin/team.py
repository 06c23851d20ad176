"""Whose run it is: team and cost center from the environment, owners from the nearest OWNERS file."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from runcontext import Attachment, NotInContext, current_program
from runcontext.provider import TagValue


class TeamProvider:
    """Gives ``team.name``, ``team.cost_center`` and ``team.owners``, and attaches the OWNERS file."""

    timeout = 5.0

    def in_context(self) -> bool:
        """Raise NotInContext, with what to do about it, where TEAM is not set."""
        if not os.environ.get("TEAM"):
            reason = "TEAM is not set: export TEAM=your-team"
            raise NotInContext(reason)
        return True

    def tags(self) -> Mapping[str, TagValue]:
        """Give the three facts; the owners are read under a guard of their own."""
        return {
            "team.name": os.environ["TEAM"],
            "team.cost_center": os.environ.get("COST_CENTER"),
            "team.owners": self._owners,
        }

    def attachments(self) -> Iterator[Attachment]:
        """Give the OWNERS file as it is now."""
        yield Attachment("OWNERS", self._file().read_bytes())

    def _owners(self) -> str:
        lines = self._file().read_text("utf-8").splitlines()
        return ",".join(line.strip() for line in lines if line.strip() and not line.startswith("#"))

    def _file(self) -> Path:
        start = Path(current_program().main_file or current_program().cwd or "/")
        for folder in (start, *start.parents):
            if (folder / "OWNERS").is_file():
                return folder / "OWNERS"
        reason = f"no OWNERS file above {start}"
        raise NotInContext(reason)
