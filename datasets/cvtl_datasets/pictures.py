"""Any folder of pictures: what tasks learn from that need no labels, such as style.

Hidden files and folders, `__MACOSX`, and files that are no pictures by name are passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from cvtl.data import Dataset, DatasetFormat, Sample
from cvtl.errors import DataError
from cvtl.sources import PICTURE_SUFFIXES

format_ = DatasetFormat(
    name="pictures",
    summary="any folder of pictures, with those in its subfolders; there are no labels",
    tasks=("style",),
    recognizes="cvtl_datasets.pictures:recognizes",
    load="cvtl_datasets.pictures:load",
    unlabelled=True,
)


def recognizes(path: Path) -> bool:
    """Whether it is a folder with a picture somewhere in it."""
    return path.is_dir() and next(_pictures(path), None) is not None


def load(path: Path) -> Dataset:
    """List the pictures below a folder; none is opened before it is asked for.

    Returns:
        Samples without targets, sorted by name, which is the path below the folder.

    Raises:
        DataError: there is no picture.

    Example:
        >>> import tempfile
        >>> data = Path(tempfile.mkdtemp())
        >>> for name in ("b.jpg", "a/1.png", "notes.txt", ".hidden.jpg"):
        ...     (data / name).parent.mkdir(exist_ok=True)
        ...     (data / name).touch()
        >>> [sample.name for sample in load(data)]
        ['a/1.png', 'b.jpg']
    """
    files = sorted(_pictures(path), key=lambda file: file.relative_to(path).as_posix())
    if not files:
        raise DataError(f"there are no pictures in '{path}'", hint="Give a folder of pictures")
    samples = [Sample.of_file(file.relative_to(path).as_posix(), file) for file in files]
    return Dataset(samples, (), format_.name, str(path))


def _pictures(path: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(path):
        subfolders[:] = [name for name in subfolders if not name.startswith(".") and name != "__MACOSX"]
        for name in names:
            if name.lower().endswith(PICTURE_SUFFIXES) and not name.startswith("."):
                yield Path(folder, name)
