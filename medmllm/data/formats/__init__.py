"""From a file or a folder to records: one registry of formats, recognised by their contents."""

from medmllm.data.formats.reading import DataProblem, Reading, Use, Wanted, joined, raise_all
from medmllm.data.formats.registry import FORMATS, read_data, read_file

__all__ = ["FORMATS", "DataProblem", "Reading", "Use", "Wanted", "joined", "raise_all", "read_data", "read_file"]
