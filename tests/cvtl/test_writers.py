"""Rows and pictures on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cvtl.errors import OutputError
from cvtl.images import read_image
from cvtl.results import Detections, Picture, Row
from cvtl.run_folder import RunFolder, next_free_folder
from cvtl.writers import Outcome, Writer, overlay, picture_name

IMAGE = np.full((40, 60, 3), 100, np.uint8)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("day 1/ä.JPG", "day 1/ä.JPG"),
        ("a.gif", "a.gif.png"),
        ("a.gif.png", "a.gif.png.png"),
        ("a.2024.png", "a.2024.png"),
        ("photo", "photo.picture.png"),
        ("../up.png", "_up/up.png"),
        ("_up/up.png", "__up/up.png"),
        ("/abs/x.png", "_root/abs/x.png"),
    ],
)
def test_a_picture_is_named_after_its_source(source: str, name: str) -> None:
    assert picture_name(source) == name


PARTS = st.sampled_from(["a", "b.gif", "a.png", "a.gif.png", "a.PNG", "..", "_up", "__up", "a.picture.png", "c.jpg"])


@given(st.lists(st.lists(PARTS, min_size=1, max_size=3).map("/".join), min_size=2, max_size=6, unique=True))
def test_no_two_sources_share_a_picture_and_none_leaves_the_folder(sources: list[str]) -> None:
    sources = [source for source in sources if not source.endswith("..")]
    names = [picture_name(source) for source in sources]
    assert len(set(names)) == len(names)
    assert not any(".." in Path(name).parts or Path(name).is_absolute() for name in names)


def outcome(source: str, result: Detections | Picture) -> Outcome:
    row = Row(source=source, status="ok", task="detect", width=60, height=40, result=result.to_dict())
    return Outcome(row, IMAGE, result)


def test_a_painted_picture_is_written_and_its_row_says_where(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "out", {})
    painted = Picture(torch.full((3, 8, 9), 7, dtype=torch.uint8))
    Writer(folder).write([outcome("sub/a.png", painted)])
    assert '"result": {"picture": "pictures/sub/a.png"}' in folder.rows_path.read_text()
    assert (read_image(tmp_path / "out" / "pictures" / "sub" / "a.png") == 7).all()


def test_there_is_a_heat_map_for_each_class(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "out", {})
    heat = torch.zeros(2, 4, 6)
    heat[1, :, :3] = 1.0
    found = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0), ("a car", "x/y"), heat)
    Writer(folder, save_heatmaps=True).write([outcome("a.png", found)])
    plain = read_image(tmp_path / "out" / "heatmaps" / "a car" / "a.png")
    hot = read_image(tmp_path / "out" / "heatmaps" / "x%2Fy" / "a.png")
    assert (plain == IMAGE).all()
    assert (hot[:, :20] != IMAGE[:, :20]).any()
    assert (hot[:, 50:] == IMAGE[:, 50:]).all()


def test_an_overlay_reddens_what_is_hot_and_leaves_the_rest() -> None:
    heat = np.zeros((4, 6), np.float32)
    heat[:, :2] = 1
    found = overlay(IMAGE, heat)
    assert found[20, 5, 0] > found[20, 5, 2]
    assert (found[:, 45:] == IMAGE[:, 45:]).all()
    assert (IMAGE == 100).all()


def test_rows_are_on_the_disk_when_write_returns(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "out", {})
    folder.append([("ok", '{"source": "ä"}'), ("failed", "{}")])
    assert folder.rows_path.read_bytes() == '{"source": "ä"}\n{}\n'.encode()
    assert folder.counts == {"ok": 1, "failed": 1}


def test_a_full_disk_leaves_whole_rows_and_a_clear_error(tmp_path: Path) -> None:
    class Full:
        """A file on a disk with room for 30 bytes."""

        def __init__(self, path: Path) -> None:
            self.file = path.open("ab", buffering=0)

        def tell(self) -> int:
            return self.file.tell()

        def truncate(self, size: int) -> int:
            return self.file.truncate(size)

        def write(self, content: bytes) -> int:
            room = 30 - self.file.tell()
            if room <= 0:
                raise OSError(28, "No space left on device")
            return self.file.write(content[:room])

    folder = RunFolder.create(tmp_path / "out", {})
    folder._stream = Full(folder.rows_path)  # type: ignore[assignment]
    folder.append([("ok", '{"source": "one"}')])
    with pytest.raises(OutputError, match=r"cannot write '.*rows\.jsonl': No space left on device"):
        folder.append([("ok", '{"source": "two and more"}')])
    assert folder.rows_path.read_text() == '{"source": "one"}\n'
    assert folder.counts == {"ok": 1}


def test_folders_that_are_taken_are_counted_past(tmp_path: Path) -> None:
    (tmp_path / "detect").mkdir()
    (tmp_path / "detect-2").mkdir()
    assert next_free_folder(tmp_path, "detect").name == "detect-3"
