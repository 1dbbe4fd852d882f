"""The registry with real distributions, built and installed into a temporary folder, seen by a child process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from cvtl.errors import PluginError
from cvtl.registry import PLUGINS_GROUP, PluginSpec, Registry

OPTIONS = """
from pydantic import BaseModel, ConfigDict
class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")
    points: int = 5
class Lax(BaseModel):
    points: int = 5
class NoModel:
    points = 5
"""
MODEL = """
from cvtl.model import Model
class PoseModel(Model):
    plugin = "pose"
class NoModel:
    pass
"""
SPEC = """
from cvtl.registry import PluginSpec
plugin = PluginSpec(
    name={name!r}, task={task!r}, summary="a test", options={options!r}, model="cvtl_pose.model:PoseModel"
)
"""


def spec(name: str, task: str = "landmarks", options: str = "cvtl_pose.options:Strict") -> str:
    return SPEC.format(name=name, task=task, options=options)


# Entry point to module source, and the reason it is broken.
BROKEN = {
    "raises": ("raise RuntimeError('no licence key')", "RuntimeError: no licence key"),
    "leaves": ("raise SystemExit('bye')", "SystemExit: bye"),
    "nothing": ("", "has no attribute 'plugin'"),
    "wrong_type": ("plugin = {'name': 'wrong_type'}", "is not a PluginSpec but dict"),
    "wrong_name": (spec("other"), "its spec says 'other', its entry point says 'wrong_name'"),
    "wrong_task": (spec("wrong_task", task="segment"), "task must be one of classify, localize, detect"),
    "no_options": (
        spec("no_options", options="cvtl_pose.options:Missing"),
        "options 'cvtl_pose.options:Missing' cannot",
    ),
    "lax": (spec("lax", options="cvtl_pose.options:Lax"), "must be declared extra='forbid'"),
    "no_model": (spec("no_model", options="cvtl_pose.options:NoModel"), "is not a pydantic model"),
}


InstallPlugins = Callable[[Mapping[str, tuple[Mapping[str, str], Mapping[str, str]]]], Path]


@pytest.fixture(scope="module")
def installed(install_plugins: InstallPlugins) -> Path:
    """A folder with four installed distributions: a good one, one of broken plugins, and two that share a name."""
    pose = {"cvtl_pose/__init__": spec("pose"), "cvtl_pose/options": OPTIONS, "cvtl_pose/model": MODEL}
    broken = {f"broken_{name}": source for name, (source, _) in BROKEN.items()}
    return install_plugins(
        {
            "cvtl-pose": (pose, {"pose": "cvtl_pose:plugin"}),
            "cvtl-broken": (broken, {name: f"broken_{name}:plugin" for name in BROKEN}),
            "cvtl-castor": ({"cvtl_castor": spec("twin")}, {"twin": "cvtl_castor:plugin"}),
            "cvtl-pollux": ({"cvtl_pollux": spec("twin")}, {"twin": "cvtl_pollux:plugin"}),
        }
    )


Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(installed: Path) -> Ask:
    """Run code in a Python that sees the distributions; it calls `say` with what it found."""

    def run(code: str, *, disabled: str = "") -> Any:
        environment = os.environ | {"PYTHONPATH": str(installed), "CVTL_DISABLE_PLUGINS": disabled}
        program = (
            f"import json, sys\ndef say(x): print('\\n' + json.dumps(x))\nfrom cvtl.registry import plugins\n{code}"
        )
        child = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert child.returncode == 0, child.stderr
        return json.loads(child.stdout.splitlines()[-1])

    return run


@pytest.fixture(scope="module")
def listings(ask: Ask) -> dict[str, dict[str, str]]:
    code = "say({x.name: [x.state, x.distribution, x.version, x.reason] for x in plugins().listings()})"
    keys = ("state", "distribution", "version", "reason")
    return {name: dict(zip(keys, values, strict=True)) for name, values in ask(code).items()}


def test_a_third_partys_plugin_is_listed_like_a_built_in_one(listings: dict[str, dict[str, str]]) -> None:
    assert listings["pose"] == {"state": "ok", "distribution": "cvtl-pose", "version": "1.2", "reason": ""}


def test_a_third_partys_plugin_gives_its_options_and_its_model(ask: Ask) -> None:
    code = "spec = plugins().get('pose'); say([spec.options_type().__name__, spec.model_type().__name__, spec.task])"
    assert ask(code) == ["Strict", "PoseModel", "landmarks"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plugin_is_listed_with_its_reason(listings: dict[str, dict[str, str]], name: str) -> None:
    assert listings[name]["state"] == "broken"
    assert listings[name]["distribution"] == "cvtl-broken"
    assert BROKEN[name][1] in listings[name]["reason"]


def test_a_broken_plugin_raises_only_when_it_is_asked_for(ask: Ask) -> None:
    code = """
from cvtl.errors import PluginError
plugins().get('pose')
try:
    plugins().get('raises')
except PluginError as error:
    say(str(error))
"""
    message = ask(code)
    assert "plugin 'raises' of 'cvtl-broken' cannot be imported: RuntimeError: no licence key" in message
    assert "CVTL_DISABLE_PLUGINS=raises" in message


def test_broken_plugins_are_passed_over_where_all_usable_ones_are_wanted(ask: Ask) -> None:
    usable = ask("say([spec.name for spec in plugins().usable()])")
    assert "pose" in usable
    assert not {*BROKEN, "twin"} & set(usable)


def test_two_distributions_with_one_name_are_both_named(ask: Ask, listings: dict[str, dict[str, str]]) -> None:
    assert listings["twin"]["state"] == "broken"
    assert listings["twin"]["distribution"] == "cvtl-castor and cvtl-pollux"
    code = """
