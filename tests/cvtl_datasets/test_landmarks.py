from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from cvtl.data import PointsTarget, Sample, Split, load_data
from cvtl.errors import DataError
from cvtl_datasets.landmarks import load, recognizes

HEADINGS = "image,x0,y0,x1,y1,x2,y2\n"


def points_of(sample: Sample) -> PointsTarget:
    assert isinstance(sample.target, PointsTarget)
    return sample.target


def write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode(errors="surrogateescape"))
    return file


def test_each_row_is_a_picture_with_its_points(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "a.csv", HEADINGS + "b.jpg,1,2.5,3,4,5,6\na.jpg,-1,2,-7,-1,0,0\n"))
    assert [sample.name for sample in dataset] == ["b.jpg", "a.jpg"]
    assert dataset.classes == ("0", "1", "2")
    assert points_of(dataset[0]).points.tolist() == [[[1, 2.5], [3, 4], [5, 6]]]
    assert points_of(dataset[1]).points.tolist() == [[[-1, 2], [-7, -1], [0, 0]]]
    assert points_of(dataset[1]).visible.all()
    assert points_of(dataset[0]).boxes is None
    assert dataset.problems == ()


@pytest.mark.parametrize(
    ("headings", "names"),
    [
        ("image,x0,y0,x1,y1,x2,y2", ("0", "1", "2")),
        (",0,1,2,3,4,5", ("0", "1", "2")),
        ("file name,X1,Y1,X2,Y2,X3,Y3", ("1", "2", "3")),
        ("image,nose_x,nose_y,left eye_x,left eye_y,right.x,right.y", ("nose", "left eye", "right")),
        ("image,x_nose,y_nose,x_apex,y_apex,x_x,y_x", ("nose", "apex", "x")),
        ("image, 0_x, 0_y, 1_x, 1_y, 2_x, 2_y", ("0", "1", "2")),
        ('"image","a, b_x","a, b_y","1_x","1_y","c""_x","c""_y"', ("a, b", "1", 'c"')),
    ],
)
def test_headings_name_the_points(tmp_path: Path, headings: str, names: tuple[str, ...]) -> None:
    file = write(tmp_path / "a.csv", f"{headings}\n1.jpg,1,2,3,4,5,6\n")
    assert recognizes(file)
    dataset = load(file)
    assert dataset.classes == names
    assert points_of(dataset[0]).points.tolist() == [[[1, 2], [3, 4], [5, 6]]]


@pytest.mark.parametrize("missing", ["", " ", "nan", "NaN", "-1", "-1.0"])
def test_missing_points_are_not_visible(tmp_path: Path, missing: str) -> None:
    dataset = load(write(tmp_path / "a.csv", f"{HEADINGS}1.jpg,1,2,{missing},{missing},-1,6\n"))
    assert points_of(dataset[0]).visible.tolist() == [[True, False, True]]
    assert np.isfinite(points_of(dataset[0]).points).all()
    assert dataset.problems == ()


def test_a_row_without_points_is_a_picture_without_an_object(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "a.csv", HEADINGS + "1.jpg,,,,,,\n"))
    assert points_of(dataset[0]).points.shape == (0, 3, 2)
    assert dataset.problems == ()


def test_boxes_may_stand_before_the_points(tmp_path: Path) -> None:
    text = "image,box_x1,box_y1,box_x2,box_y2,a_x,a_y\n1.jpg,1,2,3,4.5,5,6\n2.jpg,,,,,5,6\n"
    dataset = load(write(tmp_path / "a.csv", text))
    assert dataset.classes == ("a",)
    boxes = points_of(dataset[0]).boxes
    assert boxes is not None
    assert boxes.tolist() == [[1, 2, 3, 4.5]]
    assert points_of(dataset[1]).boxes is None


