"""The file `points.yaml` beside a data set of points: what the annotations themselves have no place for.

    points: [left_eye, right_eye, nose]           # names, in the order of the data's points
    flip_pairs: [[left_eye, right_eye]]           # change places where a picture is mirrored; [] if none do
    edges: [[left_eye, nose], [right_eye, nose]]  # joined in drawings
    eyes: [left_eye, right_eye]                   # their distance is what errors are measured by

All of it may be left out. It lies in the data set's folder, or beside its file; where that is a folder called
`annotations`, one above will do. What it says replaces what the annotations say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

from cvtl.data import Dataset
from cvtl.errors import DataError
from cvtl.files import write_atomically
from cvtl_datasets.reading import read_yaml, yaml_text

FILE_NAME = "points.yaml"
_KEYS = ("points", "flip_pairs", "edges", "eyes")

Pair = tuple[int, int]


def points_file_of(path: Path) -> Path:
    """Where the file of the data set at `path` belongs.

    Example:
        >>> points_file_of(Path("faces/keypoints.csv")).as_posix()
        'faces/points.yaml'
    """
    return (path if path.is_dir() else path.parent) / FILE_NAME


def find_points_file(path: Path) -> Path | None:
    """The file of the data set at `path`, if it has one."""
    beside = points_file_of(path)
    above = [beside.parent.parent / FILE_NAME] if beside.parent.name == "annotations" else []
    return next((file for file in (beside, *above) if file.is_file()), None)


def with_points_file(dataset: Dataset, path: Path) -> Dataset:
    r"""The data set at `path` with what its `points.yaml` says of its points; as it is where there is none.

    Raises:
        DataError: the file is no YAML, or does not fit the data; the message names file and key.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "points.yaml").write_text("points: [left, right, tip]\nflip_pairs: [[left, right]]")
        >>> dataset = with_points_file(Dataset([], ("0", "1", "2"), "landmarks"), folder)
        >>> dataset.classes, dataset.flip_pairs, dataset.edges
        (('left', 'right', 'tip'), ((0, 1),), ())
    """
    file = find_points_file(path)
    return dataset if file is None else apply_points_file(dataset, file)


def apply_points_file(dataset: Dataset, file: Path) -> Dataset:
    """The data set with what a file in the form of `points.yaml` says of its points, wherever that file lies.

    Raises:
        DataError: the file cannot be read, is no YAML, or does not fit the data; the message names file and key.
    """
    content = read_yaml(file)
    if not isinstance(content, dict) or not content:
        raise DataError(f"'{file}' says nothing of points", hint=f"Its keys are {', '.join(_KEYS)}")
    for key in content:
        if key not in _KEYS:
            raise DataError(f"'{file}': there is no key `{key}`", hint=f"The keys are {', '.join(_KEYS)}")
    names = _names(file, content["points"], len(dataset.classes)) if "points" in content else dataset.classes
    said = {key: _pairs(file, key, content[key], names) for key in ("flip_pairs", "edges") if key in content}
    _check_flip_pairs(file, said.get("flip_pairs", ()), names)
    eyes = _pairs(file, "eyes", [content["eyes"]], names)[0] if "eyes" in content else dataset.eyes
    return replace(
        dataset,
        classes=names,
        flip_pairs=said.get("flip_pairs", dataset.flip_pairs),
        edges=said.get("edges", dataset.edges),
        eyes=eyes,
    )


def points_text(dataset: Dataset, *, with_names: bool = False) -> str:
    """What to write into the file so that it says of the points what the data set does; empty if it says nothing.

    Args:
        dataset: of points.
        with_names: whether to name the points, even where the annotations do.

    Example:
        >>> print(points_text(Dataset([], ("l", "r"), "landmarks", flip_pairs=((0, 1),)), with_names=True), end="")
        points: [l, r]
        flip_pairs:
        - [l, r]
    """
    content: dict[str, Any] = {}
    if with_names:
        content["points"] = list(dataset.classes)
    for key, pairs in (("flip_pairs", dataset.flip_pairs), ("edges", dataset.edges or None)):
        if pairs is not None:
            content[key] = [_named(pair, dataset.classes) for pair in pairs]
    if dataset.eyes:
        content["eyes"] = _named(dataset.eyes, dataset.classes)
    return yaml_text(content) if content else ""


def save_points_file(dataset: Dataset, folder: Path) -> None:
    """Write the file into a data set's folder, if there is anything to say.

    Raises:
        OutputError: it cannot be written.
    """
    text = points_text(dataset)
    if text:
        write_atomically(folder / FILE_NAME, text)


def _names(file: Path, written: Any, count: int) -> tuple[str, ...]:
    if not _is_list_of_text(written):
        raise DataError(f"'{file}': `points` is no list of names", hint="For example: points: [nose, chin]")
    if len(written) != count:
        raise DataError(
            f"'{file}': `points` has {len(written)} names, and the data have {count} points",
            hint="Name every point, in the order of the data",
        )
    for name in written:
        if not name or written.count(name) > 1:
            raise DataError(f"'{file}': `points` has the name '{name}' twice or for nothing", hint="Rename one")
    return tuple(written)


def _pairs(file: Path, key: str, written: Any, names: Sequence[str]) -> tuple[Pair, ...]:
    """Pairs of names as pairs of numbers."""
    example = f"For example: {key}: {'[left_eye, right_eye]' if key == 'eyes' else '[[left_eye, right_eye]]'}"
    if not isinstance(written, list):
        raise DataError(f"'{file}': `{key}` is no list of pairs", hint=f"{example}; [] if there are none")
    number_of = {name: number for number, name in enumerate(names)}
    pairs = []
    for pair in written:
        if not _is_list_of_text(pair) or len(pair) != 2 or pair[0] == pair[1]:
            raise DataError(f"'{file}': `{key}` has {_shown(pair)} for two different points", hint=example)
        for name in pair:
            if name not in number_of:
                raise DataError(
                    f"'{file}': `{key}` names the point '{name}', which the data do not have",
                    hint=f"They have {_listed(names)}",
                )
        pairs.append((number_of[pair[0]], number_of[pair[1]]))
    return tuple(pairs)


def _check_flip_pairs(file: Path, pairs: Sequence[Pair], names: Sequence[str]) -> None:
    paired = list(chain.from_iterable(pairs))
    for point in paired:
        if paired.count(point) > 1:
            raise DataError(
                f"'{file}': `flip_pairs` has the point '{names[point]}' in two pairs",
                hint="A point changes places with one other",
            )


def _named(pair: Pair, names: Sequence[str]) -> list[str]:
    return [names[pair[0]], names[pair[1]]]


def _is_list_of_text(written: Any) -> bool:
    return isinstance(written, list) and all(isinstance(each, str) for each in written)


def _shown(written: Any) -> str:
    return f"[{', '.join(map(str, written))}]" if isinstance(written, list) else f"'{written}'"


def _listed(names: Sequence[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" * (len(names) > most)
    return ", ".join(f"'{name}'" for name in names[:most]) + more
