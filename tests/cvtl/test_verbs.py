"""Verbs that packages add to the command."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.metadata import EntryPoint
from subprocess import CompletedProcess

import pytest

from cvtl.cli.main import VERBS
from cvtl.errors import PluginError
from cvtl.registry import Registry
from cvtl.verbs import VerbSpec, verbs


def spec(**changes: str) -> VerbSpec:
    return VerbSpec(**{"name": "echo", "summary": "say it again", "main": "builtins:len"} | changes)


def test_the_verb_data_is_found_through_its_entry_point() -> None:
    assert "data" in verbs().names()
    assert verbs().get("data").main.startswith("cvtl_datasets.")


def test_a_verb_gets_the_words_behind_it_and_gives_the_exit_code() -> None:
    assert spec().function()(["a", "b"]) == 2


@pytest.mark.parametrize("name", ["", "Data", "da ta", "-data", "1data"])
def test_a_verb_needs_a_name_that_can_be_typed(name: str) -> None:
    with pytest.raises(PluginError, match="name must be"):
        spec(name=name)


def test_a_verb_needs_a_reference_to_its_code() -> None:
    with pytest.raises(PluginError, match="main must be 'module:function'"):
        spec(main="nowhere")


@pytest.mark.parametrize("main", ["no_such_module:main", "math:no_such_function"])
def test_a_verb_whose_code_is_not_there_says_so_when_it_is_used(main: str) -> None:
    with pytest.raises(PluginError, match=f"verb 'echo': '{main}' cannot be imported"):
        spec(main=main).function()


def test_listing_verbs_does_not_import_their_code() -> None:
    points = [EntryPoint("data", "cvtl_datasets.verb:data", "cvtl.verbs")]
    (found,) = Registry("cvtl.verbs", VerbSpec, "verb", points=points).usable()
    assert found.name == "data"


def test_help_lists_the_verbs_of_packages_behind_the_built_in_ones(cvtl: Callable[..., CompletedProcess[str]]) -> None:
    listed = re.findall(r"^  ([a-z]+) {2,}", cvtl("--help").stdout, re.MULTILINE)
    assert listed == [*VERBS, *verbs().names()]


def test_an_unknown_verb_is_told_the_known_ones(cvtl: Callable[..., CompletedProcess[str]]) -> None:
    done = cvtl("dta")
    assert done.returncode == 2
    assert "run, merge, train" in done.stderr
    assert "data" in done.stderr
    assert "Traceback" not in done.stderr