@pytest.mark.parametrize(
    ("headings", "place", "box"),
    [
        ("center_x,center_y", "10,20", [3, 13, 17, 27]),
        ("Centre_X,Centre_Y", "10,20", [3, 13, 17, 27]),
        ("center_x,center_y,scale", "10,20,0.5", [-40, -30, 60, 70]),
        ("center_x,center_y,scale", "10,20,", [3, 13, 17, 27]),
        ("center_x,center_y,scale", ",,2", None),
        ("center_x,center_y", ",", None),
    ],
)
def test_a_centre_stands_for_the_square_about_it(
    tmp_path: Path, headings: str, place: str, box: list[float] | None
) -> None:
    text = f"image,{headings},a_x,a_y,b_x,b_y,c_x,c_y\n1.jpg,{place},8,21,10,13,,\n"
    dataset = load(write(tmp_path / "a.csv", text))
    assert (dataset.classes, dataset.problems) == (("a", "b", "c"), ())
    boxes = points_of(dataset[0]).boxes
    assert (None if boxes is None else boxes[0].tolist()) == box


def test_a_centre_on_the_only_point_is_no_box(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "a.csv", "image,center_x,center_y,a_x,a_y\n1.jpg,5,6,5,6\n"))
    assert (points_of(dataset[0]).boxes, dataset.problems) == (None, ())


@pytest.mark.parametrize("headings", ["center_x,center_y", "a_x,a_y,center_x,center_y"])
def test_a_point_may_be_called_centre_where_no_others_follow(tmp_path: Path, headings: str) -> None:
    numbers = ",".join("12345"[: headings.count(",") + 1])
    dataset = load(write(tmp_path / "a.csv", f"image,{headings}\n1.jpg,{numbers}\n"))
    assert dataset.classes[-1] == "center"


@pytest.mark.parametrize(
    ("place", "what"), [("5,,1", "the centre has only one coordinate"), ("5,6,0", "the scale 0 is no size")]
)
def test_a_mistake_in_a_centre_is_named(tmp_path: Path, place: str, what: str) -> None:
    text = f"image,center_x,center_y,scale,a_x,a_y\n1.jpg,{place},5,6\n"
    (problem,) = load(write(tmp_path / "a.csv", text)).problems
    assert (problem.kind, problem.where, problem.what) == ("malformed annotation", "a.csv:2", what)


@pytest.mark.parametrize(
    "text",
    [
        "\ufeffimage,x0,y0,x1,y1,x2,y2\r\n1.jpg,1.5,2,3,4,5,6\r\n",
        "image;x0;y0;x1;y1;x2;y2\n1.jpg;1,5;2;3;4;5;6\n",
        "image;x0;y0;x1;y1;x2;y2\n1.jpg;1.5;2;3;4;5;6",
        "image\tx0\ty0\tx1\ty1\tx2\ty2\n1.jpg\t1.5\t2\t3\t4\t5\t6\n",
        '"image","x0","y0","x1","y1","x2","y2"\n"1.jpg","1.5","2","3","4","5","6"\n',
        "image, x0, y0, x1, y1, x2, y2\n 1.jpg , 1.5 , 2, 3, 4, 5, 6\n",
        "image,x0,y0,x1,y1,x2,y2\n\n1.jpg,1.5,2,3,4,5,6\n,,,,,,\n\n",
    ],
)
def test_csv_is_read_as_programs_write_it(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "a.csv", text)
    assert recognizes(file)
    dataset = load(file)
    assert dataset.problems == ()
    assert [(sample.name, points_of(sample).points[0, 0].tolist()) for sample in dataset] == [("1.jpg", [1.5, 2])]


def test_names_of_pictures_need_not_be_utf_8(tmp_path: Path) -> None:
    name = b"caf\xe9.jpg".decode(errors="surrogateescape")
    (tmp_path / name).touch()
    dataset = load(write(tmp_path / "a.csv", f"{HEADINGS}{name},1,2,3,4,5,6\n"))
    assert dataset[0].file == tmp_path / name
    assert dataset.problems == ()


# Mistakes


