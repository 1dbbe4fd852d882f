"""The folder of one run: its rows, its description, and how a killed run goes on. Torch-free."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cvtl.errors import OutputError, UsageError
from cvtl.files import output_error, write_atomically

ROWS_NAME = "rows.jsonl"
DESCRIPTION_NAME = "run.json"
PICTURES_FOLDER = "pictures"
HEATMAPS_FOLDER = "heatmaps"
VIDEOS_FOLDER = "videos"
SAVED_FOLDER = "saved"


@dataclass
class RunFolder:
    """`OUT/rows.jsonl`, one JSON line per input, and `OUT/run.json`, which says how they came about.

    Attributes:
        path: the folder.
        identity: what decides the rows' bytes (task, weights digest, options, inputs, ...); a run goes on only with
            the same.
        kept: rows of an earlier, interrupted run that stay.
        counts: rows per status, kept ones included.
        finished: whether the earlier run had come to its end.
        about: what else run.json says: the command, the versions.
    """

    path: Path
    identity: Mapping[str, Any]
    kept: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    finished: bool = False
    about: Mapping[str, Any] = field(default_factory=dict)
    _stream: IO[bytes] | None = field(default=None, repr=False)

    @property
    def rows_path(self) -> Path:
        """Where the rows are."""
        return self.path / ROWS_NAME

    @classmethod
    def create(cls, path: Path, identity: Mapping[str, Any], about: Mapping[str, Any] | None = None) -> RunFolder:
        """Start a run in a folder that holds none.

        Raises:
            OutputError: the folder holds a run already, or cannot be written.
        """
        if (path / DESCRIPTION_NAME).exists() or (path / ROWS_NAME).exists():
            raise OutputError(
                f"'{path}' already holds a run",
                hint="Choose another folder with --out, or go on with an interrupted run with --resume",
            )
        folder = cls(path, dict(identity), about=dict(about or {}))
        folder.describe("running")
        folder.close()
        return folder

    @classmethod
    def resume(
        cls,
        path: Path,
        identity: Mapping[str, Any],
        *,
        block: int,
        about: Mapping[str, Any] | None = None,
        whole_videos: bool = False,
    ) -> RunFolder | None:
        """Go on with the run in a folder; whole blocks of rows are kept, so that batches fall as they would have.

        Args:
            path: the folder.
            identity: must equal the earlier run's.
            block: rows per block.
            about: what else to write down of the run.
            whole_videos: go on where a video or a picture begins, because what is made of a frame depends on those
                before it.

        Returns:
            The run; None where the folder holds none.

        Raises:
            UsageError: the earlier run was another one; the differences are named.
            OutputError: the folder cannot be read or written.
        """
        description = read_description(path)
        if description is None:
            return None
        wanted = json.loads(json.dumps(identity))
        earlier = description["identity"]
        changed = [key for key in wanted.keys() | earlier.keys() if wanted.get(key) != earlier.get(key)]
        if changed:
            difference = "; ".join(
                f"{key} was {earlier.get(key)!r} and is now {wanted.get(key)!r}" for key in sorted(changed)
            )
            raise UsageError(
                f"the run in '{path}' cannot go on with this command: {difference}",
                hint="Repeat the first command with --resume, or choose another folder with --out",
            )
        folder = cls(path, dict(identity), about=dict(about or {}))
        done = description["state"] == "done"
        folder._keep(block=1 if done else block, whole_videos=whole_videos and not done)
        folder.finished = done and folder.counts == Counter(description.get("counts"))
        if done and not folder.finished:
            folder._keep(block=block, whole_videos=whole_videos)
        return folder

    def kept_sources(self) -> Iterator[tuple[str, int | None]]:
        """Source and frame of each kept row, in order."""
        if not self.kept:
            return
        with open(self.rows_path, "rb") as stream:
            for line in stream:
                row = json.loads(line)
                yield row["source"], row["frame"]

    def append(self, lines: list[tuple[str, str]]) -> None:
        """Add rows, given as (status, JSON line), and hand them to the operating system.

        Raises:
            OutputError: they cannot be written; no part of a row is left behind.
        """
        content = b"".join(line.encode() + b"\n" for _, line in lines)
        try:
            if self._stream is None:
                # Unbuffered: what is written is the operating system's, so a kill cannot lose it.
                self._stream = open(self.rows_path, "ab", buffering=0)  # noqa: SIM115 - lives as long as the run
            _write_whole(self._stream, content)
        except OSError as error:
            raise output_error(self.rows_path, error) from error
        self.counts.update(status for status, _ in lines)

    def describe(self, state: str) -> None:
        """Write `run.json`.

        Args:
            state: `running`, `done`, `interrupted` or `failed`.
        """
        counts = dict(sorted(self.counts.items()))
        description = {"state": state, "identity": self.identity, "counts": counts, **self.about}
        text = json.dumps(description, indent=2, ensure_ascii=False) + "\n"
        # File names may be any bytes; what is not Unicode becomes an escape sequence that JSON reads back.
        write_atomically(self.path / DESCRIPTION_NAME, text.encode(errors="backslashreplace"))

    def write_down(self, **about: Any) -> None:
        """Have `run.json` say more of the run, from the next `describe` on."""
        self.about = {**self.about, **about}

    def close(self) -> None:
        """Close the rows; an empty run leaves an empty file."""
        try:
            if self._stream is None:
                self.rows_path.touch()
            else:
                self._stream.close()
        except OSError as error:
            raise output_error(self.rows_path, error) from error
        finally:
            self._stream = None

    def _keep(self, block: int, *, whole_videos: bool) -> None:
        """Cut the rows back to whole blocks, and count what stays."""
        self.kept, self.counts = 0, Counter()
        if not self.rows_path.exists():
            return
        seen: Counter[str] = Counter()
        number = end = kept_end = 0
        at_boundary: tuple[Counter[str], int] | None = None
        within_video = False

        def keep() -> None:
            nonlocal kept_end
            if at_boundary is not None:
                self.counts, kept_end = at_boundary

        with open(self.rows_path, "rb") as stream:
            for line in stream:
                row = _row_in(line)
                if row is None:
                    break
                # Whether a video goes on behind a block, only the next row tells.
                if row["frame"] in (None, 0):
                    keep()
                at_boundary = None
                number, end = number + 1, end + len(line)
                seen[str(row["status"])] += 1
                within_video = whole_videos and row["frame"] is not None
                if number % block == 0:
                    at_boundary = (seen.copy(), end)
                    if not whole_videos:
                        keep()
        if not within_video:
            keep()
        self.kept = sum(self.counts.values())
        if self.rows_path.stat().st_size > kept_end:
            os.truncate(self.rows_path, kept_end)


def read_description(folder: Path) -> dict[str, Any] | None:
    """What a folder's `run.json` says; None where there is none.

    Raises:
        OutputError: it cannot be read, or no run has written it.
    """
    path = folder / DESCRIPTION_NAME
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise OutputError(f"cannot read '{path}': {error}", hint="Start anew in another folder with --out") from error
    if not isinstance(description, dict) or not {"identity", "state"} <= description.keys():
        raise OutputError(f"'{path}' was not written by `cvtl run`", hint="Choose another folder with --out")
    return description


def is_run_folder(path: str) -> bool:
    """Whether a folder was written by a run: what it holds is output, and no input of another run."""
    return all(os.path.exists(os.path.join(path, name)) for name in (DESCRIPTION_NAME, ROWS_NAME))


def next_free_folder(parent: Path, name: str) -> Path:
    """`parent/name`, or with the first number that is free.

    Example:
        >>> next_free_folder(Path("/nowhere"), "detect").name
        'detect'
    """
    path, number = parent / name, 1
    while path.exists():
        number += 1
        path = parent / f"{name}-{number}"
    return path


def make_result_folder(folder: Path, names: Iterable[str]) -> None:
    """Find out before the work whether its results can be kept.

    Args:
        folder: made if missing.
        names: of the files that will be written into it.

    Raises:
        OutputError: one of them is there already, or the folder cannot be made or written to.
    """
    for name in names:
        if (folder / name).exists():
            raise OutputError(f"'{folder / name}' is there already", hint="Choose another folder with --out")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(folder, error) from error
    if not os.access(folder, os.W_OK):
        raise OutputError(
            f"cannot write to '{folder}'", hint="Check the permissions, or choose another folder with --out"
        )


def _write_whole(stream: IO[bytes], content: bytes) -> None:
    start = stream.tell()
    written = 0
    try:
        while written < len(content):
            written += stream.write(content[written:])
    except OSError:
        with contextlib.suppress(OSError):
            stream.truncate(start)
        raise


def _row_in(line: bytes) -> dict[str, Any] | None:
    """A whole row; None for what a kill has left of one."""
    try:
        row = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return row if isinstance(row, dict) and {"status", "frame"} <= row.keys() else None
