"""Findings as files: of a sweep, and of one run."""

from medmllm.ablate.report.single import write_run_report
from medmllm.ablate.report.write import write_report

__all__ = ["write_report", "write_run_report"]
