"""What to install where an optional library is missing."""


def missing(what: str, extra: str) -> ImportError:
    """An error to raise: ``what`` needs a library that an ``extra`` of pyproject.toml lists."""
    return ImportError(
        f"{what}, which is not installed; in the folder of the clone: pip install -e '.[{extra}]'"
    )
