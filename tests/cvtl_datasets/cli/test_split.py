"""`cvtl data split PATH`."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
import pytest

from cvtl.data import load_data
from cvtl.errors import CvtlError, DataError, OutputError, UsageError
from cvtl.fingerprints import Fingerprint, fingerprints
from cvtl_datasets.cli import main


@dataclass(frozen=True)
class Said:
    out: str
    err: str


SplitCommand = Callable[..., Said]


@pytest.fixture
def split(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> SplitCommand:
    """Run the action, which must succeed; gives what it printed."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*words: str | Path) -> Said:
        capsys.readouterr()
        assert main(["split", *map(str, words)]) == 0
        return Said(*capsys.readouterr())

    return run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """30 cats and 20 dogs of five people in published train and val folders; cat 1 is there once more, as JPEG."""
    folder = tmp_path / "photos"
    for number in range(50):
        clouds = np.random.default_rng(number).integers(0, 256, (6, 8, 3)).astype(np.uint8)
        image = cv2.resize(clouds, (64, 48), interpolation=cv2.INTER_CUBIC)
        path = folder / ("val" if number % 7 == 0 else "train") / ("cat" if number < 30 else "dog")
        path.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path / f"{'abcde'[number % 5]}_{number}.png"), image)
        if number == 1:
            assert cv2.imwrite(str(path / "again.jpg"), image)
    return folder


def rows(path: Path) -> dict[str, str]:
    with open(path, newline="") as stream:
        return {row["name"]: row["split"] for row in csv.DictReader(stream)}


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_every_picture_gets_a_split_and_every_command_goes_by_it(split: SplitCommand, photos: Path) -> None:
    said = split(photos, "--val", "0.2", "--test", "0.1")
    division = rows(photos / "cvtl-splits.csv")
    assert {sample.name: sample.split for sample in load_data(photos)} == division
    assert Counter(division.values()) == {"train": 36, "val": 10, "test": 5}
    assert division["train/cat/b_1.png"] == division["train/cat/again.jpg"]
    assert "pictures 36 (70.6%) 10 (19.6%) 5 (9.8%)" in squeezed(said.out)
    assert "dog 14 (70.0%) 4 (20.0%) 2 (10.0%)" in squeezed(said.out)
    assert "2 near-duplicates are kept together. The published division (43 train, 8 val) is overridden." in squeezed(
        said.out
    )
    assert f"Written: {photos}/cvtl-splits.csv; every cvtl command goes by it." in said.out


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(split: SplitCommand, photos: Path) -> None:
    contents = []
    for seed in ("0", "0", "1"):
        split(photos, "--seed", seed, "--replace")
        contents.append((photos / "cvtl-splits.csv").read_bytes())
    assert contents[0] == contents[1] != contents[2]


def test_groups_are_not_divided(split: SplitCommand, photos: Path) -> None:
    said = split(photos, "--group-by", r"/(\w)_\d+", "--near-duplicates=false")
    persons = Counter((name.split("/")[2][0], kind) for name, kind in rows(photos / "cvtl-splits.csv").items())
    del persons["a", rows(photos / "cvtl-splits.csv")["train/cat/again.jpg"]]  # which is on its own, as are those of a
    assert len({person for person, _ in persons}) == len(persons) >= 4
    assert "5 groups are kept together; pictures that --group-by does not match: 1." in squeezed(said.out)


def test_json_is_one_object_and_nothing_else(split: SplitCommand, photos: Path) -> None:
    said = split(photos, "--test", "0.1", "--group-by", r"_(\d)", "--json")
    account = json.loads(said.out)
    assert said.err == ""
    assert sum(account["pictures"].values()) == 51
    assert account["objects"]["val"].keys() == {"cat", "dog"}
    assert sum(sum(objects.values()) for objects in account["objects"].values()) == 51
    assert account["published"] == {"train": 43, "val": 8}
    assert (account["groups"], account["unmatched"], account["near_duplicates"], account["seed"]) == (10, 1, 2, 0)
    assert Path(account["file"]).exists()


def test_quiet_prints_nothing(split: SplitCommand, photos: Path) -> None:
    assert split(photos, "--quiet") == Said("", "")


