"""What importing and using ultralytics leaves behind: nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from cvtl.errors import PluginError
from cvtl_ultralytics import isolation

# Runs by itself: what the process is like before and after, and what it tried to do that nobody asked for.
_SCRIPT = """
import json, logging, os, sys, warnings
sys.path[:0] = json.loads(sys.argv[1])
import cv2, numpy, torch, torchvision
import PIL.Image
from pathlib import Path

tried = []

def watch(event, details):
    # matplotlib, in a new home, asks once which fonts there are.
    fonts = details[:1] == ("fc-list",)
    starts = event.startswith(("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork"))
    if event.startswith("socket.") or (starts and not fonts):
        tried.append(f"{event} {details!r}"[:200])

sys.addaudithook(watch)
home = set(Path.home().rglob("*"))

def state():
    return {
        "environment": dict(os.environ),
        "threads": (torch.get_num_threads(), cv2.getNumThreads()),
        "functions": [hash(f) for f in (torch.save, torch.load, PIL.Image.open, cv2.imread, cv2.imwrite, cv2.imshow)],
        "printing": (str(torch.rand(3) * 0 + 1 / 3), str(numpy.ones(3) / 3), str(vars(torch._tensor_str.PRINT_OPTS))),
        "warnings": [str(each) for each in warnings.filters],
        "logging": (logging.root.level, len(logging.root.handlers)),
        "streams": (id(sys.stdout), id(sys.stderr), id(sys.excepthook)),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "gradients": torch.is_grad_enabled(),
    }

before = state()
from made_checkpoints import TINY, make_model, train_tiny
from cvtl_ultralytics import networks
model = make_model(TINY)
assert "ultralytics.nn.tasks" in sys.modules
imported = state()
with torch.inference_mode():
    model.predict([torch.zeros(3, 50, 70, dtype=torch.uint8)])
ran = state()
train_tiny(Path(sys.argv[2]), TINY, epochs=1)
trained = state()
changed = {
    f"{name} after {when}": [before[name], later[name]]
    for when, later in (("import", imported), ("run", ran), ("training", trained))
    for name in before
    # Lightning's import adds filters and settings of its own.
    if later[name] != before[name] and not (when == "training" and name in ("warnings", "environment"))
}
new = [str(path) for path in set(Path.home().rglob("*")) - home]
print("\\n" + json.dumps({"changed": changed, "tried": tried, "new": new}, default=str))
"""


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one process that imports, runs and trains leaves behind, in a home of its own."""
    folder = tmp_path_factory.mktemp("traces")
    (folder / "home").mkdir()
    environment = os.environ | {"HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "home" / "config")}
    environment.pop("YOLO_CONFIG_DIR", None)
    paths = json.dumps([path for path in sys.path if path])
    command = [sys.executable, "-c", _SCRIPT, paths, str(folder / "run")]
    said = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout.splitlines()[-1])
    return found


def test_import_run_and_training_leave_the_process_as_it_was(traces: dict[str, Any]) -> None:
    assert traces["changed"] == {}


def test_no_connection_is_made_and_no_process_started(traces: dict[str, Any]) -> None:
    assert traces["tried"] == []


def test_no_settings_are_written_into_the_users_home(traces: dict[str, Any]) -> None:
    assert [path for path in traces["new"] if "ltralytics" in path] == []


def test_what_is_changed_inside_is_undone_when_it_fails() -> None:
    import numpy as np
    import torch

    save, printing = torch.save, np.get_printoptions()

    def disturb() -> None:
        with isolation.undisturbed():
            torch.save = None
            np.set_printoptions(precision=1)
            os.environ["MADE_UP"] = "1"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        disturb()
    assert torch.save is save
    assert np.get_printoptions() == printing
    assert "MADE_UP" not in os.environ


def test_without_the_package_it_is_said_how_to_install_it_and_what_its_licence_asks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(PluginError) as caught:
        isolation.package_folder()
    assert "pip install 'cvtl[ultralytics]'" in str(caught.value)
    assert "AGPL-3.0: who passes on a program that uses it" in str(caught.value)


def test_the_package_is_not_imported_before_it_is_used() -> None:
    code = (
        "import sys; from cvtl.cli.main import main; main(['train', 'ultralytics', '--help']); main(['plugins'])\n"
        "assert not {'torch', 'ultralytics', 'cv2'} & set(sys.modules), sorted(sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert "--model" in said.stdout
