"""Every picture of pydicom's own files, beside dcmtk: `apt-get install dcmtk` and `pip install pydicom-data==1.0.0`."""

import io
import shutil
import subprocess
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medmllm.data.images import scan_kind
from medmllm.data.scans.address import Address
from medmllm.data.scans.dicom import read_dicom
from medmllm.data.scans.render import shown
from medmllm.errors import DataError, UserError

pydicom = pytest.importorskip("pydicom")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dcmj2pnm") is None, reason="dcmtk is not installed"),
]
NEAR = 3  # grey levels of 255
# Files that dcmtk shows and we do not, or not alike: docs/formats.md says why.
ELSE = {
    "rtdose_expb.dcm": "dcmtk swaps the bytes of 32 bits wrongly: its little-endian twin looks as we show it",
    "rtdose_expb_1frame.dcm": "the same",
}
REFUSED = {
    "JPEG-lossy.dcm": "unpacked",  # damaged: its scan's parameters are invalid
    "badVR.dcm": "NumberOfFrames",  # 1A frames
}
NEEDS_LIBJPEG = {"JPGExtended.dcm"}  # JPEG of 12 bits


def files():
    data_store = pytest.importorskip("data_store")
    places = [Path(pydicom.data.__path__[0]) / "test_files", Path(data_store.__file__).parent / "data"]
    found = [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]
    assert len(found) > 200
    return [path for path in found if scan_kind(path) == "dicom" or path.suffix == ".dcm"]


def own_view(path):
    """The options with which dcmtk shows a file in its own window, and how many frames it has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(path, force=True)
            frames = int(data.get("NumberOfFrames") or 1)
            tables, window = data.get("VOILUTSequence"), data.get("WindowCenter")
        except ValueError:
            return ["+Wm"], 1
    return ["+Wl", "1"] if tables else ["+Wi", "1"] if window not in (None, "") else ["+Wm"], frames


def dcmtk(path, frame, options):
    """A frame as dcmtk shows it; None where it does not."""
    for program in ("dcmj2pnm", "dcml2pnm"):
        done = subprocess.run([program, "-O", "+op", "+F", str(frame + 1), *options, path], capture_output=True)
        if done.stdout:
            return np.asarray(Image.open(io.BytesIO(done.stdout)).convert("RGB")).astype(int)
    return None


def ours(path, frame):
    """The same frame of ours, before its pixels are made square, and the same window."""
    cut = replace(read_dicom(path, Address(path.name, index=frame)), spacing=None)
    return shown(cut, "auto")


def compare(path):
    """How far each frame is from dcmtk's, where both show it, and why we do not show it."""
    options, frames = own_view(path)
    for frame in range(frames):
        theirs = dcmtk(path, frame, options)
        try:
            found = ours(path, frame)
        except UserError as error:
            yield None, theirs is None or error.message
            return
        except Exception as error:
            yield None, theirs is None or f"damaged: {error}"
            return
        if options == ["+Wm"] and found.origin == "the file's own":  # dcmtk knows no windows in functional groups
            theirs = dcmtk(path, frame, ["+Ww", *found.window.split("/")])
        if theirs is not None:
            yield np.abs(np.asarray(found.picture).astype(int) - theirs).max(), ""


def test_every_file_that_both_show_looks_as_in_dcmtk():
    same, far, refused = 0, set(), {}
    for path in files():
        for difference, reason in compare(path):
            if difference is None:
                refused |= {} if reason is True else {path.name: reason}
            elif difference > NEAR:
                far.add(path.name)
            else:
                same += 1
    assert far == ELSE.keys()
    assert refused.keys() - NEEDS_LIBJPEG == REFUSED.keys(), refused
    assert all(word in refused[name] for name, word in REFUSED.items())
    assert same > 250


def test_the_exceptions_are_dcmtks():
    """Both byte orders of one dose grid are one picture."""
    folder = Path(pydicom.data.__path__[0]) / "test_files"
    one, other = (np.asarray(ours(folder / name, 0).picture) for name in ("rtdose.dcm", "rtdose_expb.dcm"))
    assert np.array_equal(one, other)
    theirs = dcmtk(folder / "rtdose.dcm", 0, ["+Wm"])
    assert np.abs(one.astype(int) - theirs).max() <= NEAR


@pytest.mark.parametrize(
    ("name", "window", "frame", "mean"),
    [("eCT_Supplemental.dcm", "soft_tissue", 1, 43.7), ("mlut_18.dcm", "40/400", 0, 230.5)],
)
def test_means_that_were_measured_in_dcmtk(name, window, frame, mean):
    data_store = pytest.importorskip("data_store")
    path = Path(data_store.__file__).parent / "data" / name
    found = np.asarray(shown(read_dicom(path, Address(name, index=frame)), window).picture)
    assert abs(found.mean() - mean) < 0.1
    with pytest.raises(DataError):
        read_dicom(path, Address(name, index=9))
