"""Where a server may listen, and what `cvtl serve` says before it begins."""

from __future__ import annotations

import pytest

from cvtl.cli import serve
from cvtl.cli.main import main
from cvtl.errors import OptionsError, UsageError
from cvtl.options import make_options
from cvtl.serving.settings import AUTH_VARIABLE, ServeSettings


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_this_machine_needs_no_password(host: str) -> None:
    ServeSettings(host=host).check_exposure()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org", ""])
def test_other_machines_need_a_password_or_to_be_let_in_in_so_many_words(host: str) -> None:
    with pytest.raises(UsageError, match=r"without a password.*--open-to-everyone"):
        ServeSettings(host=host).check_exposure()
    ServeSettings(host=host, auth="me:secret").check_exposure()
    ServeSettings(host=host, open_to_everyone=True).check_exposure()


@pytest.mark.parametrize("auth", ["secret", "me:", ":secret", ""])
def test_what_is_no_user_and_password_is_refused_without_being_shown(auth: str) -> None:
    with pytest.raises(OptionsError) as refused:
        make_options(ServeSettings, {"auth": auth})
    assert "user:password" in str(refused.value)
    assert not auth or auth not in str(refused.value).replace("user:password", "")


@pytest.mark.parametrize("words", [["serve", "--host", "0.0.0.0"], ["serve", "detect", "--host=0.0.0.0"]])
def test_the_command_refuses_to_listen_beyond_this_machine_without_a_password(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(AUTH_VARIABLE, raising=False)
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(
        "cvtl: other machines could use the server at 0.0.0.0 without a password. Set CVTL_SERVE_AUTH=user:password"
    )


def test_the_password_may_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(AUTH_VARIABLE, "me:secret")
    monkeypatch.setattr(serve, "find_spec", lambda name: object())
    options = serve._parser(None).parse(["--host", "0.0.0.0"])
    assert serve._settings(options).auth == "me:secret"


def test_without_the_extra_the_command_says_how_to_get_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "find_spec", lambda name: None if name == "gradio" else object())
    assert main(["serve"]) == 2
    assert capsys.readouterr().err == (
        "cvtl: `cvtl serve` needs packages that are not installed: gradio. "
        "Install them with: pip install 'cvtl[web]'.\n"
    )


def test_a_task_without_built_in_weights_needs_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "landmarks"]) == 2
    assert "no installed plugin has built-in weights for the task 'landmarks'" in capsys.readouterr().err


def test_help_shows_the_options_of_whoever_makes_a_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "style", "--help"]) == 0
    said = capsys.readouterr().out
    assert "--style" in said
    assert "--open-to-everyone" in said
