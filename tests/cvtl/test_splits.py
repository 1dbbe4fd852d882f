from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from cvtl.data import BoxesTarget, ClassTarget, Dataset, PointsTarget, Sample, Split, Target, UInt8Image
from cvtl.errors import DataError, UsageError
from cvtl.splits import Groups, divide, find_groups, group_of, hold_out, too_few, train_and_val

WritePicture = Callable[..., Path]
Integers = npt.NDArray[np.int64]


def unread() -> UInt8Image:
    raise AssertionError("splitting must not read pictures")


def dataset_of(*targets: Target | None, splits: list[Split | None] | None = None) -> Dataset:
    samples = [
        Sample(f"{i:05d}.jpg", unread, target, splits[i] if splits else None) for i, target in enumerate(targets)
    ]
    return Dataset(samples, ("a", "b", "c"), "test", "some/data")


def of_classes(*counts: int) -> Dataset:
    return dataset_of(*(ClassTarget(label) for label, count in enumerate(counts) for _ in range(count)))


def of_boxes(count: int) -> Dataset:
    return dataset_of(*(BoxesTarget(np.zeros((0, 4), np.float32), np.zeros(0, np.int64)) for _ in range(count)))


def with_boxes(*classes: Sequence[int] | Integers) -> Dataset:
    """One picture with boxes of these classes after another."""
    return dataset_of(*(BoxesTarget(np.tile([0.0, 0, 9, 9], (len(labels), 1)), np.array(labels)) for labels in classes))


def random_boxes(count: int, seed: int) -> Dataset:
    """Classes 0, 1 and 2 in 90, 40 and 8 of 100 pictures, several boxes each."""
    random = np.random.default_rng(seed)
    return with_boxes(
        *(
            np.repeat(range(3), (random.random(3) < (0.9, 0.4, 0.08)) * (1 + random.poisson([4, 1, 1])))
            for _ in range(count)
        )
    )


def boxes_of(dataset: Dataset) -> Counter[int]:
    return Counter(
        label for sample in dataset if isinstance(sample.target, BoxesTarget) for label in sample.target.labels.tolist()
    )


def names(dataset: Dataset) -> list[str]:
    return [sample.name for sample in dataset]


@pytest.mark.parametrize("dataset", [of_classes(30, 7, 1), of_boxes(25), dataset_of(*[None] * 9), dataset_of()])
def test_every_sample_is_in_one_part_in_its_old_order(dataset: Dataset) -> None:
    train, held_out = hold_out(dataset, 0.3, seed=4)
    assert sorted(names(train) + names(held_out)) == names(dataset)
    assert names(train) == sorted(names(train))
    assert names(held_out) == sorted(names(held_out))
    assert train.classes == held_out.classes == dataset.classes


@pytest.mark.parametrize(
    ("counts", "fraction", "held_out"),
    [
        ((100, 50, 10), 0.2, (20, 10, 2)),
        ((100, 3, 2), 0.1, (10, 1, 1)),
        ((10, 1, 2), 0.9, (9, 0, 1)),
        ((3, 3, 0), 0.5, (2, 2, 0)),
    ],
)
def test_every_class_is_held_out_in_its_share(
    counts: tuple[int, ...], fraction: float, held_out: tuple[int, ...]
) -> None:
    _, part = hold_out(of_classes(*counts), fraction, seed=0)
    labels = Counter(sample.target.label for sample in part if isinstance(sample.target, ClassTarget))
    assert tuple(labels[label] for label in range(3)) == held_out


@pytest.mark.parametrize(("count", "held_out"), [(0, 0), (1, 0), (2, 1), (10, 2), (1000, 200)])
def test_pictures_with_boxes_are_divided_together(count: int, held_out: int) -> None:
    train, part = hold_out(of_boxes(count), 0.2, seed=0)
    assert (len(train), len(part)) == (count - held_out, held_out)


def test_the_choice_is_the_same_on_every_platform_and_version() -> None:
    _, held_out = hold_out(of_boxes(20), 0.2, seed=0)
    assert names(held_out) == ["00000.jpg", "00012.jpg", "00017.jpg", "00019.jpg"]


def test_seeds_choose_differently() -> None:
    assert len({tuple(names(hold_out(of_boxes(100), 0.2, seed)[1])) for seed in range(5)}) == 5


def test_every_place_in_the_order_is_equally_likely_to_be_held_out() -> None:
    chosen = Counter(name for seed in range(400) for name in names(hold_out(of_boxes(10), 0.2, seed)[1]))
    assert all(50 <= chosen[name] <= 110 for name in names(of_boxes(10)))  # 80 expected, standard deviation 8


