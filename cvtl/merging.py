"""Joining the shards of a run: the rows, and the folder, that the run would have written as a whole. Torch-free."""

from __future__ import annotations

import contextlib
import errno
import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import IO, Any

from cvtl.addresses import without_secrets
from cvtl.errors import MergeError, OutputError
from cvtl.files import open_atomically, output_error
from cvtl.progress import Progress
from cvtl.run_folder import HEATMAPS_FOLDER, PICTURES_FOLDER, ROWS_NAME, RunFolder, read_description
from cvtl.sharding import Shard

MERGING = "merging"
"""The state of a run whose shards are being joined."""
_CHUNK_BYTES = 1 << 18


@dataclass(frozen=True)
class MergeReport:
    """What came of joining shards.

    Attributes:
        out: the folder of the whole run.
        counts: inputs per status.
        shards: how many there were.
    """

    out: Path
    counts: Mapping[str, int]
    shards: int

    @property
    def inputs(self) -> int:
        """Inputs in all."""
        return sum(self.counts.values())

    @property
    def bad(self) -> int:
        """Inputs without a result."""
        return self.inputs - self.counts.get("ok", 0)


@dataclass(frozen=True)
class _Part:
    """A folder that a shard's run has written.

    Attributes:
        path: of the folder.
        shard: which one it says it is; None where it is a whole run's.
        description: what its run.json says.
        rows: in its rows.jsonl.
    """

    path: Path
    shard: Shard | None
    description: Mapping[str, Any]
    rows: int

    @property
    def identity(self) -> dict[str, Any]:
        """Of the whole run."""
        return {key: value for key, value in self.description["identity"].items() if key != "shard"}

    @property
    def counts(self) -> Counter[str]:
        """Rows per status, as run.json has them."""
        return Counter(self.description.get("counts", {}))

    @property
    def walked(self) -> dict[str, Any]:
        """What it saw of all inputs; nothing where it did not come to their end."""
        return dict(self.description.get("walked", {}))

    @property
    def name(self) -> str:
        """For messages."""
        return f"shard {self.shard} in '{self.path}'"


def merge(
    folders: Sequence[str | Path], out: str | Path, *, progress: Progress | None = None, command: str = ""
) -> MergeReport:
    """Join the shards of a run (`RunSettings.shard`, `cvtl run --shard`) into the folder of the whole.

    Its rows are those, byte for byte, that a run over all inputs would have written, and its run.json says the same of
    how they came about; so it can be evaluated, and `--resume` of the whole run finds it done. Pictures and heat maps
    are hard links where that is possible. A merge that was killed can be run again.

    Args:
        folders: of all shards, in any order.
        out: the folder of the whole run.
        progress: is told of each row.
        command: is written into run.json.

    Raises:
        MergeError: the folders are not the shards of one run, each of them once, all of them finished; everything
            that is wrong is named at once, and nothing is written.
        OutputError: `out` holds a run, or cannot be written.

    Example:
        >>> merge(["nowhere"], "out")
        Traceback (most recent call last):
        cvtl.errors.MergeError: these folders cannot be merged: 'nowhere' holds no run. ...
    """
    parts = _checked(list(map(Path, folders)))
    progress = progress or Progress()
    _tell_of_versions(parts, progress)
    counts: Counter[str] = sum((part.counts for part in parts), Counter())
    folder = _begun(Path(out), parts, counts, command)
    progress.start(0)
    try:
        for part in parts:
            for name in (PICTURES_FOLDER, HEATMAPS_FOLDER):
                _link_tree(part.path / name, folder.path / name)
        _join_rows(parts, folder.rows_path, progress)
    finally:
        progress.finish()
    folder.describe("done")
    return MergeReport(folder.path, dict(counts), len(parts))


def count_rows(folders: Sequence[str | Path]) -> int:
    """Rows in all of these folders, as far as they say."""
    said = [read_description(Path(folder)) or {} for folder in folders]
    return sum(sum(each.get("counts", {}).values()) for each in said)


def _checked(paths: Sequence[Path]) -> list[_Part]:
    """The shards, in order.

    Raises:
        MergeError: they are not all there, or do not fit together.
    """
    if not paths:
        raise MergeError("no folders were given", hint="Name the folders of all shards")
    problems: list[str] = []
    parts = [part for path in paths if (part := _opened(path, problems)) is not None]
    if parts:
        problems += _strangers(parts) or _missing(parts)
    problems += [problem for part in parts if (problem := _unfinished(part))]
    problems = problems or _at_odds(parts)
    if problems:
        raise MergeError(
            f"these folders cannot be merged: {'; '.join(problems)}",
            hint="Name the folders of all shards of one run, each once, when all are finished",
        )
    return sorted(parts, key=lambda part: part.shard.number if part.shard else 0)


def _opened(path: Path, problems: list[str]) -> _Part | None:
    description = read_description(path)
    if description is None:
        problems.append(f"'{path}' holds no run")
        return None
    said = description["identity"].get("shard")
    if said is None:
        problems.append(f"'{path}' holds a whole run, no shard")
        return None
    return _Part(path, Shard.parse(said), description, _count_lines(path / ROWS_NAME))


def _strangers(parts: Sequence[_Part]) -> list[str]:
    """Shards of another run than the first one's."""
    first, found = parts[0], []
    for part in parts[1:]:
        ours, theirs = first.identity, part.identity
        keys = sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key))
        differences = [f"{key} is {theirs.get(key)!r} and was {ours.get(key)!r}" for key in keys]
        if part.shard is not None and first.shard is not None and part.shard.of != first.shard.of:
            differences.append(f"it is one of {part.shard.of} shards and not of {first.shard.of}")
        if differences:
            found.append(f"{part.name} is of another run than {first.name}: {', '.join(differences)}")
    return found


