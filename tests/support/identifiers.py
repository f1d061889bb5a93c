"""Radiographs full of a patient's data, each place with a word of its own, and where to find them.

A word that turns up somewhere names the place that it came from.
"""

import base64
import binascii
import io
import zipfile
from collections.abc import Iterator
from urllib.parse import quote

import pydicom.config
from PIL import Image, PngImagePlugin
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
)

from support.phantom import draw_phantom

_UID = "1.2.826.0.1.3680043.8.498.7700"

STUDY_UID = f"{_UID}1940"
SERIES_UID = f"{_UID}1941"
INSTANCE_UID = f"{_UID}1942"
UNKNOWN_SYNTAX = "1.2.826.0.77001943.9"

_SIDE = 400


_IN_REQUESTS = """
Zqfilename Zqpartheader Zqpartcharset Zqfieldname Zqboundary Zqagentname Zqcookiejar Zqreferer
Zqquerytext Zqwaitvalue Zqpathname Zqidempotency Zqrequestid Zqpreference Zqetagvalue
Zqforwarded Zqcursorname Zqheadername Zqmethodname Zqnotafile
Zqarchivename Zqarchivecomment Zqentryname Zqentrycomment
"""
_IN_FILES = """
Zqpatient Zqrecordnumber Zqclinicname Zqaccession Zqcomment Zqprivate Zqpreamble Zqphotometric
Zqwindowvalue Zqslopevalue Zqframecount Zqcharset Zqstudydate Zqsequence Zqstreambytes
Zqpngtext Zqpngitxt Zqpngztxt Zqexiftitle Zqartistname Zqjpegcomment Zqxmpdocument
Zqtiffdescription Zqtiffartist Zqtiffprivate Zqpixelbytes Zqtrailer
"""
IN_REQUESTS = _IN_REQUESTS.split()
IN_FILES = [*_IN_FILES.split(), STUDY_UID, SERIES_UID, INSTANCE_UID, UNKNOWN_SYNTAX]


def forms_of(word: str) -> Iterator[bytes]:
    """A word as it may stand in a file: plain, and as it is encoded."""
    plain = word.lower().encode()
    yield plain
    yield word.encode("utf-16-le").lower()
    yield word.encode("utf-16-be").lower()
    yield binascii.hexlify(word.encode())
    yield quote(word, safe="").lower().encode()
    for lead in range(3):
        # The part of its base64 that does not depend on what stands before and after.
        encoded = base64.b64encode(b"\0" * lead + word.encode())
        yield encoded[(4 if lead else 0) : -4].lower()


def found_in(data: bytes) -> set[str]:
    """The words that some bytes hold, whatever their case."""
    lower = data.lower()
    words = (*IN_REQUESTS, *IN_FILES)
    return {word for word in words if any(form in lower for form in forms_of(word))}


def _film() -> Image.Image:
    return draw_phantom(3, size=(_SIDE, _SIDE))


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x010E] = "Zqexiftitle of the patient"
    exif[0x013B] = "Zqartistname"
    exif[0x9286] = b"ASCII\0\0\0Zqexiftitle"
    return exif


def png() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", "Zqpngtext")
    text.add_itxt("Zqpngitxt", "Zqpngitxt Ñandú", "es", "Zqpngitxt")
    text.add_text("Zqpngztxt", "Zqpngztxt" * 50, zip=True)
    out = io.BytesIO()
    _film().save(out, "PNG", pnginfo=text, exif=_exif())
    return out.getvalue() + b"Zqtrailer"


def png_with_a_text_bomb() -> bytes:
    text = PngImagePlugin.PngInfo()
    text.add_text("Zqpngztxt", "Zqpngztxt" + " " * 5_000_000, zip=True)
    out = io.BytesIO()
    _film().save(out, "PNG", pnginfo=text)
    return out.getvalue()


def jpeg() -> bytes:
    out = io.BytesIO()
    _film().save(
        out,
        "JPEG",
        exif=_exif(),
        comment=b"Zqjpegcomment",
        xmp=b"<x:xmpmeta>Zqxmpdocument</x:xmpmeta>",
    )
    return out.getvalue() + b"Zqtrailer"


def tiff() -> bytes:
    out = io.BytesIO()
    tags = {270: "Zqtiffdescription", 315: "Zqtiffartist", 65000: "Zqtiffprivate"}
    _film().save(out, "TIFF", tiffinfo=tags, compression="tiff_adobe_deflate")
    return out.getvalue()


