"""Scans made to do harm, or damaged: one clear error, at once, in little memory."""

import gzip
import struct
import time
import tracemalloc
import zlib

import pytest

from medmllm.data.images import decode
from medmllm.errors import DataError

pydicom = pytest.importorskip("pydicom")
nibabel = pytest.importorskip("nibabel")


@pytest.fixture
def refused():
    """Decoding fails with a message and a hint, within seconds of the CPU and 200 MB."""

    def check(path, name=""):
        tracemalloc.start()
        begin = time.process_time()
        with pytest.raises(DataError) as error:
            decode(path, where="train.json: row 3", name=name)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert time.process_time() - begin < 5
        assert peak < 200 * 2**20
        assert error.value.hint
        assert error.value.where == "train.json: row 3"
        return error.value.message

    return check


def nifti(path, *, dims=(3, 4, 4, 4, 1, 1, 1, 1), pixdim=1.0, offset=352.0, slope=1.0, data=b"\0" * 128, affine=None):
    """A NIfTI-1 file with any header."""
    header = nibabel.Nifti1Header()
    header["dim"], header["pixdim"], header["vox_offset"] = dims, [1, pixdim, pixdim, pixdim, 1, 1, 1, 1], offset
    header["datatype"], header["bitpix"], header["scl_slope"] = 4, 16, slope
    if affine is not None:
        header["sform_code"] = 1
        header["srow_x"] = header["srow_y"] = header["srow_z"] = affine
    content = header.binaryblock + b"\0" * 4 + data
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


NIFTI = [
    {"dims": (3, 32767, 32767, 32767, 1, 1, 1, 1)},
    {"dims": (4, 512, 512, 512, 32767, 1, 1, 1)},
    {"dims": (3, -4, 4, 4, 1, 1, 1, 1)},
    {"dims": (3, 0, 4, 4, 1, 1, 1, 1)},
    {"dims": (9, 4, 4, 4, 1, 1, 1, 1)},
    {"dims": (1, 4, 1, 1, 1, 1, 1, 1)},
    {"pixdim": float("nan")},
    {"pixdim": float("inf")},
    {"affine": [float("nan")] * 4},
    {"affine": [0.0] * 4},
    {"offset": 1e9},
    {"offset": float("nan")},
    {"data": b"\0" * 5},
]


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("fault", NIFTI, ids=str)
def test_headers_of_nifti(tmp_path, refused, fault, ending):
    refused(nifti(tmp_path / f"v{ending}", **fault))


def test_a_sound_header_of_the_same_make_is_read(tmp_path):
    assert decode(nifti(tmp_path / "v.nii.gz"), where="x").size == (4, 4)
    assert decode(nifti(tmp_path / "w.nii", slope=float("nan")), where="x").size == (4, 4)


def test_a_nifti2_of_a_billion_voxels_a_side(tmp_path, refused):
    header = nibabel.Nifti2Header()
    header["dim"] = (3, 10**9, 10**9, 10**9, 1, 1, 1, 1)
    header["datatype"], header["bitpix"] = 4, 16
    (tmp_path / "v.nii").write_bytes(header.binaryblock + b"\0" * 100)
    assert "claims" in refused(tmp_path / "v.nii")


def test_a_zip_bomb_of_a_nifti_is_not_unpacked(tmp_path, refused):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    sound = nifti(tmp_path / "v.nii", dims=(3, 30000, 30000, 30000, 1, 1, 1, 1)).read_bytes()
    packed = packer.compress(sound) + b"".join(packer.compress(b"\0" * 2**20) for _ in range(256)) + packer.flush()
    (tmp_path / "bomb.nii.gz").write_bytes(packed)
    assert "claims" in refused(tmp_path / "bomb.nii.gz")


@pytest.mark.parametrize("content", [b"", b"\0" * 400, b"\x1f\x8b garbage", b"n+1\0" * 200])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.dcm"])
def test_garbage(tmp_path, refused, name, content):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name)


def element(group, number, kind, value):
    """One element of a DICOM header, explicit and little-endian; `value` is taken as it is."""
    long = kind in (b"OB", b"OW", b"SQ", b"UN")
    length = struct.pack("<HI", 0, len(value)) if long else struct.pack("<H", len(value))
    return struct.pack("<HH", group, number) + kind + length + value


def dicom(path, *, rows=b"\x02\x00", columns=b"\x02\x00", extra=b"", pixels=b"\0" * 8, syntax=b"1.2.840.10008.1.2.1\0"):
    meta = element(2, 0x10, b"UI", syntax)
    head = b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
    body = element(0x28, 2, b"US", b"\1\0") + element(0x28, 4, b"CS", b"MONOCHROME2 ") + extra
    body += element(0x28, 0x10, b"US", rows) + element(0x28, 0x11, b"US", columns)
    body += b"".join(
        element(0x28, n, b"US", struct.pack("<H", v)) for n, v in ((0x100, 16), (0x101, 16), (0x102, 15), (0x103, 0))
    )
    path.write_bytes(head + body + element(0x7FE0, 0x10, b"OW", pixels))
    return path


def test_a_sound_dicom_of_the_same_make_is_read(tmp_path):
    assert decode(dicom(tmp_path / "v.dcm"), where="x").size == (2, 2)


FRAMES = {"frames": b"1000000000", "nan": b"nan ", "text": b"many"}


@pytest.mark.parametrize("fault", ["rows", "both", "zero", "short", "empty", *FRAMES])
def test_headers_of_dicom(tmp_path, refused, fault):
    full = b"\xff\xff"
    changes = {
        "rows": {"rows": full},
        "both": {"rows": full, "columns": full},
        "zero": {"rows": b"\0\0"},
        "short": {"pixels": b"\0\0"},
        "empty": {"rows": b""},
    }
    extra = {"extra": element(0x28, 8, b"IS", FRAMES[fault])} if fault in FRAMES else {}
    refused(dicom(tmp_path / "v.dcm", **changes.get(fault, extra)))


@pytest.mark.parametrize("value", [b"nan ", b"inf ", b"x "])
@pytest.mark.parametrize("number", [0x1052, 0x1053])
def test_a_slope_that_is_no_number(tmp_path, refused, number, value):
    path = dicom(tmp_path / "v.dcm")
    data = path.read_bytes()
    place = data.index(struct.pack("<HH", 0x7FE0, 0x10))
    path.write_bytes(data[:place] + element(0x28, number, b"DS", value) + data[place:])
    assert "Rescale" in refused(path)


def test_a_deflated_dicom_is_not_unpacked(tmp_path, refused):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(packer.compress(b"\0" * 2**20) for _ in range(256)) + packer.flush()
    meta = element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1.99")
    head = b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta
    (tmp_path / "v.dcm").write_bytes(head + bomb)
    assert "deflated" in refused(tmp_path / "v.dcm")


def test_sequences_nested_without_end(tmp_path, refused):
    deep = b""
    for _ in range(3000):
        item = struct.pack("<HHI", 0xFFFE, 0xE000, len(deep)) + deep
        deep = element(8, 0x1140, b"SQ", item)
    refused(dicom(tmp_path / "v.dcm", extra=deep, pixels=b""))


def test_a_series_may_not_lead_out_of_its_folder(tmp_path, refused):
    (tmp_path / "series").mkdir()
    dicom(tmp_path / "secret.dcm")
    (tmp_path / "series/1.dcm").symlink_to(tmp_path / "secret.dcm")
    assert "leads out" in refused(tmp_path / "series", "series/")
