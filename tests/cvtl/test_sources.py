"""Where pictures come from: which are found, in which order, under which names, and what goes wrong."""

from __future__ import annotations

import gc
import json
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from cvtl.errors import SourceError
from cvtl.images import encode
from cvtl.profiling import Profile
from cvtl.sources import Item, count_sources, open_sources


def picture(value: int = 0) -> bytes:
    return encode(np.full((4, 6, 3), value, np.uint8), ".png")


def make(root: Path, *names: str) -> Path:
    """Files whose content tells them apart."""
    for value, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(value))
    return root


def names(*inputs: Any, **options: Any) -> list[str]:
    found = [item.source for item in open_sources(inputs, **options)]
    if "stdin" not in options:
        assert count_sources(inputs, **options) == len(found)
    return found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Files and folders


def test_a_file_is_named_by_its_name_and_read_when_loaded(here: Path) -> None:
    make(here, "a/x.png")
    (item,) = open_sources(["a/x.png"])
    assert item.source == "x.png"
    decoded = item.load()
    assert (decoded.status, decoded.width, decoded.height) == ("ok", 6, 4)


def test_a_named_file_is_an_input_whatever_its_suffix(here: Path) -> None:
    make(here, "x.dat", "y")
    assert names("x.dat", here / "y") == ["x.dat", "y"]


def test_a_folder_is_walked_depth_first_with_each_folder_by_name(here: Path) -> None:
    make(here, "p/b.png", "p/a/z.png", "p/a.png", "p/a/b/c.jpg", "p/c/1.gif", "p/c/10.gif", "p/c/2.gif", "p/B.png")
    expected = ["B.png", "a/b/c.jpg", "a/z.png", "a.png", "b.png", "c/1.gif", "c/10.gif", "c/2.gif"]
    assert names("p") == expected
    assert expected == sorted(expected, key=lambda name: name.split("/"))


def test_in_a_folder_only_known_suffixes_count_in_any_case(here: Path) -> None:
    make(here, "a.JPG", "b.jpeg", "c.Tiff", "d.txt", "e.png.bak", "f", "g.webp", "Thumbs.db", "h.heic", "i.zip")
    assert names(".") == ["a.JPG", "b.jpeg", "c.Tiff", "g.webp", "h.heic"]


def test_hidden_files_and_folders_are_passed_over(here: Path) -> None:
    make(here, ".DS_Store", "._a.jpg", ".hidden/a.jpg", "a.jpg", "b/.c.jpg")
    assert names(".") == ["a.jpg"]


def test_a_hidden_folder_that_is_named_is_walked(here: Path) -> None:
    make(here, ".hidden/a.jpg")
    assert names(".hidden") == ["a.jpg"]


def test_links_are_followed_but_not_in_circles(here: Path) -> None:
    make(here, "p/a/x.png", "elsewhere/y.png")
    (here / "p/a/up").symlink_to(here / "p")
    (here / "p/a/self").symlink_to(here / "p/a/self")
    (here / "p/other").symlink_to(here / "elsewhere")
    (here / "p/z.png").symlink_to(here / "p/a/x.png")
    assert names("p") == ["a/x.png", "other/y.png", "z.png"]


def test_a_link_that_leads_nowhere_is_an_input_that_cannot_be_opened(here: Path) -> None:
    (here / "gone.jpg").symlink_to(here / "nothing")
    (item,) = open_sources(["."])
    assert (item.source, item.load().status) == ("gone.jpg", "unreadable")


def test_pipes_in_a_folder_are_passed_over(here: Path) -> None:
    make(here, "a.png")
    os.mkfifo(here / "b.png")
    assert names(".") == ["a.png"]


def test_a_file_that_vanishes_becomes_unreadable(here: Path) -> None:
    make(here, "a.png", "b.png")
    items = list(open_sources(["."]))
    (here / "a.png").unlink()
    decoded = items[0].load()
    assert (decoded.status, decoded.error) == ("unreadable", "it cannot be opened: No such file or directory")
    assert items[1].load().status == "ok"


def test_a_folder_that_cannot_be_opened_is_an_item_of_its_own(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "a.png", "closed/b.png", "z.png")
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    items = list(open_sources(["."]))
    assert [item.source for item in items] == ["a.png", "closed", "z.png"]
    assert items[1].load().error == "it cannot be opened: Permission denied"


def test_memory_does_not_grow_with_the_number_of_folders(here: Path) -> None:
    for folder in range(40):
        make(here / f"{folder:02d}", *(f"{number:03d}.png" for number in range(200)))

    def peak(pattern: str, expected: int) -> int:
        # Threads that other tests have left behind allocate, too: the least of several is the walk's own.
        return min(one_peak(pattern, expected) for _ in range(5))

    def one_peak(pattern: str, expected: int) -> int:
        gc.collect()
        tracemalloc.start()
        assert sum(1 for _ in open_sources([pattern])) == expected
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak("0*", 2000)
    assert peak("[0-3]*", 8000) < 1.1 * peak("0*", 2000)


