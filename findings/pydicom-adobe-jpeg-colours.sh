#!/usr/bin/env bash
# pydicom 3.0.2 with Pillow 13.0.0: pixel_array gives wrong colours, (92, 255, 98) for (200, 70, 50), of a JPEG in YBR that
# has Adobe's marker (APP14), as Photoshop writes it. Pillow obeys the marker and returns RGB; pydicom takes that for YBR and
# converts it once more. No error, no warning; with pylibjpeg instead, an optional package, the same file is right.
# The interface promises RGB for data in YBR, and DICOM (PS3.5, 8.2.1) lets Photometric Interpretation alone say what the
# colours are: a marker inside the JPEG should change nothing, nor should the package that unpacks it.
# What helps: raw=True where Pillow reports "adobe_transform", or decoding_plugin="pylibjpeg".
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q pydicom==3.0.2 pillow==13.0.0 numpy==2.4.6 pylibjpeg==2.1.0 pylibjpeg-libjpeg==2.5.0
"$folder/env/bin/python" -W error - "$folder" <<'PY'
import io
import sys

import numpy as np
import PIL
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import JPEGBaseline8Bit, SecondaryCaptureImageStorage, generate_uid

print("pydicom", pydicom.__version__, "Pillow", PIL.__version__)
ADOBE = b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x01"  # the last byte: the colours are YBR
colour = (200, 70, 50)
stream = io.BytesIO()
Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(stream, "JPEG", quality=95, subsampling=0)
plain = stream.getvalue()


def pixel(jpeg, plugin):
    meta, data = FileMetaDataset(), Dataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    meta.TransferSyntaxUID = JPEGBaseline8Bit
    data.file_meta, data.SOPClassUID, data.SOPInstanceUID = meta, SecondaryCaptureImageStorage, meta.MediaStorageSOPInstanceUID
    data.Rows = data.Columns = 16
    data.SamplesPerPixel, data.PlanarConfiguration, data.PhotometricInterpretation = 3, 0, "YBR_FULL_422"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
    data.PixelData = encapsulate([jpeg])
    data.save_as(f"{sys.argv[1]}/a.dcm", enforce_file_format=True)
    return tuple(int(value) for value in pixel_array(f"{sys.argv[1]}/a.dcm", decoding_plugin=plugin)[8, 8])


right = {}
for name, jpeg in (("without the marker", plain), ("with the marker", plain[:2] + ADOBE + plain[2:])):
    for plugin in ("pillow", "pylibjpeg"):
        found = pixel(jpeg, plugin)
        right[name, plugin] = max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= 3
        print(f"{colour} {name}, unpacked by {plugin}: {found}")
assert [key for key, good in right.items() if not good] == [("with the marker", "pillow")], "the behaviour has changed"
PY
