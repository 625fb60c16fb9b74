"""Files of science formats, written from their standards without any library that reads them.

Arrays are (bands, lines, samples). Labels are text, data are bytes.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def _interleave(values: Array, org: str) -> Array:
    return values.transpose({"BSQ": (0, 1, 2), "BIL": (1, 0, 2), "BIP": (1, 2, 0)}[org])


# ---------------------------------------------------------------------------------------------- VICAR

_VICAR = {"u1": "BYTE", "i2": "HALF", "i4": "FULL", "f4": "REAL", "f8": "DOUB"}


def make_vicar(values: Array, org: str = "BSQ", *, order: str = "<", prefix: int = 0, extra: str = "") -> bytes:
    """A VICAR file. order: `<` LOW, `>` HIGH. prefix: binary bytes before each record. extra: further label items."""
    bands, lines, samples = values.shape
    code = values.dtype.str[1:]
    inner = {"BSQ": (samples, lines, bands), "BIL": (samples, bands, lines), "BIP": (bands, samples, lines)}[org]
    record = prefix + inner[0] * values.dtype.itemsize
    items = (
        f"FORMAT='{_VICAR[code]}' TYPE='IMAGE' BUFSIZ={record} DIM=3 EOL=0 RECSIZE={record} ORG='{org}' "
        f"NL={lines} NS={samples} NB={bands} N1={inner[0]} N2={inner[1]} N3={inner[2]} N4=0 NBB={prefix} NLB=0 "
        f"HOST='X86-LINUX' INTFMT='{'LOW' if order == '<' else 'HIGH'}' "
        f"REALFMT='{'RIEEE' if order == '<' else 'IEEE'}' BHOST='X86-LINUX' BINTFMT='LOW' BREALFMT='RIEEE' BLTYPE='' {extra}"
    )
    size = -(-(len(items) + 40) // record) * record
    label = f"LBLSIZE={size:<12d}{items}".encode().ljust(size, b"\0")
    rows = np.ascontiguousarray(_interleave(values, org)).astype(values.dtype.newbyteorder(order))
    rows = rows.reshape(inner[1] * inner[2], inner[0])
    return label + b"".join(b"\xab" * prefix + row.tobytes() for row in rows)


# ----------------------------------------------------------------------------------------------- PDS3

_PDS3 = {"u": "UNSIGNED_INTEGER", "i": "INTEGER", "f": "REAL"}
_PDS3_STORAGE_TYPES = {"BSQ": "BAND_SEQUENTIAL", "BIL": "LINE_INTERLEAVED", "BIP": "SAMPLE_INTERLEAVED"}


def make_pds3_object(values: Array, org: str = "BSQ", *, order: str = ">", extra: str = "") -> str:
    """The IMAGE object of a label. Of order `>` integers are MSB_…, reals IEEE_REAL; of `<` LSB_…, PC_REAL."""
    bands, lines, samples = values.shape
    kind = values.dtype.kind
    type_prefix = {">": "IEEE_" if kind == "f" else "MSB_", "<": "PC_" if kind == "f" else "LSB_"}[order]
    return (
        f"OBJECT = IMAGE\r\n  LINES = {lines}\r\n  LINE_SAMPLES = {samples}\r\n  BANDS = {bands}\r\n"
        f"  BAND_STORAGE_TYPE = {_PDS3_STORAGE_TYPES[org]}\r\n  SAMPLE_TYPE = {type_prefix}{_PDS3[kind]}\r\n"
        f"  SAMPLE_BITS = {8 * values.dtype.itemsize}\r\n{extra}END_OBJECT = IMAGE\r\n"
    )


def make_pds3_data(values: Array, org: str = "BSQ", *, order: str = ">") -> bytes:
    """The data of a PDS3 or PDS4 product, without a label."""
    return np.ascontiguousarray(_interleave(values, org)).astype(values.dtype.newbyteorder(order)).tobytes()


def make_pds3(values: Array, org: str = "BSQ", *, order: str = ">", head: str = "", extra: str = "") -> bytes:
    """A PDS3 product with an attached label. head: further items of the label; extra: of its IMAGE object."""
    record = 512
    body = head + make_pds3_object(values, org, order=order, extra=extra) + "END\r\n"
    count = -(-(len(body) + 200) // record)
    label = (
        f"PDS_VERSION_ID = PDS3\r\nRECORD_TYPE = FIXED_LENGTH\r\nRECORD_BYTES = {record}\r\n"
        f"LABEL_RECORDS = {count}\r\n^IMAGE = {count + 1}\r\n{body}"
    )
    return label.encode().ljust(count * record) + make_pds3_data(values, org, order=order)


def make_pds3_label(
    values: Array, pointer: str, org: str = "BSQ", *, order: str = ">", head: str = "", extra: str = ""
) -> bytes:
    """A detached PDS3 label whose ^IMAGE is `pointer`, as `("X.IMG", 1)`."""
    body = head + make_pds3_object(values, org, order=order, extra=extra)
    return (
        f"PDS_VERSION_ID = PDS3\r\nRECORD_TYPE = FIXED_LENGTH\r\nRECORD_BYTES = {values.shape[2]}\r\n"
        f"^IMAGE = {pointer}\r\n{body}END\r\n"
    ).encode()


def make_zip(files: Mapping[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    """Files as one archive."""
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, compress_type=compression)
    return sink.getvalue()


# ----------------------------------------------------------------------------------------------- PDS4

_PDS4 = {
    ("u", 1): "UnsignedByte",
    ("u", 2): "Unsigned{}SB2",
    ("i", 2): "Signed{}SB2",
    ("u", 4): "Unsigned{}SB4",
    ("i", 4): "Signed{}SB4",
    ("f", 4): "IEEE754{}SBSingle",
    ("f", 8): "IEEE754{}SBDouble",
}


def make_pds4_label(
    values: Array,
    name: str,
    *,
    offset: int = 0,
    order: str = ">",
    vertical: str = "Top to Bottom",
    horizontal: str = "Left to Right",
    extra: str = "",
    special: str = "",
    prolog: str = "",
) -> bytes:
    """A PDS4 label; its data file is BSQ. vertical, horizontal: how the first sample lies on a display."""
    bands, lines, samples = values.shape
    kind = _PDS4[values.dtype.kind, values.dtype.itemsize].format("M" if order == ">" else "L")
    axes = [("Line", lines), ("Sample", samples)]
    if bands > 1:
        axes.insert(0, ("Band", bands))
    array = f"Array_{len(axes)}D_Image"
    axis_arrays = "".join(
        f"<Axis_Array><axis_name>{axis}</axis_name><elements>{count}</elements>"
        f"<sequence_number>{axis_number}</sequence_number></Axis_Array>"
        for axis_number, (axis, count) in enumerate(axes, 1)
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
{prolog}<Product_Observational xmlns="http://pds.nasa.gov/pds4/pds/v1" xmlns:disp="http://pds.nasa.gov/pds4/disp/v1"
 xmlns:img="http://pds.nasa.gov/pds4/img/v1">
 <Identification_Area><logical_identifier>urn:nasa:pds:made:data:one</logical_identifier>
  <version_id>1.0</version_id><title>Made</title></Identification_Area>
 <Observation_Area>
  <Time_Coordinates><start_date_time>2021-02-22T20:41:55.833Z</start_date_time></Time_Coordinates>
  <Investigation_Area><name>Mars 2020 Rover Mission</name><type>Mission</type></Investigation_Area>
  <Observing_System>
   <Observing_System_Component><name>Perseverance</name><type>Host</type></Observing_System_Component>
   <Observing_System_Component><name>MCZ_LEFT</name><type>Instrument</type></Observing_System_Component>
  </Observing_System>
  <Discipline_Area>
   <disp:Display_Settings><Local_Internal_Reference>
     <local_identifier_reference>the_image</local_identifier_reference>
     <local_reference_type>display_settings_to_array</local_reference_type></Local_Internal_Reference>
    <disp:Display_Direction><disp:horizontal_display_axis>Sample</disp:horizontal_display_axis>
     <disp:horizontal_display_direction>{horizontal}</disp:horizontal_display_direction>
     <disp:vertical_display_axis>Line</disp:vertical_display_axis>
     <disp:vertical_display_direction>{vertical}</disp:vertical_display_direction></disp:Display_Direction>
   </disp:Display_Settings>{extra}
  </Discipline_Area>
 </Observation_Area>
 <File_Area_Observational><File><file_name>{name}</file_name></File>
  <{array}><local_identifier>the_image</local_identifier><offset unit="byte">{offset}</offset><axes>{len(axes)}</axes>
   <axis_index_order>Last Index Fastest</axis_index_order>
   <Element_Array><data_type>{kind}</data_type></Element_Array>{axis_arrays}{special}</{array}>
 </File_Area_Observational>
</Product_Observational>
""".encode()