from cvtl.errors import PluginError
try:
    plugins().get('twin')
except PluginError as error:
    say(str(error))
"""
    expected = "two plugins are called 'twin': they come from 'cvtl-castor' and 'cvtl-pollux'. Uninstall one of them."
    assert ask(code) == expected


def test_an_unknown_name_raises_and_lists_the_known_ones(ask: Ask) -> None:
    code = """
from cvtl.errors import PluginError
try:
    plugins().get('poise')
except PluginError as error:
    say(str(error))
"""
    message = ask(code)
    assert message.startswith("there is no plugin 'poise'. Installed are: ")
    assert {"pose", "twin"} <= set(message.rstrip(".").partition("are: ")[2].split(", "))


def test_names_import_no_plugin(ask: Ask) -> None:
    code = "names = plugins().names(); say([names, [m for m in sys.modules if m.startswith(('cvtl_', 'broken_'))]])"
    names, imported = ask(code)
    assert {"pose", "twin", *BROKEN} <= set(names)
    assert imported == []


def test_using_one_plugin_imports_no_other(ask: Ask) -> None:
    code = "plugins().get('pose'); say(sorted(m for m in sys.modules if m.startswith(('cvtl_', 'broken_'))))"
    assert ask(code) == ["cvtl_pose", "cvtl_pose.options"]


def test_listing_imports_no_torch(ask: Ask) -> None:
    heavy = "torch", "torchvision", "cv2", "lightning", "timm", "matplotlib"
    assert ask(f"plugins().listings(); say([name for name in {heavy} if name in sys.modules])") == []


def test_disabled_plugins_are_listed_as_such_and_not_imported(ask: Ask) -> None:
    code = """
from cvtl.errors import PluginError
states = {x.name: [x.state, x.reason] for x in plugins().listings()}
try:
    plugins().get('pose')
except PluginError as error:
    say([states, plugins().names(), str(error), 'broken_raises' in sys.modules or 'cvtl_pose' in sys.modules])
"""
    # Without the broken ones too: their options are imported from cvtl_pose.
    states, names, message, imported = ask(code, disabled=", ".join(["pose", *BROKEN]))
    assert states["pose"] == states["raises"] == ["disabled", "listed in CVTL_DISABLE_PLUGINS"]
    assert states["twin"][0] == "broken"
    assert "pose" not in names
    assert message == "plugin 'pose' is disabled. Take it out of CVTL_DISABLE_PLUGINS."
    assert not imported


# Without distributions: what needs no installation.


def registry(*points: tuple[str, str], disabled: tuple[str, ...] = ()) -> Registry[PluginSpec]:
    found = [EntryPoint(name, value, PLUGINS_GROUP) for name, value in points]
    return Registry(PLUGINS_GROUP, PluginSpec, "plugin", points=found, disabled=disabled)


def test_a_distribution_that_is_on_the_path_twice_counts_once() -> None:
    assert registry(("a", "m:x"), ("a", "m:x")).listings()[0].reason.count("unknown distribution") == 1


def test_a_distribution_uninstalled_halfway_breaks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rest = tmp_path / "cvtl_half-1.0.dist-info"
    rest.mkdir()
    (rest / "entry_points.txt").write_text("[cvtl.plugins]\nhalf = cvtl_half:plugin\n")
    monkeypatch.syspath_prepend(tmp_path)
    (half,) = (x for x in Registry(PLUGINS_GROUP, PluginSpec, "plugin").listings() if x.name == "half")
    assert (half.state, half.distribution, half.version) == ("broken", "(unknown distribution)", "")


def test_an_empty_registry_says_that_it_knows_none() -> None:
    with pytest.raises(PluginError, match=r"there is no plugin 'x'. Installed are: \(none\)"):
        registry().get("x")


def test_names_come_sorted() -> None:
    assert registry(("b", "m:x"), ("a", "m:x"), ("c", "m:x"), disabled=("a",)).names() == ["b", "c"]


GOOD: dict[str, Any] = {"name": "pose", "task": "landmarks", "summary": "points", "options": "m:O", "model": "m:M"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "Pose"}, "plugin 'Pose': name must be lower-case"),
        ({"name": ""}, "plugin '': name must be lower-case"),
        ({"name": None}, "plugin None: name must be lower-case"),
        ({"task": "segment"}, "task must be one of classify, localize, detect, landmarks, style, not 'segment'"),
        ({"summary": " "}, "summary must be a line of text"),
        ({"options": "m.O"}, "options must be 'module:attribute', not 'm.O'"),
        ({"model": None}, "model must be 'module:attribute', not None"),
    ],
)
def test_a_wrong_spec_is_refused_when_it_is_made(change: dict[str, Any], message: str) -> None:
    with pytest.raises(PluginError) as raised:
        PluginSpec(**GOOD | change)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("pathlib:Path", "model 'pathlib:Path' is not a subclass of cvtl.model.Model"),
        ("pathlib:Missing", "model 'pathlib:Missing' cannot be imported: AttributeError"),
    ],
)
def test_a_model_that_is_none_is_refused_when_it_is_needed(model: str, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        PluginSpec(**GOOD | {"model": model}).model_type()
