# SPDX-License-Identifier: Apache-2.0
"""An installed distribution in a folder of the path: a module, and its metadata with entry points."""

from pathlib import Path


def installed_distribution(
    folder: Path, name: str, entry_points: str, source: str = "", *, module: str = "", version: str = "1.0"
) -> Path:
    """Write what an installer leaves behind; returns `folder`, which goes on the path. `module` is `name` in an identifier."""
    folder.mkdir(parents=True, exist_ok=True)
    if source:
        (folder / f"{module or name.replace('-', '_')}.py").write_text(source)
    metadata = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(entry_points)
    return folder
