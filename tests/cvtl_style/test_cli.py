"""Painting and training by the command line, killed runs, and what the page on style shows."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import Command
from tiny_style import VGG19, noise, save_convolutions, save_picture, save_vgg11, stripes

from cvtl.images import read_image

# As the command shows them to users.
pytestmark = pytest.mark.filterwarnings("always:the weights reach no further")

PAGE = Path(__file__).parents[2] / "docs" / "style.md"


@pytest.fixture
def command(command: Command, tmp_path: Path) -> Command:
    """Run `cvtl` in this process, in a folder with a style and weights."""
    save_picture(tmp_path / "stripes.png", stripes(48, 64))
    save_vgg11(tmp_path / "two.pth", 2)
    return command


def painting(*more: str) -> list[str]:
    """The words for a painting that is done in a moment."""
    words = ["--style", "stripes.png", "--backbone", "vgg11", "--weights", "two.pth", "--size", "32", "--steps", "2"]
    return [*words, "--levels", "1", "--device", "cpu", *more]


def rows_of(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_a_photograph_becomes_a_row_and_a_painted_picture(command: Command, tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", noise(60, 80))
    said = command("run", "style", "photo.png", *painting("--out", "o"))
    assert said.code == 0, said.err
    (row,) = rows_of(tmp_path / "o")
    assert row["result"] == {"picture": "pictures/photo.png"}
    assert (row["width"], row["height"], row["task"], row["status"]) == (80, 60, "style", "ok")
    assert read_image(tmp_path / "o" / "pictures" / "photo.png").shape == (24, 32, 3)
    assert "note: the weights reach no further than 'pool2'" in said.err
    assert "photo.png: 32 x 24, step 2 of 2: J" in said.err
    assert "pictures/photo.png" in said.out
    assert sorted(path.name for path in (tmp_path / "o").iterdir()) == ["pictures", "rows.jsonl", "run.json"]


def test_a_folder_gives_a_row_each_and_bad_pictures_spoil_nothing(command: Command, tmp_path: Path) -> None:
    for number, name in enumerate(("a/x.png", "b/x.png", "b/y.png")):
        save_picture(tmp_path / "photos" / name, noise(24, 32, seed=number))
    (tmp_path / "photos" / "b" / "bad.png").write_bytes(b"no picture")
    said = command("run", "style", "photos", *painting("--out", "o", "--quiet"))
    assert (said.code, said.out) == (3, "")
    rows = rows_of(tmp_path / "o")
    assert [row["source"] for row in rows] == ["a/x.png", "b/bad.png", "b/x.png", "b/y.png"]
    assert [row["status"] for row in rows] == ["ok", "unreadable", "ok", "ok"]
    pictures = [(tmp_path / "o" / "pictures" / name).read_bytes() for name in ("a/x.png", "b/x.png", "b/y.png")]
    assert len(set(pictures)) == 3


def test_a_picture_that_cannot_be_painted_has_a_failed_row(command: Command, tmp_path: Path) -> None:
    save_picture(tmp_path / "photos" / "thin.png", noise(1, 64))
    save_picture(tmp_path / "photos" / "wide.png", noise(24, 32))
    said = command("run", "style", "photos", *painting("--out", "o"))
    assert said.code == 3
    thin, wide = rows_of(tmp_path / "o")
    assert (thin["status"], wide["status"]) == ("failed", "ok")
    assert "too small" in str(thin["error"])


def test_a_killed_run_goes_on_to_the_bytes_of_an_uninterrupted_one(command: Command, tmp_path: Path) -> None:
    for number, name in enumerate(("a/x.png", "b/x.png")):
        save_picture(tmp_path / "photos" / name, noise(72, 96, seed=number))
    words = ["run", "style", "photos", *painting("--size", "96", "--steps", "12", "--save-every", "2")]
    assert command(*words, "--out", "whole", "--quiet").code == 0
    second_picture = tmp_path / "killed" / "steps" / "b" / "x.png.steps"
    process = subprocess.Popen(
        [sys.executable, "-m", "cvtl.cli.main", *words, "--out", "killed", "--quiet"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    try:
        while not second_picture.exists() and process.poll() is None:
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert len(rows_of(tmp_path / "killed")) == 1
    assert command(*words, "--out", "killed", "--resume", "--quiet").code == 0
    for name in ("rows.jsonl", "pictures/a/x.png", "pictures/b/x.png"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "killed" / "steps").exists()
    assert not (tmp_path / "killed" / "previews").exists()


def test_resuming_with_another_style_is_refused(command: Command, tmp_path: Path) -> None:
    save_picture(tmp_path / "photo.png", noise(24, 32))
    assert command("run", "style", "photo.png", *painting("--out", "o", "--quiet")).code == 0
    save_picture(tmp_path / "stripes.png", noise(48, 64, seed=5))
    said = command("run", "style", "photo.png", *painting("--out", "o", "--resume"))
    assert said.code == 2
    assert "made_of was" in said.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (painting(), "no pictures were given.*photo.jpg --style starry.jpg"),
        (["x.png", "--weights", "two.pth", "--backbone", "vgg11"], "option 'style'"),
        (["x.png", "--style", "stripes.png"], "nothing says where the weights.*--weights imagenet"),
        (["x.png", *painting("--layers", "relu5_1")], "reach no layer 'relu5_1'. They can serve conv1_1, relu1_1"),
        (["x.png", *painting("--style", "none.jpg")], "none.jpg"),
        (["x.png", *painting("--max-memory", "1GB", "--resume")], "--resume needs --out"),
        (["x.png", "--style", "stripes.png", "--weights", "gone.safetensors"], "no weights file 'gone.safetensors'"),
    ],
)
def test_what_a_user_gets_wrong_is_told_in_a_sentence(
    command: Command, tmp_path: Path, words: list[str], message: str
) -> None:
    save_picture(tmp_path / "x.png", noise(24, 32))
    said = command("run", "style", *words)
    assert said.code in (1, 2)
    assert re.search(message, " ".join(said.err.split()))
    assert "Traceback" not in said.err


def test_help_shows_how_to_paint_without_loading_anything(command: Command) -> None:
    said = command("run", "style", "--help")
    assert said.code == 0
    for words in ("--style", "--alpha", "--max-memory", "cvtl run style photo.jpg --style starry.jpg", "imagenet"):
        assert words in " ".join(said.out.split())
    code = "import sys; from cvtl.cli.main import main; main(['run', 'style', '-h']); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_style_is_trained_and_used_by_the_command_line(command: Command, tmp_path: Path) -> None:
    for number in range(6):
        save_picture(tmp_path / "photos" / f"{number}.png", noise(40, 40, seed=number))
    network = ["--backbone", "vgg11", "--weights", "two.pth", "--size", "32", "--channels", "2", "--blocks", "0"]
    settings = ["--epochs", "1", "--workers", "0", "--device", "cpu", "--out", "trained", "--batch-size", "2"]
    said = command("train", "style", "photos", "--style", "stripes.png", *network, *settings)
    assert said.code == 0, said.err
    assert "use them: cvtl run style --weights trained/best.safetensors" in " ".join(said.out.split())

    said = command("run", "style", "photos", "--weights", "trained/best.safetensors", "--out", "o")
    assert said.code == 0, said.err
    assert [row["result"] for row in rows_of(tmp_path / "o")] == [{"picture": f"pictures/{n}.png"} for n in range(6)]
    said = command("run", "style", "photos", "--weights", "trained/best.safetensors", "--style", "stripes.png")
    assert said.code == 2
    assert "--style" in said.err


def test_the_examples_of_the_page_run(command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_picture(tmp_path / "photo.jpg", noise(40, 40))
    save_picture(tmp_path / "starry.jpg", stripes(40, 40))
    save_convolutions(tmp_path / "vgg19.pth", VGG19)
    examples = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for example in examples:
        exec(compile(example, str(PAGE), "exec"), {})
    said = capsys.readouterr().out
    assert "{'ok': 1}" in said
    assert "torch.Size([64, 64])" in said
