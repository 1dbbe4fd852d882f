"""Which inputs are cameras and streams, and what they are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cvtl.addresses import address_path, public_address, without_secrets
from cvtl.errors import OfflineError, SourceError
from cvtl.live import live_source, split_inputs


@pytest.mark.parametrize(
    ("given", "name", "address"),
    [
        (0, "camera/0", 0),
        ("2", "camera/2", 2),
        ("camera:1", "camera/1", 1),
        ("/dev/video3", "video3", "/dev/video3"),
        ("rtsp://10.0.0.7:554/door", "rtsp://10.0.0.7:554/door", "rtsp://10.0.0.7:554/door"),
        ("RTMP://host/a", "rtmp://host/a", "RTMP://host/a"),
        ("http://10.0.0.7:81/stream", "http://10.0.0.7:81/stream", "http://10.0.0.7:81/stream"),
        ("http://10.0.0.7:81", "http://10.0.0.7:81", "http://10.0.0.7:81"),
        ("https://host/live.m3u8", "https://host/live.m3u8", "https://host/live.m3u8"),
    ],
)
def test_cameras_and_streams_are_known(given: str | int, name: str, address: str | int) -> None:
    source = live_source(given)
    assert source is not None
    assert (source.name, source.address) == (name, address)


@pytest.mark.parametrize(
    "given",
    [
        *("photos", "a.jpg", "clip.mp4", "-", "1.jpg", "./0", "1234", "C:/photos"),
        *(
            "http://host/a.JPG",
            "https://host/list.txt",
            "http://host/all.zip",
            "http://host/photos/",
            "http://host/*.png",
        ),
        *("http://host/clip.mp4", "s3://bucket/photos"),
        np.zeros((4, 4, 3), np.uint8),
        Path("0"),
    ],
    ids=str,
)
def test_everything_else_is_not_live(given: str) -> None:
    assert live_source(given) is None


def test_a_file_or_folder_with_a_number_as_its_name_comes_before_the_camera(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0").mkdir()
    assert live_source("0") is None
    assert live_source("camera:0") is not None


def test_a_streams_password_is_in_no_name() -> None:
    source = live_source("rtsp://admin:secret@10.0.0.7/door?token=abc#x")
    assert source is not None
    assert source.name == "rtsp://10.0.0.7/door"
    assert source.address == "rtsp://admin:secret@10.0.0.7/door?token=abc#x"


def test_two_streams_that_differ_in_what_is_hidden_have_different_names() -> None:
    live, rest = split_inputs(["http://host/video?camera=1", "a.jpg", "http://host/video?camera=2"])
    assert [each.name for each in live] == ["http://host/video", "http://host/video#2"]
    assert rest == ["a.jpg"]


def test_a_camera_that_is_named_twice_is_an_error() -> None:
    with pytest.raises(SourceError, match="named twice"):
        split_inputs(["0", "camera:0"])


def test_offline_refuses_streams_and_takes_cameras(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CVTL_OFFLINE", "1")
    assert len(split_inputs([0])[0]) == 1
    with pytest.raises(OfflineError, match="rtsp://host/a"):
        split_inputs(["rtsp://me:pw@host/a"])


def test_addresses_in_a_command_lose_their_secrets() -> None:
    command = "cvtl run detect 'rtsp://me:p%40ss@host:554/a?key=1' http://host/b a.jpg --out x"
    assert without_secrets(command) == "cvtl run detect 'rtsp://host:554/a' http://host/b a.jpg --out x"


def test_an_at_sign_in_a_password_hides_it_whole() -> None:
    assert public_address("rtsp://me:p@ss@host/a") == "rtsp://host/a"


def test_an_address_becomes_a_relative_path_that_any_file_system_takes() -> None:
    assert address_path("rtsp://[::1]:554/a") == "rtsp/[__1]_554/a"
