"""All checks of a data set, one after the other, over what one look at every picture has kept."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np

from cvtl.data import Dataset
from cvtl.splits import named_groups
from cvtl_datasets.checks.balance import balance_findings
from cvtl_datasets.checks.duplicates import duplicate_findings, grouping_findings
from cvtl_datasets.checks.findings import KINDS, SEVERITIES, Finding, of_problem
from cvtl_datasets.checks.pictures import look_at_all, picture_findings
from cvtl_datasets.checks.sequences import GREY_SIDE, group_findings, sequence_findings
from cvtl_datasets.checks.targets import target_findings


def check(
    dataset: Dataset, *, group_by: re.Pattern[str] | None = None, advance: Callable[[int], None] = lambda count: None
) -> list[Finding]:
    """Find what is wrong with a data set.

    Every picture is read and decoded once; some hundred bytes of each are kept, and none of its pixels.

    Args:
        dataset: of any format; open it with `load_data(..., strict=False)` to have all its mistakes listed.
        group_by: what of a sample's name says which person, clip or place it belongs to (`cvtl.splits.group_of`).
        advance: called with 1 after each picture.

    Returns:
        Errors first, then warnings and notes; of one severity kind by kind, and of one kind in the data set's order.

    Raises:
        UsageError: `group_by` matches no name.

    Example:
        >>> from cvtl.data import BoxesTarget, Sample
        >>> boxes = BoxesTarget(np.array([[5.0, 5, 70, 20]]), np.array([0]))
        >>> grey = Sample("grey.png", lambda: np.full((40, 60, 3), 128, np.uint8), boxes)
        >>> for found in check(Dataset([grey], ("cat",), "example")):
        ...     print(f"{found.severity}: {found.where}: {found.what}. {found.advice}.")
        warning: grey.png: the box 5 5 70 20 (cat) sticks out by 10 px on the right. Cut the box off at the picture's
        edge, unless it is meant to go on.
        note: : fewer than 10 boxes: cat (1). Too little to learn or to judge by: collect more, or merge classes.
    """
    order = {kind: number for number, kind in enumerate(KINDS)}
    return sorted(
        _findings(dataset, group_by, advance),
        key=lambda each: (SEVERITIES.index(each.severity), order.get(each.kind, -1)),
    )


def _findings(dataset: Dataset, group_by: re.Pattern[str] | None, advance: Callable[[int], None]) -> Iterator[Finding]:
    yield from map(of_problem, dataset.problems)
    groups = named_groups(dataset, group_by)
    seen = look_at_all(dataset, advance)
    yield from picture_findings(dataset, seen)
    for sample, each in zip(dataset, seen, strict=True):
        yield from target_findings(sample, each.wh, dataset.classes)
    yield from duplicate_findings(dataset, [each.fingerprint for each in seen])
    greys = np.full((len(seen), GREY_SIDE**2), np.nan, np.float32)
    for row, each in zip(greys, seen, strict=True):
        if each.grey:
            row[:] = np.frombuffer(each.grey, np.uint8)
    yield from grouping_findings(dataset, groups)
    yield from sequence_findings(dataset, greys, groups)
    yield from group_findings(dataset, greys, groups)
    yield from balance_findings(dataset)
