"""A real browser, where the system has one: what becomes of a page in it."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
MISSING = "no chromium is installed"

_SECONDS = 60
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=10000",
)


def opened(address: str, folder: Path, *options: str) -> str:
    """Open a page and give the document as it is then; ``folder`` is for the browser's own files."""
    assert BROWSER is not None
    profile = folder / "profile"
    words = [BROWSER, *_OPTIONS, f"--user-data-dir={profile}", *options, "--dump-dom", address]
    done = subprocess.run(words, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=True)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout


def text_of(document: str) -> str:
    """Give the text of a document, a line for each of its pieces."""
    without_code = re.sub(r"<(script|style)\b.*?</\1>", "", document, flags=re.DOTALL)
    pieces = html.unescape(re.sub(r"<[^>]+>", "\n", without_code)).split("\n")
    return "\n".join(piece.strip() for piece in pieces if piece.strip())
