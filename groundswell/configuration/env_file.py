"""Reads `.env` files as people and their editors write them: the grammar is python-dotenv's."""

from __future__ import annotations

import codecs
import io
import re
from pathlib import Path

from groundswell.errors import ConfigError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_env_file(path: Path) -> dict[str, str]:
    """Return the variables of a file; none where there is no file.

    The file is UTF-8, or UTF-16 with its byte order mark, as Windows writes it.

    Raises:
        ConfigError: it cannot be read, or a line of it is not `NAME=value`.
    """
    try:
        content = path.read_bytes()
        encoding = "utf-16" if content.startswith(_UTF_16_MARKS) else "utf-8-sig"
        text = content.decode(encoding)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return {}
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read ({error}). Mend it or move it away."]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(
            [f"{path}:{line}: cannot be read: line {line} is not {error.encoding} text. Save the file as UTF-8."]
        ) from error
    return parse_env_file(text, str(path))


def parse_env_file(text: str, name: str = ".env") -> dict[str, str]:
    """Return the variables of `NAME=value` lines, empty ones too; of a name that stands twice, the last.

    `export` and comments are allowed. The first closing quote ends a quoted value, which may go over several lines;
    escapes such as `\\n` count in double quotes. `$` means nothing.

    Raises:
        ConfigError: the places of what is something else. Values are not repeated: one may be a secret.
    """
    # Most processes have no such file, and some count the milliseconds of their start.
    from dotenv.parser import parse_stream

    found: dict[str, str] = {}
    problems: list[str] = []
    for binding in parse_stream(io.StringIO(text.removeprefix("\ufeff"))):
        if binding.key is None and not binding.error:
            continue  # a comment, or nothing
        statement = binding.original.string
        line = binding.original.line + statement[: len(statement) - len(statement.lstrip())].count("\n")
        if binding.error or binding.key is None or binding.value is None or not _NAME.fullmatch(binding.key):
            problems.append(
                f"{name}:{line}: line {line} is not NAME=value, or its quotes do not match. "
                "Write it so, or put # in front of it."
            )
        else:
            found[binding.key] = binding.value
    if problems:
        raise ConfigError(problems)
    return found
