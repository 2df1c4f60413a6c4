"""One HTML page that needs nothing else: figures are embedded, nothing is fetched."""

import base64
import dataclasses
import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jorbit.report.figures import save_figure
from jorbit.report.theme import DARK, LIGHT, Theme

_STYLE = """
:root { color-scheme: light dark; --page: #f4f6f8; --card: #ffffff; --text: #1d2530; --soft: #596675; --line: #d5dae1;
        --accent: #0b62b0; }
@media (prefers-color-scheme: dark) {
  :root { --page: #0f1216; --card: #171b21; --text: #e3e7ec; --soft: #9aa6b4; --line: #39414c; --accent: #6cb2f5; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 1060px; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 0 0 .4rem; }
p { margin: .4rem 0 .8rem; max-width: 75ch; } .lead { color: var(--soft); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 1.2rem; }
section { margin: 1.2rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .9rem .35rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } th { color: var(--soft); font-weight: 600; }
.figures { display: flex; flex-wrap: wrap; gap: 1rem; } .figures picture { flex: 0 1 auto; min-width: 0; }
img { max-width: 100%; height: auto; display: block; }
footer { color: var(--soft); font-size: .85rem; }
"""


@dataclasses.dataclass(frozen=True)
class Section:
    """One part of a page.

    Attributes:
        title: heading.
        text: what the reader sees and how to read it; plain text.
        body: HTML made by `table` and `picture`.
    """

    title: str
    text: str
    body: str


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; the first column is left-aligned, the others right.

    Example:
        >>> table(["a"], [["<1>"]])[-56:]
        '<tbody><tr><td>&lt;1&gt;</td></tr></tbody></table></div>'
    """
    head = "".join(f"<th>{html.escape(h)}</th>" for h in headers)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def picture(draw: Callable[[Theme], Any], alt: str) -> str:
    """A figure drawn twice, for light and dark pages, embedded as PNG.

    Args:
        draw: Theme -> matplotlib Figure.
        alt: description for readers who cannot see it.
    """
    light, dark = draw(LIGHT), draw(DARK)
    width, height = (round(96 * inches) for inches in light.get_size_inches())
    light_data, dark_data = (base64.b64encode(save_figure(f)).decode() for f in (light, dark))
    return (
        f'<picture><source media="(prefers-color-scheme: dark)" srcset="data:image/png;base64,{dark_data}">'
        f'<img src="data:image/png;base64,{light_data}" width="{width}" height="{height}" alt="{html.escape(alt)}">'
        "</picture>"
    )


def render_page(title: str, lead: str, sections: Sequence[Section], versions: Mapping[str, str]) -> str:
    """The whole page.

    Args:
        title, lead: heading, and one sentence below it; plain text.
        sections: parts of the page, in order.
        versions: package -> version, printed at the end.

    Returns:
        HTML that refers to nothing outside itself.
    """
    parts = "\n".join(
        f"<section><h2>{html.escape(s.title)}</h2>\n<p>{html.escape(s.text)}</p>\n{s.body}</section>" for s in sections
    )
    used = ", ".join(f"{html.escape(k)} {html.escape(v)}" for k, v in versions.items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body><main>
<h1>{html.escape(title)}</h1>
<p class="lead">{html.escape(lead)}</p>
{parts}
<footer>Made with {used}. Units: eV, Å, fs; stress positive under tension.</footer>
</main></body>
</html>
"""
