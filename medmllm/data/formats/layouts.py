"""Published data sets as their authors publish them, and tables of your own."""

from __future__ import annotations

from medmllm.data.formats.columns import COLUMNS, Columns
from medmllm.data.formats.flat import Layout

SLAKE = Layout(
    "slake",
    "SLAKE as published: train.json, validate.json, test.json beside imgs/; its English rows, or data.language",
    Columns(image=("img_name",), id=("qid",), kind=("answer_type",), subject=("img_id",), modality=("modality",)),
    signature=frozenset({"img_name", "q_lang", "question", "answer"}),
    images="imgs",
    language="q_lang",
    answerless=True,
)
VQA_RAD = Layout(
    "vqa-rad",
    "VQA-RAD as published: one JSON file beside VQA_RAD Image Folder/",
    Columns(image=("image_name",), id=("qid",), kind=("answer_type",), subject=("image_case_url",)),
    signature=frozenset({"image_name", "phrase_type", "question", "answer"}),
    images="VQA_RAD Image Folder",
    test_mark=("phrase_type", "test"),
    majority=True,
)
OMNIMEDVQA = Layout(
    "omnimedvqa",
    "OmniMedVQA as published: QA_information/**/*.json beside Images/; all rows are for testing",
    Columns(image=("image_path",), answer=("gt_answer",), id=("question_id",), kind=("question_type",)),
    signature=frozenset({"image_path", "gt_answer", "option_A"}),
    split="test",
)
PATH_VQA = Layout(
    "path-vqa",
    "PathVQA as published: qas/*/*_qa.pkl beside images/",
    signature=frozenset({"image", "question", "answer"}),
)
MIMIC_CXR_VQA = Layout(
    "mimic-cxr-vqa",
    "MIMIC-CXR-VQA as published: JSON with lists of answers, images by `image_path`",
    Columns(kind=("semantic_type",)),
    signature=frozenset({"semantic_type", "content_type", "question", "answer"}),
    answerless=True,
)
ROCO = Layout(
    "roco",
    "ROCO as published: CSV with `name` and `caption`, or captions.txt, beside images/",
    Columns(image=("name",)),
    signature=frozenset({"name", "caption"}),
    without=frozenset(COLUMNS.image),
)
TABLE = Layout(
    "table", "columns image, question and answer, or image and caption: CSV, TSV, JSON, Parquet, VQA-Med, BiomedGPT"
)
LAYOUTS = (SLAKE, VQA_RAD, OMNIMEDVQA, MIMIC_CXR_VQA, ROCO)
