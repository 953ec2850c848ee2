"""The doctor says how scans are shown, and lists those whose display depends on a choice."""

import json
import shutil

import numpy as np
import pytest
from dicom_files import dicom

from medmllm.data.config import DataConfig
from medmllm.data.validate import validate_data

nibabel = pytest.importorskip("nibabel")
pytest.importorskip("pydicom")

PIXELS = np.random.default_rng(0).integers(-1000, 1000, (20, 24)).astype(np.int16)


def report_on(folder, names, **settings):
    rows = [
        {"image": name, "question": "Q", "answer": "A", "subject": f"p{n}", "split": ("train", "val")[n % 2]}
        for n, name in enumerate(names)
    ]
    (folder / "rows.json").write_text(json.dumps(rows))
    return validate_data(DataConfig(source=str(folder / "rows.json"), **settings))


def test_what_scans_are_and_what_had_to_be_chosen(tmp_path):
    dicom(tmp_path / "a.dcm", PIXELS, Modality="CT", WindowCenter=40, WindowWidth=400, PixelSpacing=[0.5, 0.5])
    dicom(tmp_path / "b.dcm", PIXELS[::-1], Modality="CT", WindowCenter=[40, 50], WindowWidth=[400, 60])
    hot = np.abs(PIXELS) % 50
    hot[0, 0] = 30_000
    dicom(tmp_path / "hot", hot, Modality="MR")
    dicom(tmp_path / "odd.dcm", PIXELS.T, Modality="DX", PhotometricInterpretation="MONOCHROME1",
          PresentationLUTShape="IDENTITY")  # fmt: skip
    volume = nibabel.Nifti1Image(np.random.default_rng(1).integers(0, 9, (6, 7, 8, 2)).astype(np.int16), None)
    nibabel.save(volume, tmp_path / "v.nii.gz")
    names = ["a.dcm", "b.dcm", "hot", "odd.dcm", "v.nii.gz"]
    report = report_on(tmp_path, names)
    assert not report.problems
    groups = {(g.modality, g.pixels, g.bits, g.origin): (g.images, g.windows, g.spacings) for g in report.scans}
    assert groups["CT", "MONOCHROME2", 16, "the file's own"] == (2, "40/400", "0.5 x 0.5, not given")
    assert groups["MR", "MONOCHROME2", 16, "percentile"][0] == 1
    assert groups["", "grey", 16, "whole range"] == (1, "4/8", "1 x 1")
    chosen = {choice.choice: choice.names for choice in report.choices}
    assert chosen["it has several windows of its own: the first is used"] == ("b.dcm",)
    assert chosen["it has no window of its own: it is shown from its 0.5th to its 99.5th percentile"] == ("hot",)
    assert chosen["MONOCHROME1 with PresentationLUTShape IDENTITY: the latter is followed"] == ("odd.dcm",)
    assert chosen["its header says nothing of directions: left is taken to come first"] == ("v.nii.gz",)
    assert chosen["no time is named: the first volume is shown"] == ("v.nii.gz",)
    assert chosen["no slice is named: the middle one is shown"] == ("v.nii.gz",)
    asked = report_on(tmp_path, names[:3], window="40/400")
    assert {g.origin for g in asked.scans} == {"asked for"}
    assert not asked.choices
    assert json.loads(json.dumps(report.to_dict()))["scans"]


def test_the_same_file_is_one_of_equal_bytes(tmp_path):
    """Two files that show one picture are two files; slices of one volume are two slices."""
    dicom(tmp_path / "a.dcm", PIXELS, PatientName="a")
    dicom(tmp_path / "b.dcm", PIXELS, PatientName="b")
    shutil.copy(tmp_path / "a.dcm", tmp_path / "c.dcm")
    checks = {problem.check: problem.message for problem in report_on(tmp_path, ["a.dcm", "b.dcm"]).problems}
    assert checks.keys() == {"leak-image"}
    checks = {problem.check: problem.message for problem in report_on(tmp_path, ["a.dcm", "c.dcm"]).problems}
    assert checks["leak-file"].startswith("c.dcm is the same file as a.dcm")
    flat = np.repeat(PIXELS[:, :, None], 4, axis=2)
    nibabel.save(nibabel.Nifti1Image(flat, np.eye(4)), tmp_path / "v.nii")
    found = report_on(tmp_path, ["v.nii#axial=1", "v.nii#axial=2"]).problems
    assert "leak-file" not in {problem.check for problem in found}
    found = report_on(tmp_path, ["v.nii#axial=2", "v.nii"]).problems
    assert "leak-file" in {problem.check for problem in found}
    (tmp_path / "s").mkdir()
    shutil.copy(tmp_path / "a.dcm", tmp_path / "s/x.dcm")
    found = report_on(tmp_path, ["s/", "a.dcm"]).problems
    assert "leak-file" in {problem.check for problem in found}
