"""Where the pictures of a YOLO data set are, and where their labels."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cvtl.data import Problem, Split
from cvtl_datasets.annotation_files import NO_PICTURE, split_of
from cvtl_datasets.reading import TWO_SPLITS, files_below, is_picture_suffix, read_names, read_text
from cvtl_datasets.yolo_config import YoloConfig

IMAGES, LABELS = "images", "labels"
# A kind of problem: the YAML file names a place that is not there.
NO_PLACE = "split not found"

_PICTURE_FOLDERS = {"images", "jpegimages"}


class Picture(NamedTuple):
    """A picture and its split; strings, because there are many.

    Attributes:
        folder: absolute path of its folder.
        stem: its name without suffix.
        suffix: of its name.
        split: it is in, if any.
    """

    folder: str
    stem: str
    suffix: str
    split: Split | None

    @property
    def file(self) -> str:
        """Its path."""
        return f"{self.folder}/{self.stem}{self.suffix}"


def pictures_anywhere(root: Path) -> Iterator[Picture]:
    """All pictures in `images` if there is such a folder, else in `root`; their folders' names say their split."""
    top = root / IMAGES if (root / IMAGES).is_dir() else root
    split_in: dict[str, Split | None] = {}
    for folder, stem, suffix in files_below(top):
        if is_picture_suffix(suffix):
            if folder not in split_in:
                parts = Path(os.path.relpath(folder, root)).parts
                split_in[folder] = next(filter(None, map(split_of, parts)), None)
            yield Picture(folder, stem, suffix, split_in[folder])


def pictures_named(config: YoloConfig, problems: list[Problem]) -> list[Picture]:
    """The pictures in the places that a YAML file names; what is wrong with these is added to the problems."""
    splits_of: dict[Path, list[Split]] = defaultdict(list)
    for split, written in config.places.items():
        for each in written:
            there = config.find(each)
            if there is None:
                what = f"'{each}', which `{split}` names, is not there"
                problems.append(Problem(kind=NO_PLACE, where=config.file.name, what=what))
            elif split not in splits_of[Path(there)]:
                splits_of[Path(there)].append(split)
    pictures: dict[str, Picture] = {}
    for place, splits in splits_of.items():
        # Pictures that are for training as well as for validation are divided by nobody.
        own = splits[0] if len(splits) == 1 else None
        found = list(_listed(place, own, config, problems) if place.is_file() else _lying(place, own))
        for picture, where in found:
            other = pictures.setdefault(picture.file, picture).split
            if other != own:
                what = f"'{picture.stem}{picture.suffix}' is in {other}, too, where it stays"
                problems.append(Problem(kind=TWO_SPLITS, where=where, what=what))
        if not found:
            what = f"there are no pictures in '{place.name}', which `{'` and `'.join(splits)}` names"
            problems.append(Problem(kind=NO_PLACE, where=config.file.name, what=what))
    return list(pictures.values())


def _lying(folder: Path, split: Split | None) -> Iterator[tuple[Picture, str]]:
    for parent, stem, suffix in files_below(Path(os.path.abspath(folder))):
        if is_picture_suffix(suffix):
            yield Picture(parent, stem, suffix, split), folder.name


def _listed(
    file: Path, split: Split | None, config: YoloConfig, problems: list[Problem]
) -> Iterator[tuple[Picture, str]]:
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        where = f"{file.name}:{number}"
        picture = config.find(line.strip(), file.parent)
        if picture is None or not os.path.isfile(picture):
            problems.append(Problem(kind=NO_PICTURE, where=where, what=f"there is no picture '{line.strip()}'"))
            continue
        folder, name = os.path.split(os.path.abspath(picture))
        yield Picture(folder, *os.path.splitext(name), split), where


def class_names(root: Path, label_folders: Iterable[str]) -> tuple[str, ...]:
    """What classes are called where no YAML file says so; empty if nothing does."""
    files = [root / "classes.txt", root / "obj.names", *sorted(root.glob("*.names"))]
    beside_labels = [root / LABELS, *map(Path, label_folders)]
    files += [folder / name for folder in beside_labels for name in ("classes.txt", "_darknet.labels")]
    return next((tuple(read_names(file)) for file in files if file.is_file()), ())


class LabelFinder:
    """Finds the labels of pictures; lists each folder once."""

    def __init__(self) -> None:
        self._folder_of: dict[str, str] = {}
        self._stems_in: dict[str, set[str]] = {}
        self._found: set[str] = set()

    def folder_of(self, folder: str) -> str:
        """Where the labels of the pictures in a folder are."""
        if folder not in self._folder_of:
            self._folder_of[folder] = _label_folder(folder)
        return self._folder_of[folder]

    def label_of(self, picture: Picture) -> str | None:
        """A picture's label, if it has one."""
        folder = self.folder_of(picture.folder)
        if folder not in self._stems_in:
            parts = map(os.path.splitext, os.listdir(folder))
            self._stems_in[folder] = {stem for stem, suffix in parts if suffix == ".txt"}
        if picture.stem not in self._stems_in[folder]:
            return None
        file = f"{folder}/{picture.stem}.txt"
        self._found.add(file)
        return file

    def lonely(self, root: Path) -> Sequence[str]:
        """The text files beside labels, and below `root/labels`, that have no picture."""
        there = {(folder, stem) for folder, stems in self._stems_in.items() for stem in stems}
        if (root / LABELS).is_dir():
            there |= {(folder, stem) for folder, stem, suffix in files_below(root / LABELS) if suffix == ".txt"}
        unclaimed = {each for each in there if f"{each[0]}/{each[1]}.txt" not in self._found}
        # Pictures may be there without having been asked for: those that no list names.
        pictured = {folder: self._picture_stems(folder) for folder, _ in unclaimed}
        return sorted(f"{folder}/{stem}.txt" for folder, stem in unclaimed if stem not in pictured[folder])

    def _picture_stems(self, label_folder: str) -> set[str]:
        folders = {folder for folder, labels in self._folder_of.items() if labels == label_folder}
        folders |= {_swapped(label_folder, {LABELS}, IMAGES)}
        parts = (os.path.splitext(name) for folder in folders if os.path.isdir(folder) for name in os.listdir(folder))
        return {stem for stem, suffix in parts if is_picture_suffix(suffix)}


def _label_folder(folder: str) -> str:
    labels = _swapped(folder, _PICTURE_FOLDERS, LABELS)
    return labels if os.path.isdir(labels) else folder


def _swapped(folder: str, names: Collection[str], other: str) -> str:
    """The path with the last folder that has one of the names replaced."""
    parts = folder.split(os.sep)
    for index in reversed(range(len(parts))):
        if parts[index].lower() in names:
            return os.sep.join([*parts[:index], other, *parts[index + 1 :]])
    return folder
