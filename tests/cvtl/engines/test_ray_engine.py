"""Runs by `--engine ray`, on a real cluster of two nodes, write the bytes of plain ones, whatever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import cvtl
from cvtl.engines.ray_cluster import import_ray
from cvtl.errors import EngineError, TooManyFailuresError
from cvtl.progress import Progress
from cvtl.run_settings import RunSettings

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster
    from ray.data import DataContext

# Not by importing it: what it reads then is the engine's to say.
if find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install 'cvtl[ray]'", allow_module_level=True)
psutil = pytest.importorskip("psutil")

MakeFolder = Callable[[Path, int], Path]
STORE_BYTES = 80 << 20


@pytest.fixture(scope="module")
def nodes(glow_site: Path) -> Iterator[Cluster]:
    """Two machines with a core each, as far as Ray can tell, which have the plugin `glow`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", str(glow_site), prepend=os.pathsep)
        yield from started_nodes()


def started_nodes() -> Iterator[Cluster]:
    import_ray()
    from ray.cluster_utils import Cluster

    soon_dead = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500}
    head = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False, "_system_config": soon_dead}
    started = Cluster(initialize_head=True, head_node_args=head)
    started.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    yield started
    started.shutdown()


@pytest.fixture
def on_cluster(nodes: Cluster) -> Callable[..., RunSettings]:
    def settings(**others: Any) -> RunSettings:
        return RunSettings(batch_size=4, engine="ray", ray_address=nodes.address, **others)

    return settings


def tree_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


class Interfering(Progress):
    """Does something once so many rows are written."""

    def __init__(self, *steps: tuple[int, Callable[[], None]]) -> None:
        self.rows = 0
        self.steps = list(steps)

    def advance(self, count: int) -> None:
        self.rows += count
        while self.steps and self.rows >= self.steps[0][0]:
            self.steps.pop(0)[1]()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which a server on this machine shows a folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_rows_and_pictures_of_any_source_equal_the_plain_run_s(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder, on_cluster: Callable[..., RunSettings]
) -> None:
    messy = make_messy_folder(tmp_path / "in" / "pictures", 43)
    with zipfile.ZipFile(tmp_path / "in" / "a.zip", "w") as archive:
        for path in sorted(messy.rglob("*.png")):
            archive.write(path, path.relative_to(messy))
    (tmp_path / "in" / "list.txt").write_text("nowhere.jpg\npictures/day0/img00000.png\n")
    with served(messy / "day1") as address:
        inputs = [messy, tmp_path / "in" / "a.zip", tmp_path / "in" / "list.txt", address]
        plain = cvtl.run(inputs, glow, tmp_path / "plain", settings=RunSettings(batch_size=4, save_images=True))
        found = cvtl.run(inputs, glow, tmp_path / "out", settings=on_cluster(save_images=True))
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "plain")
    assert found.counts == plain.counts
    said = json.loads((tmp_path / "out" / "run.json").read_text())
    assert said["identity"] == json.loads((tmp_path / "plain" / "run.json").read_text())["identity"]
    assert said["state"] == "done"


def test_a_killed_shard_goes_on_with_an_engine_and_is_merged_with_one_that_had_none(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder, on_cluster: Callable[..., RunSettings]
) -> None:
    messy = make_messy_folder(tmp_path / "pictures", 60)
    cvtl.run([messy], glow, tmp_path / "whole", settings=RunSettings(batch_size=4))
    for shard in ("1/2", "2/2"):
        cvtl.run([messy], glow, tmp_path / shard[0], settings=RunSettings(batch_size=4, shard=shard))
    rows = tmp_path / "1" / "rows.jsonl"
    rows.write_bytes(rows.read_bytes()[:3000])
    said = json.loads((tmp_path / "1" / "run.json").read_text())
    del said["walked"]
    (tmp_path / "1" / "run.json").write_text(json.dumps(said | {"state": "running"}))
    report = cvtl.run([messy], glow, tmp_path / "1", settings=on_cluster(shard="1/2", ray_workers=1), resume=True)
    assert 0 < report.resumed < report.inputs == 32
    cvtl.merge([tmp_path / "1", tmp_path / "2"], tmp_path / "merged")
    assert tree_of(tmp_path / "merged") == tree_of(tmp_path / "whole")


