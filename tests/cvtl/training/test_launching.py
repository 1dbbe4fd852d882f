"""Starting the processes of a training, and ending them: with processes that import next to nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import cvtl
from cvtl.errors import ExitCode, Interrupted, TrainingError, UsageError
from cvtl.training import TrainSettings
from cvtl.training.launching import (
    LOST_CODE,
    OUR_LAUNCH,
    Place,
    has_to_launch,
    launch,
    leads,
    own_place,
)

REAL = Path(cvtl.__file__).parents[1]
PATIENCE = 30

# What `python -m cvtl WORDS` does in these tests: each word is for one process.
PROCESS = """
import os, signal, sys, time
number = int(os.environ["RANK"])
open(f"{os.environ['READY']}/{number}", "w").write(str(os.getpid()))
word = sys.argv[1 + number]
if word == "fail":
    sys.exit(f"process {number} says why")
if word == "follow":
    sys.path.insert(0, os.environ["REAL"])
    del sys.modules["cvtl"]
    from cvtl.training.launching import follow_launcher
    follow_launcher()
    open(f"{os.environ['READY']}/{number}", "w").write(str(os.getpid()))
if word == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if word in ("wait", "deaf", "follow"):
    time.sleep(600)
if word == "end on SIGTERM":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    open(f"{os.environ['READY']}/{number}", "w").write("ready")
    time.sleep(600)
if word == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
if word == "environment":
    print({name: os.environ[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")}, flush=True)
    print("of no concern", file=sys.stderr)
    word = "0"
sys.exit(int(word))
"""


@pytest.fixture
def ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where the processes say that they are there."""
    package = tmp_path / "site" / "cvtl"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(PROCESS)
    folder = tmp_path / "ready"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", str(package.parent))
    monkeypatch.setenv("READY", str(folder))
    monkeypatch.setenv("REAL", str(REAL))
    # Else `-m` looks in the checkout first.
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtl.training.launching._SECONDS_TO_FOLLOW", 0.2)
    monkeypatch.setattr("cvtl.training.launching._SECONDS_TO_END", 0.2)


def wait_for(there: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not there():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # What nobody has waited for is there, but ended.
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_all_well_is_zero_and_the_first_process_speaks(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(["environment", "environment"], 2) == 0
    out, err = capfd.readouterr()
    assert out == str({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}) + "\n"
    assert err == "of no concern\n"


def test_the_first_ones_failure_is_said_once(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch(["fail", "fail"], 2) == 1
    assert capfd.readouterr().err == "process 0 says why\n"


def test_anothers_failure_is_said_for_it(ready: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert launch([str(LOST_CODE), "fail", str(LOST_CODE)], 3) == 1
    assert capfd.readouterr().err == "process 1 says why\n"


def test_its_code_is_that_of_the_command(ready: Path) -> None:
    assert launch([str(LOST_CODE), "2"], 2) == 2


@pytest.mark.parametrize("other", ["wait", "deaf"])
def test_who_does_not_follow_a_failure_is_ended(ready: Path, impatient: None, other: str) -> None:
    assert launch([other, "fail"], 2) == 1
    assert not is_running(int((ready / "0").read_text()))


def test_a_killed_process_is_told_of(ready: Path) -> None:
    with pytest.raises(TrainingError, match=r"process 1 .* by signal 9.*--resume"):
        launch([str(LOST_CODE), "killed"], 2)


def test_processes_that_lost_one_another_are_told_of(ready: Path) -> None:
    with pytest.raises(TrainingError, match="lost one another"):
        launch([str(LOST_CODE), str(LOST_CODE)], 2)


def send_when_ready(folder: Path, number: int) -> None:
    def send() -> None:
        wait_for(lambda: all((folder / name).exists() and (folder / name).read_text() for name in "01"))
        time.sleep(0.1)
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


def test_a_signal_is_handed_on(ready: Path) -> None:
    send_when_ready(ready, signal.SIGTERM)
    assert launch(["end on SIGTERM", "end on SIGTERM"], 2) == ExitCode.TERMINATED


def test_who_is_deaf_to_a_signal_is_killed(ready: Path, impatient: None) -> None:
    send_when_ready(ready, signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        launch(["deaf", "wait"], 2)
    assert caught.value.exit_code == ExitCode.INTERRUPTED
    assert not is_running(int((ready / "0").read_text()))


@pytest.mark.skipif(not Path("/proc").exists(), reason="processes are looked for in /proc")
def test_nothing_is_left_of_a_launcher_that_is_killed(ready: Path) -> None:
    code = f"""
        import os, sys
        sys.path.insert(0, {str(REAL)!r})
        from cvtl.training.launching import launch
        launch(["follow", "follow"], 2)
    """
    launcher = subprocess.Popen([sys.executable, "-P", "-c", textwrap.dedent(code)])
    wait_for(lambda: all((ready / name).exists() and (ready / name).read_text() for name in "01"))
    time.sleep(0.5)
    launcher.kill()
    launcher.wait()
    pids = [int((ready / name).read_text()) for name in "01"]
    wait_for(lambda: not any(map(is_running, pids)))


def set_place(patch: pytest.MonkeyPatch, process: int, processes: int, local: int, locally: int) -> None:
    values = {"RANK": process, "WORLD_SIZE": processes, "LOCAL_RANK": local, "LOCAL_WORLD_SIZE": locally}
    for name, value in values.items():
        patch.setenv(name, str(value))


def test_a_process_of_a_training_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    set_place(monkeypatch, 3, 4, 1, 2)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert own_place(TrainSettings(devices=2, num_nodes=2)) == Place(3, 4, 1)
    assert not leads()


def test_a_batch_queues_variables_are_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    set_place(monkeypatch, 3, 4, 1, 2)
    assert own_place(TrainSettings()) == Place()
    assert leads()
    assert has_to_launch(TrainSettings(devices=2))


@pytest.mark.parametrize("settings", [{}, {"devices": 4}, {"devices": 2}, {"num_nodes": 4}])
def test_processes_that_the_settings_do_not_ask_for_are_refused(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, int]
) -> None:
    set_place(monkeypatch, 0, 4, 0, 2)
    monkeypatch.setenv(OUR_LAUNCH, "1")
    with pytest.raises(UsageError, match=r"4 processes were started, 2 on this machine.*--nnodes"):
        own_place(TrainSettings(**settings))


def test_several_machines_need_torchrun() -> None:
    assert not has_to_launch(TrainSettings(devices=2, num_nodes=2))
    with pytest.raises(UsageError, match=r"2 machines with --devices 2 .*`torchrun --nnodes 2 --node-rank N"):
        own_place(TrainSettings(devices=2, num_nodes=2))
