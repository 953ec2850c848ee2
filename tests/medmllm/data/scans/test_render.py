"""Scans as pictures: windows, rescaling, sixteen bits, orientation, and slices of volumes."""

import json

import numpy as np
import pytest
from dicom_files import decoded_grey as grey
from dicom_files import dicom

from medmllm.data.config import DataConfig
from medmllm.data.images import decode
from medmllm.data.scans.address import Address, address
from medmllm.data.scans.window import WINDOWS, shade, window_limits
from medmllm.data.sources import open_source
from medmllm.errors import DataError

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")


HU = np.array([[-1000, -600], [40, 1000]], np.int16)


@pytest.mark.parametrize("name", WINDOWS)
def test_every_window_puts_its_centre_in_the_middle(name):
    low, high = window_limits(name)
    centre, width = WINDOWS[name]
    values = np.array([[low - 1, low, centre, high, high + 1]], np.float32)
    assert shade(values, (low, high)).tolist() == [[0, 0, 128, 255, 255]]
    assert high - low == width


def test_windows_by_numbers_and_wrong_ones():
    assert window_limits("40/400") == (-160.0, 240.0)
    assert window_limits("-600.5/1500") == (-1350.5, 149.5)
    assert window_limits("auto") is None
    for wrong in ("lungs", "40", "40/0", "40/-3", "nan/1", "1e3/5"):
        with pytest.raises(ValueError, match="soft_tissue"):
            window_limits(wrong)
        with pytest.raises(ValueError):
            DataConfig(window=wrong)


def test_dicom_is_rescaled_then_windowed(tmp_path):
    stored = (HU + 1024).astype(np.uint16)
    path = dicom(tmp_path / "a.dcm", stored, RescaleSlope=1, RescaleIntercept=-1024)
    assert grey(path, window="lung").tolist() == [[60, 128], [236, 255]]
    assert grey(path, window="soft_tissue").tolist() == [[0, 0], [128, 255]]
    assert grey(path, window="bone").tolist() == [[0, 0], [69, 191]]
    assert grey(path).tolist() == [[0, 51], [133, 255]]  # the whole range: nothing is clipped


def test_dicom_without_ending_in_bytes_and_with_its_own_window(tmp_path):
    path = dicom(tmp_path / "IM0001", HU, WindowCenter=[40, 500], WindowWidth=[400, 2000])
    assert grey(path).tolist() == [[0, 0], [128, 255]]
    assert np.array_equal(np.asarray(decode(path.read_bytes(), where="x"))[..., 0], grey(path))
    assert grey(path, window="0/4000").tolist() == [[64, 89], [130, 191]]


def test_monochrome1_is_turned_and_colours_stay(tmp_path):
    path = dicom(tmp_path / "a.dcm", np.array([[0, 4000]], np.uint16), PhotometricInterpretation="MONOCHROME1")
    assert grey(path).tolist() == [[255, 0]]
    pixels = np.array([[[255, 0, 7], [1, 2, 3]]], np.uint8)
    path = dicom(tmp_path / "b.dcm", pixels, PhotometricInterpretation="RGB")
    assert np.array_equal(np.asarray(decode(path, where="x")), pixels)


