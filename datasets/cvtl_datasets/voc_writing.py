"""Writing Pascal VOC."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np

from cvtl.data import BoxesTarget, Dataset, Split
from cvtl.errors import UsageError
from cvtl_datasets.voc import ANNOTATIONS, CLASSES, PICTURES
from cvtl_datasets.voc_lists import LISTS
from cvtl_datasets.writing import PictureWriter, WrittenPicture, write_lines, write_pictures

# Characters that XML cannot hold or would change, and those at which a list of lines is divided.
_UNHOLDABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")


def save(dataset: Dataset, out: Path, advance: Callable[[int], None]) -> Mapping[str, int]:
    """Write `Annotations`, `JPEGImages`, `classes.txt` and, where there are splits, `ImageSets/Main`.

    Numbers are written as they are held, without rounding.

    Args:
        dataset: samples with a `BoxesTarget`, or without a target, who have no objects then.
        out: a new or empty folder.
        advance: is called with 1 after each sample.

    Returns:
        What VOC cannot hold, and what happened to pictures, and how often.

    Raises:
        UsageError: the targets are no boxes, or a class name is empty, begins or ends with a space, or has characters
            that XML cannot hold.
    """
    for name in dataset.classes:
        if not name or name != name.strip() or _UNHOLDABLE.search(name):
            raise UsageError(f"Pascal VOC cannot hold the class name {name!r}", hint="Rename the class")
    lists: dict[Split, list[str]] = defaultdict(list)
    lost: Counter[str] = Counter()
    writer = PictureWriter(out / PICTURES)
    write_lines(out / CLASSES, dataset.classes)
    for sample, picture in write_pictures(dataset, writer, advance):
        target = sample.target or BoxesTarget(np.zeros((0, 4)), np.zeros(0, np.int64))
        if not isinstance(target, BoxesTarget):
            raise UsageError("Pascal VOC holds boxes, and nothing else", hint="Choose another format with --to")
        stem = Path(picture.name).stem
        write_lines(out / ANNOTATIONS / f"{stem}.xml", _lines(picture, target, dataset.classes))
        if sample.split:
            lists[sample.split].append(stem)
        lost += what_boxes_lose(target, keep_difficult=True)
    for split, stems in lists.items():
        write_lines(out / LISTS / f"{split}.txt", stems)
    return lost + writer.counts


def what_boxes_lose(target: BoxesTarget, *, keep_difficult: bool) -> Counter[str]:
    """What formats that hold boxes and classes alone cannot hold of a target, and how often; zeros left out."""
    width_height = target.boxes[:, 2:] - target.boxes[:, :2]
    outlined = ~np.isclose(target.areas, width_height.prod(axis=1), rtol=1e-6, atol=1e-6)
    difficult = 0 if keep_difficult else int(target.difficult.sum())
    return +Counter({"crowd": int(target.crowd.sum()), "difficult": difficult, "areas": int(outlined.sum())})


def _lines(picture: WrittenPicture, target: BoxesTarget, classes: tuple[str, ...]) -> Iterator[str]:
    yield "<annotation>"
    yield f"\t<folder>{PICTURES}</folder>"
    yield f"\t<filename>{escape(picture.name)}</filename>"
    size = {"width": picture.width, "height": picture.height, "depth": 3}
    yield "\t<size>" + "".join(f"<{tag}>{value}</{tag}>" for tag, value in size.items()) + "</size>"
    for box, label, difficult in zip(target.boxes.tolist(), target.labels, target.difficult, strict=True):
        yield "\t<object>"
        yield f"\t\t<name>{escape(classes[label])}</name>"
        yield f"\t\t<difficult>{difficult:d}</difficult>"
        corners = zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
        yield "\t\t<bndbox>" + "".join(f"<{tag}>{_number(value)}</{tag}>" for tag, value in corners) + "</bndbox>"
        yield "\t</object>"
    yield "</annotation>"


def _number(value: float) -> str:
    """With as many digits as it takes to read back the same number."""
    return str(int(value)) if value.is_integer() else repr(value)
