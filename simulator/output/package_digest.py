"""Digest of the code and data that predictions follow from."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from importlib import resources
from pathlib import Path


@lru_cache(maxsize=1)
def digest_of_packages() -> str:
    """SHA-256 over every module and data file of the packages that predict."""
    digest = hashlib.sha256()
    for package in ("workloads", "hwmodels", "simulator"):
        root = Path(str(resources.files(package)))
        for path in sorted(root.rglob("*")):
            if path.suffix in (".py", ".yaml", ".json", ".csv"):
                digest.update(path.relative_to(root).as_posix().encode())
                digest.update(path.read_bytes())
    return digest.hexdigest()
