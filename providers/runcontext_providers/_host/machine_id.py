"""The machine's identity, in a form that may be published."""

from __future__ import annotations

import hmac
import re

from runcontext import NotInContext

_FILES = ("etc/machine-id", "var/lib/dbus/machine-id")
"""Where machine-id(5) has it, and where D-Bus has it on systems without systemd."""

_APPLICATION = bytes.fromhex("8b3c5d0f6a4e4b7c9d21e5f0a7c46b13")
"""The id that stands for runcontext: with another application's, the same machine has an unrelated id."""

_UNINITIALIZED = "uninitialized"
"""What machine-id(5), section "First Boot Semantics", has in images that are still to be booted."""


def application_machine_id(root: str = "/") -> str:
    """Give the machine-id hashed for this application, 32 hexadecimal digits.

    Machine-ids are confidential, see machine-id(5). This is what ``sd_id128_get_machine_app_specific()`` gives for
    our application's id, and ``systemd-id128 machine-id --app-specific=8b3c5d0f6a4e4b7c9d21e5f0a7c46b13`` prints:
    HMAC-SHA256 of that id, keyed with the machine-id, its first 128 bits marked as a version 4 UUID (source:
    systemd, src/libsystemd/sd-id128/sd-id128.c).

    Raises NotInContext where there is none, OSError where it may not be read.
    """
    digest = bytearray(hmac.digest(_machine_id(root), _APPLICATION, "sha256")[:16])
    digest[6] = digest[6] & 0x0F | 0x40
    digest[8] = digest[8] & 0x3F | 0x80
    return digest.hex()


def _machine_id(root: str) -> bytes:
    for file in _FILES:
        try:
            with open(f"{root.rstrip('/')}/{file}", encoding="ascii", errors="replace") as opened:
                text = opened.read(64).strip()
        except FileNotFoundError:
            continue
        return _checked(text, file)
    message = f"no machine-id: neither {' nor '.join(f'/{file}' for file in _FILES)} is there"
    raise NotInContext(message)


def _checked(text: str, file: str) -> bytes:
    if not text or text == _UNINITIALIZED:
        message = f"/{file} is {text or 'empty'}, as in images that were not booted by systemd"
        raise NotInContext(message)
    if not re.fullmatch(r"(?!0{32})[0-9a-f]{32}", text):
        message = f"/{file} holds no machine-id: 32 hexadecimal digits are expected"
        raise NotInContext(message)
    return bytes.fromhex(text)
