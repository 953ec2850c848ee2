"""Pre-flight checks and the dry-run plan; neither loads a model."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import graphalign
from medmllm.data.catalog import INSIDE, NAMES
from medmllm.errors import ConfigError, RunError
from medmllm.model.alignment import by_estimator
from medmllm.planning.checks import check_model, check_packages, check_trackers
from medmllm.settings.schema import Config
from medmllm.settings.stages import stages

if TYPE_CHECKING:
    from medmllm.data.records import Record
    from medmllm.planning.cost import Lengths


@dataclass(frozen=True)
class Plan:
    """What `exgra train --dry-run` prints.

    Attributes:
        name: the run's name.
        parameters: of the language-vision model.
        rows: rows in use by split.
        aligns: whether anything does; at a weight of 0 what follows is not used.
        loss, criterion: what aligns the views.
        solver, estimator, barycenter: the parts of `alignment`, with all their settings.
        nodes: nodes of each graph.
        stages: `(name, steps, parts)` in order.
        memory_gb: peak of one process, in GiB; `costs` holds its parts.
        disk_mb: what the run folder will hold, in MiB.
        device: where it would run.
        parts: parameters by part of the model.
        missing: the data file, where it is not here; lengths are then assumed.
        card, gpus: the GPUs that are planned for; no card on a CPU.
        costs: parameters, tokens, FLOPs, memory and time of each stage; see `medmllm.planning.cost.StageCost`.
        warnings: oddities of the data, e.g. people who are in both training and test.
    """

    name: str
    parameters: int
    rows: dict[str, int]
    aligns: bool
    loss: str
    criterion: str
    solver: str
    estimator: str
    barycenter: str
    nodes: int
    stages: tuple[tuple[str, int, tuple[str, ...]], ...]
    memory_gb: float
    disk_mb: float
    device: str
    parts: dict[str, int]
    missing: str | None
    card: str | None
    gpus: int
    costs: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values for JSON."""
        return asdict(self)


def check_config(config: Config, *, packages: bool = True) -> None:
    """Refuse what cannot work, before anything is loaded.

    Args:
        config: every setting.
        packages: refuse too what a package of an extra is missing for; a plan can be made without it.

    Raises:
        ConfigError: the solver cannot serve the estimator or the graph's size, sizes do not divide, or a checkpoint is
            nowhere to be found.
        MissingExtraError: a package is missing.
    """
    _check_pair(config)
    _check_texts(config)
    _check_device(config)
    depth = check_model(config.model)
    _check_views(config, depth)
    _check_engine(config)
    if packages:
        check_packages(config.model)
        check_trackers(config.engine.track)
    if config.data.source in INSIDE and (config.data.validation or config.data.test):
        raise ConfigError(
            f"the data set {config.data.source} has validation and test splits of its own",
            where="data.validation" if config.data.validation else "data.test",
            hint="leave them out, or name a file in data.source too",
        )


def plan(config: Config, *, gpus: int = 1, card: str | None = None, data_here: bool = False) -> Plan:
    """All checks, the data's too, and what the run will be. Needs no memory for weights and no well-known checkpoint.

    Args:
        config: every setting.
        gpus: processes of the run, one for each GPU.
        card: a name in `CARDS` of `planning.cost`; the one in this machine, or for a model in half precision an A100.
        data_here: the data file must be here. Else a run can be planned before its data is, with assumed lengths.

    Raises:
        DataError: the data has problems, or is missing where it must be here.
    """
    from medmllm.planning.cost import check_card, costs, disk, meta_model, parameters

    if card is not None:
        check_card(card)
    check_config(config, packages=False)
    splits, lengths, missing, warnings = _data(config, here=data_here)
    warnings = (*warnings, *_too_long(config, lengths))
    parts = parameters(meta_model(config.model))
    card = card or _card(config)
    found = costs(config, gpus=gpus, card=card, lengths=lengths)
    return Plan(
        name=config.name,
        parameters=sum(parts.values()),
        rows={split: len(records) for split, records in splits.items()},
        aligns=config.align.weight > 0,
        loss=config.align.loss,
        criterion=config.align.criterion,
        solver=repr(graphalign.build("solver", config.align.solver)),
        estimator=repr(graphalign.build("estimator", config.align.estimator)),
        barycenter=config.align.barycenter,
        nodes=config.train.batch_size,
        stages=tuple((s.name, s.end - s.first, s.config.trains) for s in stages(config.train)),
        memory_gb=round(max(stage.total for stage in found), 2),
        disk_mb=round(disk(config) / 2**20, 1),
        device=resolve_device(config.device),
        parts=parts,
        missing=missing,
        card=card,
        gpus=gpus,
        costs=tuple(stage.to_dict() for stage in found),
        warnings=warnings,
    )


