"""Everything that is wrong with a data set: `check` finds it, and looks at every picture once."""

from __future__ import annotations

from cvtl_datasets.checks.findings import KINDS, SEVERITIES, Finding, Severity
from cvtl_datasets.checks.run import check

__all__ = ["KINDS", "SEVERITIES", "Finding", "Severity", "check"]
