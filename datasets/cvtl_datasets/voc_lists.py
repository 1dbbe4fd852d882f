"""The lists of a Pascal VOC data set that say which split a picture is in."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path, PurePosixPath

from cvtl.data import Problem, Split
from cvtl_datasets.annotation_files import NO_LABEL
from cvtl_datasets.folders import SPLIT_FOLDERS
from cvtl_datasets.reading import TWO_SPLITS, is_picture_suffix, read_text, relative

LISTS = "ImageSets/Main"


class SplitLists:
    """The lists that say which pictures a split holds.

    Attributes:
        split_of: the split of each annotation that a list names.
        problems: what is wrong with the lists.
    """

    def __init__(self, root: Path, data: Path, annotated: Set[str]) -> None:
        """Read them.

        Args:
            root: the folder that holds `ImageSets`.
            data: what messages call paths relative to.
            annotated: the names of the annotations, without suffix, and also with the folders that they lie in.
        """
        self.split_of: dict[str, Split] = {}
        self.problems: list[Problem] = []
        for file, split in _list_files(root):
            for number, line in enumerate(read_text(file).splitlines(), 1):
                if line.strip():
                    self._add(_listed_id(line.strip(), annotated), split, f"{relative(file, data)}:{number}", annotated)

    def _add(self, id_: str, split: Split, where: str, annotated: Set[str]) -> None:
        if self.split_of.setdefault(id_, split) != split:
            what = f"'{id_}' is in {self.split_of[id_]}, too, where it stays"
            self.problems.append(Problem(kind=TWO_SPLITS, where=where, what=what))
        elif id_ not in annotated:
            self.problems.append(Problem(kind=NO_LABEL, where=where, what=f"there is no annotation '{id_}.xml'"))


def _list_files(root: Path) -> list[tuple[Path, Split]]:
    """The lists of splits in the first folder that has any."""
    for folder in (root / LISTS, (root / LISTS).parent, root):
        named = [(folder / f"{name}.txt", split) for name, split in SPLIT_FOLDERS.items()]
        if found := [(file, split) for file, split in named if file.is_file()]:
            return found
    return []


def _listed_id(line: str, annotated: Set[str]) -> str:
    """The annotation that a line of a list means; the line itself where there is none.

    Example:
        >>> [_listed_id(line, {"a", "b c", "x/1"}) for line in ("a -1", "b c", "JPEGImages/a.jpg", "x/1.png", "d")]
        ['a', 'b c', 'a', 'x/1', 'd']
    """
    for written in (line, line.split()[0]):
        path = PurePosixPath(written.replace("\\", "/"))
        stem = path.with_suffix("") if is_picture_suffix(path.suffix) or path.suffix == ".xml" else path
        for id_ in (str(stem), stem.name):
            if id_ in annotated:
                return id_
    return line
