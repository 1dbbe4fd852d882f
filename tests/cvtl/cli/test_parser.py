"""How words and configuration files become options, for any verb."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import Field

from cvtl.cli.parser import VerbParser, peek, values_of
from cvtl.errors import UsageError
from cvtl.options import Options


class Inner(Options):
    """Options inside options."""

    mode: Literal["fast", "exact"] = Field("fast", description="50% of the time is spent in `exact`")
    scales: tuple[float, ...] = Field((1.0,), min_length=1, description="sizes")


class Outer(Options):
    """What a plugin's options may look like."""

    batch_size: int = Field(8, ge=1, description="how many")
    limit: int | None = Field(None, ge=0, description="how many at most")
    name: str | None = Field(None, description="what it is called")
    names: tuple[str, ...] = Field((), description="what they are called")
    flip: bool = Field(False, description="mirror it")
    shuffle: bool = Field(True, description="mix it")
    inner: Inner = Field(default_factory=Inner, description="inner ones")


@pytest.fixture
def parser() -> VerbParser:
    parser = VerbParser("try", "Tries.", [("cvtl try", "an example")], operands="[FILES ...]", config=True)
    parser.add_operand("files", many=True, help="files")
    parser.add_flag("quiet", help="no noise")
    parser.add_fields(Outer, "how to try")
    return parser


DEFAULTS: dict[str, Any] = {
    "files": [],
    "quiet": False,
    "batch_size": 8,
    "limit": None,
    "name": None,
    "names": [],
    "flip": False,
    "shuffle": True,
    "inner": {"mode": "fast", "scales": [1.0]},
}


def parse(parser: VerbParser, *words: str) -> dict[str, Any]:
    return {name: value for name, value in parser.parse(words).items() if name != "config"}


def test_what_is_not_said_has_its_default(parser: VerbParser) -> None:
    assert parse(parser) == DEFAULTS


