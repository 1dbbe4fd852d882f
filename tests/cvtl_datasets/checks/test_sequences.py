from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest

from cvtl.data import ClassTarget, Dataset, Sample, UInt8Image
from cvtl.splits import group_of
from cvtl_datasets.checks.findings import Finding
from cvtl_datasets.checks.sequences import group_findings, sequence_findings

Picture = Callable[..., UInt8Image]
Greys = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
NO_GROUPS: list[str | None] = [None] * 1000


def greys_of_strangers(count: int, seed: int = 0) -> Greys:
    return np.random.default_rng(seed).uniform(0, 255, (count, 64)).astype(np.float32)


def greys_of_a_video(count: int, seed: int = 0) -> Greys:
    """Grey values that change a little from one picture to the next, and wholly over twenty."""
    random = np.random.default_rng(seed)
    steps = random.normal(0, 20, (count, 64)).cumsum(axis=0)
    return (128 + steps).astype(np.float32)


def sequences(names: list[str], greys: Greys, groups: list[str | None] = NO_GROUPS) -> list[Finding]:
    dataset = Dataset([Sample(name, list) for name in names], (), "example")  # type: ignore[arg-type]
    return list(sequence_findings(dataset, greys, groups))


def groups_found(
    names: list[str],
    greys: Greys,
    label: Callable[[str], int] = lambda name: 0,
    groups: list[str | None] = NO_GROUPS,
) -> list[Finding]:
    """The first half of the pictures are for training, the others for testing."""
    samples = [
        Sample(name, list, ClassTarget(label(name)), "train" if i < len(names) / 2 else "test")  # type: ignore[arg-type]
        for i, name in enumerate(names)
    ]
    classes = tuple(map(str, range(1 + max(label(name) for name in names))))
    return list(group_findings(Dataset(samples, classes, "example"), greys, groups))


def test_neighbours_that_look_alike_are_a_sequence() -> None:
    (finding,) = sequences([f"cars/image{i:04d}.png" for i in range(80)], greys_of_a_video(80))
    assert (finding.kind, finding.where) == ("sequence", "cars/")
    assert "of the 79 pairs" in finding.what
    assert 2 <= len(finding.samples) <= 12


def test_strangers_with_neighbouring_numbers_are_no_sequence() -> None:
    assert sequences([f"cars/image{i:04d}.png" for i in range(200)], greys_of_strangers(200)) == []


def test_numbers_are_compared_as_numbers() -> None:
    names = [f"{i}.png" for i in range(80)]
    shuffled = np.random.default_rng(0).permutation(80)
    assert sequences([names[i] for i in shuffled], greys_of_a_video(80)[shuffled])


def test_each_folder_is_judged_by_itself() -> None:
    names = [f"{folder}/{i}.png" for folder in ("video", "photos") for i in range(80)]
    greys = np.concatenate([greys_of_a_video(80), greys_of_strangers(80)])
    assert [each.where for each in sequences(names, greys)] == ["video/"]


def test_many_short_clips_in_one_folder_are_sequences() -> None:
    names = [f"person{clip:02d}_{frame}.jpg" for clip in range(30) for frame in range(4)]
    greys = np.concatenate([greys_of_a_video(4, clip) + greys_of_strangers(1, clip) for clip in range(30)])
    assert len(sequences(names, greys)) == 1


def test_pictures_without_numbers_are_no_sequence() -> None:
    names = [f"{chr(97 + i // 26)}{chr(97 + i % 26)}.jpg" for i in range(80)]
    assert sequences(names, greys_of_a_video(80)) == []


def test_a_handful_of_pictures_proves_nothing() -> None:
    assert sequences([f"{i}.jpg" for i in range(15)], greys_of_a_video(15)) == []


def test_pictures_that_cannot_be_read_are_passed_over() -> None:
    greys = greys_of_a_video(80)
    greys[::7] = np.nan
    assert len(sequences([f"{i}.jpg" for i in range(80)], greys)) == 1
    assert sequences([f"{i}.jpg" for i in range(80)], np.full((80, 64), np.nan, np.float32)) == []


def test_equal_pictures_are_more_alike_than_none() -> None:
    assert sequences([f"{i}.jpg" for i in range(80)], np.zeros((80, 64), np.float32)) == []


def test_what_is_grouped_is_taken_care_of() -> None:
    assert sequences([f"{i}.jpg" for i in range(80)], greys_of_a_video(80), ["all"] * 80) == []


def people_in_two_splits(count: int, *, alike: bool) -> tuple[list[str], Greys]:
    looks = greys_of_strangers(count, seed=1)
    names = [f"{split}/person_{chr(97 + i % 26)}{chr(97 + i // 26)}_{i}.jpg" for split in "ab" for i in range(count)]
    others = looks + greys_of_strangers(count, seed=2) / 10 if alike else greys_of_strangers(count, seed=3)
    return names, np.concatenate([looks, others])


def test_names_that_begin_alike_in_two_splits_are_hinted_at_where_the_pictures_look_alike() -> None:
    (finding,) = groups_found(*people_in_two_splits(40, alike=True))
    assert finding.kind == "possible group in two splits"
    assert "40 beginnings of file names" in finding.what


def test_names_that_begin_alike_in_two_splits_are_fine_where_the_pictures_do_not_look_alike() -> None:
    assert groups_found(*people_in_two_splits(40, alike=False)) == []


def test_what_all_names_begin_with_is_no_group() -> None:
    names = [f"{split}/image_{i}.jpg" for split in "ab" for i in range(40)]
    assert groups_found(names, people_in_two_splits(40, alike=True)[1]) == []


@pytest.mark.parametrize("classes", [12, 20])
def test_names_of_classes_are_no_groups(classes: int) -> None:
    names = [f"{split}/class{chr(97 + i % classes)}_{i}.jpg" for split in "ab" for i in range(120)]
    looks = np.tile(greys_of_strangers(classes), (240 // classes, 1))
    assert groups_found(names, looks, lambda name: ord(name.split("_")[0][-1]) - 97) == []


def test_what_is_in_one_group_by_pattern_is_no_mere_possibility() -> None:
    names, looks = people_in_two_splits(40, alike=True)
    assert groups_found(names, looks, groups=[name.split("/")[1] for name in names]) == []
    assert groups_found(names, looks, groups=list(names))


@pytest.mark.parametrize(("several", "advice"), [(False, r"(.*)\d\."), (True, r"(.*?)\d+\.")])
def test_the_advice_is_a_pattern_that_groups_the_neighbours(several: bool, advice: str) -> None:
    names = [f"clip{chr(97 + i // 20) if several else ''}_{i}.jpg" for i in range(80)]
    (finding,) = sequences(names, greys_of_a_video(80))
    assert f"--group-by '{advice}'" in finding.what
    assert len({group_of(name, re.compile(advice)) for name in names}) == (4 if several else 8)