def test_the_choice_does_not_depend_on_the_order_of_the_samples() -> None:
    dataset = of_classes(40, 20, 5)
    backwards = dataset.subset(reversed(range(len(dataset))))
    assert names(hold_out(dataset, 0.2, 1)[1]) == sorted(names(hold_out(backwards, 0.2, 1)[1]))


def test_a_new_picture_changes_places_with_one_other_at_most() -> None:
    before = set(names(hold_out(of_boxes(100), 0.2, 3)[1]))
    after = set(names(hold_out(of_boxes(101), 0.2, 3)[1]))
    assert len(before - after) <= 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 1.5, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        hold_out(of_boxes(5), fraction, seed=0)


def test_a_published_validation_split_is_used() -> None:
    splits: list[Split | None] = ["train", "val", "test", "val", None]
    train, val, how = train_and_val(dataset_of(*[ClassTarget(0)] * 5, splits=splits), 0.2, seed=0)
    assert (names(train), names(val)) == (["00000.jpg", "00004.jpg"], ["00001.jpg", "00003.jpg"])
    assert how == "Validating on the 2 pictures of the data set's own validation split."


def test_without_one_a_part_is_held_out_and_test_pictures_stay_untouched() -> None:
    splits: list[Split | None] = ["train", "test", "train"]
    train, val, how = train_and_val(dataset_of(*[ClassTarget(0)] * 15, splits=splits * 5), 0.2, seed=7)
    assert {sample.split for sample in (*train, *val)} == {"train"}
    assert (len(train), len(val)) == (8, 2)
    assert how == "No validation split: 2 of 10 training pictures are held out (seed 7)."


@pytest.mark.parametrize(
    ("dataset", "message"),
    [
        (dataset_of(), "'some/data' has no training pictures"),
        (dataset_of(ClassTarget(0), splits=["test"]), "no training pictures"),
        (dataset_of(ClassTarget(0), splits=["val"]), "no training pictures"),
        (of_boxes(1), "too few pictures"),
        (of_classes(1, 1, 1), "too few pictures"),
    ],
)
def test_too_little_data_is_refused(dataset: Dataset, message: str) -> None:
    with pytest.raises(DataError, match=message):
        train_and_val(dataset, 0.2, seed=0)


@pytest.mark.parametrize(
    "dataset", [of_classes(60, 30, 6), random_boxes(90, 0), dataset_of(*[None] * 80), dataset_of()]
)
@pytest.mark.parametrize("seed", range(3))
def test_parts_are_disjoint_complete_and_divide_no_group(dataset: Dataset, seed: int) -> None:
    groups = np.random.default_rng(seed).integers(0, 40, len(dataset)).tolist()
    parts = divide(dataset, {"val": 0.2, "test": 0.1}, seed, groups)
    assert sorted(name for part in parts.values() for name in names(part)) == names(dataset)
    held = [{groups[int(name[:5])] for name in names(part)} for part in parts.values()]
    assert sum(map(len, held)) == len(set(groups))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("most", [1, 5, 20])
def test_shares_are_as_near_as_groups_allow(seed: int, most: int) -> None:
    sizes = np.random.default_rng(seed).integers(1, most + 1, 60)
    dataset = dataset_of(*[None] * sizes.sum())
    parts = divide(dataset, {"val": 0.2, "test": 0.1}, seed, np.repeat(range(60), sizes).tolist())
    for part, share in ((parts["val"], 0.2), (parts["test"], 0.1)):
        assert abs(len(part) - share * len(dataset)) <= most / 2 + 0.5


@pytest.mark.parametrize("seed", range(5))
def test_of_boxes_every_part_gets_its_share_of_pictures_and_classes(seed: int) -> None:
    dataset = random_boxes(400, seed)
    total = boxes_of(dataset)
    for part, share in zip(divide(dataset, {"val": 0.2, "test": 0.1}, seed).values(), (0.7, 0.2, 0.1), strict=True):
        assert len(part) / 400 == pytest.approx(share, abs=0.02)
        for label, count in boxes_of(part).items():
            assert count / total[label] == pytest.approx(share, abs=0.03)


def test_of_boxes_shares_are_nearer_than_by_chance() -> None:
    """The rare class, which chance often misses, by the plain share of pictures."""
    off, off_by_chance = [], []
    for seed in range(20):
        dataset = random_boxes(300, seed)
        total = boxes_of(dataset)[2]
        off.append(abs(boxes_of(divide(dataset, {"val": 0.2}, seed)["val"])[2] / total - 0.2))
        chosen = np.random.default_rng(seed).permutation(300)[:60].tolist()
        off_by_chance.append(abs(boxes_of(dataset.subset(chosen))[2] / total - 0.2))
    assert np.mean(off) < np.mean(off_by_chance) / 3


