from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvtl.errors import DataError
from cvtl_datasets.coco import load, recognizes
from cvtl_datasets.coco_json import read_coco

LISTS = '"images": [], "annotations": [], "categories": []'
PADDING = f'"info": "{"x" * 200_000}"'


@pytest.mark.parametrize(
    "text",
    [
        "{" + LISTS + "}",
        "\ufeff {\n" + LISTS.replace(": [", "\n:\n[") + "}",
        '{"categories": [], "images": []}',
        "{" + PADDING + ", " + LISTS + "}",
        "{" + LISTS + ", " + PADDING + "}",
        "{" + PADDING + ", " + LISTS + ", " + PADDING.replace("info", "more") + "}",
    ],
)
def test_coco_files_are_recognised(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert recognizes(tmp_path / "a.json")
    assert recognizes(tmp_path)
    assert load(tmp_path).classes == ()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[{" + LISTS + "}]",
        '[{"image_id": 1, "category_id": 2, "bbox": [1, 2, 3, 4], "score": 0.5}]',
        '{"images": [], "annotations": [{"image_id": 1, "caption": "images and categories"}]}',
        '{"images": 3, "categories": 4}',
        '{"version": "5.0", "shapes": [], "imagePath": "a.jpg"}',
    ],
)
def test_other_json_is_not_recognised(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert not recognizes(tmp_path / "a.json")
    assert not recognizes(tmp_path)


def test_only_json_files_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("{" + LISTS + "}")
    assert not recognizes(tmp_path / "a.txt")
    assert not recognizes(tmp_path)


def test_a_folder_of_many_json_files_is_not_looked_into(tmp_path: Path) -> None:
    for number in range(60):
        (tmp_path / f"{number}.json").write_text("{" + LISTS + "}")
    assert not recognizes(tmp_path)


# The reading of JSON, entry by entry

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
entries = st.lists(st.dictionaries(st.sampled_from(["id", "name", "x", "é"]), json_values), max_size=4)
FIELDS = {"images": ["id", "name"], "annotations": ["id", "name"], "categories": ["id", "name"]}


@settings(max_examples=100, deadline=None)
@given(
    lists=st.fixed_dictionaries({"images": entries, "categories": entries}, optional={"annotations": entries}),
    more=st.dictionaries(st.text(), json_values, max_size=3),
    order=st.randoms(use_true_random=False),
    indent=st.sampled_from([None, 0, 2, "\t"]),
    ascii_only=st.booleans(),
)
def test_entries_are_those_that_the_json_module_reads(
    lists: dict[str, Any], more: dict[str, Any], order: Any, indent: Any, ascii_only: bool
) -> None:
    content = list((more | lists).items())
    order.shuffle(content)
    text = json.dumps(dict(content), indent=indent, ensure_ascii=ascii_only)
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        path.write_text(text, encoding="utf-8", errors="surrogatepass")
        try:
            file = read_coco(path, path, FIELDS)
        except DataError:  # half a character, which is not UTF-8
            assert not ascii_only
            return
    for name in FIELDS:
        read = [dict(entry.fields) for entry in file.lists.get(name, [])]
        wanted = [{key: entry[key] for key in ("id", "name") if key in entry} for entry in lists.get(name, [])]
        assert read == wanted
        for entry in file.lists.get(name, []):
            assert text[entry.position] == "{"
    assert ("annotations" in file.lists) == ("annotations" in lists)


WHOLE = {
    "images": [{"id": 1, "file_name": "1.jpg", "width": 64, "height": 48}, {"id": 2, "file_name": "2.jpg"}],
    "categories": [{"id": 17, "name": "cat"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 17, "bbox": [1, 2, 30, 40], "iscrowd": 0, "area": 9.5}],
}


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_damaged_file_is_an_error_or_read_but_never_a_crash(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.json")
        content = bytearray(json.dumps(WHOLE, indent=1).encode())
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 20))] = data.draw(st.binary(max_size=3))
        path.write_bytes(content)
        with suppress(DataError):
            assert all(problem.where.startswith("a.json:") for problem in load(path).problems)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.json:1': this is no COCO JSON"),
        ('{"images": [],\n"categories": [],\n"annotations": [{"id": 1},\n{"id"', "a.json:4': this is no COCO JSON"),
        ('{"images": [],\n"categories": [{}\n{}]}', "a.json:3': this is no COCO JSON: ']' is expected"),
        ('{"images": []\n"categories": []}', "a.json:2': this is no COCO JSON: '}' is expected"),
        ('{"images": [],\n7: []}', "a.json:2': this is no COCO JSON: a name in quotes is expected"),
        ('{"images": {"1": 2}}', "a.json:1': this is no COCO JSON: '\\[' is expected"),
        ("[]", "a.json:1': this is no COCO JSON: '{' is expected"),
        ('{"images": []}', "a.json' has no list 'categories'"),
        ('{"categories": []}', "a.json' has no list 'images'"),
        ('{"images": ' + "[" * 100_000, "cannot read '.*a.json'"),
        ('{"images": [' + "1" * 10_000 + "]}", "cannot read '.*a.json'"),
        ("\udcff", "cannot read '.*a.json': it is not text in UTF-8"),
        ('{"images": [], "categories":\n[{"id": 1}]}', "a.json:2': a category has the id 1 and the name None"),
        ('{"images": [], "categories":\n[{"id": "1", "name": "a"}]}', "a.json:2': a category has the id '1'"),
        (
            '{"images": [], "categories": [{"id": 1, "name": "a"},\n{"id": 2, "name": "a"}]}',
            "a.json:2': the category 2, 'a', is there twice",
        ),
    ],
)
def test_files_that_cannot_be_read_are_named_with_the_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.json")


@pytest.mark.shared
@pytest.mark.parametrize(
    "name",
    [
        *("classify_flowers", "detection_bccd", "detection_mslearn_fruit", "detection_raccoon", "landmarks_faces"),
        *("detection_mslearn_fruit/train-detector/tagged-images.json", "sliding_vehicles/test_boxes_checked.json"),
        *("bad_images/observed_pillow13_opencv5.json", "metrics_voc_rafaelpadilla", "sliding_vehicles"),
        "metrics_coco_val2014_100/instances_val2014_fakebbox100_results.json",
        "metrics_coco_val2014_100/expected_bbox.json",
    ],
)
def test_real_data_of_other_kinds_are_not_recognised(shared_data: Path, name: str) -> None:
    assert (shared_data / name).exists()
    assert not recognizes(shared_data / name)
