"""`cvtl plugins`, and what a broken plugin must not break."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from commands import Command

from cvtl.registry import plugins

InstallPlugins = Callable[[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]], Path]

SPEC = """
from cvtl.registry import PluginSpec
plugin = PluginSpec(
    name={name!r}, task="detect", summary="a test", options="cvtl.options:Options", model="cvtl_{name}_model:Model"
)
"""


@pytest.fixture(scope="module")
def site(install_plugins: InstallPlugins) -> Path:
    """One plugin that cannot be imported, one whose model cannot, and two that share a name."""
    hollow = {"cvtl_hollow": SPEC.format(name="hollow"), "cvtl_hollow_model": "import a_module_that_is_not_there"}
    return install_plugins(
        {
            "cvtl-broken": (
                {"cvtl_broken": "raise RuntimeError('no [red] licence')"},
                {"broken": "cvtl_broken:plugin"},
            ),
            "cvtl-hollow": (hollow, {"hollow": "cvtl_hollow:plugin"}),
            "cvtl-castor": ({"cvtl_castor": SPEC.format(name="twin")}, {"twin": "cvtl_castor:plugin"}),
            "cvtl-pollux": ({"cvtl_pollux": SPEC.format(name="twin")}, {"twin": "cvtl_pollux:plugin"}),
        }
    )


@pytest.fixture
def broken(site: Path, glow: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """They are installed beside `glow`; gives the weights of that one."""
    monkeypatch.syspath_prepend(str(site))
    plugins.cache_clear()
    yield glow
    plugins.cache_clear()


def states(command: Command) -> dict[str, tuple[str, str]]:
    return {each["name"]: (each["state"], each["about"]) for each in json.loads(command("plugins", "--json").out)}


def test_each_plugin_is_listed_with_task_version_distribution_and_state(command: Command, glow: Path) -> None:
    listed = {each["name"]: each for each in json.loads(command("plugins", "--json").out)}
    assert listed["glow"] == {
        "name": "glow",
        "task": "detect",
        "version": "2.0",
        "distribution": "cvtl-glow",
        "state": "ok",
        "about": "says how much a picture glows",
    }
    assert listed["windows"].keys() == listed["glow"].keys()
    assert (listed["windows"]["distribution"], listed["windows"]["state"]) == ("cvtl", "ok")


def test_the_table_says_the_same(command: Command, glow: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = [" ".join(line.split()) for line in command("plugins").out.splitlines()]
    assert "name task version distribution state about" in lines
    assert "glow detect 2.0 cvtl-glow ok says how much a picture glows" in lines


def test_the_table_fits_the_terminal(command: Command, broken: Path) -> None:
    said = command("plugins")
    assert max(map(len, said.out.splitlines())) <= 80
    assert "…" not in said.out


def test_broken_plugins_are_listed_with_their_reasons(command: Command, broken: Path) -> None:
    found = states(command)
    reason = "plugin 'broken' of 'cvtl-broken' cannot be imported: RuntimeError: no [red] licence"
    assert found["broken"] == ("broken", reason)
    assert found["twin"] == ("broken", "two plugins are called 'twin': they come from 'cvtl-castor' and 'cvtl-pollux'")
    assert found["glow"][0] == found["windows"][0] == "ok"


def test_a_reason_is_never_markup(command: Command, broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert "no [red] licence" in command("plugins").out


def test_a_disabled_plugin_is_listed_as_such_and_not_to_be_had(
    command: Command, broken: Path, crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CVTL_DISABLE_PLUGINS", "broken,glow")
    plugins.cache_clear()
    found = states(command)
    assert found["broken"] == found["glow"] == ("disabled", "listed in CVTL_DISABLE_PLUGINS")
    said = command("train", "glow", crops)
    assert said.code == 2
    assert said.err == "cvtl: plugin 'glow' is disabled. Take it out of CVTL_DISABLE_PLUGINS.\n"
    said = command("run", "detect", crops, "--weights", broken)
    assert said.code == 1
    assert "cannot be used: plugin 'glow' is disabled. Take it out of CVTL_DISABLE_PLUGINS." in said.err


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "plugins",
        "run --help",
        "train --help",
        "run detect --weights GLOW --help",
        "run detect crops --weights GLOW --quiet",
        "train glow --help",
        "train glow crops --epochs 1 --workers 0 --quiet",
        "train windows --help",
        "info GLOW",
        "backbones resnet18",
    ],
)
def test_broken_plugins_break_nothing_else(command: Command, broken: Path, crops: Path, words: str) -> None:
    said = command(*words.replace("GLOW", str(broken)).split())
    assert (said.code, said.err) == (0, "")


def test_help_lists_only_plugins_that_can_be_used(command: Command, broken: Path) -> None:
    said = command("train", "--help").out
    assert "\n  glow " in said
    assert "\n  broken " not in said
    assert "\n  twin " not in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("broken", "cannot be imported: RuntimeError: no [red] licence. Repair or uninstall it; CVTL_DISABLE_PLUGINS="),
        ("twin", "two plugins are called 'twin': they come from 'cvtl-castor' and 'cvtl-pollux'. Uninstall one of"),
        ("hollow", "model 'cvtl_hollow_model:Model' cannot be imported: ModuleNotFoundError: No module named 'a_mod"),
    ],
)
def test_a_broken_plugin_says_why_when_it_is_asked_for(
    command: Command, broken: Path, crops: Path, name: str, message: str
) -> None:
    said = command("train", name, crops)
    assert (said.code, said.out) == (1, "")
    assert message in said.err


def test_the_doctor_reports_broken_plugins_and_those_whose_model_is_broken(command: Command, broken: Path) -> None:
    said = command("doctor", "--json")
    assert said.code == 1
    found = {each["subject"]: (each["state"], each["text"]) for each in json.loads(said.out)}
    assert found["plugin glow"] == ("ok", "cvtl-glow 2.0")
    assert found["plugin windows"][0] == "ok"
    assert found["plugin broken"][0] == found["plugin twin"][0] == found["plugin hollow"][0] == "problem"
    assert "no [red] licence" in found["plugin broken"][1]
    assert "'cvtl-castor' and 'cvtl-pollux'" in found["plugin twin"][1]
    assert "No module named 'a_module_that_is_not_there'" in found["plugin hollow"][1]


def test_a_plugin_whose_options_clash_with_the_commands_own_is_refused(
    command: Command, glow: Path, crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cvtl.options import Options
    from cvtl.registry import PluginSpec

    class Clashing(Options):
        epochs: int = 3
        data: str = ""
        gain: float = 1.0

    monkeypatch.setattr(PluginSpec, "options_type", lambda self: Clashing)
    said = command("train", "glow", crops)
    assert said.code == 1
    assert "cvtl: plugin 'glow' has options that `cvtl train` has itself: data, epochs. Its author" in said.err
