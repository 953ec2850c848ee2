"""From stored values to grey values: what DICOM PS3.3 says, number by number."""

import io

import numpy as np
import pytest
from dicom_files import dataset, dicom, item, table
from dicom_files import decoded_grey as grey
from PIL import Image

from medmllm.data.images import decode
from medmllm.errors import DataError

pytest.importorskip("pydicom")

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
ANGIOGRAPHY = "1.2.840.10008.5.1.4.1.1.12.1"


def whole(values):
    return np.clip(np.rint(255 * values), 0, 255)


def expected(function, x, c, w):
    """PS3.3, C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2, written as they are there."""
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return 1 / (1 + np.exp(-4 * (x - c) / w))
    if function == "LINEAR_EXACT":
        return np.where(x <= c - w / 2, 0, np.where(x > c + w / 2, 1, (x - c) / w + 0.5))
    low, high = c - 0.5 - (w - 1) / 2, c - 0.5 + (w - 1) / 2
    inside = (x - (c - 0.5)) / (w - 1 or 1) + 0.5
    return np.where(x <= low, 0, np.where(x > high, 1, inside))


@pytest.mark.parametrize("function", ["", "LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("centre", "width"), [(1000, 2000), (100, 1), (100, 2), (2000.5, 3.5), (-50, 300)])
def test_window_functions(tmp_path, function, centre, width):
    fields = {"VOILUTFunction": function} if function else {}
    path = dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=centre,
                 WindowWidth=width, **fields)  # fmt: skip
    wanted = whole(expected(function or "LINEAR", 2.0 * RAMP - 1024, centre, width))
    assert np.abs(grey(path) - wanted).max() <= 1  # a half may round either way


def test_a_file_with_several_windows_is_shown_in_the_named_one(tmp_path):
    names = ["WINDOW1", "Lung soft"]
    path = dicom(tmp_path / "a.dcm", RAMP, WindowCenter=[1000, 300], WindowWidth=[3000, 100],
                 WindowCenterWidthExplanation=names)  # fmt: skip
    first, second = (whole(expected("LINEAR", RAMP * 1.0, *window)) for window in ((1000, 3000), (300, 100)))
    for window, wanted in (("auto", first), ("auto:1", first), ("auto:2", second), ("auto:lung soft", second)):
        assert np.abs(grey(path, window=window) - wanted).max() <= 1
    with pytest.raises(DataError, match="no window 'bone'") as error:
        grey(path, window="auto:bone")
    assert "2: 300/100 (Lung soft)" in error.value.hint


@pytest.mark.parametrize("bits", [8, 12, 16])
@pytest.mark.parametrize("first", [0, 1000, -500])
def test_voi_look_up_tables(tmp_path, bits, first):
    entries = ((2**bits - 1) * np.linspace(0, 1, 2000) ** 2).astype(int)
    path = dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400,
                 VOILUTSequence=[table(first, entries, bits)])  # fmt: skip
    values = RAMP.astype(int) - 1024
    wanted = whole(entries[np.clip(values - first, 0, 1999)] / (2**bits - 1))
    assert np.abs(grey(path) - wanted).max() <= 1  # the table comes before the window, which has a number of its own
    assert np.abs(grey(path, window="auto:2") - whole(expected("LINEAR", values, 40, 400))).max() <= 1


def test_a_modality_look_up_table_replaces_slope_and_intercept(tmp_path):
    entries = np.arange(4096)[::-1]
    path = dicom(tmp_path / "a.dcm", RAMP, RescaleSlope=9, RescaleIntercept=9,
                 ModalityLUTSequence=[table(0, entries, 16)])  # fmt: skip
    wanted = np.clip((4095.0 - RAMP - 2000) / 1000 + 0.5, 0, 1)
    assert np.abs(grey(path, window="2000/1000") - whole(wanted)).max() <= 1


