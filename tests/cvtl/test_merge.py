"""Shards that are merged are the whole run, byte for byte; what cannot be merged is named, all of it at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cvtl
from cvtl import merging
from cvtl.errors import MergeError, OutputError
from cvtl.run_settings import RunSettings

MakeFolder = Callable[[Path, int], Path]
Cvtl = Callable[..., subprocess.CompletedProcess[str]]
SETTINGS = {"batch_size": 4, "save_images": True}
OF = 3


@pytest.fixture
def messy(tmp_path: Path, make_messy_folder: MakeFolder) -> Path:
    return make_messy_folder(tmp_path / "pictures", 23)


@pytest.fixture
def shards(glow: Path, messy: Path, tmp_path: Path) -> list[Path]:
    """The folders of a run in three shards."""
    folders = [tmp_path / f"s{number}" for number in range(1, OF + 1)]
    for number, folder in enumerate(folders, start=1):
        cvtl.run([messy], glow, folder, settings=RunSettings(shard=f"{number}/{OF}", **SETTINGS))
    return folders


@pytest.fixture
def whole(glow: Path, messy: Path, tmp_path: Path) -> Path:
    """The folder of the same run as a whole."""
    cvtl.run([messy], glow, tmp_path / "whole", settings=RunSettings(**SETTINGS))
    return tmp_path / "whole"


def said_by(folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return said


def change(folder: Path, **changes: Any) -> None:
    (folder / "run.json").write_text(json.dumps(said_by(folder) | changes))


def tree_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_merged_shards_are_the_whole_run_in_whatever_order_they_are_given(
    shards: list[Path], whole: Path, tmp_path: Path
) -> None:
    for number, given in enumerate((shards, shards[::-1], [shards[1], shards[2], shards[0]])):
        report = cvtl.merge(given, tmp_path / f"merged{number}")
        assert tree_of(report.out) == tree_of(whole)
        assert (report.counts, report.shards, report.bad) == ({"ok": 19, "truncated": 2, "unreadable": 2}, OF, 4)


def test_a_merged_run_says_how_it_came_about(shards: list[Path], whole: Path, tmp_path: Path) -> None:
    cvtl.merge(shards, tmp_path / "merged", command="cvtl merge")
    said, whole_said = said_by(tmp_path / "merged"), said_by(whole)
    assert said["merged_from"] == [str(folder) for folder in shards]
    for key in ("state", "identity", "counts", "versions", "weights_file"):
        assert said[key] == whole_said[key]


def test_the_whole_run_finds_itself_done_in_the_merged_folder(
    glow: Path, messy: Path, shards: list[Path], tmp_path: Path
) -> None:
    cvtl.merge(shards, tmp_path / "merged")
    report = cvtl.run([messy], glow, tmp_path / "merged", settings=RunSettings(**SETTINGS), resume=True)
    assert (report.inputs, report.resumed) == (23, 23)


@pytest.mark.parametrize("inputs", [1, 4, 5, 8, 24])
def test_any_number_of_inputs_can_be_merged(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder, inputs: int
) -> None:
    pictures = make_messy_folder(tmp_path / "pictures", inputs)
    cvtl.run([pictures], glow, tmp_path / "whole", settings=RunSettings(batch_size=4))
    for number in (1, 2):
        settings = RunSettings(batch_size=4, shard=f"{number}/2")
        cvtl.run([pictures], glow, tmp_path / f"s{number}", settings=settings)
    cvtl.merge([tmp_path / "s2", tmp_path / "s1"], tmp_path / "merged")
    assert (tmp_path / "merged" / "rows.jsonl").read_bytes() == (tmp_path / "whole" / "rows.jsonl").read_bytes()


def test_one_shard_of_one_is_the_whole(glow: Path, messy: Path, whole: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "s", settings=RunSettings(shard="1/1", **SETTINGS))
    cvtl.merge([tmp_path / "s"], tmp_path / "merged")
    assert tree_of(tmp_path / "merged") == tree_of(whole)


def test_pictures_are_hard_links_and_copies_where_there_can_be_none(
    shards: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cvtl.merge(shards, tmp_path / "linked")
    pictures = sorted((tmp_path / "linked" / "pictures").rglob("*.png"))
    assert {path.stat().st_nlink for path in pictures} == {2}

    def refuse(source: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    cvtl.merge(shards, tmp_path / "copied")
    assert tree_of(tmp_path / "copied") == tree_of(tmp_path / "linked")


def test_a_merge_that_was_killed_can_be_run_again(
    shards: list[Path], whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*arguments: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "merged"
    with monkeypatch.context() as patch:
        patch.setattr(merging, "_join_rows", die)
        with pytest.raises(KeyboardInterrupt):
            cvtl.merge(shards, out)
    # What SIGKILL leaves besides: half a copy, and half the rows.
    cut = next((out / "pictures").rglob("*.png"))
    cut.unlink()
    cut.write_bytes(b"half")
    (out / ".rows.jsonl.123.partial").write_bytes(b"half")
    cvtl.merge(shards, out)
    assert tree_of(out) == tree_of(whole)


def test_a_merge_goes_into_no_folder_that_holds_another_run(shards: list[Path], whole: Path) -> None:
    before = tree_of(whole)
    with pytest.raises(OutputError, match="already holds a run"):
        cvtl.merge(shards, whole)
    assert tree_of(whole) == before


def test_everything_that_is_missing_is_named_at_once_and_nothing_is_written(
    glow: Path, messy: Path, tmp_path: Path
) -> None:
    folders = []
    for number in (1, 4, 6):
        folders.append(tmp_path / f"s{number}")
        cvtl.run([messy], glow, folders[-1], settings=RunSettings(batch_size=4, shard=f"{number}/6"), command="cvtl x")
    change(folders[1], state="interrupted")
    with pytest.raises(MergeError) as caught:
        cvtl.merge([*folders, tmp_path / "nowhere"], tmp_path / "merged")
    said = str(caught.value)
    assert "'" + str(tmp_path / "nowhere") + "' holds no run" in said
    assert "shards 2/6, 3/6, 5/6 are missing" in said
    assert (
        f"shard 4/6 in '{folders[1]}' is not finished (interrupted, 4 rows): go on with `cvtl x` and --resume" in said
    )
    assert not (tmp_path / "merged").exists()


def test_a_shard_that_is_there_twice_is_named(shards: list[Path], tmp_path: Path) -> None:
    shutil.copytree(shards[1], tmp_path / "again")
    with pytest.raises(MergeError, match=rf"shard 2/3 is in '{shards[1]}' and '{tmp_path / 'again'}'"):
        cvtl.merge([*shards, tmp_path / "again"], tmp_path / "merged")


def test_a_whole_run_is_no_shard(shards: list[Path], whole: Path, tmp_path: Path) -> None:
    with pytest.raises(MergeError, match=rf"'{whole}' holds a whole run, no shard"):
        cvtl.merge([*shards, whole], tmp_path / "merged")


def test_shards_of_different_runs_are_told_apart(glow: Path, messy: Path, shards: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    cvtl.run([messy], glow, other, settings=RunSettings(batch_size=5, save_images=True, shard="3/4"))
    with pytest.raises(MergeError) as caught:
        cvtl.merge([*shards[:2], other], tmp_path / "merged")
    said = str(caught.value)
    assert f"shard 3/4 in '{other}' is of another run than shard 1/3 in '{shards[0]}'" in said
    assert "batch_size is 5 and was 4, it is one of 4 shards and not of 3" in said


def test_a_shard_that_has_lost_rows_is_named(shards: list[Path], tmp_path: Path) -> None:
    rows = shards[0] / "rows.jsonl"
    rows.write_bytes(rows.read_bytes()[:-1])
    with pytest.raises(MergeError, match="should have 8 rows and has 7: --resume mends it"):
        cvtl.merge(shards, tmp_path / "merged")


def test_inputs_that_changed_between_the_shards_are_noticed(
    glow: Path, messy: Path, shards: list[Path], tmp_path: Path
) -> None:
    (messy / "day0" / "img00000.png").rename(messy / "day0" / "img0000x.png")
    cvtl.run([messy], glow, tmp_path / "late", settings=RunSettings(shard="3/3", **SETTINGS))
    with pytest.raises(MergeError, match="the inputs changed between the shards"):
        cvtl.merge([*shards[:2], tmp_path / "late"], tmp_path / "merged")


def test_shards_that_ran_with_other_versions_are_merged_with_a_word(
    shards: list[Path], tmp_path: Path, cvtl: Cvtl
) -> None:
    change(shards[1], versions=said_by(shards[1])["versions"] | {"torch": "1.0"})
    said = cvtl("merge", *shards, "--out", tmp_path / "merged")
    assert said.returncode == 3
    assert f"shard 2/3 in '{shards[1]}' ran with torch 1.0 instead of" in said.stderr


def test_the_command_merges_and_says_what_there_is(shards: list[Path], whole: Path, tmp_path: Path, cvtl: Cvtl) -> None:
    said = cvtl("merge", *shards, "--out", tmp_path / "merged")
    assert (said.returncode, said.stderr) == (3, "")
    expected = f"3 shards, 23 inputs: 19 ok, 2 truncated, 2 unreadable\nrows: {tmp_path / 'merged' / 'rows.jsonl'}\n"
    assert said.stdout == expected
    assert tree_of(tmp_path / "merged") == tree_of(whole)


def test_the_command_fails_where_a_shard_is_missing(shards: list[Path], tmp_path: Path, cvtl: Cvtl) -> None:
    said = cvtl("merge", *shards[:2], "--out", tmp_path / "merged")
    assert (said.returncode, said.stdout) == (1, "")
    assert said.stderr.startswith("cvtl: these folders cannot be merged: shard 3/3 is missing.")


@pytest.mark.parametrize(("words", "message"), [(["--out", "x"], "no folders were named"), (["a"], "needs --out")])
def test_the_command_says_what_it_needs(cvtl: Cvtl, words: list[str], message: str) -> None:
    said = cvtl("merge", *words)
    assert said.returncode == 2
    assert message in said.stderr


def test_a_program_gets_the_summary_as_json(shards: list[Path], tmp_path: Path, cvtl: Cvtl) -> None:
    said = json.loads(cvtl("merge", *shards, "--out", tmp_path / "merged", "--json").stdout)
    assert (said["inputs"], said["shards"], said["counts"]["ok"]) == (23, 3, 19)
