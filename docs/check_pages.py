"""What a machine can find wrong in README and in the pages of docs/.

Looked at are links and their anchors, headings, tables, blocks of code (that they are Python, TOML or YAML, import what
is there and call commands with options that exist), and names of files, commands and objects in running text.
"""

import ast
import functools
import importlib
import pathlib
import re
import shlex
import tomllib
from collections.abc import Iterator
from typing import NamedTuple

import yaml
from markdown_it import MarkdownIt  # rich, which prints our tables, comes with it
from markdown_it.token import Token

ROOT = pathlib.Path(__file__).parents[1]
LANGUAGES = ("python", "sh", "bash", "toml", "yaml", "xml", "text")
OF_THE_REPOSITORY = re.compile(r"(?:benchmarks|docs|notebooks|tests|jorbit)/[\w./-]*[\w-]\.\w+")


class Page(NamedTuple):
    """A page as it was parsed."""

    path: pathlib.PurePosixPath  # from the root of the repository
    text: str
    tokens: list[Token]

    @property
    def title(self) -> str:
        return next((text for _, _, text in headings(self)), self.path.stem)


def read_pages(root: pathlib.Path) -> dict[pathlib.PurePosixPath, Page]:
    """README.md and everything below docs/."""
    parser = MarkdownIt("commonmark").enable("table")
    found = {}
    for path in [root / "README.md", *sorted((root / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        name = pathlib.PurePosixPath(path.relative_to(root).as_posix())
        found[name] = Page(name, text, parser.parse(text))
    return found


def headings(page: Page) -> Iterator[tuple[int, int, str]]:
    """Line, level and text of every heading."""
    for token, inline in zip(page.tokens, page.tokens[1:], strict=False):
        if token.type == "heading_open":
            text = "".join(part.content for part in inline.children or ())
            yield (token.map or [0])[0] + 1, int(token.tag[1]), text


def anchors(page: Page) -> list[str]:
    """What GitHub calls the headings: lower case, hyphens for spaces, no punctuation, numbered when repeated."""
    found: list[str] = []
    for _, _, text in headings(page):
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        n = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other) is not None for other in found)
        found.append(f"{slug}-{n}" if slug in found else slug)
    return found


def inlines(page: Page) -> Iterator[tuple[int, Token]]:
    """Every piece of running text: links, images, code spans, with the line its paragraph begins in."""
    for token in page.tokens:
        for part in token.children or ():
            yield (token.map or [0])[0] + 1, part


def targets(page: Page) -> Iterator[tuple[int, str]]:
    """Where links and images lead to."""
    for line, part in inlines(page):
        target = part.attrGet("href") or part.attrGet("src")
        if target:
            yield line, str(target)


def local(page: Page, target: str) -> tuple[pathlib.PurePosixPath, str]:
    """The file that a link leads to, from the root of the repository, and the anchor in it."""
    file, _, anchor = target.partition("#")
    path = page.path
    if file:
        parts: list[str] = []
        for part in (*page.path.parent.parts, *pathlib.PurePosixPath(file).parts):
            parts = parts[:-1] if part == ".." and parts else [*parts, part]
        path = pathlib.PurePosixPath(*parts)
    return path, anchor


def check_links(page: Page, pages: dict[pathlib.PurePosixPath, Page], root: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Files that are not there, anchors that their pages do not have."""
    for line, target in targets(page):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, anchor = local(page, target)
        if not (root / path).exists():
            yield line, f"the link {target} leads to no file"
        elif anchor and (path not in pages or anchor not in anchors(pages[path])):
            yield line, f"the link {target} leads to no heading"


def check_headings(page: Page) -> Iterator[tuple[int, str]]:
    """One title, at the top; no level left out."""
    levels = list(headings(page))
    if not levels or levels[0][:2] != (1, 1):
        yield 1, "a page begins with a title (# ...)"
    for (_, before, _), (line, level, text) in zip(levels, levels[1:], strict=False):
        if level == 1:
            yield line, f"a second title: {text}"
        elif level > before + 1:
            yield line, f"the heading {text!r} leaves out a level"


def check_tables(page: Page) -> Iterator[tuple[int, str]]:
    """Rows with more or fewer cells than the head: Markdown drops or adds cells without a word."""
    lines = page.text.splitlines()
    for token in page.tokens:
        if token.type == "table_open" and token.map:
            first, end = token.map
            cells = [len(re.findall(r"(?<!\\)\|", lines[k].strip().strip("|"))) for k in range(first, end)]
            yield from (
                (first + k + 1, "a row with another number of cells") for k, n in enumerate(cells) if n != cells[0]
            )


def check_blocks(page: Page) -> Iterator[tuple[int, str]]:
    """Blocks of code: closed, of a known language, and such that they can be right."""
    for token in page.tokens:
        if token.type != "fence" or not token.map:
            continue
        line, end = token.map
        language = token.info.strip()
        last = page.text.splitlines()[end - 1].strip()
        if not last.startswith(token.markup) or end - line < 2:
            yield line + 1, "a block of code is not closed"
        if language not in LANGUAGES and page.path.name != "architecture.md":
            yield line + 1, f"a block of code of the language {language!r}; known are {', '.join(LANGUAGES)}"
        yield from ((line + 1, message) for message in _of_code(language, token.content))


def _of_code(language: str, code: str) -> Iterator[str]:
    try:
        if language == "python":
            ast.parse(code)
            yield from (f"there is no {name}" for name in imported(code) if not exists(name))
        elif language == "toml":
            tomllib.loads(code)
        elif language == "yaml":
            yaml.safe_load(code)
        elif language in ("sh", "bash"):
            for command in code.replace("\\\n", " ").splitlines():
                yield from wrong_in(command)
    except (SyntaxError, ValueError, yaml.YAMLError) as error:
        yield f"this is not {language}: {error}"


def check_names(page: Page, root: pathlib.Path) -> Iterator[tuple[int, str]]:
    """Commands, dotted names and files in running text."""
    for line, part in inlines(page):
        if part.type == "code_inline":
            yield from ((line, message) for message in wrong_in(part.content))
            for name in re.findall(r"^(?:from |import )?(jorbit(?:\.[A-Za-z_]\w*)+)", part.content):
                if not exists(name):
                    yield line, f"there is no {name}"
        if part.type in ("code_inline", "text"):
            for name in OF_THE_REPOSITORY.findall(part.content):
                if not (root / name).exists():
                    yield line, f"there is no file {name}"


def imported(code: str) -> Iterator[str]:
    """What a piece of Python imports from jorbit."""
    for item in ast.walk(ast.parse(code)):
        if isinstance(item, ast.ImportFrom) and (item.module or "").split(".")[0] == "jorbit":
            yield from (f"{item.module}.{alias.name}" for alias in item.names)
        elif isinstance(item, ast.Import):
            yield from (alias.name for alias in item.names if alias.name.split(".")[0] == "jorbit")


@functools.cache
def exists(dotted: str) -> bool:
    """Whether there is a module or an object of this name."""
    parts = dotted.split(".")
    for n in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:n]))
        except ModuleNotFoundError as error:
            if error.name is not None and not dotted.startswith(error.name):
                raise
            continue
        for part in parts[n:]:
            if not hasattr(thing, part):
                return part in getattr(thing, "__annotations__", {}) and part == parts[-1]
            thing = getattr(thing, part)
        return True
    return False


@functools.cache
def commands() -> dict[str, set[str]]:
    """Every command of `jorbit`, those of groups as "bench run", with its options."""
    import typer

    from jorbit.cli import app

    found: dict[str, set[str]] = {}

    def collect(name: str, command: object) -> None:
        options = {word for parameter in command.params for word in (*parameter.opts, *parameter.secondary_opts)}  # type: ignore[attr-defined]
        found[name] = {word for word in options if word.startswith("-")} | {"--help", "-h"}
        for key, inner in getattr(command, "commands", {}).items():
            collect(f"{name} {key}".strip(), inner)

    collect("", typer.main.get_command(app))
    return found


def wrong_in(line: str) -> Iterator[str]:
    """Commands and options in a line of a shell, or in a piece of running text, that `jorbit` does not have."""
    for part in re.split(r"&&|\|\||[|;]", line):
        try:
            words = shlex.split(part, comments=True)
        except ValueError:
            continue  # an apostrophe: not a command
        while words and re.fullmatch(r"\w+=\S*", words[0]):
            words = words[1:]
        if len(words) < 2 or words[0].rpartition("/")[2] != "jorbit":
            continue
        name, rest = "", words[1:]
        while rest and rest[0].startswith("-") and rest[0].partition("=")[0] in commands()[""]:
            rest = rest[1:]
        while rest and f"{name} {rest[0]}".strip() in commands():
            name, rest = f"{name} {rest[0]}".strip(), rest[1:]
        if not name and rest and re.fullmatch(r"[a-z]\w*", rest[0]):
            yield f"there is no command jorbit {rest[0]}"
        given = [word.partition("=")[0] for word in rest]
        options = [word for word in given if re.fullmatch(r"--?[a-z][\w-]*", word)]
        yield from (f"jorbit {name} has no option {x}" for x in options if name and x not in commands()[name])


def unreachable(pages: dict[pathlib.PurePosixPath, Page]) -> set[pathlib.PurePosixPath]:
    """Pages that no chain of links from README leads to."""
    seen, ahead = set(), [pathlib.PurePosixPath("README.md")]
    while ahead:
        here = ahead.pop()
        if here in pages and here not in seen:
            seen.add(here)
            ahead += [local(pages[here], target)[0] for _, target in targets(pages[here])]
    return set(pages) - seen


def warnings_of(root: pathlib.Path = ROOT) -> list[str]:
    """Everything that is wrong, as "page:line: what"."""
    pages = read_pages(root)
    found = [f"{path}:1: no link from README.md leads here" for path in sorted(unreachable(pages))]
    for page in pages.values():
        checks = (
            check_links(page, pages, root),
            check_headings(page),
            check_tables(page),
            check_blocks(page),
            check_names(page, root),
        )
        found += [f"{page.path}:{line}: {message}" for check in checks for line, message in check]
    return found
