"""Class folders: DATA/CLASS/picture.jpg, or DATA/train/CLASS/picture.jpg with val and test beside train.

- The class is the first folder below DATA or below the split; its pictures may lie deeper.
- `training`, `valid` and `validation` are split names too, in upper or lower case.
- Passed over: hidden files and folders, `__MACOSX`, files that are no pictures by name, pictures outside of every
  class folder, and links to folders inside class folders (a class folder may itself be a link).
- A class folder without pictures is an error, for nothing can be learnt of it; in val and test it is fine.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from cvtl.data import ClassTarget, Dataset, DatasetFormat, Sample, Split
from cvtl.errors import DataError
from cvtl.sources import PICTURE_SUFFIXES

format_ = DatasetFormat(
    name="folders",
    summary="one folder of pictures per class, or train, val and test with such folders in them",
    # A sliding window learns to detect from crops in class folders.
    tasks=("classify", "detect"),
    recognizes="cvtl_datasets.folders:recognizes",
    load="cvtl_datasets.folders:load",
    save="cvtl_datasets.folders_writing:save",
)

SPLIT_FOLDERS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
# The folders that COCO, Pascal VOC and YOLO sets consist of.
FOREIGN_FOLDERS = frozenset({"annotations", "images", "imagesets", "jpegimages", "labels", "vocdevkit"})
# Files that annotations are in: beside pictures of a single folder they say that it is no class folder.
_ANNOTATION_SUFFIXES = {".json", ".xml", ".csv", ".txt", ".yaml", ".yml"}
# How many files are looked at in search of a folder's first picture.
_GLANCE = 1000


class SplitFolder(NamedTuple):
    """A folder, and the split it is or belongs to."""

    path: Path
    split: Split | None


def recognizes(path: Path) -> bool:
    """Whether class folders hold pictures, and nothing looks like a detection set.

    A single class folder will do where no file looks like annotations: `load` says what is missing then. Reads folders
    only up to their first picture, and no more than a thousand files of each.
    """
    if not path.is_dir():
        return False
    holders, _ = _layout(path)
    class_folders = _class_folders(holders)
    looked_at = {path, *(folder.path for folder in (*holders, *class_folders))}
    if any(child.name.lower() in FOREIGN_FOLDERS for folder in looked_at for child in _subfolders(folder)):
        return False
    classes = {folder.path.name for folder in class_folders if _shows_pictures(folder.path)}
    return len(classes) >= 2 or (len(classes) == 1 and not any(map(_shows_annotations, looked_at)))


def load(path: Path) -> Dataset:
    """List the pictures of class folders; none is opened before it is asked for.

    Args:
        path: DATA.

    Returns:
        Samples with a `ClassTarget`, sorted by name, which is the path below DATA. The classes are sorted by name and
        are those of the training pictures (of all pictures where no folder is called train).

    Raises:
        DataError: it is no folder or cannot be listed, has fewer than two classes, an empty class folder, a class
            that is not among the training classes, or folders of pictures beside the splits.

    Example:
        >>> import tempfile
        >>> data = Path(tempfile.mkdtemp())
        >>> for name in ("train/cat/1.jpg", "train/dog/2.jpg", "val/dog/3.jpg"):
        ...     (data / name).parent.mkdir(parents=True)
        ...     (data / name).touch()
        >>> dataset = load(data)
        >>> dataset.classes
        ('cat', 'dog')
        >>> dataset[2].name, dataset[2].target, dataset[2].split
        ('val/dog/3.jpg', ClassTarget(label=1), 'val')
    """
    pictures = pictures_by_folder(path)
    label_of = {name: label for label, name in enumerate(_classes(path, pictures))}
    samples = [
        Sample.of_file(
            Path(file).relative_to(path).as_posix(), file, ClassTarget(label_of[folder.path.name]), folder.split
        )
        for folder, files in pictures.items()
        for file in files
    ]
    return Dataset(sorted(samples, key=lambda sample: sample.name), tuple(label_of), format_.name, str(path))


def pictures_by_folder(path: Path) -> dict[SplitFolder, list[str]]:
    """The paths of the pictures in each class folder, in no particular order.

    Raises:
        DataError: `path` is no folder or cannot be listed, or has folders of pictures beside the splits.
    """
    if not path.is_dir():
        raise DataError(f"'{path}' is not a folder", hint="Give the folder that holds one folder per class")
    holders, strays = _layout(path)
    if strays:
        raise DataError(
            f"'{path}' has the folder '{strays[0].name}' with pictures in it beside its splits",
            hint="Move it into a split if it is a class, or away",
        )
    return {folder: _pictures(folder.path) for folder in _class_folders(holders)}


def _classes(path: Path, pictures: Mapping[SplitFolder, Sequence[str]]) -> list[str]:
    """The sorted class names, the same for every split."""
    learnt = {folder for folder in pictures if folder.split in (None, "train")} or pictures.keys()
    classes = {folder.path.name for folder in learnt}
    for folder, files in pictures.items():
        if folder in learnt and not files:
            known = ", ".join(sorted(PICTURE_SUFFIXES))
            raise DataError(f"there is no picture in '{folder.path}'", hint=f"Fill or remove it; read are {known}")
        if files and folder.path.name not in classes:
            raise DataError(
                f"class '{folder.path.name}' of '{folder.path.parent}' is not among the training classes",
                hint=f"Those are: {', '.join(sorted(classes))}",
            )
    if len(classes) < 2:
        found = f"only the class folder '{min(classes)}'" if classes else "no folders of pictures"
        raise DataError(f"'{path}' has {found}", hint="Two classes or more are needed, each a folder of its pictures")
    return sorted(classes)


def _layout(path: Path) -> tuple[list[SplitFolder], list[Path]]:
    """The folders that hold class folders, and the folders of pictures that do not belong beside them.

    A folder called train is a class where its pictures lie directly in it and the folder beside it is no split.
    """
    shown = [folder for folder in _subfolders(path) if _shows_pictures(folder)]
    splits = [
        SplitFolder(folder, SPLIT_FOLDERS[folder.name.lower()])
        for folder in shown
        if folder.name.lower() in SPLIT_FOLDERS
    ]
    others = [folder for folder in shown if folder.name.lower() not in SPLIT_FOLDERS]
    if not splits or (others and len(splits) == 1 and any(map(_is_picture, _entries(splits[0].path)))):
        return [SplitFolder(path, None)], []
    return splits, others


def _class_folders(holders: Iterable[SplitFolder]) -> list[SplitFolder]:
    return [SplitFolder(child, holder.split) for holder in holders for child in _subfolders(holder.path)]


def _subfolders(folder: Path) -> list[Path]:
    return sorted(Path(entry) for entry in _entries(folder) if _is_folder(entry))


def _pictures(folder: Path) -> list[str]:
    return [entry.path for entry in _files(folder) if _is_picture(entry)]


def _shows_pictures(folder: Path) -> bool:
    return any(map(_is_picture, islice(_files(folder), _GLANCE)))


def _shows_annotations(folder: Path) -> bool:
    return any(
        os.path.splitext(entry.name)[1].lower() in _ANNOTATION_SUFFIXES for entry in islice(_entries(folder), _GLANCE)
    )


def _files(folder: Path | os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    """Every file below a folder, in no particular order, listed as it is asked for."""
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files(entry)
        else:
            yield entry


def _entries(folder: Path | os.DirEntry[str]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for entry in entries if not entry.name.startswith(".") and entry.name != "__MACOSX")
    except OSError as error:
        raise DataError(f"cannot list '{os.fspath(folder)}': {error.strerror}", hint="Check its permissions") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # Of a link that leads in a circle `is_dir` raises; asking the file system about every file would take long.
    return os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()


def _is_picture(file: os.DirEntry[str]) -> bool:
    return os.path.splitext(file.name)[1].lower() in PICTURE_SUFFIXES
