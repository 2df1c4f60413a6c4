"""README and the pages in docs/ as a small web site, and a warning for everything in them that leads nowhere.

python docs/build_site.py [-o FOLDER]     # exit code 1 when there is a warning
"""

import argparse
import html
import pathlib
import shutil
import sys

from check_pages import ROOT, Page, anchors, local, read_pages, targets, warnings_of
from markdown_it import MarkdownIt

STYLE = (
    "body{max-width:52rem;margin:2rem auto;padding:0 1rem;font:16px/1.5 system-ui,sans-serif}"
    "pre{background:#f4f4f4;padding:.8rem;overflow-x:auto}code{font-size:.9em}"
    "table{border-collapse:collapse;display:block;overflow-x:auto}td,th{border:1px solid #ccc;padding:.2rem .5rem}"
)


def build(output: pathlib.Path, root: pathlib.Path = ROOT) -> int:
    """Write the pages as HTML where they stand in the repository, with the files they link to; how many pages."""
    pages = read_pages(root)
    for page in pages.values():
        place = output / page.path.with_suffix(".html")
        place.parent.mkdir(parents=True, exist_ok=True)
        up = "../" * (len(page.path.parts) - 1)
        links = [f'<a href="{up}{p.path.with_suffix(".html")}">{html.escape(p.title)}</a>' for p in pages.values()]
        for path in linked(page):
            if path not in pages and (root / path).is_file():
                (output / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(root / path, output / path)
        place.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(page.title)}</title>'
            f"<style>{STYLE}</style><nav>{' | '.join(links)}</nav>{body(page, set(pages))}</html>\n",
            encoding="utf-8",
        )
    return len(pages)


def linked(page: Page) -> list[pathlib.PurePosixPath]:
    """The files of the repository that a page links to."""
    return [local(page, target)[0] for _, target in targets(page) if not target.startswith("http")]


def body(page: Page, pages: set[pathlib.PurePosixPath]) -> str:
    """The page in HTML: headings that can be linked to, links to pages that are HTML, too."""
    names = iter(anchors(page))
    for token in page.tokens:
        if token.type == "heading_open":
            token.attrSet("id", next(names))
        for part in token.children or ():
            target = str(part.attrGet("href") or "")
            if target and not target.startswith("http") and local(page, target)[0] in pages:
                part.attrSet("href", target.replace(".md", ".html", 1))
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    return parser.renderer.render(page.tokens, parser.options, {})


def main() -> None:
    """Build and say what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=pathlib.Path, default=ROOT / "build" / "site", help="folder of the site")
    options = parser.parse_args()
    found = warnings_of()
    print(f"{build(options.output)} pages: {options.output}")
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
