"""Addresses that may hold secrets: a camera's password, a token. Torch-free."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://\S*", re.IGNORECASE)


def is_address(text: str) -> bool:
    """Whether an input is an address and no path.

    Example:
        >>> is_address("rtsp://camera.local/1"), is_address("C:/photos"), is_address("a/b.jpg")
        (True, False, False)
    """
    return _ADDRESS.match(text) is not None


def public_address(address: str) -> str:
    """An address without user, password, query and fragment, for rows and messages.

    Example:
        >>> public_address("rtsp://admin:secret@10.0.0.7:554/ch1?token=abc")
        'rtsp://10.0.0.7:554/ch1'
    """
    parts = urlsplit(address)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def address_path(text: str) -> str:
    """A public address as a relative path for files; what is no address stays as it is.

    Example:
        >>> address_path("rtsp://10.0.0.7:554/ch1"), address_path("a/b:c.jpg")
        ('rtsp/10.0.0.7_554/ch1', 'a/b:c.jpg')
    """
    return text.replace("://", "/").replace(":", "_") if is_address(text) else text


def without_secrets(text: str) -> str:
    """A text, such as a command, with every address in it made public.

    Example:
        >>> without_secrets("cvtl run detect 'http://me:pw@host/a?key=1' b.jpg")
        "cvtl run detect 'http://host/a' b.jpg"
    """

    def public(found: re.Match[str]) -> str:
        bare = found[0].rstrip("'\"),;")
        return public_address(bare) + found[0][len(bare) :]

    return _ADDRESS.sub(public, text)
