"""Finding runs: MLflow's filter strings and orderings, parsed once and answered alike on every store.

``parse`` and ``parse_order`` read what the user writes, ``matches`` and ``ordered`` answer it over records,
``encode_token`` and ``decode_token`` make pages of the answer, and ``render`` writes it again for a server of MLflow's.
"""

from __future__ import annotations

from runcontext.tracking.search.grammar import parse, parse_order
from runcontext.tracking.search.matching import like, matches, matching_statuses, value_of
from runcontext.tracking.search.ordering import comes_after, ordered, position_of, sort_key, start_of
from runcontext.tracking.search.pages import check, decode_token, encode_token, page_of
from runcontext.tracking.search.rendering import PARENT_TAG, Rendered, RenderedOrder, render, render_order
from runcontext.tracking.search.terms import NUMERIC_ATTRIBUTES, Comparison, Ordering

__all__ = [
    "NUMERIC_ATTRIBUTES",
    "PARENT_TAG",
    "Comparison",
    "Ordering",
    "Rendered",
    "RenderedOrder",
    "check",
    "comes_after",
    "decode_token",
    "encode_token",
    "like",
    "matches",
    "matching_statuses",
    "ordered",
    "page_of",
    "parse",
    "parse_order",
    "position_of",
    "render",
    "render_order",
    "sort_key",
    "start_of",
    "value_of",
]
