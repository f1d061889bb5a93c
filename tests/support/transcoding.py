"""Rewrites DICOM files in another transfer syntax, with GDCM."""

from pathlib import Path

import gdcm


def transcode(path: Path, syntax: int) -> Path:
    """Writes the file anew beside it; `syntax` is one of `gdcm.TransferSyntax`."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer = gdcm.ImageWriter()
    transcoded = path.with_suffix(".transcoded")
    writer.SetFileName(str(transcoded))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return transcoded