def dicom(*, syntax: str = ExplicitVRLittleEndian, stream: bytes = b"", **elements: str) -> bytes:
    """A DICOM file; keywords become its elements as they are, however wrong."""
    pixels = _film().tobytes()
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPInstanceUID = UID(INSTANCE_UID)
    dataset.preamble = b"Zqpreamble".ljust(128, b"\0")
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = INSTANCE_UID
    dataset.StudyInstanceUID = STUDY_UID
    dataset.SeriesInstanceUID = SERIES_UID
    dataset.PatientName = "Zqpatient^Ñusta"
    dataset.PatientID = "Zqrecordnumber"
    dataset.InstitutionName = "Zqclinicname"
    dataset.AccessionNumber = "Zqaccession"
    dataset.ImageComments = "Zqcomment"
    block = dataset.private_block(0x0029, "Zqprivate", create=True)
    block.add_new(0x01, "LO", "Zqprivate")
    item = Dataset()
    item.PatientID = "Zqsequence"
    dataset.OtherPatientIDsSequence = [item]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = dataset.Columns = _SIDE
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = encapsulate([stream]) if stream else b"Zqpixelbytes" + pixels[12:]
    dataset["PixelData"].VR = "OB"
    for keyword, value in elements.items():
        _put_raw(dataset, keyword, value.encode())
    out = io.BytesIO()
    with pydicom.config.disable_value_validation():
        dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def _put_raw(dataset: Dataset, keyword: str, value: bytes) -> None:
    tag = Tag(keyword)
    vr = {"NumberOfFrames": "IS", "PhotometricInterpretation": "CS", "StudyDate": "DA"}
    element = RawDataElement(
        BaseTag(tag), vr.get(keyword, "DS"), len(value), value, 0, False, True, True
    )
    dataset[tag] = element


def _stream(magic: bytes) -> bytes:
    """The beginning of a codestream, and then none of one."""
    return magic + b"\xff\xfe\x00\x10Zqstreambytes\0" + b"\x17Zqstreambytes" * 40


def zip_archive() -> bytes:
    """Two radiographs and a note, under names that tell of the patient."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.comment = b"Zqarchivecomment"
        files = {"film.png": png(), "film.dcm": dicom(), "note.txt": b"Zqnotafile"}
        for name, data in files.items():
            entry = zipfile.ZipInfo(f"Zqentryname^\u00d1usta/{name}")
            entry.comment = b"Zqentrycomment"
            archive.writestr(entry, data)
    return out.getvalue()


def uploads() -> dict[str, bytes]:
    """Whole and damaged files by what they are."""
    whole = {"png": png(), "jpeg": jpeg(), "tiff": tiff(), "dicom": dicom()}
    damaged = {f"{name}, cut": data[: len(data) * 2 // 3] for name, data in whole.items()}
    headless = {f"{name}, head only": data[:700] for name, data in whole.items()}
    tags = tiff()
    at = tags.index(b"Zqtiffdescription")
    odd = {
        "png, text bomb": png_with_a_text_bomb(),
        "tiff, tags in disorder": tags[: at - 4] + b"\xff" * 4 + tags[at:],
        "tiff, count too large": tags.replace(b"\x0e\x01\x02\x00", b"\x0e\x01\x0c\x00"),
        "dicom, photometric": dicom(PhotometricInterpretation="Zqphotometric"),
        "dicom, window": dicom(WindowCenter="Zqwindowvalue", WindowWidth="Zqwindowvalue"),
        "dicom, slope": dicom(RescaleSlope="Zqslopevalue", RescaleIntercept="Zqslopevalue"),
        "dicom, frames": dicom(NumberOfFrames="Zqframecount"),
        "dicom, date": dicom(StudyDate="Zqstudydate"),
        "dicom, unknown syntax": dicom().replace(b"1.2.840.10008.1.2.1\0", UNKNOWN_SYNTAX.encode()),
        "dicom, jpeg": dicom(syntax=JPEGBaseline8Bit, stream=_stream(b"\xff\xd8")),
        "dicom, jpeg 2000": dicom(syntax=JPEG2000Lossless, stream=_stream(b"\xff\x4f\xff\x51")),
        "dicom, jpeg-ls": dicom(syntax=JPEGLSLossless, stream=_stream(b"\xff\xd8")),
        "dicom, character set": dicom().replace(b"ISO_IR 192", b"Zqcharset "),
        "dicom, wrong length": dicom().replace(b"PN\x10\x00", b"PN\xff\x7f", 1),
        "dicom, wrong vr": dicom().replace(b"PN\x10\x00", b"SQ\x10\x00", 1),
    }
    return whole | damaged | headless | odd
