"""What of installed packages is deployed: for the relay's image and for the functions' zips.

Wheels bring tests, headers, type stubs, symbols for debuggers, and descriptions of every service of AWS. None of these
is read by what runs, and each is fetched and unpacked at every cold start.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path, PurePosixPath

NOT_IMPORTED = frozenset(
    line
    for line in Path(__file__).with_name("not_imported.in").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)
"""Distributions that a package asks for and that nothing imports; the lock of the image is compiled without them."""

AWS_SERVICES = frozenset({"ce", "cloudformation", "cloudwatch", "logs", "s3", "secretsmanager", "sns", "ssm", "sts"})
"""The services of AWS whose description by botocore stays: those that clients are made for, and the one that roles are
assumed with."""

_UNREAD_FOLDERS = frozenset(
    {
        "__pycache__", "SelfTest", "_pyinstaller", "benchmarks", "bin", "examples", "include", "swagger_ui", "test",
        "testing", "tests",
    }
)  # fmt: skip
_UNREAD_SUFFIXES = frozenset(
    {".a", ".c", ".cpp", ".exe", ".h", ".md", ".pxd", ".pyc", ".pyi", ".pyx", ".rst", ".txt", ".typed"}
)
_UNREAD = tuple(
    re.compile(pattern)
    for pattern in (
        # The metadata of a distribution, but its version and its commands.
        r"[^/]+\.dist-info/(?!METADATA$|entry_points\.txt$)",
        # Of the model's package only the data is read; its compiled algorithms are not.
        r"wordllama/(?!__init__\.py$|weights/l2_supercat_256\.safetensors$|tokenizers/.*\.json$)",
        rf"botocore/data/(?!(?:{'|'.join(sorted(AWS_SERVICES))})/)[^/]+/",
        # boto3's resources, which are a second way to do what its clients do.
        r"boto3/data/",
        # CPython loads the compiled backend; this one is for PyPy.
        r"zstandard/_cffi\.",
        # Alembic knows every database; of SQLAlchemy it needs the dialect of ours.
        r"sqlalchemy/dialects/(?!__init__\.py$|_typing\.py$|postgresql/)",
        # Of Powertools the logger, the tracer and the writer of metrics are used.
        r"aws_lambda_powertools/event_handler/",
        r"aws_lambda_powertools/utilities/(?!__init__\.py$|jmespath_utils/|typing/)",
        # Of PyCryptodome a hash and the points of a curve are used; `cryptography` encrypts.
        r"Crypto/(Cipher|IO|Protocol|Signature)/",
        # DuckDB's imitation of Spark's interface.
        r"duckdb/experimental/",
        # Only tracebacks are coloured.
        r"pygments/lexers/(?!__init__\.py$|_mapping\.py$|python\.py$)",
        r"numpy/f2py/",
        # pydantic as it was before 2.0; FastAPI asks for it to refuse models of it, and takes its absence.
        r"pydantic/v1/",
        r"numpy/_core/(_simd|_[a-z_]*tests)\.",
    )
)

_ELF = b"\x7fELF\x02\x01"
"""How a shared library of a 64-bit little-endian machine begins."""
_HEADER_BYTES = 64


def is_read(inside: PurePosixPath) -> bool:
    """Whether what is deployed reads this file; the path begins at the folder that packages are installed in."""
    if inside.suffix in _UNREAD_SUFFIXES or inside.name == ".lock" or _UNREAD_FOLDERS & set(inside.parts[:-1]):
        return False
    path = inside.as_posix()
    return not any(pattern.match(path) for pattern in _UNREAD)


def without_symbols(library: bytes) -> bytes:
    """A shared library without what only debuggers and linkers read; any other file as it is.

    The loader maps segments. What lies behind the last of them is the table of sections, debug information and symbols,
    which some wheels bring by the megabyte. Works for libraries of any architecture.
    """
    if not library.startswith(_ELF) or len(library) < _HEADER_BYTES:
        return library
    (headers_at,) = struct.unpack_from("<Q", library, 32)
    size, count = struct.unpack_from("<HH", library, 54)
    ends = [_HEADER_BYTES, headers_at + size * count]
    for number in range(count):
        offset, _, _, length = struct.unpack_from("<QQQQ", library, headers_at + size * number + 8)
        ends.append(offset + length)
    kept = bytearray(library[: max(ends)])
    struct.pack_into("<Q", kept, 40, 0)  # where the table of sections is,
    struct.pack_into("<HH", kept, 60, 0, 0)  # how many there are, and which has their names
    return bytes(kept)