def test_folders_are_listed_only_when_the_walk_comes_to_them(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(here, "a/1.png", "b/2.png", "c/3.png")
    listed = []
    scandir = os.scandir

    def noting(path: str) -> Any:
        listed.append(path)
        return scandir(path)

    items = open_sources(["."])
    monkeypatch.setattr(os, "scandir", noting)
    next(items)
    assert listed == [".", "./a"]


# Patterns


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("p/*.png", ["x.png"]),
        ("p/*", ["a/b/x.png", "a/x.jpg", "a/x.png", "b/x.png", "x.png"]),
        ("p/a*", ["a/b/x.png", "a/x.jpg", "a/x.png"]),
        ("p/*/*.png", ["a/x.png", "b/x.png"]),
        ("p/**/x.png", ["a/b/x.png", "a/x.png", "b/x.png", "x.png"]),
        ("p/**", ["a/b/x.png", "a/x.jpg", "a/x.png", "b/x.png", "x.png"]),
        ("p/**/b/*", ["a/b/x.png", "b/x.png"]),
        ("p/[ab]/x.*", ["a/x.jpg", "a/x.png", "b/x.png"]),
        ("p/?/x.jpg", ["a/x.jpg"]),
        ("./p/a/x.???", ["x.jpg", "x.png"]),
        ("*/a/x.png", ["p/a/x.png"]),
    ],
)
def test_patterns_find_sorted_names_relative_to_their_fixed_part(here: Path, pattern: str, expected: list[str]) -> None:
    make(here, "p/x.png", "p/a/x.png", "p/a/x.jpg", "p/a/b/x.png", "p/b/x.png", "p/b/notes.txt")
    assert names(pattern) == expected
    assert names(str(here / pattern)) == expected


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(here: Path) -> None:
    make(here, "x[1].png", "x1.png")
    assert names("x[1].png") == ["x[1].png"]


# Lists


def test_a_list_names_files_relative_to_its_folder(here: Path) -> None:
    make(here, "l/a.png", "l/sub/b.dat", "c.png")
    text = f"# a comment\n\n./a.png\r\n  sub/b.dat  \n../c.png\n{here}/c.png\na.png\ngone.png\nsub\n"
    (here / "l/list.txt").write_text("\ufeff" + text)
    items = list(open_sources(["l/list.txt"]))
    expected = ["a.png", "sub/b.dat", "../c.png", f"{here}/c.png", "a.png", "gone.png", "sub"]
    assert [item.source for item in items] == expected
    assert [item.load().status for item in items] == ["ok"] * 5 + ["unreadable"] * 2
    assert items[6].load().error == "it cannot be opened: Is a directory"
    assert count_sources(["l/list.txt"]) == 7


def test_standard_input_is_a_list_relative_to_the_working_folder(here: Path) -> None:
    make(here, "a/x.png")
    items = list(open_sources(["-"], stdin=iter([b"a/x.png\n", b"b.png"])))
    assert [item.source for item in items] == ["a/x.png", "b.png"]
    assert [item.load().status for item in items] == ["ok", "unreadable"]
    assert count_sources(["-"]) is None


def test_standard_input_is_read_as_it_comes(here: Path) -> None:
    read = []

    def lines() -> Iterator[bytes]:
        for number in range(3):
            read.append(number)
            yield b"%d.png\n" % number

    items = open_sources(["-"], stdin=lines())
    assert read == []
    next(items)
    assert read == [0]


def test_a_list_of_anything_else_breaks_nothing(here: Path) -> None:
    (here / "list.txt").write_bytes(bytes(range(256)) * 4)
    assert {item.load().status for item in open_sources(["list.txt"])} == {"unreadable"}


# Arrays


def test_arrays_are_taken_as_they_are() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    rgb, grey = open_sources([image, image[..., 1].T])
    assert (rgb.source, grey.source) == ("array/0", "array/1")
    assert_array_equal(rgb.load().image, image)
    decoded = grey.load()
    assert (decoded.status, decoded.width, decoded.height) == ("ok", 5, 7)
    assert decoded.image is not None
    assert decoded.image.flags.c_contiguous
    assert_array_equal(decoded.image[..., 2], image[..., 1].T)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros(9, np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused(array: np.ndarray[Any, Any]) -> None:
    with pytest.raises(SourceError, match=r"input 0 is an array .*Give uint8 \(H, W, 3\)"):
        open_sources([array])


def test_a_frame_needs_no_reading() -> None:
    frame = Item("film.mp4", image=np.zeros((2, 3, 3), np.uint8), frame=7, time=0.28)
    assert (frame.load().status, frame.load().width) == ("ok", 3)


def test_loading_tells_a_profile_how_long_it_took(here: Path) -> None:
    make(here, "a.png")
    profile = Profile()
    (item,) = open_sources(["a.png"])
    item.load(profile=profile)
    assert profile.seconds["read"] > 0
    assert profile.seconds["decode"] > 0


def test_loading_keeps_to_the_limit(here: Path) -> None:
    make(here, "a.png")
    (item,) = open_sources(["a.png"])
    assert item.load(max_pixels=23).status == "too_large"


# Several inputs, and choosing among them


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (["a/x.png", "b/x.png"], ["a/x.png", "b/x.png"]),
        (["a", "b"], ["a/x.png", "a/y.png", "b/x.png"]),
        (["a/x.png", "a/y.png"], ["x.png", "y.png"]),
        (["b", "a/x.png"], ["b/x.png", "a/x.png"]),
        (["a/*.png", "b/../b"], ["a/x.png", "a/y.png", "b/x.png"]),
        (["c/d/l.txt", "a/x.png"], ["c/d/z.png", "a/x.png", "a/x.png"]),
        (["a", "a/x.png"], ["x.png", "y.png", "x.png"]),
        (["../here/a/x.png"], ["x.png"]),
    ],
)
def test_several_inputs_are_named_from_their_common_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inputs: list[str], expected: list[str]
) -> None:
    here = make(tmp_path / "here", "a/x.png", "a/y.png", "b/x.png", "c/d/z.png")
    monkeypatch.chdir(here)
    (here / "c/d/l.txt").write_text("z.png\n../../a/x.png\n")
    assert names(*inputs) == expected
    assert names(*(str(here / each) for each in inputs)) == expected


