"""Pascal VOC: reading what people have, and writing what reads back the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cvtl.data import BoxesTarget, Dataset, Problem, load_data
from cvtl.errors import DataError
from cvtl_datasets.voc import load, recognizes

Picture = Callable[..., Path]
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def an_object(name: str = "cat", box: Sequence[object] = (1, 2, 9.5, 8), more: str = "") -> str:
    corners = "".join(
        f"<{tag}>{value}</{tag}>" for tag, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object>\n<name>{name}</name>{more}\n<bndbox>{corners}</bndbox>\n</object>\n"


def annotate(path: Path, *objects: str, filename: str = "", size: str = "", more: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = f"<filename>{filename}</filename>" if filename else ""
    path.write_text(f"<annotation>\n{name}{size}{more}\n{''.join(objects)}</annotation>\n")
    return path


@pytest.fixture
def data(tmp_path: Path, write_picture: Picture) -> Path:
    """Two pictures: a with a cat, b with a cat and a dog."""
    for name, objects in {"a": [an_object()], "b": [an_object(), an_object("dog", (0, 0, 32, 24))]}.items():
        write_picture(tmp_path / "JPEGImages" / f"{name}.jpg")
        annotate(tmp_path / "Annotations" / f"{name}.xml", *objects, filename=f"{name}.jpg")
    return tmp_path


def boxes_of(dataset: Dataset) -> dict[str, list[list[float]]]:
    return {sample.name: sample.target.boxes.tolist() for sample in dataset if isinstance(sample.target, BoxesTarget)}


def kinds(problems: Sequence[Problem]) -> list[tuple[str, str, bool]]:
    return [(problem.kind, problem.where, problem.fatal) for problem in problems]


def test_boxes_names_and_pictures_are_read(data: Path) -> None:
    dataset = load_data(data, "detect")
    assert (dataset.format, dataset.classes, dataset.problems) == ("voc", ("cat", "dog"), ())
    assert boxes_of(dataset) == {
        "JPEGImages/a.jpg": [[1, 2, 9.5, 8]],
        "JPEGImages/b.jpg": [[1, 2, 9.5, 8], [0, 0, 32, 24]],
    }
    assert dataset[1].read().shape == (24, 32, 3)
    assert isinstance(dataset[1].target, BoxesTarget)
    assert dataset[1].target.labels.tolist() == [0, 1]


def test_difficult_and_the_stated_size_are_kept(data: Path) -> None:
    size = "<size><width>640</width><height>480</height><depth>3</depth></size>"
    hard = an_object(more="<difficult>1</difficult>")
    annotate(data / "Annotations" / "a.xml", hard, an_object(more="<difficult>0</difficult>"), size=size)
    sample = load(data)[0]
    assert isinstance(sample.target, BoxesTarget)
    assert sample.target.difficult.tolist() == [True, False]
    assert sample.annotated_wh == (640, 480)


@pytest.mark.parametrize(
    ("layout", "pictures"),
    [
        ("Annotations", "JPEGImages"),
        ("annotations", "images"),
        ("annotations/xmls", "images"),
        ("Annotations", "."),
        (".", "."),
        ("inner/Annotations", "inner/JPEGImages"),
    ],
)
def test_layouts_are_found(tmp_path: Path, write_picture: Picture, layout: str, pictures: str) -> None:
    annotate(tmp_path / layout / "a.xml", an_object())
    picture = write_picture(tmp_path / pictures / "a.png")
    assert recognizes(tmp_path)
    assert [sample.file for sample in load(tmp_path)] == [picture]
    assert load(tmp_path).problems == ()


def test_the_folder_of_annotations_may_be_named_itself(data: Path) -> None:
    assert recognizes(data / "Annotations")
    assert boxes_of(load(data / "Annotations")) == boxes_of(load(data))


def test_the_folder_round_the_published_archives_may_be_left_out(
    data: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "VOCdevkit").mkdir()
    data.rename(outside / "VOCdevkit" / "VOC2007")
    dataset = load_data(outside)
    assert (dataset.format, dataset.classes, len(dataset)) == ("voc", ("cat", "dog"), 2)


def test_folders_called_after_splits_are_splits(tmp_path: Path, write_picture: Picture) -> None:
    for folder in ("train", "valid", "test"):
        write_picture(tmp_path / folder / "a.jpg")
        annotate(tmp_path / folder / "a.xml", an_object(folder))
    dataset = load(tmp_path)
    assert {sample.name: sample.split for sample in dataset} == {
        "test/a.jpg": "test",
        "train/a.jpg": "train",
        "valid/a.jpg": "val",
    }
    assert dataset.classes == ("test", "train", "valid")


def test_folders_inside_of_annotations_and_pictures_belong_together(tmp_path: Path, write_picture: Picture) -> None:
    for folder in ("train", "val"):
        write_picture(tmp_path / "images" / folder / "1.jpg")
        annotate(tmp_path / "annotations" / folder / "1.xml", an_object(folder))
    dataset = load(tmp_path)
    found = [(s.name, s.split, dataset.classes[s.target.labels[0]]) for s in dataset]  # type: ignore[union-attr]
    assert found == [("images/train/1.jpg", "train", "train"), ("images/val/1.jpg", "val", "val")]


def test_several_data_sets_in_one_folder_are_named(tmp_path: Path) -> None:
    for year in ("VOC2007", "VOC2012"):
        annotate(tmp_path / year / "Annotations" / "a.xml", an_object())
    with pytest.raises(DataError, match=r"several data sets: 'VOC2007', 'VOC2012'. Name one"):
        load(tmp_path)


@pytest.mark.parametrize("content", ["<project/>", "<annotations><image/></annotations>", ""])
def test_other_xml_beside_pictures_is_not_taken_for_it(tmp_path: Path, write_picture: Picture, content: str) -> None:
    write_picture(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(content)
    assert not recognizes(tmp_path)


@pytest.mark.parametrize("place", ["classes.txt", "labels.txt", "Annotations/classes.txt"])
def test_a_list_of_classes_gives_their_order(data: Path, place: str) -> None:
    (data / place).write_text("dog\n\nbird\ncat\n")
    dataset = load(data)
    assert dataset.classes == ("dog", "bird", "cat")
    assert isinstance(dataset[1].target, BoxesTarget)
    assert dataset[1].target.labels.tolist() == [2, 0]


@pytest.mark.parametrize(("text", "classes"), [("dog\ncat\ndog\n", ("dog", "cat")), ("\n", ("cat", "dog"))])
def test_in_a_list_of_classes_each_counts_once_and_an_empty_one_not_at_all(
    data: Path, text: str, classes: tuple[str, ...]
) -> None:
    (data / "classes.txt").write_text(text)
    assert load_data(data).classes == classes


def test_suffixes_may_be_in_upper_case(data: Path) -> None:
    (data / "Annotations" / "a.xml").rename(data / "Annotations" / "a.XML")
    assert (len(load(data)), load(data).problems) == (2, ())


def test_links_that_lead_nowhere_and_folders_are_no_annotations(tmp_path: Path, write_picture: Picture) -> None:
    write_picture(tmp_path / "c.jpg")
    (tmp_path / "a.xml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "b.xml").mkdir()
    annotate(tmp_path / "c.xml", an_object())
    assert recognizes(tmp_path)
    assert kinds(load(tmp_path).problems) == [("malformed annotation", "a.xml", True)]


@pytest.mark.parametrize(
    ("found", "kind", "fatal"),
    [
        (an_object(box=(5, 5, 5, 9)), "zero-area box", False),
        (an_object(box=(5, 9, 8, 9)), "zero-area box", False),
        (an_object(box=(9, 5, 5, 9)), "inverted box", False),
        (an_object(box=(5, 9, 9, 5)), "inverted box", False),
        (an_object(box=(5, 5, "nine", 9)), "malformed annotation", True),
        (an_object(box=(5, 5, "nan", 9)), "malformed annotation", True),
        (an_object(box=(5, 5, "1e999", 9)), "malformed annotation", True),
        (an_object(box=(5, 5, "", 9)), "malformed annotation", True),
        (an_object(name=" "), "malformed annotation", True),
        (an_object(name="unicorn"), "unknown class", True),
    ],
)
def test_mistakes_are_left_out_and_reported_with_their_line(data: Path, found: str, kind: str, fatal: bool) -> None:
    (data / "classes.txt").write_text("cat\ndog\n")
    annotate(data / "Annotations" / "a.xml", an_object(), found, an_object("dog"))
    dataset = load(data)
    # Each object takes four lines, and its box stands in the third of them.
    assert kinds(dataset.problems) == [(kind, "Annotations/a.xml:9", fatal)]
    assert dataset.problems[0].sample == "JPEGImages/a.jpg"
    assert len(boxes_of(dataset)["JPEGImages/a.jpg"]) == 2


def test_an_object_without_a_box_is_reported_where_it_begins(data: Path) -> None:
    annotate(data / "Annotations" / "a.xml", an_object(), "<object>\n<name>cat</name></object>")
    (problem,) = load(data).problems
    assert (problem.where, problem.what) == ("Annotations/a.xml:7", "the object 'cat' has no <bndbox>")


def test_of_an_object_with_two_boxes_none_is_chosen(data: Path) -> None:
    box = "<bndbox><xmin>0</xmin><ymin>0</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>"
    annotate(data / "Annotations" / "a.xml", an_object(more=box))
    (problem,) = load(data).problems
    assert (problem.kind, problem.what, problem.fatal) == (
        "malformed annotation",
        "the object 'cat' has 2 <bndbox>",
        True,
    )


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", 1),
        (b"<annotation>\n<object>\n</annotation>", 3),
        (b"\xff\xfe\x00", 1),
        (b"<other/>", 1),
        (b'<?xml version="1.0" encoding="klingon"?><annotation/>', 1),
        (b'<!DOCTYPE x [<!ENTITY a "aa">]><annotation><object><name>&a;</name></object></annotation>', 1),
        (b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><annotation>&a;</annotation>', 1),
        (b"<annotation>&a;</annotation>", 1),
        ('<!DOCTYPE x [\n<!ENTITY a "aa">]><annotation><folder>&a;</folder></annotation>'.encode("utf-16"), 1),
    ],
)
def test_a_file_that_is_no_annotation_is_fatal_and_leaves_the_others(data: Path, content: bytes, line: int) -> None:
    (data / "Annotations" / "a.xml").write_bytes(content)
    dataset = load(data)
    assert kinds(dataset.problems) == [("malformed annotation", f"Annotations/a.xml:{line}", True)]
    assert [sample.name for sample in dataset] == ["JPEGImages/b.jpg"]
    with pytest.raises(DataError, match=f"Annotations/a.xml:{line}"):
        load_data(data)


def test_deeply_nested_xml_does_no_harm(data: Path) -> None:
    deep = "<a>" * 50_000 + "1" + "</a>" * 50_000
    annotate(data / "Annotations" / "a.xml", an_object(), more=deep)
    assert load(data).unheld == {"a": 1}


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_names_are_read_in_every_encoding(data: Path, encoding: str) -> None:
    declared = encoding.removesuffix("-sig")
    text = f'<?xml version="1.0" encoding="{declared}"?>\n<annotation>{an_object("Kätzchen")}</annotation>'
    (data / "Annotations" / "a.xml").write_bytes(text.encode(encoding))
    assert "Kätzchen" in load(data).classes


def test_a_picture_is_found_by_the_annotations_name_whatever_its_suffix(data: Path, write_picture: Picture) -> None:
    (data / "JPEGImages" / "a.jpg").unlink()
    write_picture(data / "JPEGImages" / "a.png")
    assert load(data)[0].name == "JPEGImages/a.png"


def test_a_picture_is_found_by_filename_where_none_has_the_annotations_name(data: Path) -> None:
    (data / "Annotations" / "a.xml").rename(data / "Annotations" / "0001.xml")
    dataset = load(data)
    assert boxes_of(dataset)["JPEGImages/a.jpg"] == [[1, 2, 9.5, 8]]
    assert dataset.problems == ()


def test_folders_in_filename_do_not_count(data: Path) -> None:
    annotate(data / "Annotations" / "0001.xml", an_object(), filename=r"C:\me\JPEGImages\a.png")
    (data / "Annotations" / "a.xml").unlink()
    assert load(data)[0].name == "JPEGImages/a.jpg"


def test_a_filename_that_is_another_pictures_is_reported(data: Path) -> None:
    annotate(data / "Annotations" / "a.xml", an_object(), filename="b.jpg")
    dataset = load(data)
    assert kinds(dataset.problems) == [("filename of another picture", "Annotations/a.xml", False)]
    assert boxes_of(dataset)["JPEGImages/a.jpg"] == [[1, 2, 9.5, 8]]


def test_a_second_annotation_of_a_picture_is_left_out(data: Path) -> None:
    annotate(data / "Annotations" / "a (copy).xml", an_object("ghost"), filename="a.jpg")
    dataset = load(data)
    assert kinds(dataset.problems) == [("duplicate annotation", "Annotations/a (copy).xml", False)]
    assert boxes_of(dataset)["JPEGImages/a.jpg"] == [[1, 2, 9.5, 8]]


def test_a_picture_without_label_is_no_sample(data: Path, write_picture: Picture) -> None:
    write_picture(data / "JPEGImages" / "new.JPG")
    dataset = load(data)
    assert kinds(dataset.problems) == [("picture without label", "JPEGImages/new.JPG", False)]
    assert len(dataset) == 2


def test_a_label_without_picture_is_kept_where_its_size_is_known(data: Path) -> None:
    size = "<size><width>640</width><height>480</height></size>"
    annotate(data / "Annotations" / "lost.xml", an_object(), filename="lost.png", size=size)
    annotate(data / "Annotations" / "sizeless.xml", an_object(), filename="sizeless.png")
    dataset = load(data)
    assert sorted(kinds(dataset.problems)) == [
        ("label without picture", "Annotations/lost.xml", False),
        ("label without picture", "Annotations/sizeless.xml", False),
    ]
    assert [sample.name for sample in dataset] == [f"JPEGImages/{name}" for name in ("a.jpg", "b.jpg", "lost.png")]
    with pytest.raises(DataError, match=r"lost\.png"):
        dataset[2].read()


def test_fields_without_a_place_are_counted_where_they_say_something(data: Path) -> None:
    says = "<pose>Left</pose><truncated>1</truncated><part><name>head</name></part><occluded>0</occluded>"
    says_nothing = "<pose>Unspecified</pose><truncated>0</truncated><attributes><a> </a></attributes>"
    source = "<source><database>Unknown</database></source><folder>x</folder><path>/x</path><segmented>1</segmented>"
    annotate(data / "Annotations" / "a.xml", an_object(more=says), an_object(more=says_nothing), more=source)
    assert load(data).unheld == {"pose": 1, "truncated": 1, "part": 1, "segmented": 1}


def test_an_annotation_without_objects_is_a_picture_without_objects(data: Path) -> None:
    annotate(data / "Annotations" / "a.xml")
    assert boxes_of(load(data))["JPEGImages/a.jpg"] == []


def test_a_folder_without_annotations_is_an_error(tmp_path: Path, write_picture: Picture) -> None:
    file = write_picture(tmp_path / "a.jpg")
    assert not recognizes(tmp_path)
    assert not recognizes(file)
    with pytest.raises(DataError, match="no XML annotations"):
        load(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        load(file)


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["detection_bccd", "detection_bccd/BCCD"])
def test_bccd_has_its_published_counts(shared_data: Path, folder: str) -> None:
    dataset = load_data(shared_data / folder)
    assert len(dataset) == 364
    assert Counter(sample.split for sample in dataset) == {"train": 205, "val": 87, "test": 72}
    counts: Counter[str] = Counter()
    for sample in dataset:
        assert isinstance(sample.target, BoxesTarget)
        counts.update(dataset.classes[label] for label in sample.target.labels)
    left_out = [Path(problem.where.partition(":")[0]).stem for problem in dataset.problems]
    assert left_out == ["BloodImage_00338", "BloodImage_00343"]
    assert {problem.kind for problem in dataset.problems} == {"zero-area box"}
    assert counts == {"RBC": 4155 - 2, "WBC": 372, "Platelets": 361}


@pytest.mark.shared
def test_every_box_of_raccoon_equals_what_a_plain_reading_gives(shared_data: Path) -> None:
    dataset = load_data(shared_data / "detection_raccoon")
    expected = {}
    for file in sorted((shared_data / "detection_raccoon" / "annotations").glob("*.xml")):
        root = ElementTree.parse(file)
        boxes = [[float(corner.text or "") for corner in box] for box in root.findall("object/bndbox")]
        expected[f"images/{root.findtext('filename')}"] = boxes
    assert boxes_of(dataset) == expected
    assert sum(map(len, expected.values())) == 217