def test_a_class_that_two_pictures_show_is_in_both_parts_and_a_single_one_is_learnt() -> None:
    dataset = with_boxes(*[[0]] * 50, [0, 1], [0, 1], [0, 2])
    for seed in range(20):
        kept, held_out = hold_out(dataset, 0.2, seed)
        assert (boxes_of(kept)[1], boxes_of(held_out)[1]) == (1, 1)
        assert (boxes_of(kept)[2], boxes_of(held_out)[2]) == (1, 0)


def test_pictures_without_objects_are_divided_too() -> None:
    parts = divide(with_boxes(*[[]] * 100, *[[0, 0]] * 20), {"val": 0.2}, 0)
    assert (len(parts["val"]), boxes_of(parts["val"])) == (24, {0: 8})


def test_points_are_divided_by_their_pictures() -> None:
    target = PointsTarget(np.zeros((4, 2)), np.ones(4, bool))
    assert [len(part) for part in divide(dataset_of(*[target] * 50), {"val": 0.2, "test": 0.1}, 0).values()] == [
        35,
        10,
        5,
    ]


def test_the_validation_part_is_the_same_with_and_without_a_test_part() -> None:
    for dataset in (of_classes(50, 9, 2), random_boxes(80, 1)):
        with_test = divide(dataset, {"val": 0.2, "test": 0.3}, 5)
        assert names(with_test["val"]) == names(divide(dataset, {"val": 0.2}, 5)["val"])
        assert len(with_test["test"]) > 0


def test_groups_are_divided_in_the_same_way_in_any_order() -> None:
    dataset = random_boxes(120, 2)
    groups = np.random.default_rng(2).integers(0, 50, 120).tolist()
    order = np.random.default_rng(3).permutation(120).tolist()
    one = divide(dataset, {"val": 0.2, "test": 0.2}, 1, groups)
    other = divide(dataset.subset(order), {"val": 0.2, "test": 0.2}, 1, [f"group {groups[i]}" for i in order])
    assert [names(part) for part in one.values()] == [sorted(names(part)) for part in other.values()]


@pytest.mark.parametrize("seed", range(5))
def test_new_pictures_move_few_of_those_that_were_there(seed: int) -> None:
    dataset = random_boxes(300, seed)
    groups = np.random.default_rng(seed).integers(0, 150, 300).tolist()
    fewer = dataset.subset(range(290))
    before = set(names(hold_out(fewer, 0.2, seed, groups[:290])[1]))
    after = set(names(hold_out(dataset, 0.2, seed, groups)[1]))
    assert len(before - after) <= 20  # of about 58; another seed keeps a fifth of them


@pytest.mark.parametrize(
    ("groups", "fraction", "held_out"),
    [
        ([0] * 90 + list(range(1, 11)), 0.2, 10),  # all there is beside one giant
        ([0] * 50 + [1] * 50, 0.2, 50),  # better half than nothing
        ([0] * 100, 0.2, 0),
        (list(range(100)), 0.2, 20),
        (["a"] * 98 + ["b", "c"], 0.01, 1),
    ],
)
def test_few_groups_are_divided_as_well_as_can_be(groups: Sequence[Hashable], fraction: float, held_out: int) -> None:
    for dataset in (of_classes(100), dataset_of(*[None] * 100), with_boxes(*[[0, 1]] * 100)):
        assert len(hold_out(dataset, fraction, 0, groups)[1]) == held_out


def test_a_group_of_several_classes_goes_as_a_whole() -> None:
    groups = [i % 20 for i in range(60)]
    parts = divide(of_classes(20, 20, 20), {"val": 0.2}, 0, groups)
    labels = Counter(sample.target.label for sample in parts["val"] if isinstance(sample.target, ClassTarget))
    assert labels == {0: 4, 1: 4, 2: 4}


@pytest.mark.parametrize("fractions", [{"val": 0.5, "test": 0.5}, {"val": 1.0}, {"test": -0.1}, {"val": float("nan")}])
def test_parts_that_leave_nothing_to_learn_from_are_refused(fractions: dict[Split, float]) -> None:
    with pytest.raises(UsageError, match="0 or more and together less than 1, not"):
        divide(of_boxes(5), fractions, 0)


@pytest.mark.parametrize(
    ("pattern", "group"),
    [
        (r"a_(\w+)_\d", "ann_lee"),
        (r"ann|bob", "ann"),
        (r"(\d+)\.(jpg|png)", "07"),
        (r"(?P<first>a)_(ann)", "a"),
        (r"(x)?ann", None),
        ("eve", None),
    ],
)
def test_a_group_is_what_the_first_parentheses_match(pattern: str, group: str | None) -> None:
    assert group_of("images/a_ann_lee_07.jpg", re.compile(pattern)) == group


