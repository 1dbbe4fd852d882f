"""What checks find: the kinds of mistakes, how much they matter, and what to do about them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cvtl.data import Problem

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

Point = tuple[float, float]
Box = tuple[float, float, float, float]


class Kind(NamedTuple):
    """A kind of mistake.

    Attributes:
        severity: `error` for what is wrong, `warning` for what probably is, `note` for what is good to know.
        advice: what to do about it.
    """

    severity: Severity
    advice: str


_AS_SPLITS = "Divide the data anew with `cvtl data split`, which keeps what belongs together in one part"

KINDS = {
    # found by the formats' readers
    "malformed annotation": Kind("error", "Correct the file there; what could not be read is left out"),
    "unknown class": Kind("error", "Add the class to the list of classes, or correct its name or number"),
    "zero-area box": Kind("error", "Draw the box again or remove it; it is left out"),
    "inverted box": Kind("error", "Write the smaller coordinates first; the box is left out"),
    "label without picture": Kind("error", "Put the picture back, or remove its annotation"),
    "picture without label": Kind("warning", "Annotate the picture, or move it away"),
    "duplicate annotation": Kind("error", "Keep one annotation of the picture"),
    # pictures
    "unreadable picture": Kind("error", "Replace or remove it"),
    "truncated picture": Kind("error", "Copy it again from its source, or remove it"),
    "too large picture": Kind("error", "Scale it down, and its annotations with it"),
    "wrong suffix": Kind("warning", "Rename it: some programs go by the suffix, and fail"),
    "turned by EXIF": Kind(
        "note", "Programs that pass over EXIF see it unturned; `cvtl data convert` writes it upright"
    ),
    "alpha channel": Kind(
        "note", "Transparency is passed over, and colours below it appear; look whether they do harm"
    ),
    "greyscale picture": Kind("note", "Most others have colours; look whether these are meant to be there"),
    "annotated unturned": Kind("error", "Turn its boxes or points along with the picture, or take the EXIF tag out"),
    "wrong annotated size": Kind("error", "Look whether the picture was resized, or another one is meant"),
    # boxes and points
    "box outside the picture": Kind("error", "Remove the box, or look whether another picture is meant"),
    "box sticks out": Kind("warning", "Cut the box off at the picture's edge, unless it is meant to go on"),
    "tiny box": Kind("warning", "Look whether the coordinates have the right unit"),
    "duplicate boxes": Kind("warning", "Keep one of them"),
    "box of two classes": Kind("warning", "Keep the right one"),
    "point outside the picture": Kind("warning", "Correct it, or mark it as missing"),
    "points all equal": Kind("error", "Annotate the points again"),
    "no points": Kind("warning", "Annotate the points, or remove the object"),
    "rarely visible point": Kind("note", "Too little to learn it from: annotate more, or leave the point out"),
    "picture without objects": Kind("note", "Fine for background; otherwise annotate it"),
    # several pictures
    "exact duplicates": Kind("warning", "Keep one of them"),
    "near duplicates": Kind("warning", "Keep one of them, or keep them in one part: `cvtl data split` does"),
    "duplicates under different labels": Kind("error", "Find out which label is right, and keep that one"),
    "duplicates across splits": Kind("error", _AS_SPLITS),
    "group in two splits": Kind("error", _AS_SPLITS),
    "possible group in two splits": Kind("warning", "If they are one person, clip or place, say so with --group-by"),
    "sequence": Kind("warning", "A random split leaks: keep frames of one sequence together with --group-by"),
    # classes
    "class without examples": Kind("warning", "Annotate some, or remove the class"),
    "class missing from a split": Kind("warning", "Divide the data anew with `cvtl data split`, class by class"),
    "rare class": Kind("note", "Too little to learn or to judge by: collect more, or merge classes"),
    "class imbalance": Kind("note", "Judge by figures per class, not by accuracy; collect more of the rare ones"),
}
_MOST_NAMED = 20
_OTHER = "Look at it, and correct it if it is a mistake"


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Something about a data set that is wrong, or good to know.

    Attributes:
        kind: one of `KINDS`, or what another package's format calls it.
        severity: how much it matters.
        where: "file:line" of an annotation, else the names of the pictures; of the data set as a whole its path.
        what: what is wrong there, for people.
        samples: names of the pictures it is about.
        boxes: those it is about, in the first sample: xyxy in pixels of the upright picture.
        points: likewise.
    """

    kind: str
    severity: Severity
    where: str
    what: str
    samples: tuple[str, ...] = ()
    boxes: tuple[Box, ...] = ()
    points: tuple[Point, ...] = ()

    @property
    def advice(self) -> str:
        """What to do about it.

        Example:
            >>> finding("exact duplicates", "a.jpg, b.jpg", "2 equal files").advice
            'Keep one of them'
        """
        return KINDS[self.kind].advice if self.kind in KINDS else _OTHER


def finding(
    kind: str,
    where: str,
    what: str,
    samples: tuple[str, ...] = (),
    *,
    boxes: tuple[Box, ...] = (),
    points: tuple[Point, ...] = (),
) -> Finding:
    """A finding of a kind in `KINDS`, with its severity."""
    severity = KINDS[kind].severity
    return Finding(kind=kind, severity=severity, where=where, what=what, samples=samples, boxes=boxes, points=points)


def of_problem(problem: Problem) -> Finding:
    """What a format's reader has found."""
    severity: Severity = "error" if problem.fatal else "warning"
    return Finding(
        kind=problem.kind,
        severity=KINDS[problem.kind].severity if problem.kind in KINDS else severity,
        where=problem.where,
        what=problem.what,
        samples=() if problem.sample is None else (problem.sample,),
    )


def listed(names: Sequence[str], most: int = _MOST_NAMED) -> str:
    """Names in a sentence; of many the first.

    Example:
        >>> listed(["cat", "dog", "cow"], most=2)
        'cat, dog and 1 more'
    """
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
