r"""The only judge of what is a secret: which names hold one, which values are one, and what replaces it.

Four questions are asked of any text, in this order:

1. Is it a value in an issuer's published format (``ghp_...``, a JSON web token, a private key block)?
2. Does an address carry a credential (``https://user:token@host``)?
3. Does a name say that what follows is secret (``--hub-token X``, ``DB_PASSWORD=X``, ``"api_key": "X"``)?
4. Does it match a pattern that the user added (``use_patterns``)?

Only the secret part is replaced by ``MARK``; line breaks are never removed, so a redacted patch still applies. Where
a value and a name leave doubt, the value goes: a fact lost is better than a secret kept. Every function takes any
``str``, never raises, takes time linear in its length (but for a user's pattern that does not), and gives its own
result back unchanged.

A private key's lines can only be known as such together: hand over contiguous lines of a file in one text.

Data flows one way: ``verdicts`` judges names and values; ``formats`` and ``addresses`` find what is secret without a
name, ``patterns`` what a user's match, ``values`` and ``blocks`` what a name announces; ``text`` applies every rule to
a text, and ``arguments`` to a command's words. ``masking`` is what they replace with.
"""
# This package is imported inside start_run(), in the caller: `import re` costs 5 ms there, dataclasses, enum and typing
# more. So its modules import nothing but each other, every rule names literal needles, and a rule's pattern is compiled
# only when one of its needles is in the text, and matched only where it is. Patterns avoid what cannot be matched in
# linear time: a start that may lie anywhere in a run of characters that the rest of the pattern also takes; where that
# cannot be avoided a run has a limit.

from __future__ import annotations

from runcontext.redaction.arguments import redact_args
from runcontext.redaction.masking import MARK
from runcontext.redaction.patterns import pattern_problem, use_patterns
from runcontext.redaction.text import redact_text, redact_url
from runcontext.redaction.verdicts import is_secret_name

__all__ = ["MARK", "is_secret_name", "pattern_problem", "redact_args", "redact_text", "redact_url", "use_patterns"]
