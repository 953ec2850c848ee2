"""Small DICOM files with any header."""

from pathlib import Path

import numpy as np


def dataset(pixels, **fields):
    """A data set with the given pixels, (rows, columns), (frames, rows, columns) or (rows, columns, 3) as RGB."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRBigEndian, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = fields.get("SOPClassUID", CTImageStorage)
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = fields.pop("syntax", ExplicitVRLittleEndian)
    data = Dataset()
    data.file_meta = meta
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    colours = pixels.shape[-1] == 3 and fields.get("PhotometricInterpretation") == "RGB"
    data.SamplesPerPixel = 3 if colours else 1
    if colours:
        data.PlanarConfiguration = 0
    else:
        data.PhotometricInterpretation = "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape[-3:-1] if colours else pixels.shape[-2:]
    bits = 8 * pixels.dtype.itemsize
    data.BitsAllocated = bits
    data.BitsStored = fields.pop("BitsStored", bits)
    data.HighBit = data.BitsStored - 1
    data.PixelRepresentation = int(pixels.dtype.kind == "i")
    for name, value in fields.items():
        setattr(data, name, value)
    big = meta.TransferSyntaxUID == ExplicitVRBigEndian
    data.PixelData = (pixels.astype(pixels.dtype.newbyteorder(">")) if big else pixels).tobytes()
    data["PixelData"].VR = "OB" if bits == 8 else "OW"
    return data


def dicom(path, pixels, **fields):
    """Write a DICOM file with the given pixels and header fields."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(pixels, **fields).save_as(path, enforce_file_format=True)
    return path


def item(**fields):
    """One item of a sequence."""
    from pydicom.dataset import Dataset

    found = Dataset()
    for name, value in fields.items():
        setattr(found, name, [value] if isinstance(value, Dataset) else value)
    return found


def table(first, entries, bits, **fields):
    """A look-up table."""
    found = item(**fields)
    found.add_new(0x00283002, "SS" if first < 0 else "US", [len(entries), first, bits])
    found.add_new(0x00283006, "US", [int(entry) for entry in entries])
    return found


def decoded_grey(path, name="", window="auto"):
    """One channel of the picture that is shown."""
    from medmllm.data.images import decode

    return np.asarray(decode(path, where="x", name=name, window=window))[..., 0]
