from pathlib import Path


def blob_files(directory: Path) -> list[Path]:
    """What a blob store holds, finished or partial, without its own mark."""
    return [path for path in directory.iterdir() if not path.name.startswith(".")]