def _data(config: Config, *, here: bool) -> tuple[Mapping[str, Sequence[Record]], Lengths, str | None, tuple[str, ...]]:
    """Records by split, how long they are, and what is odd; of a file that is not here, and need not be, its name."""
    from medmllm.build import check_size, read_data
    from medmllm.planning.cost import Lengths, lengths_of

    source = config.data.source
    if not here and source not in (*INSIDE, *NAMES) and not Path(source).expanduser().exists():
        images = config.data.slices if config.data.volume == "sample" and isinstance(config.data.slices, int) else 1
        return {}, Lengths(images=images), source, ()
    opened, splits, _ = read_data(config.data)
    check_size(splits, config)
    return splits, lengths_of(splits["train"]), None, opened.warnings


def _too_long(config: Config, lengths: Lengths) -> tuple[str, ...]:
    """A line where a typical sample with several images has more tokens than the model reads."""
    from medmllm.model.architecture import architecture

    image = architecture(config.model, None, sizes=True).image_seq_length
    tokens, limit = lengths.images * image + lengths.prompt + lengths.answer, config.model.language.max_length
    if lengths.images == 1 or tokens <= limit:
        return ()
    told = f"a sample of {lengths.images} images of {image} tokens has about {tokens:,} tokens; the limit is {limit}"
    return (f"{told}: model.vision.pool, fewer images, or model.language.max_length",)


def _card(config: Config) -> str | None:
    """The GPU to plan for where none is named."""
    import torch

    from medmllm.planning.cost import CARDS

    if resolve_device(config.device) == "cuda":
        name = torch.cuda.get_device_name().lower().replace(" ", "")
        return next((card for card in CARDS if card.partition("-")[0] in name), "a100-80gb")
    return "a100-80gb" if config.train.precision != "fp32" and config.device != "cpu" else None


def check_disk(config: Config, out: Path) -> None:
    """Refuse to start a run whose folder cannot fit or be written; what a run already holds counts as had.

    Raises:
        RunError: too little space.
        OSError: the place cannot be written.
    """
    from medmllm.planning.cost import disk

    place = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(out)) from error
    held = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    free, needed = shutil.disk_usage(place).free, max(0.0, disk(config) - held)
    if free < needed:
        raise RunError(
            f"the run needs about {needed / 2**20:.0f} MiB and {place} has {free / 2**20:.0f} MiB free",
            where="--out",
            hint="free some space, or choose another place: --out DIR",
        )


def count_parameters(config: Config) -> int:
    """Parameters of the model, counted without allocating them (a vocabulary from scratch at its largest)."""
    from medmllm.planning.cost import meta_model

    return sum(p.numel() for p in meta_model(config.model).parameters())


def resolve_device(device: str) -> str:
    """`auto` becomes the first accelerator, or the CPU."""
    import torch

    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _check_pair(config: Config) -> None:
    solver = graphalign.build("solver", config.align.solver)
    estimator = graphalign.build("estimator", config.align.estimator)
    trains = config.align.weight > 0 and by_estimator(config.align)
    reason = graphalign.refusal(solver, estimator, nodes=config.train.batch_size, training=trains)
    if reason:
        raise ConfigError(reason, where="align.solver, align.estimator", hint="exgra solvers; exgra estimators")


def _check_texts(config: Config) -> None:
    if config.align.view == "lm_leaky" and len(set(config.align.texts)) < 2:
        raise ConfigError(
            "the view lm_leaky takes answers out of the conversation and captions on their own, so it needs both",
            where="align.texts",
            hint="align.view=standalone",
        )


def _check_device(config: Config) -> None:
    import torch

    try:
        torch.zeros(1, device=resolve_device(config.device))
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"device {config.device!r} is not available: {str(error).splitlines()[0]}",
            where="device",
            hint="use device=auto or device=cpu",
        ) from error


def _check_engine(config: Config) -> None:
    from medmllm.distributed import process

    world, batch = process().world, config.train.batch_size
    if batch % world:
        raise ConfigError(
            f"a batch of {batch} cannot be shared equally by {world} processes",
            where="train.batch_size",
            hint=f"train.batch_size={-(-batch // world) * world}",
        )
    if config.engine.strategy == "fsdp" and config.train.precision == "fp16":
        raise ConfigError("fsdp has no loss scaling for fp16", where="train.precision", hint="train.precision=bf16")
    if config.engine.offload and config.engine.strategy != "fsdp":
        raise ConfigError(
            "only fsdp keeps its weights in the CPU's memory", where="engine.offload", hint="engine.strategy=fsdp"
        )


def _check_views(config: Config, depth: int) -> None:
    layer, view = config.align.layer, config.align.view
    if layer is not None and view != "standalone":
        raise ConfigError(
            f"align.layer is where standalone texts are pooled; the view {view} reads no layers of its own",
            where="align.layer",
            hint="align.layer=null, or align.view=standalone",
        )
    if layer is not None and layer > depth:
        raise ConfigError(
            f"the language model has {depth} layers; texts cannot be pooled after {layer}",
            where="align.layer",
            hint=f"align.layer={depth}",
        )