# ---------------------------------------------------------------------------------------------- ISIS

_ISIS3 = {"u1": "UnsignedByte", "u2": "UnsignedWord", "i2": "SignedWord", "f4": "Real"}


def make_isis3(values: Array, tile: tuple[int, int] | None = None, *, order: str = "<", extra: str = "") -> bytes:
    """An ISIS 3 cube, BandSequential, or in tiles of (lines, samples). extra: further groups."""
    bands, lines, samples = values.shape
    ordered_values = values.astype(values.dtype.newbyteorder(order))
    start = 65536
    if tile is None:
        format_lines, data = "    Format = BandSequential\n", ordered_values.tobytes()
    else:
        high, wide = tile
        format_lines = f"    Format      = Tile\n    TileSamples = {wide}\n    TileLines   = {high}\n"
        padded = np.pad(ordered_values, ((0, 0), (0, -lines % high), (0, -samples % wide)))
        data = b"".join(
            padded[band, top : top + high, left : left + wide].tobytes()
            for band in range(bands)
            for top in range(0, lines, high)
            for left in range(0, samples, wide)
        )
    label = (
        f"Object = IsisCube\n  Object = Core\n    StartByte   = {start + 1}\n{format_lines}\n    Group = Dimensions\n"
        f"      Samples = {samples}\n      Lines   = {lines}\n      Bands   = {bands}\n    End_Group\n\n"
        f"    Group = Pixels\n      Type       = {_ISIS3[values.dtype.str[1:]]}\n"
        f"      ByteOrder  = {'Lsb' if order == '<' else 'Msb'}\n      Base       = 0.0\n      Multiplier = 1.0\n"
        f"    End_Group\n  End_Object\n\n  Group = Instrument\n    SpacecraftName = MARS_RECONNAISSANCE_ORBITER\n"
        f"    InstrumentId   = CTX\n    StartTime      = 2013-03-08T21:38:44.237\n  End_Group\n{extra}End_Object\n\n"
        f"Object = Label\n  Bytes = {start}\nEnd_Object\nEnd\n"
    )
    return label.encode().ljust(start, b"\0") + data


