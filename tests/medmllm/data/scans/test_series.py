"""Folders of DICOM files: which belong together, in which order, and what is said where that is not clear."""

import numpy as np
import pytest
from dicom_files import decoded_grey as grey
from dicom_files import dicom, item

from medmllm.data.scans.address import address
from medmllm.data.scans.render import depth
from medmllm.errors import DataError

pytest.importorskip("pydicom")

TURNS = {"axial": [1, 0, 0, 0, 1, 0], "coronal": [1, 0, 0, 0, 0, -1], "sagittal": [0, 1, 0, 0, 0, -1]}


def one(path, shade, place=None, plane="axial", turn=None, **fields):
    """A slice of one shade; `place` in millimetres along DICOM's axis across the plane."""
    if place is not None:
        position = [0.0, 0.0, 0.0]
        position[{"axial": 2, "coronal": 1, "sagittal": 0}[plane]] = place
        fields |= {"ImagePositionPatient": position, "ImageOrientationPatient": turn or TURNS[plane]}
    pixels = np.full((3, 4), shade, np.uint8)
    return dicom(path, pixels, **{"SeriesInstanceUID": "1.2", **fields})


def shades(folder, extra=""):
    count = depth(folder, address(f"series/#axial{extra}"))
    return [int(grey(folder, f"series/#axial={n}{extra}", "128/256")[0, 0]) for n in range(count)]


@pytest.mark.parametrize(
    ("plane", "turn", "order"),
    [("axial", None, [10, 20, 30]), ("axial", [-1, 0, 0, 0, 1, 0], [10, 20, 30]), ("coronal", None, [30, 20, 10]),
     ("coronal", [-1, 0, 0, 0, 0, -1], [30, 20, 10]), ("sagittal", None, [30, 20, 10]),
     ("sagittal", [0, -1, 0, 0, 0, -1], [30, 20, 10])],
)  # fmt: skip
def test_slices_are_counted_from_the_feet_the_back_and_the_left(tmp_path, plane, turn, order):
    """As in NIfTI, whichever way the rows run: DICOM's axes point to the left, to the back and up."""
    for number, place in enumerate((30, 10, 20)):
        one(tmp_path / f"{number}.dcm", place, place, plane, turn)
    assert shades(tmp_path) == order
    assert grey(tmp_path, f"series/#{plane}=0", "128/256")[0, 0] == order[0]
    other = next(name for name in ("coronal", "sagittal") if name != plane)
    with pytest.raises(DataError, match=f"not in {other} cuts"):
        grey(tmp_path, f"series/#{other}=0")


def test_names_are_ordered_as_people_count(tmp_path):
    for number in (10, 2, 1, 11):
        one(tmp_path / f"IM{number}", number)
    assert shades(tmp_path) == [1, 2, 10, 11]
    for number in (10, 2, 1, 11):
        one(tmp_path / f"IM{number}", number, InstanceNumber=20 - number)
    assert shades(tmp_path) == [11, 10, 2, 1]


def test_a_file_with_many_frames_is_a_volume(tmp_path):
    frames = np.stack([np.full((3, 4), 10 * n, np.uint8) for n in range(5)])
    dicom(tmp_path / "a/x.dcm", frames, NumberOfFrames=5)
    assert shades(tmp_path / "a") == [0, 10, 20, 30, 40]
    places = [
        item(PlanePositionSequence=item(ImagePositionPatient=[0, 0, z]),
             PlaneOrientationSequence=item(ImageOrientationPatient=TURNS["axial"]))
        for z in (50, 40, 30, 20, 10)
    ]  # fmt: skip
    dicom(tmp_path / "b/x.dcm", frames, NumberOfFrames=5, PerFrameFunctionalGroupsSequence=places)
    assert shades(tmp_path / "b") == [40, 30, 20, 10, 0]  # a folder is a volume, from the feet up
    assert grey(tmp_path / "b/x.dcm", "x.dcm#axial=1", "128/256")[0, 0] == 10  # a file's frames as it numbers them
    one(tmp_path / "a/y.dcm", 3)
    with pytest.raises(DataError, match=r"x.dcm has 5 frames and is beside 1 other file"):
        shades(tmp_path / "a")


