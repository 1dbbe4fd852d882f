"""Where a model that takes minutes over one picture keeps what it has so far. Torch-free."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cvtl.data import UInt8Image

STEPS_FOLDER = "steps"
PREVIEWS_FOLDER = "previews"


@dataclass(frozen=True)
class Step:
    """How far the work on one input has come.

    Attributes:
        note: a line on it.
        part: of the whole work that is done, in [0, 1].
        picture: gives what there is so far, (H, W, 3) RGB; costs nothing unless it is called.
    """

    note: str
    part: float
    picture: Callable[[], UInt8Image]


@dataclass(frozen=True)
class Workplace:
    """A place in a run's folder for the work on one input, until the input has its row.

    Whoever predicts in steps writes there, whole files or nothing (`cvtl.files.write_atomically`), and looks there
    first: what is there comes from the same run, killed halfway.

    Attributes:
        folder: of the run.
        name: of the input in the output's tree, no other input's: `sub/photo.jpg`.
        note: shows the user a line on how it gets on.
        watch: is told of each step; what it raises ends the work. Where somebody watches, nothing is kept.

    Example:
        >>> place = Workplace(Path("out"), "sub/photo.jpg")
        >>> place.steps.as_posix(), place.preview.as_posix()
        ('out/steps/sub/photo.jpg.steps', 'out/previews/sub/photo.jpg')
    """

    folder: Path
    name: str
    note: Callable[[str], None] = lambda text: None
    watch: Callable[[Step], None] | None = None

    @property
    def steps(self) -> Path:
        """File for all that the rest of the work depends on."""
        return self.folder / STEPS_FOLDER / f"{self.name}.steps"

    @property
    def preview(self) -> Path:
        """File for a picture of what there is so far."""
        return self.folder / PREVIEWS_FOLDER / self.name

    def clear(self) -> None:
        """Remove both files: the input has its row. Folders stay: the next input may be about to use them."""
        for path in (self.steps, self.preview):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def clear_all(folder: Path) -> None:
    """Remove every workplace of a run that is done."""
    for name in (STEPS_FOLDER, PREVIEWS_FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)
