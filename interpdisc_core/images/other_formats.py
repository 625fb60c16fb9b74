"""What a file is that cannot be read as an image, and what to do with it, by its first bytes."""

import re

_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"),
    (b"\x1f\x8b", "a gzip file; unpack it (`gunzip`)"),
    (b"BZh", "a bzip2 file; unpack it (`bunzip2`)"),
    (b"\xfd7zXZ\0", "an xz file; unpack it (`unxz`)"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file; unpack it (`unzstd`)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive; unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it"),
    (b"SIMPLE  =", "a FITS file; convert its image to a 16-bit or floating-point TIFF"),
    (b"%PDF-", "a PDF document; export its pictures (`pdfimages`)"),
    (b"%!PS", "a PostScript file, not an image of pixels; export it as PNG"),
    (b"\xc5\xd0\xd3\xc6", "a PostScript file, not an image of pixels; export it as PNG"),
    (b"8BPS", "a Photoshop file; export it as PNG or TIFF"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file; export its image as TIFF"),
    (b"CDF\x01", "a NetCDF file; export its image as TIFF"),
    (b"CDF\x02", "a NetCDF file; export its image as TIFF"),
    (b"\x93NUMPY", "a NumPy array; save it as PNG or TIFF, or pass it to `interpdisc select` as features"),
    (b"PAR1", "a Parquet table, not an image"),
    (b"SQLite format 3", "an SQLite database, not an image"),
    (b"\x76\x2f\x31\x01", "an OpenEXR file; convert it to a floating-point TIFF"),
    (b"#?RADIANCE", "a Radiance HDR file; convert it to a floating-point TIFF"),
    (b"\0\0\1\0", "an icon (ICO); convert it to PNG"),
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM); extract its frames (`ffmpeg`)"),
    (b"\0\0\1\xba", "a video (MPEG); extract its frames (`ffmpeg`)"),
    (b"\0\0\1\xb3", "a video (MPEG); extract its frames (`ffmpeg`)"),
    (b"OggS", "a video or sound (Ogg); extract its frames (`ffmpeg`)"),
    (b"FUJIFILMCCD-RAW", "a camera raw file (RAF); develop it to TIFF or JPEG"),
    (b"IIRO", "a camera raw file (ORF); develop it to TIFF or JPEG"),
    (b"IIU\0", "a camera raw file (RW2); develop it to TIFF or JPEG"),
    (b"\x7fELF", "a program, not an image"),
)
_BRANDS: tuple[tuple[tuple[bytes, ...], str], ...] = (
    (
        (b"avif", b"avis"),
        "an AVIF image, which this installation of Pillow cannot read; update Pillow to 11.3 or later",
    ),
    (
        (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"),
        "an HEIC (HEIF) image, which is not read; convert it to JPEG or PNG (`heif-convert`)",
    ),
    ((b"crx ",), "a camera raw file (CR3); develop it to TIFF or JPEG"),
)
_KNOWN_IMAGES: tuple[tuple[bytes, str], ...] = (
    (b"\xff\xd8", "a JPEG"),
    (b"\x89PNG", "a PNG"),
    (b"GIF8", "a GIF"),
    (b"BM", "a BMP"),
    (b"II*\0", "a TIFF"),
    (b"MM\0*", "a TIFF"),
    (b"II+\0", "a BigTIFF"),
    (b"MM\0+", "a BigTIFF"),
)
_HEAD_BYTES = 4096


def describe_file(data: bytes) -> str:
    """What a file is that no reader opens, and what to do, as one phrase; empty if it is not known.

    Example:
        >>> describe_file(b"<html><body>404</body></html>")
        'a web page, not an image; download the image again'
    """
    if not data:
        return "empty file (zero bytes)"
    if not data.strip(b"\0"):
        return "a file of zeros only; copy or download it again"
    for signature, description in _SIGNATURES:
        if data.startswith(signature):
            return description
    if data.startswith(_JPEG_XL):
        return "a JPEG XL image, which is not read; convert it to JPEG or PNG (`djxl`)"
    if data[4:8] == b"ftyp":
        return _describe_media_file(data)
    if data[4:8] in (b"moov", b"mdat", b"wide", b"free"):
        return "a video (QuickTime); extract its frames (`ffmpeg`)"
    if data[:4] == b"RIFF":
        if data[8:12] == b"WEBP":
            return "a WebP whose header is damaged; copy or download it again"
        return (
            "a video (AVI); extract its frames (`ffmpeg`)" if data[8:12] == b"AVI " else "a sound (RIFF), not an image"
        )
    if data[257:262] == b"ustar":
        return "a tar archive; name it *.tar and give it as a source of images"
    if data[128:132] == b"DICM":
        return "a DICOM file; convert it to a 16-bit TIFF"
    for signature, name in _KNOWN_IMAGES:
        if data.startswith(signature):
            return f"{name} whose header is damaged or incomplete; copy or download it again"
    return _describe_text(data[:_HEAD_BYTES])


def _describe_media_file(data: bytes) -> str:
    """Of a file of boxes (ISO base media): by its brands, the major one first."""
    size = min(max(int.from_bytes(data[:4], "big"), 16), 256)
    brands = [data[8:12], *(data[position : position + 4] for position in range(16, size, 4))]
    for brand in brands:
        for names, description in _BRANDS:
            if brand in names:
                return description
    return "a video (MP4 or QuickTime); extract its frames (`ffmpeg`)"


def _describe_text(head: bytes) -> str:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    lower = start.lower()
    if lower.startswith((b"<!doctype html", b"<html", b"<head", b"<body")) or (
        lower.startswith((b"<!--", b"<?xml")) and b"<html" in lower
    ):
        return "a web page, not an image; download the image again"
    if lower.startswith(b"<svg") or (lower.startswith((b"<?xml", b"<!doctype svg", b"<!--")) and b"<svg" in lower):
        return "an SVG drawing, not an image of pixels; export it as PNG"
    if re.match(rb"<(\?xml|[a-z][\w:.-]*[\s>/])", lower):
        return f"an XML document ({_find_error_text(start)}), not an image; download the image again"
    if re.match(rb'[{\[]\s*["{\[\]}]', lower):
        return f"a JSON document ({_find_error_text(start)}), not an image; download the image again"
    if re.match(rb"p[1-7][\s#]", lower) and start[:1] == b"P":
        return "a Netpbm image (PBM, PGM, PPM); not an image that is read: convert it to PNG"
    try:
        text = head.decode("utf-8", "strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return ""
    return "not an image: a text file" if all(c.isprintable() or c in "\t\r\n\f" for c in text) else ""


def _find_error_text(start: bytes) -> str:
    """The beginning of a document, so that an error message in it can be read."""
    text = " ".join(start[:200].decode("utf-8", "replace").split())
    return "".join(c if c.isprintable() else "?" for c in text)[:60]