def _missing(parts: Sequence[_Part]) -> list[str]:
    """Shards that are not there, or there twice."""
    of = parts[0].shard.of if parts[0].shard else 0
    found: dict[int, list[str]] = {number: [] for number in range(1, of + 1)}
    for part in parts:
        if part.shard is not None:
            found[part.shard.number].append(f"'{part.path}'")
    missing = [f"{number}/{of}" for number, folders in found.items() if not folders]
    twice = [f"shard {number}/{of} is in {' and '.join(each)}" for number, each in found.items() if len(each) > 1]
    are_missing = f"shard{'s' * (len(missing) > 1)} {', '.join(missing)} {'are' if len(missing) > 1 else 'is'} missing"
    return ([are_missing] if missing else []) + twice


def _unfinished(part: _Part) -> str:
    state, rows = part.description["state"], sum(part.counts.values())
    if state != "done" or not part.walked:
        command = part.description.get("command")
        again = f"go on with `{command}` and --resume" if command else "go on with --resume"
        return f"{part.name} is not finished ({state}, {part.rows} rows): {again}"
    return f"{part.name} should have {rows} rows and has {part.rows}: --resume mends it" if part.rows != rows else ""


def _at_odds(parts: Sequence[_Part]) -> list[str]:
    """What shards say of the inputs that cannot be true of all of them."""
    first = parts[0]
    other = next((part for part in parts if part.walked != first.walked), None)
    if other is not None:
        seen = " and ".join(f"{part.name} saw {part.walked['inputs']}" for part in (first, other))
        return [f"the inputs changed between the shards ({seen}): run the shards again, in new folders"]
    inputs, block = first.walked["inputs"], first.walked["block"]
    shares = [(part, part.shard.share(inputs, block)) for part in parts if part.shard is not None]
    return [
        f"{part.name} has {part.rows} rows, where {share} of {inputs} inputs fall to it: run it again, in a new folder"
        for part, share in shares
        if part.rows != share
    ]


def _tell_of_versions(parts: Sequence[_Part], progress: Progress) -> None:
    """Other versions of libraries may give other digits; that is no reason to refuse."""
    first = parts[0].description.get("versions", {})
    for part in parts[1:]:
        other = part.description.get("versions", {})
        names = sorted(name for name in first.keys() | other.keys() if first.get(name) != other.get(name))
        if names:
            said = ", ".join(f"{name} {other.get(name)} instead of {first.get(name)}" for name in names)
            progress.note(f"{part.name} ran with {said}: last digits may differ from those of one run")


def _begun(out: Path, parts: Sequence[_Part], counts: Counter[str], command: str) -> RunFolder:
    """The folder of the whole, empty or as a killed merge has left it."""
    description = read_description(out)
    said = parts[0].description
    about = {
        "command": without_secrets(command),
        **{key: said[key] for key in ("weights_file", "versions") if key in said},
        "merged_from": [str(part.path) for part in parts],
    }
    folder = RunFolder(out, parts[0].identity, counts=counts, about=about)
    killed = {"state": MERGING, "identity": folder.identity}
    if description is None:
        taken = folder.rows_path.exists()
    else:
        taken = {key: description[key] for key in killed} != killed
    if taken:
        raise OutputError(f"'{out}' already holds a run", hint="Choose another folder with --out")
    for partial in out.glob(f".{ROWS_NAME}.*.partial"):
        partial.unlink()
    folder.describe(MERGING)
    return folder


def _join_rows(parts: Sequence[_Part], path: Path, progress: Progress) -> None:
    """Take a block of rows from each shard in turn; at any time there is one block in memory."""
    block = parts[0].walked["block"]
    expected, written = sum(part.rows for part in parts), 0
    with ExitStack() as open_files, open_atomically(path) as joined:
        streams = [open_files.enter_context(_open_rows(part)) for part in parts]
        for rows in _blocks(streams, block):
            joined.writelines(rows)
            written += len(rows)
            progress.advance(len(rows))
        if written != expected:
            raise OutputError(
                f"the shards had {expected} rows, and now there are {written}",
                hint="Merge them when nobody writes to them",
            )


def _blocks(streams: Sequence[IO[bytes]], block: int) -> Iterator[list[bytes]]:
    for stream in cycle(streams):
        rows = list(islice(stream, block))
        if rows:
            yield rows
        if len(rows) < block:  # Only the last block of all is shorter, and none comes after it.
            return


def _open_rows(part: _Part) -> IO[bytes]:
    try:
        return open(part.path / ROWS_NAME, "rb", buffering=_CHUNK_BYTES)
    except OSError as error:
        hint = "`ulimit -n` says how many may be open at a time" if error.errno == errno.EMFILE else ""
        raise OutputError(f"cannot read the rows of {part.name}: {error.strerror}", hint=hint) from error


def _count_lines(path: Path) -> int:
    count = 0
    with contextlib.suppress(FileNotFoundError), open(path, "rb", buffering=0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            count += chunk.count(b"\n")
    return count


def _link_tree(source: Path, target: Path) -> None:
    """Have every file of a tree in another, too."""

    def fail(error: OSError) -> None:
        raise OutputError(f"cannot read '{error.filename}': {error.strerror}", hint="Check its permissions")

    if not source.exists():
        return
    for folder, _, names in os.walk(source, onerror=fail):
        there = target / os.path.relpath(folder, source)
        for name in names:
            if not name.endswith(".partial"):  # what a kill has left
                _link(Path(folder) / name, there / name)


def _link(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(source, target)
        except FileExistsError:
            if not filecmp.cmp(source, target, shallow=False):
                target.unlink()
                _link(source, target)
        except OSError:  # another file system, or one without links
            shutil.copyfile(source, target)
    except OSError as error:
        raise output_error(target, error) from error
