"""What to install where an optional library is missing."""


def missing(what: str, extra: str) -> ImportError:
    """An error to raise where ``what`` needs a library, listed in an extra of pyproject.toml."""
    return ImportError(
        f"{what}, which is not installed; in the folder of the clone: pip install -e '.[{extra}]'"
    )
