"""How a context and a run are told to a person: what goes under which heading, what first, what to do about failures.

Terminal and page differ in how they draw; what they say is decided here, once.
"""

from __future__ import annotations