def make_isis2(values: Array) -> bytes:
    """An ISIS 2 cube, BSQ, big-endian."""
    bands, lines, samples = values.shape
    kind = {"u1": "UNSIGNED_INTEGER", "i2": "INTEGER", "f4": "REAL"}[values.dtype.str[1:]]
    type_prefix = "IEEE_" if kind == "REAL" else "SUN_"
    label = (
        "CCSD3ZF0000100000001NJPL3IF0PDS200000001 = SFDU_LABEL\r\nRECORD_TYPE = FIXED_LENGTH\r\nRECORD_BYTES = 512\r\n"
        "LABEL_RECORDS = 4\r\nFILE_STATE = CLEAN\r\n^QUBE = 5\r\nOBJECT = QUBE\r\n  AXES = 3\r\n"
        f"  AXIS_NAME = (SAMPLE,LINE,BAND)\r\n  CORE_ITEMS = ({samples},{lines},{bands})\r\n"
        f"  CORE_ITEM_BYTES = {values.dtype.itemsize}\r\n  CORE_ITEM_TYPE = {type_prefix}{kind}\r\n  CORE_BASE = 0.0\r\n"
        "  CORE_MULTIPLIER = 1.0\r\n  SUFFIX_BYTES = 4\r\n  SUFFIX_ITEMS = (0,0,0)\r\n  CORE_NULL = 0\r\n"
        '  SPACECRAFT_NAME = VIKING_ORBITER_1\r\n  INSTRUMENT_ID = "VISUAL_IMAGING_SUBSYSTEM"\r\n'
        "END_OBJECT = QUBE\r\nEND\r\n"
    )
    return label.encode().ljust(4 * 512) + values.astype(values.dtype.newbyteorder(">")).tobytes()