def test_angiography_is_shown_without_its_modality_table(tmp_path):
    path = dicom(tmp_path / "a.dcm", RAMP, SOPClassUID=ANGIOGRAPHY, RescaleSlope=2, RescaleIntercept=-500)
    assert np.abs(grey(path, window="1000/1000") - whole((RAMP - 1000.0) / 1000 + 0.5)).max() <= 1


def enhanced(path, frames, **shared):
    """A file whose frames differ in slope and window."""
    groups = [
        item(
            PixelValueTransformationSequence=item(RescaleSlope=1 + n, RescaleIntercept=-1000 * n),
            FrameVOILUTSequence=item(WindowCenter=200 * n, WindowWidth=1000 + 100 * n),
        )
        for n in range(len(frames))
    ]
    return dicom(path, frames, NumberOfFrames=len(frames), SOPClassUID=ENHANCED_CT, BitsStored=12,
                 PerFrameFunctionalGroupsSequence=groups, **shared)  # fmt: skip


def test_every_frame_has_its_own_slope_and_window(tmp_path):
    frames = np.stack([RAMP, RAMP // 2, RAMP[::-1]])
    path = enhanced(tmp_path / "a.dcm", frames)
    for n, stored in enumerate(frames):
        units = stored * (1.0 + n) - 1000 * n
        name = f"a.dcm#axial={n}"
        assert np.abs(grey(path, name) - whole(expected("LINEAR", units, 200 * n, 1000 + 100 * n))).max() <= 1
        wanted = whole(np.clip((units - 40) / 400 + 0.5, 0, 1))
        assert np.abs(grey(path, name, "soft_tissue") - wanted).max() <= 1


def test_groups_shared_by_all_frames(tmp_path):
    shared = item(
        PixelValueTransformationSequence=item(RescaleSlope=1, RescaleIntercept=-1024),
        PixelMeasuresSequence=item(PixelSpacing=[2, 1]),
    )
    path = dicom(tmp_path / "a.dcm", np.stack([RAMP, RAMP]), NumberOfFrames=2, SOPClassUID=ENHANCED_CT,
                 SharedFunctionalGroupsSequence=[shared])  # fmt: skip
    picture = grey(path, "a.dcm#axial=1", "1000/4000")
    assert picture.shape == (128, 64)
    assert abs(picture.mean() - whole((RAMP - 1024.0 - 1000) / 4000 + 0.5).mean()) < 1


@pytest.mark.parametrize("high", [11, 12, 15])
@pytest.mark.parametrize("signed", [0, 1])
def test_values_lie_below_the_high_bit_and_nothing_else_counts(tmp_path, high, signed):
    values = RAMP.astype(int) - 2048 * signed
    dirt = (1 << (high - 11)) - 1  # bits below, and above them an overlay as old files have it
    stored = ((values & 0xFFF) << (high - 11)) | dirt | (0 if high == 15 else 0x8000)
    path = dicom(tmp_path / "a.dcm", stored.astype(np.uint16), BitsStored=12, HighBit=high, PixelRepresentation=signed)
    assert np.abs(grey(path) - whole(RAMP / 4095)).max() <= 1


@pytest.mark.parametrize("side", [(7, 9), (8, 8), (5, 3)])
def test_frames_of_one_bit_of_any_size(tmp_path, side):
    frames = (np.random.default_rng(0).random((5, *side)) > 0.5).astype(np.uint8)
    frames[:, 0, 0], frames[:, 0, 1] = 0, 1
    data = dataset(frames, NumberOfFrames=5, BitsAllocated=1, BitsStored=1, HighBit=0)
    packed = np.packbits(frames.ravel(), bitorder="little").tobytes()
    data.PixelData = packed + b"\0" * (len(packed) % 2)
    data["PixelData"].VR = "OB"
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    for n, frame in enumerate(frames):
        assert np.array_equal(grey(tmp_path / "a.dcm", f"a.dcm#axial={n}"), 255 * frame)


@pytest.mark.parametrize("syntax", ["ExplicitVRLittleEndian", "ExplicitVRBigEndian"])
@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_of_both_byte_orders(tmp_path, syntax, bits):
    import pydicom

    order = ">u2" if "Big" in syntax else "<u2"
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    tables = {name: (np.arange(200) * (n + 3) * 7) % 2**bits for n, name in enumerate(("Red", "Green", "Blue"))}
    fields = {"PhotometricInterpretation": "PALETTE COLOR", "syntax": getattr(pydicom.uid, syntax)}
    for name, entries in tables.items():
        fields[f"{name}PaletteColorLookupTableDescriptor"] = [200, 20, bits]
        fields[f"{name}PaletteColorLookupTableData"] = entries.astype(order).tobytes()
    shown = np.asarray(decode(dicom(tmp_path / "a.dcm", pixels, **fields), where="x"))
    places = np.clip(pixels.astype(int) - 20, 0, 199)
    wanted = np.stack([entries[places] >> (bits - 8) for entries in tables.values()], -1)
    assert np.array_equal(shown, wanted)


def jpeg_with_marker(picture, marker):
    """A JPEG in YBR with JFIF's marker, with Adobe's (which says YBR too), with both, or with none."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=95, subsampling=0)
    content = stream.getvalue()
    end = 4 + int.from_bytes(content[4:6], "big")
    start, jfif, rest = content[:2], content[2:end], content[end:]
    adobe = b"\xff\xee\x00\x0eAdobe\x00\x64" + bytes(4) + b"\x01"
    return start + (jfif if "jfif" in marker else b"") + (adobe if "adobe" in marker else b"") + rest


@pytest.mark.parametrize("marker", ["jfif", "adobe", "jfif and adobe", ""])
def test_colours_of_a_jpeg_depend_on_no_marker_in_it(tmp_path, marker):
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage

    down, across = np.mgrid[:32, :32].astype(np.uint8)
    first = np.stack([np.full_like(down, 200), 60 + across, 40 + down], -1)
    frames = [first, first[..., ::-1]]
    data = dataset(np.stack(frames)[0], PhotometricInterpretation="RGB", SOPClassUID=SecondaryCaptureImageStorage)
    data.PhotometricInterpretation, data.NumberOfFrames = "YBR_FULL_422", 2
    data.PixelData = encapsulate([jpeg_with_marker(Image.fromarray(frame), marker) for frame in frames])
    data.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    for n, frame in enumerate(frames):
        shown = np.asarray(decode(tmp_path / "a.dcm", where="x", name=f"a.dcm#axial={n}")).astype(int)
        assert np.abs(shown - frame).max() <= 6  # JPEG loses that much


def test_padding_counts_in_no_range(tmp_path):
    pixels = np.array([[100, 200], [300, 63536]], np.uint16)  # -2000 of a signed writer
    data = dataset(pixels.view(np.int16))
    data.add_new("PixelPaddingValue", "US", 63536)
    data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    assert grey(tmp_path / "a.dcm").tolist() == [[0, 128], [255, 0]]
    path = dicom(tmp_path / "b.dcm", pixels, PixelPaddingValue=60000, PixelPaddingRangeLimit=65000)
    assert grey(path).tolist() == [[0, 128], [255, 255]]


def test_one_hot_pixel_does_not_black_out_the_others(tmp_path):
    pixels = (np.arange(64 * 64) % 200).astype(np.uint16).reshape(64, 64)
    pixels[5, 5] = 30_000
    path = dicom(tmp_path / "a.dcm", pixels, Modality="MR")
    assert 120 < grey(path).mean() < 135
    assert grey(path, window="percentile").mean() == grey(path).mean()
    pixels[5, 5] = 300  # not so hot that the others suffer
    path = dicom(tmp_path / "b.dcm", pixels, Modality="MR")
    assert np.array_equal(grey(path), whole(pixels / 300))
    mask = np.zeros((64, 64), np.uint8)
    mask[3, 3] = 1  # a small outline is the whole picture, not an outlier
    assert grey(dicom(tmp_path / "c.dcm", mask)).max() == 255


@pytest.mark.parametrize(
    ("interpretation", "shape", "inverted"),
    [("MONOCHROME1", "", 1), ("MONOCHROME2", "", 0), ("MONOCHROME1", "INVERSE", 1), ("MONOCHROME2", "INVERSE", 1)],
)
def test_what_is_white(tmp_path, interpretation, shape, inverted):
    path = dicom(tmp_path / "a.dcm", RAMP, PhotometricInterpretation=interpretation, PresentationLUTShape=shape)
    assert grey(path)[0, 0] == 255 * inverted


def test_pixels_become_square(tmp_path):
    square = np.arange(64, dtype=np.uint8).reshape(8, 8)
    for field, value, size in (
        ("PixelSpacing", [1, 1], (8, 8)), ("PixelSpacing", [0.5, 0.5], (8, 8)), ("PixelSpacing", [2, 1], (16, 8)),
        ("PixelSpacing", [1, 2.5], (8, 20)), ("ImagerPixelSpacing", [3, 1], (24, 8)),
        ("PixelAspectRatio", [1, 2], (8, 16)), ("PixelSpacing", [0, 0], (8, 8)),
    ):  # fmt: skip
        assert grey(dicom(tmp_path / "a.dcm", square, **{field: value})).shape == size
    with pytest.raises(DataError, match="too large a picture"):
        grey(dicom(tmp_path / "a.dcm", square, PixelSpacing=[1e9, 1e-3]))


def test_deflated_files_are_unpacked(tmp_path):
    import pydicom

    plain = dicom(tmp_path / "a.dcm", RAMP, WindowCenter=1000, WindowWidth=2000)
    packed = dicom(tmp_path / "b.dcm", RAMP, WindowCenter=1000, WindowWidth=2000,
                   syntax=pydicom.uid.DeflatedExplicitVRLittleEndian)  # fmt: skip
    assert packed.stat().st_size < plain.stat().st_size
    for data in (packed, packed.read_bytes()):
        assert np.array_equal(grey(data), grey(plain))
    packed.write_bytes(packed.read_bytes()[:-40])
    with pytest.raises(DataError, match="deflated"):
        grey(packed)


def test_objects_without_a_picture_are_called_by_their_name(tmp_path):
    for uid, name in (
        ("1.2.840.10008.5.1.4.1.1.88.33", "Comprehensive SR Storage"),
        ("1.2.840.10008.5.1.4.1.1.481.5", "RT Plan Storage"),
        ("1.2.840.10008.1.3.10", "a DICOMDIR"),
    ):
        data = dataset(RAMP, SOPClassUID=uid)
        for field in ("Rows", "Columns", "PixelData"):
            delattr(data, field)
        data.save_as(tmp_path / "a.dcm", enforce_file_format=True)
        with pytest.raises(DataError, match=name):
            decode(tmp_path / "a.dcm", where="x")


@pytest.mark.parametrize("syntax", ["ImplicitVRLittleEndian", "ExplicitVRLittleEndian", "ExplicitVRBigEndian"])
def test_a_file_without_preamble_is_read(tmp_path, syntax):
    import pydicom

    data = dataset(RAMP, syntax=getattr(pydicom.uid, syntax), WindowCenter=1000, WindowWidth=2000, Modality="CT")
    data.save_as(tmp_path / "whole.dcm", enforce_file_format=True)
    meta = data.file_meta
    del data.file_meta
    data.save_as(tmp_path / "bare.dcm", implicit_vr=meta.TransferSyntaxUID.is_implicit_VR,
                 little_endian=meta.TransferSyntaxUID.is_little_endian)  # fmt: skip
    content = (tmp_path / "bare.dcm").read_bytes()
    assert content[128:132] != b"DICM"
    (tmp_path / "IM0001").write_bytes(content)
    for name in ("bare.dcm", "IM0001"):
        assert np.array_equal(grey(tmp_path / name), grey(tmp_path / "whole.dcm"))
