"""COCO JSON: boxes (`coco`) or the points of objects (`coco-keypoints`).

- The path is a JSON file, or a folder with such files in it, in its `annotations`, or in its `train`, `valid` and
  `test`. Of COCO's own folder of annotations, the boxes are in instances_*.json, the points in person_keypoints_*.json.
- Splits are read from the file names (instances_train2017.json), else from the folders train, valid and test.
- Classes are in the order of their ids, which may have gaps.
- Pictures are found as `annotation_files.find_pictures` says. They need not be there before they are read.
- Names of samples are the files' `file_name`, with the split before it where two JSON files have one in common.
- A picture that is not annotated has no objects, unless the file has no list of annotations at all (as those of COCO's
  test pictures): then nothing is known about it.
- Keypoints: `v` 0 is a missing point; 1 (hidden) and 2 are both visible ones. Objects without any point are left out.
  What a `points.yaml` says (`points_file`) replaces the category's names and skeleton.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvtl.data import Dataset, DatasetFormat, Sample
from cvtl.errors import DataError
from cvtl_datasets.annotation_files import (
    DUPLICATE,
    MALFORMED,
    NO_PICTURE,
    Mistake,
    PictureFolders,
    PicturePlace,
    distinct_prefixes,
    find_pictures,
    relative_name,
)
from cvtl_datasets.coco_json import CocoFile, coco_files, names_points, read_coco, whole_number
from cvtl_datasets.coco_targets import Boxes, Points
from cvtl_datasets.points_file import with_points_file

format_ = DatasetFormat(
    name="coco",
    summary="COCO JSON of boxes: a file, or a folder with annotations/*.json",
    tasks=("detect", "localize"),
    recognizes="cvtl_datasets.coco:recognizes",
    load="cvtl_datasets.coco:load",
    save="cvtl_datasets.coco_writing:save",
)
keypoints_format = DatasetFormat(
    name="coco-keypoints",
    summary="COCO JSON of keypoints: a file, or a folder with annotations/*.json",
    tasks=("landmarks",),
    recognizes="cvtl_datasets.coco:recognizes_keypoints",
    load="cvtl_datasets.coco:load_keypoints",
    save="cvtl_datasets.coco_writing:save_keypoints",
    refines="coco",
)

# COCO's ids are integers; some tools write strings.
_ImageId = int | str


def recognizes(path: Path) -> bool:
    """Whether there is a JSON file with lists of images and categories. Files are searched, not parsed."""
    return bool(coco_files(path))


def recognizes_keypoints(path: Path) -> bool:
    """Whether there is such a file with a category whose keypoints have names."""
    return any(map(names_points, coco_files(path)))


def load(path: Path) -> Dataset:
    """Read the boxes of COCO files; no picture is opened.

    Args:
        path: the JSON file, or the folder.

    Returns:
        Samples with a `BoxesTarget`, in the files' order. Areas are those of the outlines, as the files state them.

    Raises:
        DataError: a file cannot be read, or has categories that are no categories or contradict those of another.

    Example:
        >>> import json, tempfile
        >>> file = Path(tempfile.mkdtemp(), "instances_val.json")
        >>> _ = file.write_text(json.dumps({
        ...     "images": [{"id": 5, "file_name": "a.jpg", "width": 64, "height": 48}],
        ...     "categories": [{"id": 3, "name": "cat"}],
        ...     "annotations": [{"id": 1, "image_id": 5, "category_id": 3, "bbox": [1, 2, 30, 40]}],
        ... }))
        >>> dataset = load(file)
        >>> dataset[0].name, dataset[0].split, dataset[0].target.boxes.tolist()
        ('a.jpg', 'val', [[1.0, 2.0, 31.0, 42.0]])
        >>> dataset.classes, dataset.category_ids
        (('cat',), (3,))
    """
    found = coco_files(path)
    boxes_only = [file for file in found if not names_points(file)]
    named = [file for file in boxes_only if file.stem.startswith("instances")]
    return _load(path, format_.name, named or boxes_only or found, Boxes)


def load_keypoints(path: Path) -> Dataset:
    """Read the keypoints of COCO files; no picture is opened.

    Args:
        path: the JSON file, or the folder.

    Returns:
        Samples with a `PointsTarget`, in the files' order. The classes are the points' names, and the edges the
        category's skeleton. Boxes are known where all objects of a picture have one.

    Raises:
        DataError: a file cannot be read, it is not one category that has keypoints, the same in all files, or
            `points.yaml` does not fit.
    """
    found = coco_files(path)
    dataset = _load(path, keypoints_format.name, list(filter(names_points, found)) or found, Points)
    return with_points_file(dataset, path)


@dataclass(frozen=True)
class _Image:
    """A picture as a file lists it; `name` is the sample's, but for what tells files apart."""

    position: int
    id: _ImageId
    written: str
    name: str
    annotated_wh: tuple[int, int] | None


