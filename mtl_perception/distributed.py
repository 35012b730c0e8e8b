# Copyright 2026 The mtl_perception authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
"""Several processes that train one network, as ``torchrun`` starts them."""

from contextlib import contextmanager
import os
from typing import Any, Callable, Iterator

from mtl_perception.errors import DeviceError
import torch
from torch import distributed


def choose_device(name: str) -> torch.device:
    """
    Return the device to train on.

    :param name: ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``cuda:N``
    :raises DeviceError: if there is no such device
    """
    count = torch.cuda.device_count()
    if name == 'auto':
        return torch.device('cuda' if count else 'cpu')
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ('cpu', 'cuda'):
        raise DeviceError(f'expected the device auto, cpu, cuda or cuda:N, got {name!r}')
    if device.type == 'cuda' and (device.index or 0) >= count:
        raise DeviceError(f'expected {name}, got {count} CUDA devices; use cpu or one that '
                          'nvidia-smi lists')
    return device


def rank() -> int:
    """Return the number of this process, from 0; 0 where there is one."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def world_size() -> int:
    """Return the number of processes."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def mean_over_processes(value: torch.Tensor) -> torch.Tensor:
    """Return the mean of a tensor over all processes; no gradient flows through it."""
    if world_size() == 1:
        return value
    value = value.detach().clone()
    distributed.all_reduce(value)
    return value / world_size()


def from_first(work: Callable[[], Any]) -> Any:
    """Return what ``work`` returns in the first process; the others only receive it."""
    if world_size() == 1:
        return work()
    result = [work() if rank() == 0 else None]
    distributed.broadcast_object_list(result)
    return result[0]


def wait_for_all() -> None:
    """Return once every process has come this far."""
    if world_size() > 1:
        distributed.barrier()


@contextmanager
def process_group(device: torch.device) -> Iterator[torch.device]:
    """
    Join the other processes if ``torchrun`` started this one, and part from them at the end.

    NCCL connects GPUs, one a process; gloo connects CPUs.

    :param device: that is wanted
    :return: the device of this process
    """
    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        yield device
        return
    if device.type == 'cuda':
        device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(device)
    distributed.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    try:
        yield device
    finally:
        distributed.destroy_process_group()