# ------------------------------------------------------------------------------------------------ PNG


def make_png_chunk(name: bytes, body: bytes) -> bytes:
    """A PNG chunk with its checksum."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def make_png16(values: Array, *chunks: bytes) -> bytes:
    """A PNG of 16 bits, gray or RGB; (bands, lines, samples) uint16. chunks: before the data."""
    bands, lines, samples = values.shape
    head = struct.pack(">IIBBBBB", samples, lines, 16, {1: 0, 2: 4, 3: 2, 4: 6}[bands], 0, 0, 0)
    rows = values.transpose(1, 2, 0).astype(">u2")
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + make_png_chunk(b"IHDR", head)
        + b"".join(chunks)
        + make_png_chunk(b"IDAT", data)
        + make_png_chunk(b"IEND", b"")
    )


# ------------------------------------------------------------------------------------------------ TIFF


def make_tiff(values: Array, *, big: bool = False, ascii_tags: Mapping[int, bytes] | None = None) -> bytes:
    """An uncompressed little-endian TIFF (BigTIFF if `big`), pixel interleaved."""
    bands, lines, samples = values.shape
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.transpose(1, 2, 0).astype(values.dtype.newbyteorder("<")).tobytes()
    tags: dict[int, tuple[int, list[int] | bytes]] = {
        256: (4, [samples]),
        257: (4, [lines]),
        258: (3, [8 * values.dtype.itemsize] * bands),
        259: (3, [1]),
        262: (3, [2 if bands == 3 else 1]),
        273: (4, [0]),
        277: (3, [bands]),
        278: (4, [lines]),
        279: (4, [len(data)]),
        284: (3, [1]),
        339: (3, [kind] * bands),
    }
    if bands > 3:
        tags[338] = (3, [0] * (bands - 1))
    tags.update({tag: (2, text + b"\0") for tag, text in (ascii_tags or {}).items()})
    word, inline_size, entry = ("<Q", 8, 20) if big else ("<I", 4, 12)
    head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 16) if big else struct.pack("<2sHI", b"II", 42, 8)
    values_offset = len(head) + (8 if big else 2) + entry * len(tags) + inline_size
    bodies, value_offset = b"", values_offset
    entries = {}
    for tag, (type_, entry_values) in sorted(tags.items()):
        body = (
            entry_values
            if isinstance(entry_values, bytes)
            else struct.pack(f"<{len(entry_values)}{'H' if type_ == 3 else 'I'}", *entry_values)
        )
        entries[tag] = (type_, len(entry_values), body)
        if len(body) > inline_size:
            bodies += body + b"\0" * (len(body) % 2)
    data_offset = values_offset + len(bodies)
    entries[273] = (4, 1, struct.pack("<I", data_offset))
    out = head + struct.pack("<Q" if big else "<H", len(tags))
    for tag, (type_, count, body) in sorted(entries.items()):
        out += struct.pack("<HH", tag, type_) + struct.pack(word, count)
        if len(body) > inline_size:
            out += struct.pack(word, value_offset)
            value_offset += len(body) + len(body) % 2
        else:
            out += body.ljust(inline_size, b"\0")
    return out + struct.pack(word, 0) + bodies + data
