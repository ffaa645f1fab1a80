"""Which formats are read, and what the bytes of a file say without a decoder."""

from typing import Final

# Pillow's decoders that neither start another program nor are mere stubs, the usual ones first, as each is asked in
# turn. JPEG opens MPO too.
FORMATS: Final = [
    "JPEG",
    "PNG",
    "GIF",
    "BMP",
    "PPM",
    "WEBP",
    "TIFF",
    "HEIF",
    "AVIF",
    "JPEG2000",
    "BLP",
    "CUR",
    "DCX",
    "DDS",
    "DIB",
    "FLI",
    "FTEX",
    "GBR",
    "ICNS",
    "ICO",
    "IM",
    "MSP",
    "PCD",
    "PCX",
    "PIXAR",
    "PSD",
    "QOI",
    "SGI",
    "SPIDER",
    "SUN",
    "TGA",
    "XBM",
    "XPM",
    "XVTHUMB",
]
# How files are called that hold what a sensor saw. Some begin as a TIFF does, and what is read of them is a preview.
RAW_ENDINGS: Final = (
    b"3fr ari arw bay cr2 cr3 crw dcr dng erf fff iiq k25 kdc mef mos mrw nef nrw orf pef ptx raf raw rw2 rwl sr2 srf "
    b"srw x3f"
).split()
_PNG: Final = b"\x89PNG\r\n\x1a\n"
FRAMES_KNOWN: Final = (_PNG, b"\xff\xd8", b"RIFF")  # how files begin whose headers say how many frames they have


def without_text(data: bytes) -> bytes:
    """A PNG file without its text and colour profile; other files as they are."""
    if not data.startswith(_PNG):
        return data
    kept, at = [_PNG], len(_PNG)
    while at < len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


def unidentified(data: bytes) -> tuple[str, str]:
    """The status and the reason of bytes that no decoder takes for a picture."""
    if data.startswith((b"%!PS", b"\xc5\xd0\xd3\xc6", b"%PDF", b"\xd7\xcd\xc6\x9a")):
        return "unsupported", "PostScript, PDF and WMF are never opened, as they start other programs"
    if data[4:8] == b"ftyp" and data[8:12] in (b"heic", b"heix", b"heif", b"mif1", b"msf1", b"hevc"):
        return "unsupported", "HEIC of a kind that libheif does not read: convert it to JPEG or PNG first"
    return "unidentified", "not a picture in any known format"
