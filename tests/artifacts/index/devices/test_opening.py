"""Which device a setting opens."""

from __future__ import annotations

import pytest
import torch

from artifacts.errors import DeviceError
from artifacts.index.devices.device import CPU
from artifacts.index.devices.opening import open_device
from tests.fake_gpus import FakeGpus


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGpus(monkeypatch, 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def torch_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that only torch sees."""
    FakeGpus(monkeypatch, 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["auto", "cpu"])
def test_without_a_gpu_the_cpu_is_taken(name: str):
    assert open_device(name) is CPU


@pytest.mark.parametrize(("name", "expected"), [("auto", "cuda 0, 1"), ("cuda", "cuda 0, 1"), ("cuda:1", "cuda 1")])
def test_gpus_that_faiss_sees_come_first(name: str, expected: str, monkeypatch: pytest.MonkeyPatch):
    FakeGpus(monkeypatch, 2)
    assert open_device(name).name == expected


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_tasks_take_gpus_in_turn(name: str, monkeypatch: pytest.MonkeyPatch):
    FakeGpus(monkeypatch, 3)
    assert [open_device(name, task).name for task in (0, 1, 2, 3, 7)] == [f"cuda {gpu}" for gpu in (0, 1, 2, 0, 1)]
    assert open_device("cuda:2", 0).name == "cuda 2"


def test_tasks_take_gpus_of_torch_in_turn(torch_gpu: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [open_device("cuda", task).name for task in (0, 1, 2)] == [f"torch cuda:{gpu}" for gpu in (0, 1, 0)]


@pytest.mark.usefixtures("torch_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_gpu_that_only_torch_sees_is_taken(name: str):
    assert open_device(name).name == f"torch {name}"


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("name", ["cuda", "cuda:0"])
def test_a_missing_gpu_is_an_error_that_says_what_to_install(name: str):
    with pytest.raises(DeviceError, match=r"extra `gpu`"):
        open_device(name)


@pytest.mark.usefixtures("torch_gpu")
def test_a_gpu_of_a_higher_number_is_an_error_with_torch():
    with pytest.raises(DeviceError, match="cuda:3"):
        open_device("cuda:3")


def test_a_gpu_of_a_higher_number_is_an_error_with_faiss(monkeypatch: pytest.MonkeyPatch):
    FakeGpus(monkeypatch, 2)
    with pytest.raises(DeviceError, match="sees GPUs 0 to 1"):
        open_device("cuda:2")


def test_an_unknown_name_is_an_error():
    with pytest.raises(DeviceError, match=r"'gpu' is not understood"):
        open_device("gpu")
