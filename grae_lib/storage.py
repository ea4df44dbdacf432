"""Files that are either whole or absent: atomic writes, and reads that refuse damage.

A file is written beside its destination, flushed to the disk and renamed over it, so that a kill or
a full disk leaves the old file or none, never half a file. No pickle is read or written anywhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

#: Ending of files that are being written; their names begin with a dot.
_TEMPORARY = ".tmp"


class DamagedFile(ValueError):
    """A file is not what it should be; the message names it and what to do."""


def write_bytes(path: Path, content: bytes) -> None:
    """Put `content` at `path` atomically; raises OSError with the file named if that fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(_TEMPORARY, f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"could not write {path} ({len(content):,} bytes): {error.strerror}; what was there "
            "before is untouched. Free some space or choose another folder",
        ) from error
    finally:
        Path(temporary).unlink(missing_ok=True)


def json_bytes(value: Any, indent: int | None = None) -> bytes:
    """Plain values as JSON, keys sorted, so that equal values give equal bytes."""
    separators = (",", ":") if indent is None else None
    text = json.dumps(value, indent=indent, separators=separators, sort_keys=True)
    return f"{text}\n".encode()


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write plain values as JSON: on one line, for there are many, or indented."""
    write_bytes(path, json_bytes(value, indent))


def read_json(path: Path) -> Any:
    """Read JSON; raises DamagedFile, naming the file, if it is not JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DamagedFile(
            f"{path} is not valid JSON ({error}). Restore it, or delete it to have it made again."
        ) from error


def write_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write named tensors (copied to the CPU) and string metadata, atomically.

    Equal content gives equal bytes.
    """
    plain = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    content = save_safetensors(plain, metadata)
    # The library writes metadata in an order that differs from process to process.
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)
    write_bytes(path, len(header).to_bytes(8, "little") + header + content[8 + size :])


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata; raises DamagedFile if the file is truncated or of another kind."""
    content = Path(path).read_bytes()
    try:
        tensors = load_safetensors(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    except (SafetensorError, ValueError, KeyError) as error:
        raise DamagedFile(
            f"{path} is not a whole safetensors file ({error}). Restore it, or delete it to "
            "have it made again."
        ) from error
    return tensors, header.get("__metadata__", {})


def remove_leftovers(folder: Path) -> None:
    """Delete what killed writers left under `folder`; no writer may be alive."""
    for path in Path(folder).rglob(f".*{_TEMPORARY}"):
        path.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