@pytest.mark.parametrize(
    ("row", "kind", "what"),
    [
        ("2.jpg,1,2,3,4,5", "malformed annotation", "there are 6 cells under 7 headings"),
        ("2.jpg,1,2,3,4,5,6,7", "malformed annotation", "there are 8 cells under 7 headings"),
        ("2.jpg,1,2,three,4,5,6", "malformed annotation", "'three' is not a number"),
        ("2.jpg,1,2,inf,4,5,6", "malformed annotation", "'inf' is not a number"),
        ("2.jpg,1,2,3,,5,6", "malformed annotation", "the point '1' has only one coordinate"),
        ("\0.jpg,1,2,3,4,5,6", "malformed annotation", r"no picture can be called '\x00.jpg'"),
        (",1,2,3,4,5,6", "malformed annotation", "the first cell names no picture"),
        ("1.jpg,9,9,9,9,9,9", "duplicate annotation", "the picture '1.jpg' has a row already, in line 2"),
    ],
)
def test_a_mistake_in_a_row_is_named_and_the_row_left_out(tmp_path: Path, row: str, kind: str, what: str) -> None:
    file = write(tmp_path / "a.csv", f"{HEADINGS}1.jpg,1,2,3,4,5,6\n{row}\n3.jpg,1,2,3,4,5,6\n")
    dataset = load(file)
    (problem,) = dataset.problems
    assert (problem.kind, problem.where, problem.what) == (kind, "a.csv:3", what)
    assert problem.fatal == (kind == "malformed annotation")
    assert [sample.name for sample in dataset] == ["1.jpg", "3.jpg"]


@pytest.mark.parametrize(
    ("box", "kind", "what"),
    [
        ("1,2,1,4", "zero-area box", "the box 1 2 1 4 has no area"),
        ("3,2,1,4", "inverted box", "the box 3 2 1 4 has a negative width or height"),
        ("1,2,,4", "malformed annotation", "the box has fewer than four numbers"),
    ],
)
def test_a_mistake_in_a_box_is_named(tmp_path: Path, box: str, kind: str, what: str) -> None:
    text = f"image,box_x1,box_y1,box_x2,box_y2,a_x,a_y\n1.jpg,{box},5,6\n"
    (problem,) = load(write(tmp_path / "a.csv", text)).problems
    assert (problem.kind, problem.where, problem.what) == (kind, "a.csv:2", what)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv:1': these are no headings of landmarks"),
        ("image,x0,y0,x1\n", "a.csv:1': these are no headings"),
        ("image,x0,y1\n", "a.csv:1': these are no headings"),
        ("image,a_x,a_y,a_x,a_y\n", "a.csv:1': these are no headings.*no two points of one name"),
        ("1.jpg,10,20,30,40\n", "a.csv:1': these are no headings"),
        ("image,n\udce9_x,n\udce9_y\n1.jpg,1,2\n", "a.csv:1': these are no headings.*in UTF-8"),
        (f'{HEADINGS}1.jpg,"{"1" * 200_000}",2,3,4,5,6\n', "cannot read '.*a.csv': field larger"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "a.csv", text)
    assert not recognizes(file)
    with pytest.raises(DataError, match=message):
        load(file)


def test_a_folder_without_csv_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no CSV file in"):
        load(tmp_path)


def test_files_with_different_points_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", HEADINGS + "1.jpg,1,2,3,4,5,6\n")
    write(tmp_path / "test.csv", "image,x0,y0,x1,y1,x3,y3\n2.jpg,1,2,3,4,5,6\n")
    with pytest.raises(DataError, match=r"test\.csv' and '.*train\.csv' have different points"):
        load(tmp_path)


# Splits and pictures


def test_files_are_splits_with_pictures_in_folders_of_their_names(tmp_path: Path) -> None:
    for split, folder in (("training", "training"), ("test", "images/test")):
        write(tmp_path / f"{split}_points.csv", HEADINGS + f"1.jpg,1,2,3,4,5,6\n{split}.jpg,1,2,3,4,5,6\n")
        for name in ("1.jpg", f"{split}.jpg"):
            write(tmp_path / folder / name, "")
    dataset = load(tmp_path)
    assert dataset.problems == ()
    assert [(sample.name, sample.split) for sample in dataset] == [
        ("test/1.jpg", "test"),
        ("test/test.jpg", "test"),
        ("train/1.jpg", "train"),
        ("train/training.jpg", "train"),
    ]
    assert dataset[0].file == tmp_path / "images/test/1.jpg"
    assert dataset[2].file == tmp_path / "training/1.jpg"


