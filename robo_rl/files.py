"""Files that are either whole or not there: atomic writes, arrays without pickle, digests."""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from robo_rl.errors import UserError

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PART = ".part"  # ends the names of files and folders that are not whole yet


def digest(data: bytes) -> str:
    """SHA-256 in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def digest_of(said: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over what is said of some arrays, and their names, types, shapes and values."""
    pieces = [json.dumps(said, sort_keys=True).encode()]
    for name, array in sorted(arrays.items()):
        pieces += [f"\n{name} {array.dtype.str} {array.shape}\n".encode()]
        pieces += [np.ascontiguousarray(array).tobytes()]
    return digest(b"".join(pieces))


def file_digest(path: Path) -> str:
    """SHA-256 of a file's content, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def make_folder(path: Path) -> None:
    """Makes a folder and those above it; UserError where a file is in the way, or it is refused."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        blocking = next((p for p in (path, *path.parents) if p.is_file()), None)
        why = f"{blocking} is a file" if blocking else error.strerror
        raise UserError(f"{path}: the folder could not be made ({why}).") from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, whole, when the block ends well."""
    make_folder(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise UserError(
            f"{path}: could not be written ({error.strerror}); what was there before is untouched."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """As replacing(), for a folder; an old one is gone for a moment before the new one is there."""
    make_folder(path.parent)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART))
    try:
        yield temporary
        temporary.chmod(0o755)
        if path.exists():
            shutil.rmtree(path)
        temporary.rename(path)
    except OSError as error:
        raise UserError(
            f"{path}: could not be written ({error.strerror}); what was there before is untouched."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes what a killed process left of files and folders that it could not finish."""
    for part in folder.glob(f".*{PART}"):
        if part.is_dir():
            shutil.rmtree(part)
        else:
            part.unlink()


def append_text(path: Path, text: str) -> None:
    """Appends text in one write; if it does not all fit on the disk, none of it stays."""
    data = text.encode()
    make_folder(path.parent)
    try:
        with path.open("ab", buffering=0) as stream:
            before = stream.seek(0, os.SEEK_END)
            if stream.write(data) < len(data):
                stream.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise UserError(f"{path}: could not be written ({error.strerror}).") from error


@contextlib.contextmanager
def held(path: Path, what: str) -> Iterator[None]:
    """Holds the lock file `path`, which the system lets go when this process ends, however it ends.

    Raises UserError, naming the process, where another one holds it. The file is removed after.
    Where the file system knows no locks, or Python has no fcntl (Windows), nothing is held.
    """
    handle = _locked(path, what)
    try:
        yield
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def _locked(path: Path, what: str) -> int | None:
    if fcntl is None:
        return None
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(f"{path}: could not be written ({error.strerror}).") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise UserError(
                f"{what} is in use by another process (pid {owner}). Wait until it ends, or stop"
                " it first."
            ) from None
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            return None
        if _is_file(handle, path):
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
            return handle
        os.close(handle)  # its last owner removed it between our open and our lock


def _is_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically, floats exact; NaN and infinity become null, as JSON has neither."""
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def write_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Writes YAML atomically, keys in the order given."""
    write_text(path, yaml.safe_dump(plain(value), sort_keys=False))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as an uncompressed .npz, atomically.

    Object arrays are refused, so no pickle is made.
    """
    for name, array in arrays.items():
        if np.asarray(array).dtype.hasobject:
            raise TypeError(f"{name}: an object array would need pickle")
    with replacing(path) as temporary, temporary.open("wb") as stream:
        plain_arrays: Any = {name: np.asarray(array) for name, array in arrays.items()}
        np.savez(stream, **plain_arrays)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an .npz; a damaged or foreign file says so, and nothing in it is executed."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except FileNotFoundError as error:
        raise UserError(f"{path}: not found.") from error
    except Exception as error:  # zipfile, zlib, numpy and struct each raise their own
        raise UserError(
            f"{path}: not a readable array file ({type(error).__name__}: {error})."
        ) from error


def plain(value: Any) -> Any:
    """The value in types that JSON and YAML know."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    if isinstance(value, Path):
        return str(value)
    return value