def test_nothing_but_the_file_is_written(split: SplitCommand, photos: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    split(photos)
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert after.keys() - before.keys() == {photos / "cvtl-splits.csv"}
    assert before.items() <= after.items()


def test_another_file_says_how_to_use_it(split: SplitCommand, photos: Path, tmp_path: Path) -> None:
    said = split(photos, "--out", tmp_path / "deep" / "s.csv")
    assert f"cvtl train PLUGIN {photos} --splits {tmp_path}/deep/s.csv" in said.out
    assert not (photos / "cvtl-splits.csv").exists()
    assert Counter(sample.split for sample in load_data(photos, splits=tmp_path / "deep" / "s.csv"))["val"] == 10


def test_an_earlier_division_is_replaced_only_if_asked_even_if_it_no_longer_fits(
    split: SplitCommand, photos: Path
) -> None:
    split(photos)
    with pytest.raises(OutputError, match="there is a split file already"):
        split(photos)
    (photos / "train/cat/b_1.png").unlink()
    with pytest.raises(DataError, match=r"is not of this data set: it has 'train/cat/b_1.png'. Divide anew with"):
        load_data(photos)
    split(photos, "--replace")
    assert len(load_data(photos)) == 50


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ([], UsageError, "no data set was named. For example: cvtl data split"),
        (["nowhere"], DataError, "there is no data set at 'nowhere'"),
        (["PHOTOS", "--val", "0"], UsageError, "there is nothing to set aside"),
        (["PHOTOS", "--val", "0.6", "--test", "0.4"], UsageError, "together less than 1, not 0.6 and 0.4"),
        (["PHOTOS", "--group-by", "("], UsageError, r"'\(' is no regular expression"),
        (["PHOTOS", "--group-by", "eve"], UsageError, "'eve' matches no name, such as 'train/cat/a_10.png'"),
        (["PHOTOS", "--group-by", r"\."], DataError, "the 51 pictures of '.*' all belong to one group"),
        (
            ["PHOTOS", "--group-by", "cat|dog", "--test", "0.1"],
            DataError,
            "too few pictures or groups to set any aside for val",
        ),
    ],
)
def test_what_cannot_be_divided_says_why_and_writes_nothing(
    split: SplitCommand, photos: Path, words: list[str], error: type[CvtlError], message: str
) -> None:
    with pytest.raises(error, match=message):
        split(*(str(photos) if word == "PHOTOS" else word for word in words))
    assert not (photos / "cvtl-splits.csv").exists()


def near(one: Fingerprint, other: Fingerprint) -> bool:
    if one.perceptual is None or other.perceptual is None:
        return one.exact == other.exact
    differing = int.from_bytes(one.perceptual) ^ int.from_bytes(other.perceptual)
    return differing.bit_count() <= min(one.tolerance, other.tolerance) and (differing >> 192).bit_count() <= 10


@pytest.mark.shared
@pytest.mark.parametrize(
    ("folder", "group_by"),
    [
        ("detection_bccd", None),
        ("detection_raccoon", None),
        ("classify_flowers", None),
        ("landmarks_faces", r"([^/]+)_\d+\.jpg"),
        ("sliding_vehicles", r"(GTI\w*/image\d\d)"),
    ],
)
def test_in_real_sets_nothing_that_belongs_together_is_divided(
    split: SplitCommand, shared_data: Path, tmp_path: Path, folder: str, group_by: str | None
) -> None:
    out = tmp_path / "s.csv"
    words = ["--group-by", group_by] if group_by else []
    split(shared_data / folder, "--val", "0.2", "--test", "0.1", "--out", out, *words)
    dataset = load_data(shared_data / folder, splits=False)
    division = rows(out)
    assert division.keys() == {sample.name for sample in dataset}
    for kind, share in (("train", 0.7), ("val", 0.2), ("test", 0.1)):
        assert Counter(division.values())[kind] / len(dataset) == pytest.approx(share, abs=0.02)
    kinds = [division[sample.name] for sample in dataset]
    seen = fingerprints(dataset, lambda count: None)
    for i, j in combinations(range(len(dataset)), 2):
        if kinds[i] != kinds[j]:
            one, other = seen[i], seen[j]
            assert one is not None
            assert other is not None
            assert not near(one, other)
    if group_by:
        persons = {(found[1], kind) for name, kind in division.items() if (found := re.search(group_by, name))}
        assert len({person for person, _ in persons}) == len(persons) > 20