def test_pictures_that_are_not_there_or_not_listed_are_named(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", HEADINGS + "1.jpg,1,2,3,4,5,6\n2.jpg,1,2,3,4,5,6\n")
    write(tmp_path / "images/1.jpg", "")
    write(tmp_path / "images/3.jpg", "")
    dataset = load(tmp_path)
    assert [(problem.kind, problem.where, problem.fatal) for problem in dataset.problems] == [
        ("label without picture", "a.csv:3", False),
        ("picture without label", "images/3.jpg", False),
    ]
    assert [sample.name for sample in dataset] == ["1.jpg"]


def test_pictures_need_not_be_there(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "a.csv", HEADINGS + "1.jpg,1,2,3,4,5,6\n"))
    assert dataset.problems == ()
    with pytest.raises(DataError, match=r"1\.jpg"):
        dataset[0].read()


# Recognition


@pytest.mark.parametrize(
    "text",
    [
        "image,x0,y0,x1,y1,x2,y2\n",
        "image,x0,y0,x1,y1,x2,y2\n1,1,2,3,4,5,6\n",
        "image,x0,y0,x1,y1,x2,y2\n1.jpg,1,2\n",
        "image,x1,y1,x2,y2\n1.jpg,1,2,3,4\n",
        "image,x0,y0,x1,y1\n1.jpg,1,2,3,4\n",
        "image,xmin,ymin,xmax,ymax\n1.jpg,1,2,3,4\n",
        "image,x_min,y_min,x_max,y_max\n1.jpg,1,2,3,4\n",
        "image_id,x_1,y_1,width,height\n1.jpg,1,2,3,4\n",
        "filename,width,height,class,xmin,ymin,xmax,ymax\n1.jpg,1,2,dog,3,4,5,6\n",
        "file,label\n1.jpg,cat\n",
        "1.jpg,10,20,30,40,cat\n2.jpg,10,20,30,40,cat\n",
        "x0,y0,x1,y1,image\n1,2,3,4,1.jpg\n",
        "image,red,green,blue,alpha\n1.jpg,1,2,3,4\n",
        "hello\n",
        "\0\1\2\n",
    ],
)
def test_other_tables_are_not_recognised(tmp_path: Path, text: str) -> None:
    assert not recognizes(write(tmp_path / "a.csv", text))
    assert not recognizes(tmp_path)


def test_a_single_point_is_no_box(tmp_path: Path) -> None:
    assert recognizes(write(tmp_path / "a.csv", "image,x0,y0\n1.jpg,1,2\n"))


def test_only_csv_files_are_recognised(tmp_path: Path) -> None:
    assert not recognizes(write(tmp_path / "a.txt", HEADINGS + "1.jpg,1,2,3,4,5,6\n"))


def test_tables_beside_the_landmarks_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "boxes.csv", "image,xmin,ymin,xmax,ymax\n1.jpg,1,2,3,4\n")
    write(tmp_path / "points.csv", HEADINGS + "1.jpg,1,2,3,4,5,6\n")
    assert [sample.name for sample in load(tmp_path)] == ["1.jpg"]


# Real data


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "pictures", "splits"),
    [("landmarks_faces", 260, {"train": 200, "test": 60}), ("landmarks_faces_160", 2323, {})],
)
def test_real_sets_agree_with_a_plain_reading(
    shared_data: Path, name: str, pictures: int, splits: dict[Split, int]
) -> None:
    dataset = load_data(shared_data / name, "landmarks")
    assert (dataset.format, dataset.problems) == ("landmarks", ())
    assert dataset.classes == tuple(map(str, range(68)))
    assert len(dataset) == pictures
    assert {split: len(dataset.split(split)) for split in splits} == splits
    rows = [
        row for file in sorted((shared_data / name).glob("*.csv")) for row in csv.reader(file.open()) if "jpg" in row[0]
    ]
    for row, sample in zip(rows, dataset, strict=True):
        assert sample.file is not None
        assert sample.file.name == row[0]
        assert sample.file.is_file()
        np.testing.assert_array_equal(points_of(sample).points, np.array(row[1:], float).reshape(1, 68, 2))


@pytest.mark.shared
def test_other_real_data_are_not_recognised(shared_data: Path) -> None:
    others = [folder for folder in shared_data.iterdir() if not folder.name.startswith("landmarks")]
    assert len(others) > 10
    assert not any(map(recognizes, others))