def similar_pictures(folder: Path, write_picture: WritePicture) -> Dataset:
    """ann_0 to ann_9 and bob_0 to bob_9, of which ann_9 and bob_0 are one picture, and three of nobody."""
    person = [f"{name}_{number}" for name in ("ann", "bob") for number in range(10)]
    shades = {"ann_9": 200, "bob_0": 200}
    files = [
        write_picture(folder / f"{name}.png", grey=shades.get(name, number))
        for number, name in enumerate([*person, "x", "y", "z"])
    ]
    return Dataset([Sample.of_file(file.name, file) for file in files], (), "test", str(folder))


def find(dataset: Dataset, group_by: str | None = None, *, near_duplicates: bool = True) -> Groups:
    return find_groups(dataset, group_by=group_by, near_duplicates=near_duplicates, advance=lambda count: None)


def test_groups_by_name_are_joined_by_pictures_that_are_the_same(tmp_path: Path, write_picture: WritePicture) -> None:
    dataset = similar_pictures(tmp_path, write_picture)
    by_both = find(dataset, r"(\w+)_")
    assert Counter(Counter(by_both.of).values()) == {20: 1, 1: 3}
    assert (by_both.named, by_both.duplicates, by_both.unmatched) == (2, 2, 3)
    assert (
        by_both.describe()
        == "2 groups and 2 near-duplicates are kept together; pictures that --group-by does not match: 3"
    )
    by_name = find(dataset, r"(\w+)_", near_duplicates=False)
    assert Counter(Counter(by_name.of).values()) == {10: 2, 1: 3}
    assert Counter(Counter(find(dataset).of).values()) == {2: 1, 1: 21}
    assert find(dataset, near_duplicates=False).describe() == ""


def test_every_picture_that_is_looked_at_is_counted(tmp_path: Path, write_picture: WritePicture) -> None:
    counted: list[int] = []
    dataset = similar_pictures(tmp_path, write_picture)
    find_groups(dataset, group_by=None, near_duplicates=True, advance=counted.append)
    assert sum(counted) == len(dataset)


def test_generated_pictures_are_not_made_in_search_of_duplicates() -> None:
    assert len(set(find(of_boxes(5)).of)) == 5


@pytest.mark.parametrize(
    ("group_by", "message"),
    [
        ("(", r"--group-by '\(' is no regular expression: missing \)"),
        ("eve", "'eve' matches no name, such as '00000.jpg'"),
        ("x*", r"'x\*' matches no name, such as '00000.jpg'"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(group_by: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find(of_boxes(3), group_by)


def test_what_is_held_out_for_validation_shares_no_group(tmp_path: Path, write_picture: WritePicture) -> None:
    dataset = similar_pictures(tmp_path, write_picture)
    train, val, how = train_and_val(dataset, 0.2, 0)
    assert {"ann_9.png", "bob_0.png"} <= set(names(train)) or {"ann_9.png", "bob_0.png"} <= set(names(val))
    assert how == (
        f"No validation split: {len(val)} of 23 training pictures are held out (seed 0); "
        "2 near-duplicates are kept together."
    )
    _, val, how = train_and_val(dataset, 0.2, 0, group_by=r"(\w+)_", near_duplicates=False)
    assert {group_of(name, re.compile(r"(\w+)_")) for name in names(val)} == {None}
    assert "2 groups are kept together; pictures that --group-by does not match: 3." in how


def test_a_published_split_that_leaks_is_used_with_a_warning(tmp_path: Path, write_picture: WritePicture) -> None:
    dataset = similar_pictures(tmp_path, write_picture)
    samples = [
        Sample.of_file(sample.name, tmp_path / sample.name, split="val" if sample.name.startswith("bob") else "train")
        for sample in dataset
    ]
    leaking = Dataset(samples, (), "test", "faces")
    train, val, how = train_and_val(leaking, 0.2, 0)
    assert (len(train), len(val)) == (13, 10)
    assert "Warning: 1 of them are near-duplicates of training pictures" in how
    assert "`cvtl data check faces`" in how
    assert "Warning" not in train_and_val(leaking, 0.2, 0, near_duplicates=False)[2]
    assert "Warning: 10 of them" in train_and_val(leaking, 0.2, 0, group_by=r"(\w+)_")[2]


def test_one_group_cannot_be_divided() -> None:
    with pytest.raises(DataError, match="the 5 pictures of 'some/data' all belong to one group"):
        train_and_val(of_boxes(5), 0.2, 0, group_by="jpg")


def test_what_to_do_about_one_group_depends_on_what_made_it() -> None:
    assert too_few(of_boxes(5), Groups([0] * 5, named=1), "val").hint == (
        "Choose another --group-by, or add pictures of something else"
    )
    assert too_few(of_boxes(5), Groups([0] * 5, duplicates=5), "val").hint == (
        "Divide near-duplicates, too: --near-duplicates=false, or add pictures of something else"
    )
