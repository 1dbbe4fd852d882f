"""The verb `cvtl data`, as the `cvtl` command finds it."""

from __future__ import annotations

from cvtl.verbs import VerbSpec

data = VerbSpec(
    name="data",
    summary="look at, check, split or convert a data set",
    main="cvtl_datasets.cli:main",
)
