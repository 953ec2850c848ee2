"""Graphs: from the features of one modality to nodes, edges and messages between them."""

from typing import Any

from .complete import Complete
from .knn import KNN
from .message_passing import MessagePassing, PerModality
from .modality_graph import ModalityGraph
from .threshold import Threshold

GRAPHS: dict[str, Any] = {"complete": Complete, "knn": KNN, "threshold": Threshold}

__all__ = ["GRAPHS", "KNN", "Complete", "MessagePassing", "ModalityGraph", "PerModality", "Threshold"]
