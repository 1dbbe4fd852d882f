"""`cvtl serve` under load against calling the model directly in a loop.

Run: python tools/bench/bench_serve.py [--seconds 60] [--clients 8] [--backbone resnet18]. Clients in a process of their
own send JPEGs over connections that stay open, each the next one as soon as it has its answer. The loop, before and
after that, has the same pictures decoded in memory, and calls the model on one after the other.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, quantiles
from time import monotonic, perf_counter, sleep

from rich.console import Console
from rich.table import Table

PICTURES = 32
SIZE_HW = (360, 480)
CLASSES = 10
WARM_UP = 10
THROUGHPUT_BAR, GROWTH_BAR = 0.7, 1.02


def make_weights(path: Path, backbone: str) -> None:
    """A classifier with random weights, at the backbone's own size."""
    import torch

    from cvtl import weights
    from cvtl_classify.model import ClassifyModel
    from cvtl_classify.options import ClassifyOptions

    torch.manual_seed(0)
    options = ClassifyOptions(backbone=backbone, weights="none", strategy="features")
    weights.save(ClassifyModel.initialize(options, [f"class {number}" for number in range(CLASSES)]), path)


def make_pictures() -> list[bytes]:
    """Parts of scikit-learn's photographs, as JPEGs."""
    import numpy as np
    from sklearn.datasets import load_sample_images

    from cvtl.images import encode

    random = np.random.default_rng(0)
    photographs = load_sample_images().images
    made = []
    for number in range(PICTURES):
        top, left = random.integers(0, 427 - SIZE_HW[0]), random.integers(0, 640 - SIZE_HW[1])
        part = photographs[number % 2][top : top + SIZE_HW[0], left : left + SIZE_HW[1]]
        made.append(encode(np.ascontiguousarray(part), ".jpg"))
    return made


def loop(weights: Path, seconds: float) -> float:
    """Pictures in a second, one after the other."""
    import torch

    import cvtl
    from cvtl.devices import Predictor, choose_device
    from cvtl.images import decode

    model = Predictor(cvtl.load_model(weights, device=choose_device("cpu"))).model
    images = [torch.from_numpy(decode(each).image).permute(2, 0, 1) for each in make_pictures()]
    done = 0
    with torch.inference_mode():
        model.predict(images[:1])
        begun = perf_counter()
        while perf_counter() - begun < seconds:
            model.predict([images[done % len(images)]])
            done += 1
    return done / (perf_counter() - begun)


@dataclass
class Client:
    """Somebody who wants one answer after the other.

    Attributes:
        latencies: seconds to each answer.
        errors: what else came.
    """

    latencies: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def ask(self, port: int, pictures: list[bytes], end: float) -> None:
        """Send pictures until it is time to stop."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        number = 0
        while monotonic() < end:
            sent = perf_counter()
            try:
                connection.request("POST", "/api/v1/classify", pictures[number % len(pictures)])
                answer = connection.getresponse()
                row = json.loads(answer.read())
            except (OSError, ValueError) as error:
                self.errors.append(str(error))
                connection.close()
                continue
            self.latencies.append(perf_counter() - sent)
            number += 1
            if answer.status != 200 or row["status"] != "ok" or len(row["result"]["labels"]) != 5:
                self.errors.append(f"{answer.status} {row}")


def ask_all(port: int, clients: int, seconds: float) -> dict[str, object]:
    """All clients at once."""
    pictures = make_pictures()
    asking = [Client() for _ in range(clients)]
    end = monotonic() + seconds
    shifted = [pictures[number * 4 :] + pictures[: number * 4] for number in range(clients)]
    threads = [
        threading.Thread(target=client.ask, args=(port, each, end))
        for client, each in zip(asking, shifted, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "latencies": [latency for client in asking for latency in client.latencies],
        "errors": [error for client in asking for error in client.errors],
    }


def serve_under_load(weights: Path, clients: int, seconds: float) -> tuple[dict[str, object], list[float]]:
    """What the clients saw, and the server's memory in MiB, second by second."""
    command = [sys.executable, "-m", "cvtl.cli.main", "serve", "--weights", str(weights), "--port", "0"]
    command += ["--device", "cpu", "--per-client", str(clients), "--batch-size", str(clients)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        found = re.search(r":(\d+)/$", server.stdout.readline())
        assert found is not None, "the server did not begin"
        words = [sys.executable, __file__, "--ask", found[1], "--clients", str(clients), "--seconds", str(seconds)]
        asking = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        memory = []
        while asking.poll() is None:
            sleep(1)
            memory.append(resident_mebibytes(int(found[1])))
            # A pipe that is full would hold the clients up; theirs is written at the end.
            if len(memory) >= seconds:
                break
        saw: dict[str, object] = json.loads(asking.communicate()[0])
    finally:
        server.terminate()
        server.wait()
    return saw, memory


def resident_mebibytes(port: int) -> float:
    """The server's memory, as it tells itself."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    found = re.search(r"^process_resident_memory_bytes (\d+)", text, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 2**20


def main() -> None:
    """Measure and print."""
    options = parsed()
    if options.ask:
        print(json.dumps(ask_all(options.ask, options.clients, options.seconds)))
        return
    if options.loop:
        print(loop(options.loop, options.seconds))
        return
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "w.safetensors"
        make_weights(weights, options.backbone)
        loops = [loop_in_child(weights, options.seconds / 3)]
        saw, memory = serve_under_load(weights, options.clients, options.seconds)
        loops.append(loop_in_child(weights, options.seconds / 3))
    show(options, loops, saw, memory)


def loop_in_child(weights: Path, seconds: float) -> float:
    """The loop, in a process of its own."""
    words = [sys.executable, __file__, "--loop", str(weights), "--seconds", str(seconds)]
    return float(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def show(options: argparse.Namespace, loops: list[float], saw: dict[str, object], memory: list[float]) -> None:
    """Print the table."""
    latencies, errors = saw["latencies"], saw["errors"]
    assert isinstance(latencies, list)
    assert isinstance(errors, list)
    throughput = len(latencies) / options.seconds
    settled = memory[WARM_UP:] or memory
    part = max(1, len(settled) // 5)
    growth = mean(settled[-part:]) / mean(settled[:part])
    table = Table("", "measured", "bar", title=f"{options.clients} clients, {options.seconds:g} s, {options.backbone}")
    table.add_row("the model in a loop, pictures/s", " and ".join(f"{each:.1f}" for each in loops), "")
    table.add_row("served, pictures/s", f"{throughput:.1f}", "")
    table.add_row("served / loop", f"{throughput / mean(loops):.2f}", f">= {THROUGHPUT_BAR}")
    table.add_row("latency, median, ms", f"{1000 * median(latencies):.0f}", "")
    table.add_row("latency, p95, ms", f"{1000 * quantiles(latencies, n=20)[-1]:.0f}", "")
    table.add_row("errors", f"{len(errors)} of {len(latencies)}", "0")
    table.add_row(f"memory after {WARM_UP} s, MiB", f"{mean(settled[:part]):.0f}", "")
    table.add_row("memory at the end, MiB", f"{mean(settled[-part:]):.0f}", f"<= {GROWTH_BAR}x, is {growth:.3f}x")
    Console(width=100).print(table)
    print(f"{os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}")
    for error in errors[:5]:
        print("error:", error)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--ask", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--loop", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
