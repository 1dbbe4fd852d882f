"""What readers of annotation files share: the mistakes they report, splits by file name, and where pictures lie."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cvtl.data import Problem, Split
from cvtl_datasets.folders import SPLIT_FOLDERS
from cvtl_datasets.reading import box_fault, is_picture_suffix, relative

# The kinds of problems.
MALFORMED = "malformed annotation"
UNKNOWN_CLASS = "unknown class"
ZERO_AREA = "zero-area box"
NO_PICTURE = "label without picture"
NO_LABEL = "picture without label"
DUPLICATE = "duplicate annotation"

# How many pictures are looked for to find out where all of them lie.
_GLANCE = 20


class Mistake(Exception):
    """A mistake in one annotation: its kind and what is wrong, for people."""

    def __init__(self, kind: str, what: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what

    @property
    def fatal(self) -> bool:
        """Whether it is of a kind that no default can stand for."""
        return self.kind in (MALFORMED, UNKNOWN_CLASS)


def check_box(x1: float, y1: float, x2: float, y2: float) -> None:
    """Raise `Mistake` for a box without area or with its corners the wrong way round.

    Example:
        >>> check_box(9, 9, 9, 12)
        Traceback (most recent call last):
        cvtl_datasets.annotation_files.Mistake: the box 9 9 9 12 has no area
    """
    fault = box_fault(x1, y1, x2, y2)
    if fault:
        what = "no area" if fault == ZERO_AREA else "a negative width or height"
        raise Mistake(fault, f"the box {x1:.10g} {y1:.10g} {x2:.10g} {y2:.10g} has {what}")


def split_of(name: str) -> Split | None:
    """The split that a file's or a folder's name speaks of, if it speaks of one.

    Example:
        >>> [split_of(name) for name in ("instances_train2017", "Valid", "test-dev", "trainval", "train_val")]
        ['train', 'val', 'test', None, None]
    """
    splits = {SPLIT_FOLDERS[word] for word in re.findall(r"[a-z]+", name.lower()) if word in SPLIT_FOLDERS}
    return splits.pop() if len(splits) == 1 else None


def relative_name(written: str) -> str:
    r"""A picture's name as an annotation file writes it, made relative and with forward slashes.

    Example:
        >>> [relative_name(name) for name in ("a.jpg", r"C:\day 1\a.jpg", "../images/./a.jpg", "/a.jpg")]
        ['a.jpg', 'day 1/a.jpg', 'images/a.jpg', 'a.jpg']

    Raises:
        Mistake: no file can have such a name.
    """
    try:
        possible = b"\0" not in os.fsencode(written)
    except UnicodeEncodeError:  # half of a character
        possible = False
    if not possible:
        raise Mistake(MALFORMED, f"no picture can be called {written!r}")
    parts = re.sub(r"^[a-zA-Z]:", "", written.replace("\\", "/")).split("/")
    return "/".join(part for part in parts if part not in ("", ".", ".."))


def distinct_prefixes(
    names: Sequence[Sequence[str]], splits: Sequence[Split | None], files: Sequence[str]
) -> Sequence[str]:
    """What to put before the names that each annotation file gives to pictures, so that no two samples share a name.

    Args:
        names: the pictures' names by annotation file, without repetition in each.
        splits: each file's split.
        files: each file's path relative to the data set.

    Returns:
        Nothing where no two files share a name, else the split or, if that does not tell the files apart, the file.

    Example:
        >>> distinct_prefixes([["1.jpg"], ["2.jpg"]], ["train", "val"], ["a.json", "b.json"])
        ['', '']
        >>> distinct_prefixes([["1.jpg"], ["1.jpg"]], ["train", "val"], ["a.json", "b.json"])
        ['train/', 'val/']
        >>> distinct_prefixes([["1.jpg"], ["1.jpg"]], ["train", "train"], ["a.json", "b.json"])
        ['a/', 'b/']
    """
    if len(set().union(*names)) == sum(map(len, names)):
        return [""] * len(names)
    if None not in splits and len(set(splits)) == len(splits):
        return [f"{split}/" for split in splits]
    return [f"{file.rpartition('.')[0]}/" for file in files]


class PicturePlace(NamedTuple):
    """Where the pictures of an annotation file lie.

    Attributes:
        folder: what the names are relative to.
        flat: whether the folders that names mention are not there, but the pictures directly in `folder`.
    """

    folder: Path
    flat: bool = False

    def file(self, name: str) -> Path:
        """The file of the picture that the annotations call `name`."""
        name = name.replace("\\", "/")
        return self.folder / (PurePosixPath(name).name if self.flat else name)


def find_pictures(names: Sequence[str], annotations: Path) -> PicturePlace | None:
    """Find out where the pictures of an annotation file lie, by looking for a few of them.

    They may lie beside the file, in `images` there, in `../images` or in `..`, and in each of these in a folder that
    the file's name mentions (`train2017` for instances_train2017.json) or that is called after its split.

    Args:
        names: the pictures' names as the annotations write them.
        annotations: the annotation file.

    Returns:
        The place where most are, or None if none of them is anywhere.
    """
    stem = annotations.stem
    split = split_of(stem)
    of_split = [name for name, of in SPLIT_FOLDERS.items() if of == split]
    subfolders = [*re.split(r"[_. ]", stem), *of_split, ""]
    beside = annotations.parent
    folders = [
        base / subfolder
        for base in (beside, beside / "images", beside.parent / "images", beside.parent)
        for subfolder in subfolders
    ]
    few = names[:: max(1, len(names) // _GLANCE)][:_GLANCE]
    places = [PicturePlace(folder, flat) for flat in (False, True) for folder in folders if folder.is_dir()]
    # `Path.is_file` raises where a name is too long or a folder may not be looked into.
    hits = [sum(os.path.isfile(place.file(name)) for name in few) for place in places]
    return places[hits.index(max(hits))] if any(hits) else None


class PictureFolders:
    """Compares the pictures that annotations speak of with those that lie in the same folders."""

    def __init__(self) -> None:
        self._there: dict[Path, set[str]] = {}
        self._asked_for: defaultdict[Path, set[str]] = defaultdict(set)

    def has(self, file: Path) -> bool:
        """Whether a picture is there. Each folder is listed once."""
        folder = file.parent
        if folder not in self._there:
            self._there[folder] = set(os.listdir(folder)) if folder.is_dir() else set()
        self._asked_for[folder].add(file.name)
        # Names may be written in other letters where the file system does not mind.
        return file.name in self._there[folder] or os.path.isfile(file)

    def unlabelled(self, root: Path) -> Iterator[Problem]:
        """The pictures in the folders listed that were not asked for; `root` is the data set."""
        for folder, there in self._there.items():
            for name in sorted(there - self._asked_for[folder]):
                if is_picture_suffix(os.path.splitext(name)[1]) and not name.startswith("."):
                    yield Problem(
                        kind=NO_LABEL, where=relative(folder / name, root), what="no annotation file lists it"
                    )
