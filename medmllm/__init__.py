"""Medical vision-language training with multi-graph alignment.

The names that a program needs to train, evaluate or predict; each is imported when it is first used.

    >>> import medmllm
    >>> config = medmllm.load_config("demo", ["train.steps=4"])
    >>> config.train.steps
    4
"""

from typing import TYPE_CHECKING

from graphalign.lazy import import_on_use

if TYPE_CHECKING:
    from .build import Job, build_job
    from .data.comparators.export import export_data
    from .data.config import DataConfig
    from .data.records import Record
    from .data.source import Source
    from .data.sources import open_source
    from .data.validate import ValidationReport, validate_data
    from .errors import UserError
    from .evaluate.compare import compare_systems
    from .evaluate.evaluate import evaluate_model
    from .evaluate.exam import Asked
    from .evaluate.items import Item, pair, read_predictions
    from .evaluate.loading import load_model
    from .evaluate.predict import predict_file
    from .evaluate.references import read_references
    from .evaluate.report import Scored, score_items, score_report
    from .evaluate.systems import score_systems
    from .interop.trainer import GraphAligned, collate
    from .model.aligned import AlignedLlava, StepOutput
    from .model.save import save_model
    from .planning.plan import Plan, plan
    from .run.callbacks import Listener
    from .settings.load import InvalidConfig, load_config, presets
    from .settings.schema import Config
    from .training.trainer import train

__all__ = [
    "AlignedLlava",
    "Asked",
    "Config",
    "DataConfig",
    "GraphAligned",
    "InvalidConfig",
    "Item",
    "Job",
    "Listener",
    "Plan",
    "Record",
    "Scored",
    "Source",
    "StepOutput",
    "UserError",
    "ValidationReport",
    "build_job",
    "collate",
    "compare_systems",
    "evaluate_model",
    "export_data",
    "load_config",
    "load_model",
    "open_source",
    "pair",
    "plan",
    "predict_file",
    "presets",
    "read_predictions",
    "read_references",
    "save_model",
    "score_items",
    "score_report",
    "score_systems",
    "train",
    "validate_data",
]

_HOME = {
    "build": "Job build_job",
    "data.comparators.export": "export_data",
    "data.config": "DataConfig",
    "data.records": "Record",
    "data.source": "Source",
    "data.sources": "open_source",
    "data.validate": "ValidationReport validate_data",
    "errors": "UserError",
    "evaluate.compare": "compare_systems",
    "evaluate.evaluate": "evaluate_model",
    "evaluate.exam": "Asked",
    "evaluate.items": "Item pair read_predictions",
    "evaluate.loading": "load_model",
    "evaluate.predict": "predict_file",
    "evaluate.references": "read_references",
    "evaluate.report": "Scored score_items score_report",
    "evaluate.systems": "score_systems",
    "interop.trainer": "GraphAligned collate",
    "model.aligned": "AlignedLlava StepOutput",
    "model.save": "save_model",
    "planning.plan": "Plan plan",
    "run.callbacks": "Listener",
    "settings.load": "InvalidConfig load_config presets",
    "settings.schema": "Config",
    "training.trainer": "train",
}


__getattr__ = import_on_use(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
