"""The conformance kit: what a backend must hold, as checks that any backend can be put to.

`aigc plugins check NAME` and `pytest --aigc-backend NAME` run it; so do our own backends' tests. Nothing else
defines what a backend is.
"""

from __future__ import annotations

from aigc_core.testing.kit import Case, Failed, Outcome, cases, run

__all__ = ["Case", "Failed", "Outcome", "cases", "run"]
