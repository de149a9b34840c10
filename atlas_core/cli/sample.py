"""The dataset for those who have none yet: the sample text, prepared when it is first needed."""

from __future__ import annotations

from pathlib import Path

from atlas_core import jobs
from atlas_core.cli.interrupt import stoppable
from atlas_core.cli.show import Show
from atlas_core.config import Config


def sample_dataset(config: Config, show: Show) -> Path | None:
    """The prepared sample text for the tokenizer in `config`; None if preparing it was interrupted."""
    from atlas_core.text.dataset import is_dataset  # late: needs numpy

    folder = sample_folder(config)
    if is_dataset(folder):
        return folder
    show.say("Preparing the sample text ...")
    with show.part(), stoppable(show) as control:
        for event in jobs.prepare([jobs.sample_source()], folder, config, control):
            show(event)
    return None if show.interrupted else folder


def sample_folder(config: Config) -> Path:
    """Where the sample text lies or will lie, prepared as `config` wants it: where the window looks for it too."""
    from atlas_core.text import library

    sources = [jobs.sample_source()]
    return library.folder_for(sources, library.digest_of(sources), config)
