"""DICOM and NIfTI: slices of volumes, shown in a window. Needs the extra `medical`."""
