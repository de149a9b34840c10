"""What torch raises, told in a sentence with a remedy. Heals nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from atlas_core.config import Config
from atlas_core.errors import AtlasError, DeviceError

# How torch says it where it has no class for it: the processor's allocator (the second on Windows), Apple's and CUDA's
# own, and its libraries'.
OUT_OF_MEMORY = ("allocate memory", "not enough memory", "out of memory", "ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY))


TRAIN_WITH_LESS = ("Let it be fitted (the button, or a smaller training.batch_size with more "
                   "training.gradient_accumulation_steps), or choose a smaller preset.")
USE_WITH_LESS = "Close other programs that use the device, wait for the run at work, or choose another device."


def too_little_memory(remedy: str = TRAIN_WITH_LESS) -> DeviceError:
    """What is said where memory ran out and nothing helps."""
    return DeviceError("The memory is not enough for this model and batch.", remedy)


@contextlib.contextmanager
def plain_memory_errors(remedy: str = TRAIN_WITH_LESS) -> Iterator[None]:
    """Tell in a sentence that memory ran out, and what helps."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, AtlasError) or not is_out_of_memory(error):
            raise
        raise too_little_memory(remedy) from error


@contextlib.contextmanager
def plain_compile_errors(config: Config) -> Iterator[None]:
    """Tell in a sentence that torch could not compile the network."""
    if not config.hardware.compile:
        yield
        return
    from torch._dynamo.exc import TorchDynamoException  # a second to import

    try:
        yield
    except TorchDynamoException as error:
        raise DeviceError("torch cannot compile the network on this machine.",
                          "Set hardware.compile to false, or install a C++ compiler.") from error
