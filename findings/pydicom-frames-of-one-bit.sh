#!/usr/bin/env bash
# pydicom 3.0.2 cannot give one frame of a sound one-bit file of many frames whose frames end inside a byte, although it
# reads all frames at once; and it leaves values of enhanced CT unscaled, without a word.
# Needs a network or an index for pip. Exits with another code than 0 if the behaviour changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m pip install -q --disable-pip-version-check --target "$folder" pydicom==3.0.2 'numpy>=2'
PYTHONPATH=$folder python3 - "$folder" <<'PY'
import sys

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, pixel_array
from pydicom.uid import EnhancedCTImageStorage, ExplicitVRLittleEndian, SegmentationStorage, generate_uid


def file_of(name, kind, pixels, frames, bits):
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = Dataset()
    data.file_meta, data.SOPClassUID, data.SOPInstanceUID = meta, kind, meta.MediaStorageSOPInstanceUID
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.NumberOfFrames, data.Rows, data.Columns = frames, 7, 9
    data.BitsAllocated = data.BitsStored = bits
    data.HighBit, data.PixelData = bits - 1, pixels
    data["PixelData"].VR = "OB" if bits == 1 else "OW"
    path = f"{sys.argv[1]}/{name}"
    return path, data


print("pydicom", pydicom.__version__)
truth = (np.random.default_rng(0).random((5, 7, 9)) > 0.5).astype(np.uint8)
packed = np.packbits(truth.ravel(), bitorder="little").tobytes()
path, data = file_of("bits.dcm", SegmentationStorage, packed + b"\0" * (len(packed) % 2), 5, 1)
data.save_as(path, enforce_file_format=True)
whole = pixel_array(path)
print("all five frames of 7 x 9 at once are right:", np.array_equal(whole, truth))
wrong = []
for number in range(5):
    try:
        if not np.array_equal(pixel_array(path, index=number), truth[number]):
            wrong.append(f"{number}: other pixels")
    except Exception as error:
        wrong.append(f"{number}: {type(error).__name__}")
print("frames that index= does not give:", wrong)

path, data = file_of("ct.dcm", EnhancedCTImageStorage, np.full((1, 7, 9), 1024, "<u2").tobytes(), 1, 16)
scale, shared = Dataset(), Dataset()
scale.RescaleSlope, scale.RescaleIntercept, scale.RescaleType = 1, -1024, "HU"
shared.PixelValueTransformationSequence = [scale]
data.SharedFunctionalGroupsSequence = [shared]
data.save_as(path, enforce_file_format=True)
found = int(apply_modality_lut(pixel_array(path), pydicom.dcmread(path)).flat[0])
print("water of an enhanced CT after apply_modality_lut, 0 HU by the standard:", found)
sys.exit(0 if np.array_equal(whole, truth) and wrong and found == 1024 else 1)
PY
