"""Foreign state dicts: what can be read is read alike, what cannot is refused with a clear error and runs nothing."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cvtl.checkpoints import load_into, read_state_dict
from cvtl.errors import WeightsError


class Evil:
    """Touches a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.path}'",)


def state() -> dict[str, Tensor]:
    return {"conv.weight": torch.arange(12.0).reshape(3, 4), "conv.count": torch.tensor(7)}


def same(read: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return list(read) == list(expected) and all(torch.equal(read[key], expected[key]) for key in expected)


@pytest.mark.parametrize(
    "write",
    [
        torch.save,
        lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False),
        save_file,
    ],
    ids=["zip", "legacy", "safetensors"],
)
@pytest.mark.parametrize("name", ["w.pth", "w.pt", "w.safetensors", "weights"])
def test_the_content_decides_how_a_file_is_read(tmp_path: Path, write: Callable[[Any, Path], None], name: str) -> None:
    write(state(), tmp_path / name)
    read = read_state_dict(tmp_path / name)
    assert same(dict(sorted(read.items())), dict(sorted(state().items())))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda tensors: {"state_dict": tensors, "epoch": 3},
        lambda tensors: {"model": tensors, "optimizer": {"lr": 0.1}},
        lambda tensors: {f"module.{key}": value for key, value in tensors.items()},
        lambda tensors: {"state_dict": {f"module.{key}": value for key, value in tensors.items()}},
        lambda tensors: tensors | {"epoch": 3},
        lambda tensors: {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()},
        lambda tensors: {key: value.double() if value.is_floating_point() else value for key, value in tensors.items()},
    ],
    ids=["state_dict", "model", "module.", "both", "with other things", "half", "double"],
)
def test_wrappers_prefixes_and_precisions_are_understood(tmp_path: Path, wrap: Callable[[Any], Any]) -> None:
    torch.save(wrap(state()), tmp_path / "w.pth")
    read = read_state_dict(tmp_path / "w.pth")
    assert same(read, state())
    assert read["conv.weight"].dtype == torch.float32
    assert read["conv.count"].dtype == torch.int64


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_a_pickle_that_holds_code_is_refused_and_nothing_runs(tmp_path: Path, legacy: bool) -> None:
    path, touched = tmp_path / "evil.pth", tmp_path / "touched"
    torch.save({"w": torch.zeros(2), "evil": Evil(touched)}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(WeightsError, match=r"evil.pth' is a pickle that holds more than tensors \((posix|nt).system\)"):
        read_state_dict(path)
    assert not touched.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_bare_pickle_that_holds_code_is_refused_and_nothing_runs(tmp_path: Path) -> None:
    path, touched = tmp_path / "evil.pth", tmp_path / "touched"
    path.write_bytes(pickle.dumps(Evil(touched)))
    with pytest.raises(WeightsError, match=r"evil.pth' is a pickle that holds more than tensors"):
        read_state_dict(path)
    assert not touched.exists()
    pickle.loads(path.read_bytes())
    assert touched.exists(), "the file is as malicious as the test says"


def test_a_whole_pickled_network_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "network.pth")
    with pytest.raises(
        WeightsError, match=r"\(torch.nn.modules.linear.Linear\).*torch.save\(model.state_dict\(\), path\)"
    ):
        read_state_dict(tmp_path / "network.pth")


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.98])
@pytest.mark.parametrize(
    "write",
    [torch.save, lambda content, path: torch.save(content, path, _use_new_zipfile_serialization=False), save_file],
    ids=["zip", "legacy", "safetensors"],
)
def test_a_truncated_file_is_refused(tmp_path: Path, write: Callable[[Any, Path], None], keep: float) -> None:
    path = tmp_path / "w.pth"
    write({"w": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(WeightsError, match=r"cannot read '.*w.pth': it is truncated or damaged"):
        read_state_dict(path)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"\xff\xd8\xff\xe0 and so on", "a JPEG picture"),
        (b"\x89PNG\r\n\x1a\n and so on", "a PNG picture"),
        (b"<!DOCTYPE html><title>404</title>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer"),
        (b"hello", "something else"),
    ],
)
def test_another_file_under_a_new_name_is_refused_by_what_it_is(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=f"w.pth' is neither a PyTorch nor a safetensors file but {what}"):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    torch.save({"good": torch.zeros(2), "bad": torch.tensor([0.0, value])}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w.pth' holds NaN or infinite values in bad\. "):
        read_state_dict(tmp_path / "w.pth")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(2)], torch.zeros(2), {"state_dict": {}}])
def test_a_file_without_named_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w.pth' holds no state dict"):
        read_state_dict(tmp_path / "w.pth")


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="there is no weights file"):
        read_state_dict(tmp_path / "nowhere.pth")
    with pytest.raises(WeightsError, match="is a folder, not a weights file"):
        read_state_dict(tmp_path)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("empty.pth", "weights file '{path}' is empty. Copy it again."),
        ("jpeg_named.pth", "'{path}' is neither a PyTorch nor a safetensors file but a JPEG picture. "),
        ("text.pth", "'{path}' is neither a PyTorch nor a safetensors file but something else. "),
        ("truncated_squeezenet.pth", "cannot read '{path}': it is truncated or damaged ("),
    ],
)
def test_the_bad_checkpoints_are_refused(shared_data: Path, name: str, message: str) -> None:
    path = shared_data / "bad_checkpoints" / name
    with pytest.raises(WeightsError, match="^" + re.escape(message.format(path=path))):
        read_state_dict(path)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_everything_that_does_not_fit_is_named_at_once_and_nothing_is_changed() -> None:
    target = network()
    before = {key: value.clone() for key, value in target.state_dict().items()}
    given = dict(network().state_dict())
    del given["0.weight"], given["1.bias"]
    given |= {"2.weight": torch.zeros(5, 4), "extra": torch.zeros(1)}
    with pytest.raises(WeightsError) as caught:
        load_into(target, given, "w.pth", name="toy")
    assert caught.value.what == (
        "'w.pth' does not fit 'toy': 2 missing: 0.weight, 1.bias; "
        "1 of another shape: 2.weight (5, 4) instead of (2, 4); 1 unexpected: extra"
    )
    assert same(dict(target.state_dict()), before)


def test_only_the_first_few_names_are_listed_with_the_number_of_the_others() -> None:
    with pytest.raises(WeightsError, match=r"8 missing: 0.weight, 0.bias, 1.weight and 5 more; 1 unexpected: x\. "):
        load_into(network(), {"x": torch.zeros(1)}, "w.pth")


@pytest.mark.parametrize("head", [{}, {"2.weight": torch.zeros(9, 4)}, {"2.other": torch.zeros(1)}])
def test_what_may_miss_may_be_missing_extra_or_of_another_shape(head: dict[str, Tensor]) -> None:
    target, source = network(), network()
    given = {key: value for key, value in source.state_dict().items() if not key.startswith("2.")} | head
    load_into(target, given, "w.pth", may_miss=lambda key: key.startswith("2."))
    assert torch.equal(target.get_parameter("0.weight"), source.get_parameter("0.weight"))
    assert target.get_parameter("2.weight").shape == (2, 4)


def test_old_checkpoints_without_batch_counters_fit() -> None:
    given = {key: value + 1 for key, value in network().state_dict().items() if "num_batches" not in key}
    target = network()
    load_into(target, given, "w.pth")
    assert torch.equal(target.get_buffer("1.running_mean"), given["1.running_mean"])