GROUPS = {
    "echoes": [{"EchoNumbers": 1, "EchoTime": 10}, {"EchoNumbers": 2, "EchoTime": 90}],
    "times": [{"TemporalPositionIdentifier": 1}, {"TemporalPositionIdentifier": 2}],
    "acquisitions": [{"AcquisitionNumber": 1}, {"AcquisitionNumber": 2}],
    "diffusion": [{"DiffusionBValue": 0.0}, {"DiffusionBValue": 1000.0}],
    "nothing": [{}, {}],
}


@pytest.mark.parametrize("what", GROUPS)
def test_volumes_of_one_series_are_asked_about(tmp_path, what):
    for group, fields in enumerate(GROUPS[what]):
        for place in range(3):
            number = {"InstanceNumber": 1 + place + 3 * group}
            one(tmp_path / f"{group}-{place}.dcm", 100 * group + 10 * place, 10 * place, **fields, **number)
    with pytest.raises(DataError, match="holds 2 groups of slices of one series") as error:
        shades(tmp_path)
    assert "series/#group=1,axial=0" in error.value.hint
    assert all(name in error.value.hint for name in GROUPS[what][0])
    assert shades(tmp_path, ",group=1") == [0, 10, 20]
    assert shades(tmp_path, ",group=2") == [100, 110, 120]
    with pytest.raises(DataError, match="has 2 groups"):
        shades(tmp_path, ",group=3")


def test_localizers_and_other_series_are_told_apart(tmp_path):
    for place in range(3):
        one(tmp_path / f"a/{place + 1}.dcm", 10 * place, 10 * place)
    one(tmp_path / "a/0.dcm", 99, 5, "sagittal")
    with pytest.raises(DataError, match="2 groups") as error:
        shades(tmp_path / "a")
    assert "sagittal" in error.value.hint
    assert shades(tmp_path / "a", ",group=2") == [0, 10, 20]
    one(tmp_path / "b/1.dcm", 1, 0)
    one(tmp_path / "b/2.dcm", 2, 0, SeriesInstanceUID="1.3", SeriesDescription="scout")
    with pytest.raises(DataError, match="holds 2 series") as error:
        shades(tmp_path / "b")
    assert "SeriesDescription scout" in error.value.hint


def test_two_files_at_one_place_are_named(tmp_path):
    for name, place in (("a", 0), ("b", 10), ("c", 10), ("d", 20)):
        one(tmp_path / f"{name}.dcm", 1, place)
    with pytest.raises(DataError, match=r"b.dcm and c.dcm lie at one place"):
        shades(tmp_path)


@pytest.mark.parametrize(("name", "content"), [("notes.txt", b"see also"), ("Thumbs.db", b"\xd0\xcf" * 300)])
def test_stray_files_are_named(tmp_path, name, content):
    one(tmp_path / "1.dcm", 1, 0)
    (tmp_path / name).write_bytes(content)
    (tmp_path / ".DS_Store").write_bytes(b"hidden")
    with pytest.raises(DataError, match=f"{name} in the series' folder: it is not DICOM") as error:
        shades(tmp_path)
    assert "move it out" in error.value.hint
    (tmp_path / name).unlink()
    assert shades(tmp_path) == [1]


def test_what_was_written_since_is_seen(tmp_path):
    one(tmp_path / "1.dcm", 1, 0)
    one(tmp_path / "2.dcm", 2, 10)
    assert shades(tmp_path) == [1, 2]
    one(tmp_path / "1.dcm", 1, 20, PatientName="x" * 20)
    assert shades(tmp_path) == [2, 1]
