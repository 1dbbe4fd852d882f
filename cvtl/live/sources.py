"""Which inputs are live: cameras and streams. Torch-free."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from cvtl.addresses import is_address, public_address
from cvtl.archives import is_archive
from cvtl.data import UInt8Image
from cvtl.download import is_offline
from cvtl.errors import OfflineError, SourceError
from cvtl.sources import LIST_SUFFIX, PICTURE_SUFFIXES
from cvtl.videos import names_video

_CAMERA = re.compile(r"(?:camera:)?(\d{1,3})")
_DEVICE = re.compile(r"/dev/video\d+")
_STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "rtp", "srt", "udp", "tcp")
_WEB = ("http", "https")


@dataclass(frozen=True)
class LiveSource:
    """A camera or a stream.

    Attributes:
        name: in rows and messages; without user, password and query.
        address: a camera's number, a device's path or a stream's address.
    """

    name: str
    address: int | str


def live_source(given: str | Path | int | UInt8Image) -> LiveSource | None:
    """The live source that an input stands for; None if it is none.

    A number, also as text, is a camera's, unless a file or folder has that name (`camera:0` always is a camera);
    `/dev/video0` is a camera, too. Addresses of streams begin with `rtsp://`, `rtmp://`, `srt://`, `udp://`, ...; web
    addresses are streams unless they name a picture, a video file, a list or an archive, hold a pattern, or end in a
    slash.

    Example:
        >>> live_source("rtsp://me:secret@door.local/1")
        LiveSource(name='rtsp://door.local/1', address='rtsp://me:secret@door.local/1')
        >>> live_source(0).name, live_source("photos/"), live_source("http://host/a.jpg")
        ('camera/0', None, None)
    """
    if isinstance(given, (np.ndarray, Path)):
        return None
    if isinstance(given, int):
        return LiveSource(f"camera/{given}", int(given))
    text = given
    if found := _CAMERA.fullmatch(text):
        there = text == found[1] and os.path.exists(text)
        return None if there else LiveSource(f"camera/{int(found[1])}", int(found[1]))
    if _DEVICE.fullmatch(text):
        return LiveSource(text.removeprefix("/dev/"), text)
    if not is_address(text):
        return None
    scheme, path = urlsplit(text).scheme.lower(), urlsplit(text).path
    if scheme in _STREAMS or (scheme in _WEB and not _names_file(path)):
        return LiveSource(public_address(text), text)
    return None


def split_inputs(
    inputs: Sequence[str | Path | int | UInt8Image],
) -> tuple[list[LiveSource], list[str | Path | UInt8Image]]:
    """The live sources among inputs, and the rest.

    Raises:
        SourceError: a live source is named twice.
        OfflineError: one is on the network, and that is off.

    Example:
        >>> split_inputs(["camera:0", "a.jpg"])
        ([LiveSource(name='camera/0', address=0)], ['a.jpg'])
    """
    pairs = [(live_source(each), each) for each in inputs]
    live = name_apart(source for source, _ in pairs if source is not None)
    for source in live:
        if is_offline() and isinstance(source.address, str) and is_address(source.address):
            raise OfflineError(f"'{source.name}' is on the network, and --offline was given", hint="Leave it out")
    return live, [each for source, each in pairs if source is None and not isinstance(each, int)]


def name_apart(sources: Iterable[LiveSource]) -> list[LiveSource]:
    """The same sources, those of one name numbered.

    Raises:
        SourceError: one is named twice.

    Example:
        >>> [each.name for each in name_apart([LiveSource("a", "a?1"), LiveSource("a", "a?2")])]
        ['a', 'a#2']
    """
    named: list[LiveSource] = []
    for source in sources:
        if source.address in [each.address for each in named]:
            raise SourceError(f"the live source '{source.name}' is named twice", hint="Name it once")
        same = sum(each.name.partition("#")[0] == source.name for each in named)
        named.append(replace(source, name=f"{source.name}#{same + 1}") if same else source)
    return named


def _names_file(path: str) -> bool:
    name = path.lower()
    suffixes = (*PICTURE_SUFFIXES, LIST_SUFFIX, "/")
    return name.endswith(suffixes) or names_video(name) or is_archive(name) or bool(set(name) & set("*["))
