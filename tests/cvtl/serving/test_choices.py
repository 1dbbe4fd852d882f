"""What visitors may choose, and what they may not."""

from __future__ import annotations

from typing import Literal

import pytest
from pydantic import Field

from cvtl.errors import OptionsError, PluginError
from cvtl.options import Options
from cvtl.registry import Making, PluginSpec
from cvtl.serving.choices import Choice, checked_options, choices_of


class MakingOptions(Options):
    """Options of a plugin that makes models."""

    style: tuple[str, ...] = ()
    size: int | None = Field(512, ge=16, description="longer side; null keeps it")
    strength: float = 0.5
    mode: Literal["fast", "fine"] = "fast"
    secret: str = "none"


SPEC = PluginSpec(
    name="made",
    task="style",
    summary="for tests",
    options="m:O",
    model="m:M",
    makes=Making(
        options="test_choices:MakingOptions",
        make="m:f",
        settings={"size": (128, 1024), "strength": (0, 1), "mode": None},
    ),
)


@pytest.fixture(autouse=True)
def _options(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PluginSpec, "making_options_type", lambda self: MakingOptions)


def test_choices_are_those_that_the_plugin_names_with_its_limits() -> None:
    assert choices_of(SPEC, {}) == [
        Choice("size", "longer side", 512, 128, 1024, is_whole=True),
        Choice("strength", "", 0.5, 0, 1),
        Choice("mode", "", "fast", words=("fast", "fine")),
    ]


def test_whoever_serves_chooses_the_defaults_and_may_go_beyond_the_limits() -> None:
    size, *_ = choices_of(SPEC, {"size": 2048})
    assert (size.default, size.least, size.most) == (2048, 128, 2048)
    size, *_ = choices_of(SPEC, {"size": None})
    assert size.default == 1024


def checked(**chosen: object) -> dict[str, object]:
    options = {"strength": 0.25, "secret": "kept"}
    return checked_options(SPEC, choices_of(SPEC, options), options, chosen)


def test_what_is_chosen_is_checked_and_the_rest_stays() -> None:
    assert checked(size="256", mode="fine") == {"strength": 0.25, "secret": "kept", "size": 256, "mode": "fine"}


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"size": 5000}, "must lie between 128 and 1024, not 5000"),
        ({"size": "17"}, "must lie between 128 and 1024, not 17"),
        ({"size": "null"}, "option 'size'"),
        ({"size": None}, "option 'size': there has to be a number"),
        ({"strength": float("nan")}, "must lie between 0 and 1"),
        ({"mode": "slow"}, "option 'mode'"),
        ({"secret": "mine"}, "there is no setting 'secret'"),
        ({"style": "/etc/passwd"}, "there is no setting 'style'"),
    ],
)
def test_what_does_not_fit_is_refused(chosen: dict[str, object], said: str) -> None:
    with pytest.raises(OptionsError, match=said):
        checked(**chosen)


def test_a_plugin_that_names_settings_it_does_not_have_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PluginSpec, "options_type", lambda self: MakingOptions)
    spec = PluginSpec(**{**vars(SPEC), "makes": Making(options="m:O", make="m:f", settings={"sise": (0, 1)})})
    with pytest.raises(PluginError, match="settings has no options sise"):
        spec.check()