def _load(path: Path, format_name: str, found: Sequence[Path], kind: type[Boxes] | type[Points]) -> Dataset:
    if path.is_dir() and not found:
        raise DataError(f"there is no COCO file in '{path}'", hint="Give the JSON file, or the folder that it lies in")
    files = [read_coco(file, path, kind.fields) for file in found or [path]]
    targets = kind(files)
    images = [_read_images(file) for file in files]
    prefixes = distinct_prefixes(
        [[image.name for image in each.values() if image] for each in images],
        [file.split for file in files],
        [file.name for file in files],
    )
    folders = PictureFolders()
    samples = [
        sample
        for file, each, prefix in zip(files, images, prefixes, strict=True)
        for sample in _samples(file, each, prefix, targets, folders)
    ]
    problems = [problem for file in files for problem in file.problems()]
    if path.is_dir():  # one file of several does not tell what belongs to the others
        problems += folders.unlabelled(path)
    unheld = sum((file.unheld for file in files), targets.unheld)
    return Dataset(
        samples,
        targets.classes,
        format_name,
        str(path),
        tuple(problems),
        dict(unheld),
        targets.category_ids,
        targets.edges,
    )


def _read_images(file: CocoFile) -> dict[_ImageId, _Image | None]:
    """The images by id; None for those that are left out, annotations and all."""
    images: dict[_ImageId, _Image | None] = {}
    id_of: dict[str, _ImageId] = {}
    for position, fields in file.lists["images"]:
        try:
            image_id = _id(fields, "id")
            earlier = images.setdefault(image_id, None)
            image = _image(position, image_id, fields)
            if earlier and earlier.name != image.name:
                raise Mistake(MALFORMED, f"image {image_id} is both '{earlier.written}' and '{image.written}'")
            if image.name in id_of:
                what = f"the picture '{image.written}' is listed twice, as {id_of[image.name]} and {image_id}"
                raise Mistake(DUPLICATE, what)
        except Mistake as mistake:
            file.report(position, mistake)
        else:
            images[image_id] = image
            id_of[image.name] = image_id
    return images


def _image(position: int, image_id: _ImageId, fields: Mapping[str, Any]) -> _Image:
    written = fields.get("file_name")
    if not isinstance(written, str) or not relative_name(written):
        raise Mistake(MALFORMED, f"image {image_id} has no file_name")
    width, height = fields.get("width"), fields.get("height")
    if width is None or height is None:
        return _Image(position, image_id, written, relative_name(written), None)
    if not all(isinstance(side, int | float) and 0 <= side < math.inf for side in (width, height)):
        raise Mistake(MALFORMED, f"image {image_id} is {width!r} wide and {height!r} high: two numbers are needed")
    return _Image(position, image_id, written, relative_name(written), (int(width), int(height)))


def _samples(
    file: CocoFile,
    images: Mapping[_ImageId, _Image | None],
    prefix: str,
    targets: Boxes | Points,
    folders: PictureFolders,
) -> Iterator[Sample]:
    objects = _read_annotations(file, images, prefix, targets)
    listed = [image for image in images.values() if image]
    place = find_pictures([image.written for image in listed], file.path)
    for image in listed:
        name = prefix + image.name
        picture = (place or PicturePlace(file.path.parent)).file(image.written)
        if place and not folders.has(picture):
            what = f"the picture '{image.written}' of image {image.id} is not there"
            file.report(image.position, Mistake(NO_PICTURE, what), name)
            if image.annotated_wh is None:
                continue
        target = targets.target(objects[image.id]) if "annotations" in file.lists else None
        image_id = image.id if isinstance(image.id, int) else None
        yield Sample.of_file(name, picture, target, file.split, annotated_wh=image.annotated_wh, image_id=image_id)


def _read_annotations(
    file: CocoFile, images: Mapping[_ImageId, _Image | None], prefix: str, targets: Boxes | Points
) -> dict[_ImageId, list[Any]]:
    """What the annotations of each image say."""
    objects: defaultdict[_ImageId, list[Any]] = defaultdict(list)
    labels = targets.labels(file)
    for position, fields in file.lists.get("annotations", ()):
        image = None
        try:
            image_id = _id(fields, "image_id")
            if image_id not in images:
                raise Mistake(NO_PICTURE, f"there is no image {image_id!r}")
            image = images[image_id]
            if image and (found := targets.read(fields, labels)) is not None:
                objects[image_id].append(found)
        except Mistake as mistake:
            what = f"annotation {fields.get('id', 'without id')}: {mistake.what}"
            file.report(position, Mistake(mistake.kind, what), prefix + image.name if image else None)
    return objects


def _id(fields: Mapping[str, Any], key: str) -> _ImageId:
    written = fields.get(key)
    found = written if isinstance(written, str) else whole_number(written)
    if found is None:
        raise Mistake(MALFORMED, f"its {key} is {written!r}: a whole number is needed")
    return found
