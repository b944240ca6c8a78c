"""Where a model lies: a folder, or ``org/name`` in the local cache of the Hugging Face hub, or on the hub itself.

The cache is the one that ``huggingface_hub`` fills (``HF_HUB_CACHE``, else ``HF_HOME/hub``), read here without it. A
name is fetched only where the cache lacks it and ``HF_HUB_OFFLINE`` is not set; no code and no pickle is fetched.
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

from glassformer.core.errors import CheckpointError

#: What is fetched of a model: descriptions, weights and tokenizers.
FETCHED = ("*.json", "*.safetensors", "*.jinja", "*.txt", "*.model", "*.tiktoken", "LICENSE*", "README.md")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def local(name: str | Path) -> Path:
    """The folder of a model on this machine; one that stands there wins over a name on the hub.

    Raises:
        CheckpointError: there is no such folder, and no such name in the cache or on the hub.
    """
    path = Path(name)
    if _is_folder(path):
        return path
    if not _is_hub_name(path):
        raise CheckpointError(
            "no such folder", at=path, expected="a model folder with config.json", do=_interrupted(path)
        )
    cached = _cached(str(name))
    if cached is not None and (any(cached.glob("*.safetensors")) or _is_offline()):
        return cached
    if _is_offline():
        do = "unset HF_HUB_OFFLINE to fetch it, or name a folder"
        raise CheckpointError("no such folder, and not in the local cache of the hub", at=path, got=_cache(), do=do)
    return _fetched(str(name))


def _is_folder(path: Path) -> bool:
    try:
        if path.is_dir():
            return True
        taken = path.exists()
    except OSError as error:  # for instance a name that is too long
        raise CheckpointError("no such folder", at=str(path)[:200], got=error.strerror) from error
    if taken:
        raise CheckpointError("not a folder", at=path, expected="a model folder with config.json")
    return False


def _is_hub_name(path: Path) -> bool:
    """``org/name``, unless ``org`` is a folder here: then a path was meant."""
    return _NAME.fullmatch(str(path)) is not None and ".." not in str(path) and not path.parent.exists()


def _interrupted(path: Path) -> str | None:
    """Where a folder went whose replacement was interrupted."""
    kept = sorted(path.parent.glob(f".{path.name}.replaced-*")) if path.name and path.parent.is_dir() else []
    return f"its replacement was interrupted: rename {kept[-1]} back" if kept else None


def _cache() -> Path:
    """The folder of the cache, as ``huggingface_hub`` finds it."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or os.path.join(home, "huggingface")
    found = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or os.path.join(home, "hub")
    return Path(os.path.expandvars(found)).expanduser()


def _is_offline() -> bool:
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in {"1", "ON", "YES", "TRUE"}


def _cached(name: str) -> Path | None:
    """The newest snapshot of the main branch, or None."""
    folder = _cache() / f"models--{name.replace('/', '--')}"
    main = folder / "refs" / "main"
    if not main.is_file():
        return None
    snapshot = folder / "snapshots" / Path(main.read_text("utf-8").strip()).name
    return snapshot if (snapshot / "config.json").is_file() else None


def _fetched(name: str) -> Path:
    print(f"fetching {name} from the Hugging Face hub", file=sys.stderr)
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, cache_dir=str(_cache()), allow_patterns=list(FETCHED)))
    except Exception as error:  # its errors, and those of the network below it, have no common base
        got = str(error).strip().partition("\n")[0] or type(error).__name__
        do = "check the name and the network, or name a folder"
        raise CheckpointError("no such folder, and the hub does not give it", at=name, got=got, do=do) from error
