#!/usr/bin/env bash
# SimpleITK 2.5.7: ReadImage of a DICOM series gives the volume the pixel type of its first file and casts the others to it.
# PET has a slope for every slice; if that of the first is 1, as it can be for an empty slice, the volume is of whole
# numbers, and activities below 1 are 0. If the first slice of a CT alone has no intercept, the soft tissue of the others,
# -24 HU, reads as 65512. No error, no warning, and the files in reverse order give the right values.
# Read one by one, every file has its own values, as a float or a signed integer. ITK documents that only the size must be
# the same in all files of a series. It was confirmed as a bug of SimpleITK in 2022.
# What helps: ReadImage(files, sitk.sitkFloat64).
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install -q SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
"$folder/env/bin/python" - "$folder" <<'PY'
import sys

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, PositronEmissionTomographyImageStorage, generate_uid

print("SimpleITK", sitk.Version.VersionString())
sitk.ProcessObject.SetGlobalWarningDisplay(True)


def series(kind, modality, stored, scales):
    """Files of a series: all slices hold one stored value, each has a slope and an intercept of its own."""
    study, own, place, paths = generate_uid(), generate_uid(), generate_uid(), []
    for number, (slope, intercept) in enumerate(scales):
        meta, data = FileMetaDataset(), Dataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = kind, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta, data.SOPClassUID, data.SOPInstanceUID = meta, kind, meta.MediaStorageSOPInstanceUID
        data.PatientID, data.Modality, data.InstanceNumber = "1", modality, number + 1
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = study, own, place
        data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, 2.0 * number], [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness, data.Rows, data.Columns = [1, 1], 2, 8, 8
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
        data.RescaleSlope, data.RescaleIntercept = str(slope), str(intercept)
        data.PixelData = np.full((8, 8), stored, "<u2").tobytes()
        paths.append(f"{sys.argv[1]}/{modality}{number}.dcm")
        data.save_as(paths[-1], enforce_file_format=True)
    return paths


def values(image):
    return [round(float(value), 3) for value in sitk.GetArrayFromImage(image)[:, 4, 4]]


for kind, modality, stored, scales, wrong in (
    (PositronEmissionTomographyImageStorage, "PT", 3, [(1, 0), (0.25, 0), (0.5, 0)], [3, 0, 1]),
    (CTImageStorage, "CT", 1000, [(1, 0), (1, -1024), (1, -1024)], [1000, 65512, 65512]),
):
    files = series(kind, modality, stored, scales)
    alone = [values(sitk.ReadImage(path))[0] for path in files]
    together, reverse = sitk.ReadImage(files), sitk.ReadImage(files[::-1])
    print(f"{modality} one by one {alone}; as a series {values(together)}, {together.GetPixelIDTypeAsString()}; "
          f"in reverse order {values(reverse)[::-1]}, {reverse.GetPixelIDTypeAsString()}")
    assert alone == [stored * slope + intercept for slope, intercept in scales]
    assert values(reverse)[::-1] == alone and values(together) == wrong, "the behaviour has changed"
    assert values(sitk.ReadImage(files, sitk.sitkFloat64)) == alone, "the remedy does not help any more"
PY