@pytest.mark.parametrize(
    ("words", "change"),
    [
        (["--batch-size", "3"], {"batch_size": 3}),
        (["--batch_size", "3"], {"batch_size": 3}),
        (["--batch-size=3"], {"batch_size": 3}),
        (["--batch_size=3"], {"batch_size": 3}),
        (["--batch-size", "3", "--batch_size", "4"], {"batch_size": 4}),
        (["--flip"], {"flip": True}),
        (["--flip=true"], {"flip": True}),
        (["--flip=false"], {"flip": False}),
        (["--flip", "--flip=false"], {"flip": False}),
        (["--shuffle=false"], {"shuffle": False}),
        (["--flip", "a.png"], {"flip": True, "files": ["a.png"]}),
        (["a.png", "--flip", "b.png"], {"flip": True, "files": ["a.png", "b.png"]}),
        (["--quiet", "-"], {"quiet": True, "files": ["-"]}),
        (["--", "--quiet", "-x.png"], {"files": ["--quiet", "-x.png"]}),
        (["--limit", "0"], {"limit": 0}),
        (["--limit", "5", "--limit", "null"], {"limit": None}),
        (["--name", "null"], {"name": None}),
        (["--name", "a = b, [c]"], {"name": "a = b, [c]"}),
        (["--name=a=b"], {"name": "a=b"}),
        (["--name", "-"], {"name": "-"}),
        (["--name", "1e3"], {"name": "1e3"}),
        (["--names", "*.png,x.jpg"], {"names": ["*.png", "x.jpg"]}),
        (["--names", "*.png", "--names=x.jpg"], {"names": ["*.png", "x.jpg"]}),
        (["--names", "[ab]*.[jp]"], {"names": ["[ab]*.[jp]"]}),
        (["--names="], {"names": []}),
        (["--inner.mode", "exact"], {"inner": {"mode": "exact", "scales": [1.0]}}),
        (["--inner.scales", "1,2.5"], {"inner": {"mode": "fast", "scales": [1.0, 2.5]}}),
        (["--inner.scales", "[1, 2.5]"], {"inner": {"mode": "fast", "scales": [1.0, 2.5]}}),
        (["{x}", "[a]", "null", "1.5", "true"], {"files": ["{x}", "[a]", "null", "1.5", "true"]}),
    ],
)
def test_words_become_values(parser: VerbParser, words: list[str], change: dict[str, Any]) -> None:
    assert parse(parser, *words) == DEFAULTS | change


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-size", "0"], "--batch-size must be greater than or equal to 1, not '0'"),
        (["--batch-size", "many"], "--batch-size must be a valid integer, not 'many'"),
        (["--batch-size", "2.5"], "--batch-size must be a valid integer, not '2.5'"),
        (["--limit", "-1"], "--limit must be greater than or equal to 0, not '-1'"),
        (["--flip=maybe"], "--flip must be a valid boolean, not 'maybe'"),
        (["--inner.mode", "slow"], "--inner.mode must be 'fast' or 'exact', not 'slow'"),
        (["--inner.scales", "1,x"], "--inner.scales must be a valid number, not 'x'"),
        (["--inner.scales="], "--inner.scales: Tuple should have at least 1 item"),
        (["--batchsize", "3"], "there is no option --batchsize. Similar is --batch-size;"),
        (["--batch", "3"], "there is no option --batch. Similar is --batch-size;"),
        (["--frobnicate"], "there is no option --frobnicate. `cvtl try --help` lists the options"),
        (["-x"], "there is no option -x"),
        (["--files", "a"], "there is no option --files"),
        (["--inner", "a"], "there is no option --inner"),
        (["--batch-size"], "--batch-size needs a value"),
        (["--name", "--quiet"], "--name needs a value"),
    ],
)
def test_words_that_do_not_fit_are_named(parser: VerbParser, words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse(parser, *words)
    assert message in str(raised.value)


def test_a_word_too_many_is_named() -> None:
    parser = VerbParser("try", "Tries.", [("cvtl try", "an example")])
    with pytest.raises(UsageError, match=r"'a\.png' is one word too many"):
        parser.parse(["a.png"])


def test_an_operand_that_was_not_given_is_none() -> None:
    parser = VerbParser("try", "Tries.", [("cvtl try", "an example")])
    parser.add_operand("name", help="a name")
    assert parser.parse([])["name"] is None
    assert parser.parse(["x"])["name"] == "x"


def test_a_required_field_that_nobody_set_is_left_out() -> None:
    class Strict(Options):
        size: int = Field(description="how large")

    parser = VerbParser("try", "Tries.", [("cvtl try", "an example")])
    parser.add_fields(Strict, "how to try")
    assert values_of(Strict, parser.parse([])) == {}
    assert values_of(Strict, parser.parse(["--size", "3"])) == {"size": 3}


def write(path: Path, content: str) -> str:
    path.write_text(content)
    return str(path)


def test_a_configuration_file_sets_options(parser: VerbParser, tmp_path: Path) -> None:
    content = "batch_size: 3\nfiles: [a.png]\nquiet: true\ninner:\n  scales: [2, 3]\n"
    config = write(tmp_path / "c.yaml", content)
    change = {"batch_size": 3, "files": ["a.png"], "quiet": True, "inner": {"mode": "fast", "scales": [2.0, 3.0]}}
    assert parse(parser, "--config", config) == DEFAULTS | change


@pytest.mark.parametrize("first", [True, False])
def test_the_command_line_overrides_the_configuration_wherever_it_stands(
    parser: VerbParser, tmp_path: Path, first: bool
) -> None:
    config = write(tmp_path / "c.yaml", "batch_size: 3\nflip: true\nfiles: [a.png]\nnames: [x]\nlimit: 4\n")
    words = ["--batch-size", "5", "--flip=false", "b.png", "--names", "y", "--limit=null"]
    both = ["--config", config, *words] if first else [*words, "--config", config]
    change = {"batch_size": 5, "flip": False, "files": ["b.png"], "names": ["y"], "limit": None}
    assert parse(parser, *both) == DEFAULTS | change


def test_one_operand_in_a_configuration_file_needs_no_list(parser: VerbParser, tmp_path: Path) -> None:
    config = write(tmp_path / "c.yaml", "files: a.png\n")
    assert parse(parser, "--config", config) == DEFAULTS | {"files": ["a.png"]}


def test_printed_configuration_is_yaml_that_gives_the_same_options(
    parser: VerbParser, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["a.png", "--names", "null,true,*.png", "--name", "1e3", "--inner.scales", "2", "--flip", "--limit", "0"]
    with pytest.raises(SystemExit) as left:
        parser.parse([*words, "--print-config"])
    assert left.value.code == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed)["names"] == ["null", "true", "*.png"]
    assert parse(parser, "--config", write(tmp_path / "c.yaml", printed)) == parse(parser, *words)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("batchsize: 3", "configuration file 'PATH': there is no option --batchsize. Similar is --batch-size"),
        ("inner:\n  mod: fast", "configuration file 'PATH': there is no option --inner.mod. Similar is --inner.mode"),
        ("print_config: true", "configuration file 'PATH': there is no option --print-config"),
        ("inner: fast", "configuration file 'PATH': there is no option --inner"),
        ("batch_size: many", "configuration file 'PATH': --batch-size must be a valid integer, not 'many'"),
        ("limit: -1", "configuration file 'PATH': --limit must be greater than or equal to 0, not -1"),
        ("names: 5", "configuration file 'PATH': --names must be a valid tuple, not 5"),
        ("inner:\n  mode: slow", "configuration file 'PATH': --inner.mode must be 'fast' or 'exact', not 'slow'"),
        ("batch_size: [", "the configuration file 'PATH' is not YAML: line 1, column 14: expected"),
        ("a: b: c", "the configuration file 'PATH' is not YAML: line 1, column 5: mapping values are not allowed"),
        ("- a\n- b", "the configuration file 'PATH' does not hold options. Write lines like 'batch_size: 4'"),
        ("hello", "the configuration file 'PATH' does not hold options"),
        ("", "the configuration file 'PATH' does not hold options"),
        ("5: 6", "the configuration file 'PATH' does not hold options"),
        ("config: other.yaml", "configuration file 'PATH': there is no option --config"),
        ("!!python/object/apply:os.system ['true']", "the configuration file 'PATH' is not YAML: line 1, column 1"),
    ],
)
def test_a_configuration_file_that_does_not_fit_says_where(
    parser: VerbParser, tmp_path: Path, content: str, message: str
) -> None:
    config = write(tmp_path / "c.yaml", content)
    with pytest.raises(UsageError) as raised:
        parse(parser, "--config", config)
    assert message.replace("PATH", config) in str(raised.value)