@pytest.mark.slow
def test_nothing_is_lost_or_doubled_when_workers_and_a_node_are_killed(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder, nodes: Cluster, on_cluster: Callable[..., RunSettings]
) -> None:
    messy = make_messy_folder(tmp_path / "pictures", 1000)
    slow = {"seconds": 0.02}
    cvtl.run([messy], glow, tmp_path / "plain", settings=RunSettings(batch_size=4), predict=slow)
    killed: list[str] = []

    def kill_workers() -> None:
        for node in nodes.list_all_nodes():
            for process in workers_of(node):
                process.kill()
                killed.append("worker")

    def kill_node() -> None:
        (other,) = nodes.worker_nodes
        nodes.remove_node(other, allow_graceful=False)
        killed.append("node")

    watch = Interfering((1, kill_workers), (300, kill_node))
    report = cvtl.run([messy], glow, tmp_path / "out", settings=on_cluster(), predict=slow, progress=watch)
    assert killed == ["worker", "worker", "node"]
    assert report.inputs == 1000
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "plain")


def workers_of(node: Any) -> list[Any]:
    """The processes on a node that hold the model."""
    raylets = [each.process.pid for each in node.all_processes["raylet"]]
    found = [process for pid in raylets for process in psutil.Process(pid).children(recursive=True)]
    return [process for process in found if "RayWorker" in name_of(process)]


def name_of(process: Any) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def test_a_run_stops_once_too_many_inputs_are_bad_and_leaves_a_program_s_settings_alone(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder, on_cluster: Callable[..., RunSettings]
) -> None:
    from ray.data import DataContext

    before = settings_of(DataContext.get_current())
    messy = make_messy_folder(tmp_path / "pictures", 60)
    with pytest.raises(TooManyFailuresError, match="--max-failures is 3"):
        cvtl.run([messy], glow, tmp_path / "out", settings=on_cluster(max_failures=3, ray_workers=1))
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "failed"
    assert settings_of(DataContext.get_current()) == before


def settings_of(context: DataContext) -> tuple[object, ...]:
    options = context.execution_options
    return options.preserve_order, context.enable_progress_bars, context.target_max_block_size


@pytest.mark.parametrize(
    ("address", "message"),
    [("127.0.0.1:1", "there is no Ray cluster at '127.0.0.1:1'"), ("ray://x:1", "'ray://x:1' is no address")],
)
def test_a_cluster_that_is_not_there_is_named_at_once(
    glow: Path, tmp_path: Path, write_picture: Callable[..., Path], address: str, message: str
) -> None:
    settings = RunSettings(engine="ray", ray_address=address)
    with pytest.raises(EngineError, match=message):
        cvtl.run([write_picture(tmp_path / "a.png")], glow, tmp_path / "out", settings=settings)


def start(glow: Path, inputs: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    words = [
        "run",
        "detect",
        str(inputs),
        "--weights",
        str(glow),
        "--out",
        str(out),
        "--batch_size",
        "4",
        *more,
        "--ray-workers",
        "1",
    ]
    command = [sys.executable, "-m", "cvtl.cli.main", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def left_by(pid: int) -> list[str]:
    """Folders and processes of the Ray that a command started for itself."""
    mark = f"cvtl-ray-{pid}-"
    running = [name for name in map(name_of, psutil.process_iter()) if mark in name]
    return running + [str(path) for path in Path("/tmp").glob(f"{mark}*")]


@pytest.mark.slow
def test_the_command_starts_ray_quietly_and_leaves_nothing_behind(
    glow: Path, tmp_path: Path, make_messy_folder: MakeFolder
) -> None:
    messy = make_messy_folder(tmp_path / "pictures", 43)
    cvtl.run([messy], glow, tmp_path / "plain", settings=RunSettings(batch_size=4))
    process = start(glow, messy, tmp_path / "out", "--engine", "ray")
    said, complaints = process.communicate()
    assert process.returncode == 3
    assert "43 inputs: " in said
    assert [line for line in complaints.splitlines() if "/43 pictures, " not in line] == []
    assert tree_of(tmp_path / "out") == tree_of(tmp_path / "plain")
    assert left_by(process.pid) == []


@pytest.mark.slow
def test_the_command_ends_ray_when_it_is_interrupted(glow: Path, tmp_path: Path, make_messy_folder: MakeFolder) -> None:
    messy = make_messy_folder(tmp_path / "pictures", 400)
    process = start(glow, messy, tmp_path / "out", "--engine", "ray", "--predict.seconds", "0.1")
    rows = tmp_path / "out" / "rows.jsonl"
    while process.poll() is None and not (rows.exists() and rows.stat().st_size):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate()
    assert process.returncode == 130, complaints
    assert "--resume" in complaints
    assert "Traceback" not in complaints
    assert json.loads((tmp_path / "out" / "run.json").read_text())["state"] == "interrupted"
    assert left_by(process.pid) == []
