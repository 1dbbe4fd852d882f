"""Nothing half-written stands under its final name."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cvtl.errors import OutputError
from cvtl.files import write_atomically


def test_text_and_bytes_are_written_as_they_are(tmp_path: Path) -> None:
    assert write_atomically(tmp_path / "a.txt", "Grüße\n").read_bytes() == "Grüße\n".encode()
    assert write_atomically(str(tmp_path / "b.bin"), b"\x00\r\n").read_bytes() == b"\x00\r\n"


def test_missing_folders_are_made(tmp_path: Path) -> None:
    assert write_atomically(tmp_path / "deep" / "deeper" / "a.txt", "x").read_text() == "x"


def test_an_older_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_atomically(tmp_path / "a.txt", "old and long")
    write_atomically(tmp_path / "a.txt", "new")
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.txt": "new"}


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_what_was_there(tmp_path: Path, old: bytes | None) -> None:
    path = tmp_path / "a.bin"
    if old is not None:
        path.write_bytes(old)
    # A limit on the size of files fails like a full disk: in the middle of writing.
    code = f"""
import resource
from cvtl.files import write_atomically
from cvtl.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    write_atomically({str(path)!r}, b"x" * 100_000)
except OutputError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"cannot write '{path}': File too large. Free some space")
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == ({} if old is None else {"a.bin": old})


def test_a_file_in_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    for path in (tmp_path / "out" / "a.txt", tmp_path / "out" / "deep" / "a.txt"):
        with pytest.raises(OutputError, match=f"cannot write '{path}'"):
            write_atomically(path, "x")
    assert (tmp_path / "out").read_text() == "a file"


def test_a_folder_in_place_of_the_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.txt" / "inner").mkdir(parents=True)
    with pytest.raises(OutputError, match=f"cannot write '{tmp_path / 'a.txt'}': Is a directory"):
        write_atomically(tmp_path / "a.txt", "x")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_without_a_name_is_no_place_for_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OutputError, match=re.escape("cannot write '.'")):
        write_atomically(".", "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc, where not even root may make files")
def test_a_folder_that_takes_no_files_is_named() -> None:
    with pytest.raises(OutputError, match=re.escape("cannot write '/proc/cvtl/a.txt'")):
        write_atomically("/proc/cvtl/a.txt", "x")
