"""Links of a built site: those within it lead somewhere, addresses elsewhere are well formed.

python ci/links.py FOLDER

Nothing is fetched: whether a page elsewhere exists is not checked.
"""

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit


class Page(HTMLParser):
    """Anchors and links of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors, self.links = {""}, set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Of a link, keep the target; of anything, its id."""
        found = dict(attrs)
        self.anchors |= {found.get("id") or "", found.get("name") or ""}
        if tag != "link" or found.get("rel") == "stylesheet":
            self.links |= {found.get("href"), found.get("src")} - {None}


def within(pages: dict[Path, Page], path: Path, link: str) -> str | None:
    """What is wrong with a link within the site."""
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return "there is no such file"
    if target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "there is no such anchor"
    return None


def elsewhere(link: str) -> str | None:
    """What is wrong with an address elsewhere, as far as it says so itself."""
    parts = urlsplit(link)
    if parts.scheme != "https" or "." not in parts.netloc or any(c in link for c in " <>`"):
        return "addresses elsewhere are https://host/…"
    return None


def main() -> None:
    """Print what is wrong, and exit with 1 if anything is."""
    root = Path(sys.argv[1]).resolve()
    pages = {path: Page(path) for path in sorted(root.rglob("*.html"))}
    wrong, addresses, count = [], {}, 0
    for path, page in pages.items():
        for link in sorted(page.links):
            if link.startswith(("data:", "mailto:")):
                continue
            count += 1
            if "://" in link:
                addresses.setdefault(link.rstrip("/").lower(), set()).add(link)
            problem = elsewhere(link) if "://" in link else within(pages, path, link)
            if problem:
                wrong.append(f"{path.relative_to(root)}: {link}: {problem}")
    wrong += [f"one address, written differently: {a}" for a in addresses.values() if len(a) > 1]
    print(*wrong, f"{len(pages)} pages, {count} links, {len(wrong)} of them wrong", sep="\n")
    sys.exit(bool(wrong) or not count)


if __name__ == "__main__":
    main()
