"""Image paths as Windows writes them."""

import json

import pytest

from medmllm.data.formats import read_file


def read(folder, image):
    (folder / "a.json").write_text(json.dumps([{"image": image, "question": "Is it?", "answer": "yes"}]))
    return read_file(folder / "a.json")


def test_backslashes_separate_folders(tmp_path):
    assert [record.image for record in read(tmp_path, "dicom\\1\\IM0000").records] == ["dicom/1/IM0000"]


def test_a_file_of_that_very_name_is_kept(tmp_path):
    (tmp_path / "dicom\\IM0000").touch()
    assert [record.image for record in read(tmp_path, "dicom\\IM0000").records] == ["dicom\\IM0000"]


def test_backslashes_do_not_lead_out_of_the_folder(tmp_path):
    (problem,) = read(tmp_path, "..\\secret.png").problems
    assert "leaves the data file's folder" in problem.message


@pytest.mark.parametrize("image", ["C:\\scans\\7.png", "d:/scans/7.png", "\\\\server\\scans\\7.png"])
def test_a_drive_is_an_absolute_path_of_windows(tmp_path, image):
    (problem,) = read(tmp_path, image).problems
    assert "absolute Windows path" in problem.message
    assert problem.hint
