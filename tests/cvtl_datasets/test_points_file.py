"""`points.yaml` beside landmark CSV, COCO keypoints and DeepLabCut's files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cvtl.data import Dataset, PointsTarget, Sample, load_data
from cvtl.errors import DataError
from cvtl_datasets.conversion import convert
from cvtl_datasets.points_file import FILE_NAME, points_text, with_points_file

FACE = """\
points: [left_eye, right_eye, nose]     # in their order
flip_pairs: [[left_eye, right_eye]]
edges: [[left_eye, nose], [right_eye, nose]]
eyes: [left_eye, right_eye]
"""
NUMBERED = Dataset([], ("0", "1", "2"), "landmarks")


def csv_of_three_points(folder: Path) -> Path:
    file = folder / "keypoints.csv"
    file.write_text("image,x0,y0,x1,y1,x2,y2\n1.jpg,1,2,3,4,5,6\n")
    return file


def coco_of_three_points(file: Path) -> Path:
    category = {"id": 1, "name": "face", "keypoints": ["a", "b", "c"], "skeleton": [[1, 2]]}
    content = {"images": [], "annotations": [], "categories": [category]}
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(content))
    return file


def said_by(text: str, folder: Path, dataset: Dataset = NUMBERED) -> Dataset:
    (folder / FILE_NAME).write_text(text)
    return with_points_file(dataset, folder)


def test_it_names_points_and_says_which_change_places_and_which_are_joined(tmp_path: Path) -> None:
    csv_of_three_points(tmp_path)
    (tmp_path / FILE_NAME).write_text(FACE)
    dataset = load_data(tmp_path, "landmarks")
    assert dataset.classes == ("left_eye", "right_eye", "nose")
    assert dataset.flip_pairs == ((0, 1),)
    assert dataset.edges == ((0, 2), (1, 2))
    assert dataset.eyes == (0, 1)


def test_it_is_found_beside_a_file(tmp_path: Path) -> None:
    file = csv_of_three_points(tmp_path)
    (tmp_path / FILE_NAME).write_text(FACE)
    assert load_data(file, "landmarks").flip_pairs == ((0, 1),)


@pytest.mark.parametrize("place", ["", "annotations"])
def test_it_is_found_beside_the_annotations_and_above_them(tmp_path: Path, place: str) -> None:
    file = coco_of_three_points(tmp_path / "annotations" / "person_keypoints_all.json")
    (tmp_path / place / FILE_NAME).write_text("flip_pairs: [[a, c]]")
    assert load_data(file, "landmarks").flip_pairs == ((0, 2),)


def test_what_it_does_not_say_stays_as_it_is(tmp_path: Path) -> None:
    coco_of_three_points(tmp_path / "keypoints.json")
    (tmp_path / FILE_NAME).write_text("flip_pairs: [[a, c]]")
    dataset = load_data(tmp_path, "landmarks")
    assert (dataset.classes, dataset.edges, dataset.eyes) == (("a", "b", "c"), ((0, 1),), None)


def test_what_it_says_replaces_what_the_annotations_say(tmp_path: Path) -> None:
    coco_of_three_points(tmp_path / "keypoints.json")
    (tmp_path / FILE_NAME).write_text("points: [x, y, z]\nedges: [[y, z]]")
    dataset = load_data(tmp_path, "landmarks")
    assert (dataset.classes, dataset.edges) == (("x", "y", "z"), ((1, 2),))


def test_without_it_nobody_has_said_what_changes_places(tmp_path: Path) -> None:
    assert load_data(csv_of_three_points(tmp_path), "landmarks").flip_pairs is None


def test_that_no_points_change_places_can_be_said(tmp_path: Path) -> None:
    assert said_by("flip_pairs: []", tmp_path).flip_pairs == ()


def test_points_without_names_are_called_by_their_numbers(tmp_path: Path) -> None:
    assert said_by("flip_pairs: [[0, 2]]", tmp_path).flip_pairs == ((0, 2),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("flips: [[0, 1]]", "there is no key `flips`. The keys are points, flip_pairs, edges, eyes"),
        ("", "says nothing of points"),
        ("[0, 1]", "says nothing of points"),
        ("flip_pairs:\n- [0, 1\n- [1, 2]", r"points\.yaml:3' is no YAML"),
        ("points: [a, b]", "`points` has 2 names, and the data have 3 points"),
        ("points: [a, b, a]", "`points` has the name 'a' twice"),
        ("points: abc", "`points` is no list of names"),
        ("flip_pairs:", "`flip_pairs` is no list of pairs.*; \\[\\] if there are none"),
        ("flip_pairs: [0, 1]", "`flip_pairs` has '0' for two different points"),
        ("flip_pairs: [[0, 1, 2]]", r"`flip_pairs` has \[0, 1, 2\] for two different points"),
        ("flip_pairs: [[0, 0]]", r"`flip_pairs` has \[0, 0\] for two different points"),
        ("flip_pairs: [[0, ear]]", "`flip_pairs` names the point 'ear', .*They have '0', '1', '2'"),
        ("flip_pairs: [[0, 1], [1, 2]]", "`flip_pairs` has the point '1' in two pairs"),
        ("edges: [[0, 3]]", "`edges` names the point '3'"),
        ("eyes: [0]", r"`eyes` has \[0\] for two different points. For example: eyes: \[left_eye, right_eye\]"),
        ("points: [a, b, c]\neyes: [0, 1]", "`eyes` names the point '0'"),
    ],
)
def test_mistakes_in_it_are_named_with_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as raised:
        said_by(text, tmp_path)
    assert str(tmp_path / FILE_NAME) in str(raised.value)


names = st.lists(st.text(min_size=1), min_size=4, max_size=4, unique=True)


@given(names=names, pairs=st.sampled_from([None, (), ((0, 2),), ((3, 1), (0, 2))]), has_eyes=st.booleans())
def test_what_is_written_reads_back_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    names: list[str],
    pairs: tuple[tuple[int, int], ...] | None,
    has_eyes: bool,
) -> None:
    folder = tmp_path_factory.mktemp("data")
    dataset = Dataset([], tuple(names), "t", edges=((0, 1),), flip_pairs=pairs, eyes=(2, 3) if has_eyes else None)
    (folder / FILE_NAME).write_text(points_text(dataset, with_names=True), encoding="utf-8")
    again = with_points_file(Dataset([], ("0", "1", "2", "3"), "t"), folder)
    assert (again.classes, again.flip_pairs, again.edges, again.eyes) == (
        dataset.classes,
        dataset.flip_pairs,
        dataset.edges,
        dataset.eyes,
    )


@pytest.mark.parametrize("to", ["landmarks", "coco-keypoints"])
def test_nothing_of_it_is_lost_on_the_way_to_another_format(tmp_path: Path, to: str) -> None:
    target = PointsTarget(np.array([[1, 2], [3, 4], [5, 6.0]]), np.ones(3, bool))
    dataset = Dataset(
        [Sample("1", lambda: np.zeros((9, 9, 3), np.uint8), target)],
        ("left", "right", "tip"),
        "memory",
        edges=((1, 2),),
        flip_pairs=((0, 1),),
        eyes=(1, 0),
    )
    conversion = convert(dataset, tmp_path / "out", to)
    assert (conversion.unheld, conversion.notes) == ({}, ())
    again = load_data(tmp_path / "out", "landmarks")
    assert (again.classes, again.edges, again.flip_pairs, again.eyes) == (
        dataset.classes,
        dataset.edges,
        dataset.flip_pairs,
        dataset.eyes,
    )


def test_no_format_takes_it_for_its_own(tmp_path: Path) -> None:
    csv_of_three_points(tmp_path)
    (tmp_path / FILE_NAME).write_text(FACE)
    assert load_data(tmp_path).format == "landmarks"
