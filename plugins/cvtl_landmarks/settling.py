"""What the options leave open and the data decide: pairs and edges of points, and whether objects are cut out."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from rich.console import Console
from rich.prompt import Confirm

from cvtl.data import Dataset, PointsTarget
from cvtl.errors import OutputError, UsageError
from cvtl.files import write_atomically
from cvtl_landmarks.options import LandmarksOptions

if TYPE_CHECKING:
    from cvtl.training.folder import TrainRun

SETTLED_NAME = "settled.yaml"
_MOST_SHOWN = 12


def settle(options: LandmarksOptions, data: Dataset, run: TrainRun) -> LandmarksOptions:
    """The options with nothing left open, as the run's folder has it if the training goes on.

    Args:
        options: as the user gave them.
        data: to train on.
        run: its console is asked on, its folder keeps the answer.

    Raises:
        UsageError: pairs or edges name points that there are not, or a point is in two pairs.
        DataError: the file of --points does not fit the data.
        OutputError: what the folder has cannot be read.
    """
    path = run.folder / SETTLED_NAME
    if not path.exists():
        settled = _decide(options, data, run.console)
        fields = settled.model_dump(mode="json", include={"flip_pairs", "edges", "crop"})
        write_atomically(path, yaml.safe_dump(fields, default_flow_style=None, sort_keys=False))
    try:
        kept = yaml.safe_load(path.read_text(encoding="utf-8"))
        changed = LandmarksOptions.model_validate(options.model_dump() | kept)
    except (OSError, ValueError, TypeError, yaml.YAMLError) as error:
        raise OutputError(
            f"cannot go on with the training in '{run.folder}': cannot read '{SETTLED_NAME}'",
            hint="Start anew in another folder with --out",
        ) from error
    return changed


def _decide(options: LandmarksOptions, data: Dataset, console: Console) -> LandmarksOptions:
    if options.points is not None:
        from cvtl_datasets.points_file import apply_points_file

        data = apply_points_file(data, Path(options.points))
    data = replace(
        data,
        flip_pairs=data.flip_pairs if options.flip_pairs is None else options.flip_pairs,
        edges=data.edges if options.edges is None else options.edges,
    )
    _check(data)
    crop = _settled_crop(options, data, console)
    flip_pairs = data.flip_pairs
    if flip_pairs is None and options.flip:
        flip_pairs = _guessed_pairs(options, data, console)
    return options.model_copy(update={"flip_pairs": flip_pairs, "edges": data.edges, "crop": crop})


def _check(data: Dataset) -> None:
    """Numbers in pairs and edges are those of points, and a point changes places with one other."""
    count = len(data.classes)
    for name, pairs in (("flip-pairs", data.flip_pairs or ()), ("edges", data.edges)):
        for a, b in pairs:
            if not (0 <= a < count and 0 <= b < count and a != b):
                raise UsageError(f"--{name}: [{a}, {b}] are no two of the points 0 to {count - 1}")
    paired = [each for pair in data.flip_pairs or () for each in pair]
    twice = sorted({each for each in paired if paired.count(each) > 1})
    if twice:
        raise UsageError(f"--flip-pairs: point {twice[0]} is in two pairs")


def _settled_crop(options: LandmarksOptions, data: Dataset, console: Console) -> str:
    if options.crop != "auto":
        return options.crop
    targets = [sample.target for sample in data if isinstance(sample.target, PointsTarget)]
    objects = [target for target in targets if len(target.points)]
    if not objects or any(target.boxes is None for target in objects):
        return "picture"
    console.print(
        "The objects have boxes: points are learnt inside them, and `cvtl run landmarks` finds them with --detector. "
        "--crop picture takes each picture for one object."
    )
    return "box"


def _guessed_pairs(options: LandmarksOptions, data: Dataset, console: Console) -> tuple[tuple[int, int], ...] | None:
    """Pairs that nobody has said; None where nothing is to be mirrored."""
    if options.pairs == "none":
        return None
    from cvtl_datasets.symmetry import guess_flip_pairs

    guess = guess_flip_pairs(data)
    if guess is None:
        console.print(
            "Nothing says which points change places in a mirror, and it cannot be guessed: no picture is mirrored. "
            "A file points.yaml beside the data says it (`cvtl data points DATA --write`)."
        )
        return None
    pairs = guess.pairs
    named = ", ".join(f"{data.classes[a]} - {data.classes[b]}" for a, b in pairs[:_MOST_SHOWN])
    more = f" and {len(pairs) - _MOST_SHOWN} more" if len(pairs) > _MOST_SHOWN else ""
    found = f"Points that change places in a mirror, {guess.sentence}: {named}{more}."
    if options.pairs == "guess":
        console.print(found)
        return pairs
    if not (sys.stdin.isatty() and console.is_terminal):
        console.print(
            f"{found} Nobody has confirmed it, so no picture is mirrored: --pairs guess does, "
            "and `cvtl data points DATA --write` keeps it in a file to correct."
        )
        return None
    console.print(found)
    return pairs if Confirm.ask("Is that right?", console=console, default=True) else None
