"""How to serve. Torch-free, and without the extra."""

from __future__ import annotations

import ipaddress
from typing import Literal

from pydantic import Field, field_validator

from cvtl.errors import UsageError
from cvtl.options import Options

AUTH_VARIABLE = "CVTL_SERVE_AUTH"
MEBIBYTE = 2**20


class ServeSettings(Options):
    """Where to listen, what to take, and how much at a time."""

    host: str = Field("127.0.0.1", description="address to listen on; 0.0.0.0 for every one that this machine has")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 for any that is free")
    auth: str | None = Field(
        None,
        description=f"user:password to ask for; others can read it in the list of processes, so set {AUTH_VARIABLE} "
        "in its place",
    )
    open_to_everyone: bool = Field(
        False, description="listen beyond this machine without a password: whoever can reach it can use it"
    )
    hosts: tuple[str, ...] = Field(
        (), description="names under which browsers reach the server, besides its address: of a proxy before it, say"
    )
    behind_proxy: bool = Field(
        False, description="a proxy on this machine passes requests on: clients are told apart by X-Forwarded-For"
    )
    max_upload: float = Field(20, gt=0, description="largest upload in megabytes")
    max_pixels: int = Field(40_000_000, ge=1, description="pictures with more pixels are refused")
    queue: int = Field(32, ge=1, description="pictures that may wait; the next are refused until there is room")
    per_client: int = Field(8, ge=1, description="pictures that one client may have waiting or in work at a time")
    time_limit: float = Field(600, gt=0, description="seconds that the work on a picture may take")
    drain: float = Field(30, ge=0, description="seconds to finish what has begun, when told to stop")
    batch_size: int = Field(8, ge=1, description="waiting pictures that go through the network together")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:N or mps")
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="the half precisions are faster on most GPUs; scores change in the third digit"
    )

    @field_validator("auth")
    @classmethod
    def _is_user_and_password(cls, text: str | None) -> str | None:
        if text is not None:
            user, colon, password = text.partition(":")
            if not (user and colon and password):
                # The message may be shown where the password should not.
                raise ValueError("it must be user:password, neither of them empty")
        return text

    @property
    def max_bytes(self) -> int:
        """Of an upload."""
        return int(self.max_upload * MEBIBYTE)

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach the server."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def check_exposure(self) -> None:
        """Refuse to be reachable from elsewhere without a password.

        Raises:
            UsageError: it would be, and nobody said that it may.

        Example:
            >>> ServeSettings(host="0.0.0.0").check_exposure()
            Traceback (most recent call last):
            cvtl.errors.UsageError: other machines could use the server at 0.0.0.0 without a password. ...
        """
        if not (self.is_local or self.auth or self.open_to_everyone):
            raise UsageError(
                f"other machines could use the server at {self.host} without a password",
                hint=f"Set {AUTH_VARIABLE}=user:password or --auth, or say --open-to-everyone",
            )
