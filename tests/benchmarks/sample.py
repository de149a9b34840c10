"""The sample text as datasets: what all contestants learn from."""

from __future__ import annotations

from pathlib import Path

from atlas_core import jobs
from atlas_core.config import Config
from atlas_core.control import Control
from atlas_core.paths import file_name
from atlas_core.text.dataset import read_meta


def ready(home: Path, config: Config) -> tuple[Config, Path]:
    """`config` with nothing in it but steps, on the processor, and its dataset: made below `home` unless it is there.

    The vocabulary is the dataset's, as in every run.
    """
    dataset = home / file_name(config.tokenizer.name)
    if not dataset.exists():
        for _ in jobs.prepare([jobs.sample_source()], dataset, config, Control()):
            pass
    return config.replace({"hardware.device": "cpu", "model.vocab_size": read_meta(dataset).n_vocab}), dataset
