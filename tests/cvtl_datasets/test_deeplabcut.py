from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvtl.data import PointsTarget, Sample, load_data
from cvtl.errors import DataError
from cvtl_datasets import landmarks
from cvtl_datasets.deeplabcut import load, recognizes

HEADINGS = "scorer,Ann,Ann,Ann,Ann\nbodyparts,nose,nose,tail,tail\ncoords,x,y,x,y\n"
SEVERAL = (
    "scorer,Ann,Ann,Ann,Ann,Ann,Ann\n"
    "individuals,mouse1,mouse1,mouse1,mouse1,single,single\n"
    "bodyparts,nose,nose,tail,tail,door,door\n"
    "coords,x,y,x,y,x,y\n"
)


def points_of(sample: Sample) -> PointsTarget:
    assert isinstance(sample.target, PointsTarget)
    return sample.target


def write(file: Path, text: str = "") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project with two videos of two labelled frames each."""
    folder = tmp_path / "project"
    for video in ("day1", "day2"):
        rows = "".join(f"labeled-data/{video}/img{i}.png,{i},2,3,4\n" for i in range(2))
        write(folder / "labeled-data" / video / "CollectedData_Ann.csv", HEADINGS + rows)
        for i in range(2):
            write(folder / "labeled-data" / video / f"img{i}.png")
    return folder


def test_each_row_is_a_picture_with_its_body_parts(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "a.csv", HEADINGS + "labeled-data/v/1.png,1,2.5,3,4\n"))
    assert (dataset.classes, dataset.problems) == (("nose", "tail"), ())
    assert [sample.name for sample in dataset] == ["labeled-data/v/1.png"]
    assert points_of(dataset[0]).points.tolist() == [[[1, 2.5], [3, 4]]]
    assert points_of(dataset[0]).visible.all()


@pytest.mark.parametrize(
    ("cells", "visible"), [("1,2,,", [[True, False]]), (",,3,4", [[False, True]]), ("nan,NaN,3,4", [[False, True]])]
)
def test_empty_cells_are_missing_points(tmp_path: Path, cells: str, visible: list[list[bool]]) -> None:
    dataset = load(write(tmp_path / "a.csv", f"{HEADINGS}1.png,{cells}\n"))
    assert points_of(dataset[0]).visible.tolist() == visible
    assert dataset.problems == ()


def test_a_row_without_points_is_a_picture_without_an_object(tmp_path: Path) -> None:
    assert points_of(load(write(tmp_path / "a.csv", HEADINGS + "1.png,,,,\n"))[0]).points.shape == (0, 2, 2)


def test_names_of_pictures_may_be_divided_among_three_columns(tmp_path: Path) -> None:
    text = "scorer,,,Ann,Ann\nbodyparts,,,nose,nose\ncoords,,,x,y\nlabeled-data,day1,img1.png,5,6\n"
    dataset = load(write(tmp_path / "a.csv", text))
    assert dataset[0].name == "labeled-data/day1/img1.png"
    assert points_of(dataset[0]).points.tolist() == [[[5, 6]]]


def test_likelihoods_of_machines_are_passed_over(tmp_path: Path) -> None:
    text = "scorer,N,N,N\nbodyparts,nose,nose,nose\ncoords,x,y,likelihood\n1.png,5,6,0.01\n"
    dataset = load(write(tmp_path / "a.csv", text))
    assert points_of(dataset[0]).points.tolist() == [[[5, 6]]]


def test_individuals_are_instances_of_one_picture(tmp_path: Path) -> None:
    rows = "1.png,1,2,3,4,5,6\n2.png,1,2,,,,\n"
    dataset = load(write(tmp_path / "a.csv", SEVERAL + rows))
    assert dataset.classes == ("nose", "tail", "door")
    both, one = map(points_of, dataset)
    assert both.visible.tolist() == [[True, True, False], [False, False, True]]
    assert both.points[both.visible].tolist() == [[1, 2], [3, 4], [5, 6]]
    assert one.visible.tolist() == [[True, False, False]]


def test_a_whole_project_is_one_data_set(project: Path) -> None:
    dataset = load_data(project, "landmarks")
    assert (dataset.format, dataset.problems) == ("deeplabcut", ())
    names = [f"labeled-data/{video}/img{i}.png" for video in ("day1", "day2") for i in range(2)]
    assert [sample.name for sample in dataset] == names
    assert all(sample.file and sample.file.is_file() for sample in dataset)


@pytest.mark.parametrize(
    ("place", "first", "pictures"),
    [
        ("labeled-data", "day1/img0.png", 4),
        ("labeled-data/day2", "img0.png", 2),
        ("labeled-data/day2/CollectedData_Ann.csv", "img0.png", 2),
    ],
)
def test_a_part_of_a_project_is_a_data_set_too(project: Path, place: str, first: str, pictures: int) -> None:
    dataset = load_data(project / place, "landmarks")
    assert (dataset[0].name, len(dataset), dataset.problems) == (first, pictures, ())
    assert dataset[0].file
    assert dataset[0].file.is_file()


@pytest.mark.parametrize("place", [".", "labeled-data"])
def test_videos_are_not_taken_for_classes(project: Path, place: str) -> None:
    assert load_data(project / place).format == "deeplabcut"


def test_pictures_are_found_wherever_the_project_was_moved_to(tmp_path: Path) -> None:
    rows = "C:\\Users\\Ann\\mice\\labeled-data\\day1\\img0.png,1,2,3,4\n"
    file = write(tmp_path / "moved" / "CollectedData_Ann.csv", HEADINGS + rows)
    picture = write(tmp_path / "moved" / "img0.png")
    dataset = load(file)
    assert (dataset[0].name, dataset[0].file) == ("img0.png", picture)


def test_what_machines_labelled_beside_people_is_passed_over(project: Path) -> None:
    write(project / "labeled-data/day1/machinelabels-iter0.csv", HEADINGS + "labeled-data/day1/img0.png,9,9,9,9\n")
    dataset = load(project / "labeled-data/day1")
    assert points_of(dataset[0]).points[0, 0].tolist() == [0, 2]
    assert len(dataset) == 2


def test_body_parts_may_be_in_another_order_in_another_file(project: Path) -> None:
    text = HEADINGS.replace("nose,nose,tail,tail", "tail,tail,nose,nose") + "labeled-data/day2/img0.png,1,2,3,4\n"
    write(project / "labeled-data/day2/CollectedData_Ann.csv", text)
    dataset = load(project)
    assert dataset.classes == ("nose", "tail")
    assert points_of(dataset[2]).points.tolist() == [[[3, 4], [1, 2]]]


def test_edges_are_the_skeleton_of_the_project(project: Path) -> None:
    write(project / "config.yaml", "Task: mice\nskeleton:\n- - nose\n  - tail\n- - bodypart1\n  - tail\nstart: 0\n")
    for place in (".", "labeled-data", "labeled-data/day1", "labeled-data/day1/CollectedData_Ann.csv"):
        assert load(project / place).edges == ((0, 1),)


def test_a_file_says_which_points_change_places(project: Path) -> None:
    write(project / "points.yaml", "flip_pairs: [[nose, tail]]")
    assert load(project).flip_pairs == ((0, 1),)


# Mistakes


@pytest.mark.parametrize(
    ("row", "kind", "what"),
    [
        ("2.png,1,2,3", "malformed annotation", "there are 4 cells under 5 headings"),
        ("2.png,1,2,three,4", "malformed annotation", "'three' is not a number"),
        ("2.png,1,2,3,", "malformed annotation", "the point 'tail' has only one coordinate"),
        ("nothing,1,2,3,4", "malformed annotation", "'nothing' is no picture's name"),
        (",1,2,3,4", "malformed annotation", "'' is no picture's name"),
        ("1.png,9,9,9,9", "duplicate annotation", "the picture '1.png' has a row already, in a.csv:4"),
    ],
)
def test_a_mistake_in_a_row_is_named_and_the_row_left_out(tmp_path: Path, row: str, kind: str, what: str) -> None:
    dataset = load(write(tmp_path / "a.csv", f"{HEADINGS}1.png,1,2,3,4\n{row}\n3.png,1,2,3,4\n"))
    (problem,) = dataset.problems
    assert (problem.kind, problem.where, problem.what) == (kind, "a.csv:5", what)
    assert [sample.name for sample in dataset] == ["1.png", "3.png"]


def test_two_people_s_labels_of_one_picture_are_a_mistake(project: Path) -> None:
    write(project / "labeled-data/day1/CollectedData_Bob.csv", HEADINGS + "labeled-data/day1/img1.png,1,2,3,4\n")
    dataset = load(project)
    (problem,) = dataset.problems
    assert (problem.kind, problem.where) == ("duplicate annotation", "labeled-data/day1/CollectedData_Bob.csv:4")
    assert "in labeled-data/day1/CollectedData_Ann.csv:5" in problem.what
    assert len(dataset) == 4


def test_pictures_that_are_not_there_or_not_labelled_are_named(project: Path) -> None:
    (project / "labeled-data/day1/img0.png").unlink()
    write(project / "labeled-data/day2/img7.png")
    assert [(each.kind, each.where, each.fatal) for each in load(project).problems] == [
        ("label without picture", "labeled-data/day1/CollectedData_Ann.csv:4", False),
        ("picture without label", "labeled-data/day2/img7.png", False),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.csv': these are no headings of DeepLabCut. They are scorer, bodyparts, coords, or scorer, individ"),
        ("image,x0,y0\n1.png,1,2\n", "a.csv': these are no headings of DeepLabCut"),
        ("scorer,A,A\nbodyparts,a,a\ncoords,x\n1.png,1,2\n", "a.csv': these are no headings of DeepLabCut"),
        ("scorer,A,A\nbodyparts,a,a\ncoords,x,z\n1.png,1,2\n", "a.csv': the body part 'a' lacks x or y"),
        ("scorer,A,A\nbodyparts,a,a\ncoords,x,x\n1.png,1,2\n", "a.csv': column 3 has no body part of its own"),
        ("scorer,A,A\nbodyparts,a,\ncoords,x,y\n1.png,1,2\n", "a.csv': column 3 has no body part of its own"),
        ("scorer\nbodyparts\ncoords\n1.png\n", "a.csv' has no body parts"),
        (f"{HEADINGS}0,1,2,3,4\n", "a.csv:4' has the number of a frame for a picture: '0'.*extract the frames"),
    ],
)
def test_files_that_cannot_be_read_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(write(tmp_path / "a.csv", text))


def test_a_folder_without_labels_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are no labels of DeepLabCut in"):
        load(tmp_path)


def test_files_with_different_body_parts_are_refused(project: Path) -> None:
    text = HEADINGS.replace("tail", "paw") + "labeled-data/day2/img0.png,1,2,3,4\n"
    write(project / "labeled-data/day2/CollectedData_Ann.csv", text)
    with pytest.raises(DataError, match=r"day1.*' and '.*day2.*' have different body parts"):
        load(project)


# Recognition


@pytest.mark.parametrize("text", [HEADINGS, SEVERAL, HEADINGS.replace("scorer", '"scorer"'), "\ufeff" + HEADINGS])
def test_its_headings_are_recognised_and_taken_for_nothing_else(tmp_path: Path, text: str) -> None:
    file = write(tmp_path / "a.csv", f"{text}1.png,1,2,3,4\n")
    assert recognizes(file)
    assert recognizes(tmp_path)
    assert not landmarks.recognizes(file)


@pytest.mark.parametrize(
    "text",
    [
        "image,x0,y0,x1,y1\n1.png,1,2,3,4\n",
        "scorer,x,y\n1.png,1,2\n",
        "scorer,A\nbodyparts,nose\n",
        "bodyparts,nose\ncoords,x\nscorer,A\n",
        "hello\n",
        "",
    ],
)
def test_other_tables_are_not_recognised(tmp_path: Path, text: str) -> None:
    assert not recognizes(write(tmp_path / "a.csv", text))
    assert not recognizes(tmp_path)


def test_only_csv_files_are_recognised(tmp_path: Path) -> None:
    assert not recognizes(write(tmp_path / "a.txt", HEADINGS + "1.png,1,2,3,4\n"))


@pytest.mark.shared
def test_other_real_data_are_not_recognised(shared_data: Path) -> None:
    assert not any(map(recognizes, shared_data.iterdir()))


def test_points_stay_in_double_precision(tmp_path: Path) -> None:
    dataset = load(write(tmp_path / "a.csv", HEADINGS + "1.png,0.1,0.2,0.30000000000000004,4\n"))
    np.testing.assert_array_equal(points_of(dataset[0]).points, [[[0.1, 0.2], [0.1 + 0.2, 4]]])