def test_equal_names_mean_equal_pictures(here: Path) -> None:
    make(here, "a/x.png", "a/b/x.png", "b/x.png", "x.png")
    items = list(open_sources(["a", "b", "x.png", ".", "a/b/x.png"]))
    contents = {(item.source, item.read()) for item in items if item.read}
    assert len(items) == 9
    assert len(contents) == len({name for name, _ in contents}) == 4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include": ["*.jpg"]}, ["a/x.jpg", "x.jpg"]),
        ({"include": ["a/*"]}, ["a/b/x.png", "a/x.jpg"]),
        ({"include": ["x.*"], "exclude": ["*.png"]}, ["a/x.jpg", "x.jpg"]),
        ({"exclude": ["a/b/*", "y*"]}, ["a/x.jpg", "x.jpg"]),
        ({"include": ["y.png", "a/x.jpg"]}, ["a/x.jpg", "y.png"]),
        ({"exclude": ["*.PNG"]}, ["a/b/x.png", "a/x.jpg", "x.jpg", "y.png"]),
    ],
)
def test_include_and_exclude_choose_by_path_or_name(here: Path, options: Any, expected: list[str]) -> None:
    make(here, "p/x.jpg", "p/y.png", "p/a/x.jpg", "p/a/b/x.png")
    assert names("p", **options) == expected


def test_include_and_exclude_also_hold_for_named_files(here: Path) -> None:
    make(here, "a.png", "a_mask.png")
    assert names("a.png", "a_mask.png", exclude=["*_mask.png"]) == ["a.png"]


# Names


def test_names_that_are_not_utf_8_can_be_written_as_json(here: Path) -> None:
    raw = b"caf\xe9 \xf0\x9f\x98\x80.png"
    with open(os.path.join(os.fsencode(here), raw), "wb") as stream:
        stream.write(picture())
    (item,) = open_sources(["."])
    assert item.source == "caf\\xe9 \U0001f600.png"
    assert json.dumps(item.source, ensure_ascii=False).encode()
    assert item.load().status == "ok"
    assert [each.source for each in open_sources(["-"], stdin=[raw])] == [item.source]


# Mistakes


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (["gone.jpg"], "there is no file or folder 'gone.jpg'. Check the path."),
        (["gone/*.jpg"], "cannot open the folder 'gone': No such file or directory. Check the path."),
        (["*.jpg"], "there are no pictures in '*.jpg'. Pictures are known by their names, which end in .jpg, .jpeg"),
        (["empty"], "there are no pictures in 'empty'. Pictures are known by their names, which end in .jpg, .jpeg"),
        (["a.png", "empty"], "there are no pictures in 'empty'."),
        (["nothing.txt"], "there are no pictures in 'nothing.txt'. Write one path on each line."),
        (["-", "a.png", "-"], "standard input ('-') is named twice. It can be read only once."),
        ([], "there are no inputs. Name files, folders, patterns, lists or archives."),
    ],
)
def test_mistakes_are_found_before_the_first_item(here: Path, inputs: list[str], message: str) -> None:
    make(here, "a.png")
    (here / "empty").mkdir()
    (here / "empty/notes.md").touch()
    (here / "nothing.txt").write_text("# none\n")
    with pytest.raises(SourceError) as caught:
        open_sources(inputs)
    assert str(caught.value).startswith(message)
    assert caught.value.exit_code == 2


def test_patterns_that_leave_nothing_are_a_mistake(here: Path) -> None:
    make(here, "a.png")
    with pytest.raises(SourceError, match=r"no pictures in '\.' that --include and --exclude let through"):
        next(open_sources(["."], include=["*.jpg"]))


def test_empty_standard_input_is_a_mistake() -> None:
    with pytest.raises(SourceError, match="there are no pictures in 'standard input'"):
        next(open_sources(["-"], stdin=[]))