def test_frames_and_series(tmp_path):
    frames = np.stack([np.full((2, 2), 10 * n, np.uint8) for n in range(5)])
    frames[:, 0, 0], frames[:, 1, 1] = 0, 255
    path = dicom(tmp_path / "a.dcm", frames, NumberOfFrames=5)
    assert grey(path)[0, 1] == 20
    assert grey(path, "a.dcm#axial=4")[0, 1] == 40
    with pytest.raises(DataError, match="has 5 axial slices"):
        grey(path, "a.dcm#axial=5")
    with pytest.raises(DataError, match="coronal"):
        grey(path, "a.dcm#coronal=1")
    for number, height in enumerate((30.0, 10.0, 20.0)):  # stored in another order than they lie
        pixels = np.array([[0, int(height)], [0, 255]], np.uint8)
        fields = {"ImagePositionPatient": [0, 0, height], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        dicom(tmp_path / f"series/{number}.dcm", pixels, SeriesInstanceUID="1.2", **fields)
    shades = [grey(tmp_path / "series", f"series/#axial={n}")[0, 1] for n in range(3)]
    assert shades == [10, 20, 30]
    dicom(tmp_path / "series/9.dcm", pixels, SeriesInstanceUID="1.3")
    with pytest.raises(DataError, match="holds 2 series"):
        grey(tmp_path / "series", "series/")
    with pytest.raises(DataError, match="is a folder") as error:
        grey(tmp_path / "series", "series")
    assert "written with / at its end" in error.value.hint


AXES = [("RAS", np.diag([1.0, 1, 1, 1])), ("LPS", np.diag([-1.0, -1, 1, 1])), ("AIL", None)]


@pytest.mark.parametrize(("code", "affine"), AXES)
def test_nifti_is_shown_as_radiologists_look_at_it(tmp_path, code, affine):
    ras = np.zeros((4, 5, 6), np.int16)
    ras[3, :, :], ras[:, 4, :], ras[:, :, 5] = 100, 50, 25  # right-most, front-most, top-most layers
    ras[0, 0, 0] = 100
    volume = nibabel.Nifti1Image(ras, np.eye(4))
    wanted = nibabel.orientations.axcodes2ornt(tuple(code))
    turned = volume.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(np.eye(4)), wanted))
    nibabel.save(turned, tmp_path / "v.nii.gz")
    window = "50/100"
    axial = grey(tmp_path / "v.nii.gz", "v.nii.gz#axial=2", window)
    assert axial.shape == (5, 4)
    assert axial[2, 0] == 255  # the person's right at the left of the picture
    assert axial[0, 2] == 128  # front at the top
    coronal = grey(tmp_path / "v.nii.gz", "v.nii.gz#coronal=2", window)
    assert (coronal.shape, coronal[0, 2], coronal[3, 0]) == ((6, 4), 64, 255)  # head at the top
    sagittal = grey(tmp_path / "v.nii.gz", "v.nii.gz#sagittal=1", window)
    assert (sagittal.shape, sagittal[3, 0]) == ((6, 5), 128)  # front at the left
    assert np.array_equal(
        grey(tmp_path / "v.nii.gz", "", window), grey(tmp_path / "v.nii.gz", "v.nii.gz#axial=3", window)
    )


def test_nifti_slope_and_series_in_time(tmp_path):
    volume = nibabel.Nifti1Image(np.arange(48, dtype=np.int16).reshape(2, 2, 3, 4), np.eye(4))
    volume.header.set_slope_inter(2.0, -10.0)
    nibabel.save(volume, tmp_path / "v.nii")
    assert grey(tmp_path / "v.nii", "v.nii#axial=0", "0/100").shape == (2, 2)
    assert decode((tmp_path / "v.nii").read_bytes(), where="x", name="v.nii").size == (2, 2)


def test_addresses():
    assert address("ct.nii.gz#coronal=7") == Address("ct.nii.gz", "coronal", 7)
    assert address("ct.nii.gz#sagittal") == Address("ct.nii.gz", "sagittal", None)
    assert address("odd#axial=7.png") == Address("odd#axial=7.png")
    assert address("a.png#axial=7") == Address("a.png#axial=7")
    assert address("series/#axial=7") == Address("series/", "axial", 7)


def test_a_data_set_of_volumes(tmp_path):
    for number in range(3):
        ramp = np.broadcast_to(np.arange(20, dtype=np.int16), (4, 4, 20)) * 10
        nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(ramp), np.eye(4)), tmp_path / f"{number}.nii")
    rows = [{"image": f"{n}.nii", "question": "Q", "answer": "A", "subject": f"p{n}"} for n in range(3)]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    config = DataConfig(source=str(tmp_path / "rows.json"), slices=4, window="100/200")
    source = open_source(config)
    records = [r for split in ("train", "validation") for r in source.records(split)]
    assert len(records) == 12
    first = [r for r in records if r.subject == "p0"]
    assert [r.image for r in first] == [f"0.nii#axial={n}" for n in (2, 7, 12, 17)]
    assert [source.image(r).getpixel((0, 0))[0] for r in first] == [26, 89, 153, 217]
    assert {source.place(r)[1] for r in first} == {1}
    assert len(open_source(config.model_copy(update={"slices": 1})).records("train")) == 2


def test_an_image_names_a_window_of_its_own(tmp_path):
    path = dicom(tmp_path / "a.dcm", np.array([[-1000, 40, 1000]], np.int16))

    def shown(name: str, window: str = "40/400") -> list[int]:
        return np.asarray(decode(path, where="here", name=name, window=window))[0, :, 0].tolist()

    assert shown("a.dcm") == shown("a.dcm#window=40/400", "lung") != shown("a.dcm#window=lung")
    assert address("a.dcm#axial=3,window=bone").name == "a.dcm#axial=3,window=bone"
    with pytest.raises(DataError, match="the window that its name asks for is not a window"):
        shown("a.dcm#window=heart")
