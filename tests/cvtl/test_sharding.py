"""Shards look at every n-th block of the one input order, and need not know of one another."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

import cvtl
from cvtl.errors import OptionsError, SourceError, UsageError
from cvtl.options import make_options
from cvtl.run_settings import RunSettings, TilingSettings
from cvtl.sharding import Shard, Walked
from cvtl.sources import Item

MakeFolder = Callable[[Path, int], Path]
Cvtl = Callable[..., subprocess.CompletedProcess[str]]


def settings(shard: str | None = None, **others: object) -> RunSettings:
    return make_options(RunSettings, {"batch_size": 4, "shard": shard} | others)


def rows_of(out: Path) -> list[bytes]:
    return (out / "rows.jsonl").read_bytes().splitlines()


def picked(shard: Shard, inputs: int, block: int) -> tuple[list[str], Walked]:
    walks: list[Walked] = []
    items = (Item(f"{number}.jpg") for number in range(inputs))
    return [item.source for item in shard.pick(items, block, walks.append)], walks[0]


@pytest.fixture
def messy(tmp_path: Path, make_messy_folder: MakeFolder) -> Path:
    return make_messy_folder(tmp_path / "pictures", 23)


@pytest.mark.parametrize("text", ["0/4", "5/4", "1/0", "-1/2", "1", "1/2/3", "a/b", "", "01/4", "1.5/2", " 1/2"])
def test_what_names_no_shard_is_refused(text: str) -> None:
    with pytest.raises(OptionsError, match=r"option 'shard': input should be i/n, with i from 1 to n, such as 2/8"):
        settings(text)


@pytest.mark.parametrize("inputs", [0, 1, 3, 4, 5, 12, 13, 31, 32, 33, 100])
@pytest.mark.parametrize(("of", "block"), [(1, 4), (2, 4), (3, 1), (4, 8), (7, 3)])
def test_every_input_falls_to_exactly_one_shard_in_whole_blocks(inputs: int, of: int, block: int) -> None:
    fallen: dict[int, int] = {}
    for number in range(1, of + 1):
        sources, walked = picked(Shard(number, of), inputs, block)
        assert walked.inputs == inputs
        assert len(sources) == Shard(number, of).share(inputs, block)
        for source in sources:
            index = int(source.removesuffix(".jpg"))
            assert index not in fallen
            fallen[index] = number
    assert [fallen[index] for index in range(inputs)] == [index // block % of + 1 for index in range(inputs)]


def test_all_shards_agree_on_what_the_inputs_are_and_others_do_not() -> None:
    walks = [picked(Shard(number, 3), 20, 4)[1] for number in (1, 2, 3)]
    assert walks[0] == walks[1] == walks[2]
    assert picked(Shard(1, 3), 21, 4)[1] != walks[0]
    other: list[Walked] = []
    items = (Item(f"{number}.png") for number in range(20))
    list(Shard(1, 3).pick(items, 4, other.append))
    assert other[0].inputs == 20
    assert other[0] != walks[0]


def test_inputs_of_other_shards_are_not_opened(glow: Path, messy: Path, tmp_path: Path) -> None:
    opened: list[str] = []

    def item(number: int) -> Item:
        def read() -> bytes:
            opened.append(str(number))
            return b""

        return Item(str(number), read=read)

    for mine in Shard(2, 3).pick(map(item, range(20)), 4, lambda walked: None):
        mine.load()
    assert opened == [str(number) for number in (4, 5, 6, 7, 16, 17, 18, 19)]


def test_shards_together_give_each_row_of_the_whole_run_once(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "whole", settings=settings())
    whole = rows_of(tmp_path / "whole")
    for number in (1, 2, 3):
        report = cvtl.run([messy], glow, tmp_path / f"s{number}", settings=settings(f"{number}/3"))
        mine = [row for index, row in enumerate(whole) if index // 4 % 3 == number - 1]
        assert rows_of(tmp_path / f"s{number}") == mine
        assert report.inputs == len(mine)


def test_a_shard_without_inputs_is_a_done_run_without_rows(glow: Path, messy: Path, tmp_path: Path) -> None:
    report = cvtl.run([messy], glow, tmp_path / "out", settings=settings("7/7"))
    assert (report.inputs, report.bad) == (0, 0)
    assert rows_of(tmp_path / "out") == []
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "done"


def test_a_shard_of_nothing_is_as_wrong_as_a_run_over_nothing(glow: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match="there are no pictures"):
        cvtl.run([tmp_path / "empty"], glow, tmp_path / "out", settings=settings("2/2"))


def test_a_shard_cut_off_anywhere_goes_on_to_the_same_bytes(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "whole", settings=settings("2/2"))
    whole = (tmp_path / "whole" / "rows.jsonl").read_bytes()
    said = json.loads((tmp_path / "whole" / "run.json").read_text())
    for cut in [0, len(whole) - 1, *random.Random(0).sample(range(len(whole)), 6)]:
        out = tmp_path / f"cut{cut}"
        out.mkdir()
        running = {key: said[key] for key in said if key != "walked"} | {"state": "running", "counts": {}}
        (out / "run.json").write_text(json.dumps(running))
        (out / "rows.jsonl").write_bytes(whole[:cut])
        cvtl.run([messy], glow, out, settings=settings("2/2"), resume=True)
        assert (out / "rows.jsonl").read_bytes() == whole
        assert json.loads((out / "run.json").read_text())["walked"] == said["walked"]


def test_a_shard_does_not_go_on_with_another_one(glow: Path, messy: Path, tmp_path: Path) -> None:
    cvtl.run([messy], glow, tmp_path / "out", settings=settings("1/2"))
    with pytest.raises(UsageError, match="shard was '1/2' and is now '2/2'"):
        cvtl.run([messy], glow, tmp_path / "out", settings=settings("2/2"), resume=True)


def test_tiled_pictures_are_shared_out_one_by_one() -> None:
    assert settings().block(TilingSettings()) == 4
    assert settings().block(TilingSettings(tile=64)) == 1


def test_frames_of_a_video_are_shared_out_like_pictures(glow: Path, tmp_path: Path) -> None:
    video = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (32, 24))
    for number in range(11):
        video.write(np.full((24, 32, 3), number * 20, np.uint8))
    video.release()
    cvtl.run([tmp_path / "clip.avi"], glow, tmp_path / "out", settings=settings("2/2"))
    assert [json.loads(row)["frame"] for row in rows_of(tmp_path / "out")] == [4, 5, 6, 7]


@pytest.mark.parametrize(
    ("inputs", "others", "message"),
    [
        (["rtsp://door.local/1"], {}, "not for cameras and streams"),
        (["pictures"], {"save_video": True}, "a video needs all its frames"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(
    glow: Path, tmp_path: Path, inputs: list[str], others: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        cvtl.run(inputs, glow, tmp_path / "out", settings=settings("1/2", **others))


def test_the_command_shares_out_a_list_on_standard_input(cvtl: Cvtl, glow: Path, messy: Path, tmp_path: Path) -> None:
    listed = "".join(f"{path}\n" for path in sorted(messy.rglob("*.png")))
    words = ["run", "detect", "-", "--weights", glow, "--out", tmp_path / "out", "--batch-size", "4", "--shard", "3/3"]
    said = cvtl(*words, input=listed)
    assert (said.returncode, said.stderr) == (3, "")
    assert "\n7 inputs: " in said.stdout


def test_the_command_says_what_a_shard_is(cvtl: Cvtl, glow: Path, tmp_path: Path) -> None:
    said = cvtl("run", "detect", tmp_path, "--weights", glow, "--shard", "9/8")
    assert said.returncode == 2
    assert "--shard must be i/n, with i from 1 to n, such as 2/8, not '9/8'" in said.stderr