@pytest.mark.parametrize(
    ("name", "reason"), [("missing.yaml", "No such file"), ("folder", "Is a directory"), ("binary", "no text in UTF-8")]
)
def test_a_configuration_file_that_cannot_be_read_is_named(
    parser: VerbParser, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError) as raised:
        parse(parser, "--config", str(tmp_path / name))
    assert f"cannot read the configuration file '{tmp_path / name}': " in str(raised.value)
    assert reason in str(raised.value)


def test_a_verb_without_configuration_files_has_no_such_option() -> None:
    parser = VerbParser("try", "Tries.", [("cvtl try", "an example")])
    with pytest.raises(UsageError, match="there is no option --config"):
        parser.parse(["--config", "c.yaml"])


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ([], None),
        (["--weights"], None),
        (["--weights", "a"], "a"),
        (["--weights=a", "--weights", "b"], "b"),
        (["--weights", "a", "--weights=b"], "b"),
        (["--config", "CONFIG"], "c"),
        (["--weights", "a", "--config=CONFIG"], "a"),
    ],
)
def test_peeking_finds_what_the_option_will_be(tmp_path: Path, words: list[str], found: str | None) -> None:
    config = write(tmp_path / "c.yaml", "weights: c\n")
    assert peek([word.replace("CONFIG", config) for word in words], "weights") == found


def test_help_shows_names_kinds_and_defaults(parser: VerbParser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = [" ".join(line.split()) for line in parser.format_help().splitlines()]
    assert "--batch-size N how many (default: 8)" in lines
    assert "--limit N how many at most" in lines
    assert "--names TEXT,... what they are called" in lines
    assert "--flip mirror it" in lines
    assert "--shuffle=false mix it" in lines
    assert "--inner.scales X,... sizes (default: 1.0)" in lines
    assert "50% of the time is spent in `exact` (default: fast)" in lines
    assert "inner ones:" in lines


def test_it_tells_which_options_were_said(parser: VerbParser, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("limit: 3\n")
    parser.parse(["--batch-size", "8", "--config", str(tmp_path / "c.yaml"), "--flip"])
    assert {"batch_size", "limit", "flip"} <= parser.said
    assert "name" not in parser.said


@pytest.mark.parametrize(("words", "limit"), [([], 16), (["--limit", "3"], 3), (["--batch-size", "5"], 10)])
def test_defaults_may_depend_on_other_options(parser: VerbParser, words: list[str], limit: int) -> None:
    found = parser.parse(words, lambda options: {"limit": 2 * options["batch_size"]})
    assert found["limit"] == limit
