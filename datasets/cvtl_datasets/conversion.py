"""Writing a data set in another format, with an account of everything that is lost or changed by it."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from cvtl._lazy import resolve
from cvtl.data import BoxesTarget, ClassTarget, Dataset, DatasetFormat, PointsTarget, formats, load_data
from cvtl.errors import CvtlWarning, DataError, OutputError, UsageError
from cvtl.files import output_error
from cvtl.tasks import TaskName
from cvtl_datasets.checks.findings import listed
from cvtl_datasets.writing import NAME_CHANGED, SIZE_CORRECTED, SUFFIX_CORRECTED, TURNED, UNREADABLE

# Readers pass over hidden folders: what lies in it is never taken for a data set.
_WORKPLACE = ".partial"
_TASKS_OF: dict[type, tuple[str, set[TaskName]]] = {
    ClassTarget: ("classes of whole pictures", {"classify"}),
    BoxesTarget: ("boxes", {"detect", "localize"}),
    PointsTarget: ("points", {"landmarks"}),
}
_CHANGES = (TURNED, SUFFIX_CORRECTED, NAME_CHANGED, SIZE_CORRECTED)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What became of a data set.

    Attributes:
        source: the data set's path.
        source_format: its format.
        out: the folder that was written.
        format: the format that it was written in.
        pictures: how many pictures the data set has.
        unreadable: how many of them are missing or cannot be decoded, and were left out.
        unread: what the annotations say that cvtl has no place for: field and how often it occurs.
        mistakes: mistakes in the annotations, which were left out: kind and how often it occurs.
        fatal: how many of these mistakes say something that no default can stand for.
        unheld: what the new format has no place for: field and how often it occurs.
        changed: what was changed in pictures and names: what and how often.
        notes: pictures that were left out, names that were changed, and what else there is to know.
        fault: why the result cannot be opened as it is; empty where it can.
    """

    source: str
    source_format: str
    out: str
    format: str
    pictures: int
    unreadable: int
    unread: Mapping[str, int]
    mistakes: Mapping[str, int]
    fatal: int
    unheld: Mapping[str, int]
    changed: Mapping[str, int]
    notes: tuple[str, ...]
    fault: str

    @property
    def complete(self) -> bool:
        """Whether every picture and every annotation that can be understood is there."""
        return not (self.unreadable or self.fatal)


def writable_formats() -> list[DatasetFormat]:
    """The formats of this installation that data sets can be written in."""
    return [each for each in formats().usable() if each.save]


def convert(
    dataset: Dataset, out: str | Path, to: str, advance: Callable[[int], None] = lambda count: None
) -> Conversion:
    """Write a data set in another format.

    Pictures go through one at a time. They are written upright, as boxes and points demand; those that lie upright in
    their files are copied byte for byte. Either the whole result is in `out` at the end, or nothing.

    Args:
        dataset: any.
        out: a new or empty folder, outside of the data set.
        to: name of the format.
        advance: called with 1 after each sample.

    Returns:
        The account of it.

    Raises:
        DataError: the data set has no pictures.
        UsageError: the format is unknown, cannot be written, or cannot hold targets of this kind; or the folder lies
            inside the data set.
        OutputError: the folder is not empty, or cannot be written.
    """
    if not len(dataset):
        raise DataError(f"there are no pictures in '{dataset.root}'", hint="Look at it with `cvtl data check`")
    format = _target_format(to, dataset)
    out = Path(out)
    if dataset.root and out.resolve().is_relative_to(Path(dataset.root).resolve()):
        raise UsageError(f"'{out}' lies inside the data set '{dataset.root}'", hint="Name a folder outside of it")
    with warnings.catch_warnings(record=True) as said, _filled(out) as workplace:
        warnings.simplefilter("always", CvtlWarning)
        counts = Counter(resolve(str(format.save))(dataset, workplace, advance))
    notes = [str(each.message) for each in said if issubclass(each.category, CvtlWarning)]
    unreadable = counts.pop(UNREADABLE, 0)
    changed = {what: counts.pop(what) for what in _CHANGES if counts[what]}
    differences, fault = _read_back(dataset, out)
    return Conversion(
        source=dataset.root,
        source_format=dataset.format,
        out=str(out),
        format=to,
        pictures=len(dataset),
        unreadable=unreadable,
        unread=dict(dataset.unheld),
        mistakes=dict(Counter(problem.kind for problem in dataset.problems)),
        fatal=sum(problem.fatal for problem in dataset.problems),
        unheld=dict(+counts),
        changed=changed,
        notes=(*notes, *differences),
        fault=fault,
    )


def _target_format(name: str, dataset: Dataset) -> DatasetFormat:
    """The format of that name, if the data set can be written in it."""
    able = {each.name: each for each in writable_formats()}
    if name not in able:
        problem = "cannot be written" if name in formats().names() else "does not exist"
        raise UsageError(f"the format '{name}' {problem}", hint=f"Formats to convert to: {', '.join(able)}")
    target = next((sample.target for sample in dataset if sample.target), None)
    if target is not None:
        held, tasks = _TASKS_OF[type(target)]
        fitting = [each.name for each in able.values() if tasks.intersection(each.tasks)]
        if name not in fitting:
            raise UsageError(f"'{name}' cannot hold {held}", hint=f"Formats that can: {', '.join(fitting)}")
    return able[name]


@contextmanager
def _filled(out: Path) -> Iterator[Path]:
    """A place to work in whose content is in `out` in the end; after an error nothing is left of it."""
    existed = out.exists()
    workplace = out / _WORKPLACE
    try:
        if workplace.exists():
            raise OutputError(f"'{out}' holds what an interrupted conversion left", hint=f"Delete '{workplace}'")
        if existed and any(out.iterdir()):
            raise OutputError(f"'{out}' is not empty", hint="Name a new folder")
        workplace.mkdir(parents=True)
    except OSError as error:
        raise output_error(out, error) from error
    try:
        yield workplace
        for entry in sorted(workplace.iterdir()):
            entry.rename(out / entry.name)
        workplace.rmdir()
    except BaseException as error:
        shutil.rmtree(workplace, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                out.rmdir()
        if isinstance(error, OSError):
            raise output_error(out, error) from error
        raise


def _read_back(dataset: Dataset, out: Path) -> tuple[list[str], str]:
    """What is different for whoever reads the result, and why it cannot be read if it cannot."""
    try:
        written = load_data(out)
    except DataError as error:
        return [], str(error)
    notes = [] if written.classes == dataset.classes else [f"the classes are now: {listed(written.classes)}"]
    return notes + [written.describe_problems()] * bool(written.problems), ""
