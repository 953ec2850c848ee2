"""Commands as processes of their own that start at once, to be killed: forks of one that has loaded everything."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
LOADED = [  # what a run imports on its way
    "exgra.app",
    "matplotlib.backends.backend_agg",
    "matplotlib.pyplot",
    "medmllm.ablate.report",
    "medmllm.interop.export",
    "medmllm.model.pretrained",
    "medmllm.plots.curves",
    "medmllm.plots.examples",
    "medmllm.plots.matching",
    "medmllm.training.trainer",
    "torch.distributed.checkpoint",
    "torch.distributed.tensor",
    "torch_geometric.nn",
    "transformers.models.clip.modeling_clip",
    "transformers.models.llama.modeling_llama",
    "transformers.models.llava.modeling_llava",
    "transformers.models.llava.processing_llava",
]


class Command:
    """A call of `exgra` that runs, or has run.

    Attributes:
        said: the file of all that it said.
    """

    def __init__(self, words, place: Path, **environment: str) -> None:
        FORKS.set_forkserver_preload(LOADED)
        place.mkdir(parents=True, exist_ok=True)
        self.said = place / f"said-{time.monotonic_ns()}.txt"
        words = [str(word) for word in words]
        self.process = FORKS.Process(target=_call, args=(words, self.said, place, environment))
        self.process.start()

    def end(self, seconds: float = 1200) -> int:
        """Its exit code, once it has ended."""
        self.process.join(seconds)
        assert self.process.exitcode is not None, f"hangs: {self.text}"
        return self.process.exitcode

    def kill(self) -> bool:
        """Kill it as a power cut would; whether it still ran."""
        ran = self.process.is_alive()
        self.process.kill()
        self.process.join()
        return ran and self.process.exitcode == -signal.SIGKILL

    @property
    def text(self) -> str:
        return self.said.read_text("utf-8", errors="replace") if self.said.exists() else ""


def _call(words: list[str], said: Path, place: Path, environment: dict[str, str]) -> None:
    from exgra.main import run

    file = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.environ.update(environment)
    os.chdir(place)
    os._exit(run(words))


def finish(words, place: Path, **environment: str) -> tuple[float, str]:
    """Seconds and words of a call that must succeed."""
    begin = time.monotonic()
    command = Command(words, place, **environment)
    assert command.end() == 0, command.text
    return time.monotonic() - begin, command.text


def as_group(words, place: Path, count: int) -> list[Command]:
    """The processes of one run, which find each other as torchrun's do."""
    from exgra.launch import environments

    ours = ("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "RANK", "LOCAL_RANK")
    return [Command(words, place, **{name: one[name] for name in ours}) for one in environments(count)]
