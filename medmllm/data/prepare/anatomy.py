"""Spoken names of mask classes, and short statements about anatomy and imaging that hold for every image."""

from __future__ import annotations

import ast
from pathlib import Path

# First match wins. Sides are merged, so that no flip of the picture can make a name false.
SPOKEN = (
    ("vertebrae_S1", "sacrum"),
    ("vertebrae_L", "lumbar vertebra"),
    ("vertebrae_T", "thoracic vertebra"),
    ("vertebrae", "vertebra"),
    ("intervertebral", "intervertebral disc"),
    ("rib_", "rib"),
    ("lung_", "lung"),
    ("kidney_cyst", "kidney cyst"),
    ("kidney_", "kidney"),
    ("adrenal_gland", "adrenal gland"),
    ("iliac_artery", "iliac artery"),
    ("iliac_vena", "iliac vein"),
    ("gluteus_maximus", "gluteus maximus"),
    ("gluteus_medius", "gluteus medius"),
    ("gluteus_minimus", "gluteus minimus"),
    ("autochthon", "deep back muscle"),
    ("iliopsoas", "iliopsoas muscle"),
    ("femur", "femur"),
    ("hip_", "hip bone"),
    ("humerus", "humerus"),
    ("scapula", "scapula"),
    ("clavicula", "clavicle"),
    ("costal_cart", "costal cartilage"),
    ("portal_vein", "portal vein"),
)

ORGANS = (
    "liver",
    "spleen",
    "kidney",
    "stomach",
    "colon",
    "urinary bladder",
    "lung",
    "hip bone",
    "small bowel",
    "aorta",
    "pancreas",
    "femur",
    "gallbladder",
    "heart",
    "sacrum",
    "duodenum",
    "inferior vena cava",
)
SIDED = ("liver", "spleen", "stomach", "gallbladder")

# True of the thing, whatever the picture: they fill a caption that has too few facts of its own.
GENERAL = {
    "liver": "The liver is the largest gland of the body.",
    "spleen": "The spleen filters the blood.",
    "kidney": "The kidneys lie behind the bowel on both sides of the spine.",
    "stomach": "The stomach receives food from the esophagus.",
    "colon": "The colon is the large bowel.",
    "urinary bladder": "The urinary bladder stores urine in the pelvis.",
    "lung": "The lung is filled with air.",
    "hip bone": "The hip bone is part of the pelvis.",
    "aorta": "The aorta is the main artery of the body.",
    "heart": "The heart pumps the blood.",
    "pancreas": "The pancreas lies behind the stomach.",
    "femur": "The femur is the bone of the thigh.",
    "gallbladder": "The gallbladder lies below the liver.",
    "sacrum": "The sacrum joins the spine to the pelvis.",
    "white matter": "White matter holds the fibres of nerve cells.",
    "gray matter": "Gray matter holds the bodies of nerve cells.",
    "axial": "An axial cut crosses the body from side to side and from front to back.",
    "coronal": "A coronal cut runs from side to side and from head to foot.",
    "sagittal": "A sagittal cut runs from front to back and from head to foot.",
    "soft tissue": "A soft tissue window separates organs, muscle and fat.",
    "lung window": "In a lung window the air in the lungs keeps its detail.",
    "bone": "A bone window keeps the detail of dense bone.",
    "MR": "Magnetic resonance uses no ionising radiation.",
    "film": "A chest film shows the lungs, the heart, the ribs and the diaphragm in one projection.",
    "pneumonia": "Pneumonia is an infection of the lung that can fill its air spaces with fluid.",
    "normal": "Air makes healthy lungs look dark on a film.",
    "bacterial pneumonia": "Bacterial pneumonia often shows as one dense patch in a lung.",
    "viral pneumonia": "Viral pneumonia often shows as faint streaks in both lungs.",
}


def spoken(name: str) -> str:
    """The name a reader knows for a mask class, without its side ("kidney_left" -> "kidney")."""
    for prefix, words in SPOKEN:
        if name.startswith(prefix):
            return words
    return name.replace("_", " ")


def read_classes(path: Path, task: str) -> dict[int, str]:
    """Spoken names by mask value, from the literal `class_map` of TotalSegmentator's source; nothing is executed."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "class_map":
            return {value: spoken(name) for value, name in ast.literal_eval(node.value)[task].items()}
    raise ValueError(f"{path} holds no `class_map`: it is not the pinned source file")
