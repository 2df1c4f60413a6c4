"""docs/api.md: every public name with the first sentence of its docstring.

python docs/make_api.py            # writes it

What is public is decided by three rules, so that no list has to be kept:

1. what a package exports: its `__all__`, or its own functions and classes where it has none;
2. every registered component;
3. what README.md, a page in docs/, a notebook or a script in notebooks/ imports or names, with everything that the
   same module holds.

All other functions and classes stand at the end of the page as building blocks, so that nothing that can be imported is
missing from it.
"""

import ast
import functools
import importlib
import inspect
import json
import pathlib
import re
from typing import NamedTuple

from check_pages import imported

from jorbit.core.registry import Registry

DOCS = pathlib.Path(__file__).parent
ROOT = DOCS.parent
PAGE = DOCS / "api.md"
NOT_FOR_USERS = ("api.md", "architecture.md")  # this page, and the plan of the house for those who change it
ORDER = (  # from data to simulation, as in architecture.md; what is not named here comes last
    *("datasets", "graphs", "orbits", "descriptors", "models", "terms", "potential", "losses", "train", "simulate"),
    *("convert", "report", "testing", "basis", "core"),
)
COMMANDS = "jorbit.cli"  # used from a terminal, not from Python: docs/commands.md


class Module(NamedTuple):
    """What a file says about itself: its docstring, and those of its functions and classes in their order."""

    about: str
    names: dict[str, str]
    constants: dict[str, str]


@functools.cache
def modules(root: pathlib.Path = ROOT) -> dict[str, Module]:
    """Every module of the package by its name, without those of the command line."""
    found = {}
    for path in sorted((root / "jorbit").rglob("*.py")):
        name = ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith(COMMANDS):
            found[name] = read_module(path.read_text(encoding="utf-8"))
    return found


def read_module(text: str) -> Module:
    """Docstrings as they stand in the source, so that none is inherited or made up by a decorator."""
    tree, lines = ast.parse(text), text.splitlines()
    names, constants = {}, {}
    for item in tree.body:
        if isinstance(item, ast.FunctionDef | ast.ClassDef) and not item.name.startswith("_"):
            names[item.name] = ast.get_docstring(item) or ""
        elif isinstance(item, ast.Assign | ast.AnnAssign) and item.value is not None:
            targets = item.targets if isinstance(item, ast.Assign) else [item.target]
            comment = lines[item.lineno - 1].partition("  # ")[2]
            for target in targets:
                if isinstance(target, ast.Name) and re.fullmatch(r"[A-Z][A-Z0-9_]*", target.id):
                    constants[target.id] = comment or _value(item.value)
    return Module(ast.get_docstring(tree) or "", names, constants)


def _value(node: ast.expr) -> str:
    if isinstance(node, ast.Tuple | ast.List | ast.Set):
        return f"A {type(node).__name__.lower()} of {len(node.elts)}."
    if isinstance(node, ast.Dict):
        return ", ".join(f"{key.value}" for key in node.keys if isinstance(key, ast.Constant))
    return ast.unparse(node)


def first_sentence(docstring: str) -> str:
    """The first paragraph of a docstring, in one line of a table."""
    return " ".join(inspect.cleandoc(docstring).split("\n\n")[0].split()).replace("|", "\\|")


def about(thing: object, name: str = "") -> str:
    """The first sentence about an object: from its own source where it has one, else what Python knows."""
    module = modules().get(getattr(thing, "__module__", None) or "")
    if module is not None and getattr(thing, "__name__", "") in module.names:
        return first_sentence(module.names[thing.__name__])  # type: ignore[attr-defined]
    constants = [module.constants[name] for module in modules().values() if name in module.constants]
    return first_sentence(constants[0] if constants else inspect.getdoc(thing) or "")


def names_used(root: pathlib.Path = ROOT) -> set[str]:
    """Dotted names that README, pages, notebooks and scripts import or name."""
    found: set[str] = set()
    pages = [root / "README.md", *(p for p in (root / "docs").rglob("*.md") if p.name not in NOT_FOR_USERS)]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        found |= _named(text)
        for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
            found |= set(imported(block))
    for notebook in (root / "notebooks").glob("*.ipynb"):
        for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            found |= _named(source)
            if cell["cell_type"] == "code":
                found |= set(imported(re.sub(r"^(\s*)%.*$", r"\1pass", source, flags=re.MULTILINE)))
    for script in (root / "notebooks" / "scripts").glob("*.py"):
        found |= set(imported(script.read_text(encoding="utf-8")))
    return found


def _named(text: str) -> set[str]:
    return set(re.findall(r"\bjorbit(?:\.[A-Za-z_]\w*)+", text))


def module_of(dotted: str) -> str:
    """The module that a dotted name leads to or into."""
    while dotted and dotted not in modules():
        dotted = dotted.rpartition(".")[0]
    return dotted


def exports(package: str) -> dict[str, object]:
    """What a package exports, but for its tables of components."""
    module = importlib.import_module(package)
    names = getattr(module, "__all__", None) or modules()[package].names
    return {name: thing for name in names if not isinstance(thing := getattr(module, name), Registry)}


def registry_of(package: str) -> Registry | None:
    """The table of components of a package, if it has one."""
    return next((x for x in vars(importlib.import_module(package)).values() if isinstance(x, Registry)), None)


def undocumented(root: pathlib.Path = ROOT) -> list[str]:
    """Modules, functions and classes without a docstring of their own."""
    found = [name for name, module in modules(root).items() if not module.about]
    for name, module in modules(root).items():
        found += [f"{name}.{key}" for key, docstring in module.names.items() if not docstring.strip()]
    return found


def packages() -> list[str]:
    """`jorbit` and its rooms, in the order of the page."""
    rooms = {name.split(".")[1] for name in modules() if "." in name}
    known = {room: place for place, room in enumerate(ORDER)}
    return ["jorbit", *(f"jorbit.{room}" for room in sorted(rooms, key=lambda r: (known.get(r, len(ORDER)), r)))]


def table(rows: list[tuple[str, ...]], *headers: str) -> list[str]:
    """A table of Markdown, if there is anything to put into it."""
    lines = [headers, ("---",) * len(headers), *rows]
    return ["\n".join(f"| {' | '.join(line)} |" for line in lines)] if rows else []


class Page:
    """What is on the page so far."""

    def __init__(self) -> None:
        self.used = names_used()
        self.public = {module_of(name) for name in self.used} - set(packages())
        self.shown: set[str] = set()  # where each name on the page is defined, so that it stands there once
        self.sections: list[str] = []
        self.blocks: list[str] = []
        for package in packages():
            self.add(package)

    def add(self, package: str) -> None:
        """The section of a package, and what is left of it for the end of the page."""
        parts = [*self.exported(package), *self.registered(package)]
        left_over = []
        for name, module in self.inside(package):
            left = {key: text for key, text in module.names.items() if f"{name}.{key}" not in self.shown}
            if name in self.public:
                left |= {key: text for key, text in module.constants.items() if self.counts(f"{name}.{key}", module)}
                if left:
                    rows = [(f"`{key}`", first_sentence(text)) for key, text in left.items()]
                    parts += [f"### {name}", first_sentence(module.about), *table(rows, "name", "what it is")]
            elif left:
                held = ", ".join(f"`{key}`" for key in left)
                left_over.append((f"`{name}`", f"{first_sentence(module.about)} {held}"))
        if parts:
            self.sections += [f"## {package}", first_sentence(modules()[package].about), *parts]
        if left_over:
            self.blocks += [f"### Inside {package}", *table(left_over, "module", "what it is about, and what it holds")]

    def inside(self, package: str) -> list[tuple[str, Module]]:
        """The modules of a room, without the room itself."""
        return [] if package == "jorbit" else [m for m in modules().items() if m[0].startswith(f"{package}.")]

    def counts(self, constant: str, module: Module) -> bool:
        """Constants that are used in the documentation, and all of a module that holds nothing else."""
        return constant not in self.shown and (constant in self.used or not module.names)

    def exported(self, package: str) -> list[str]:
        """The table of what a package exports and no package before it did."""
        rows = []
        for key, thing in sorted(exports(package).items()):
            module, own = getattr(thing, "__module__", None), getattr(thing, "__name__", None)
            home = f"{module}.{own}" if module and own else f"{package}.{key}"
            if home not in self.shown:
                rows.append((f"`{key}`", about(thing, key)))
            self.shown |= {home, f"{package}.{key}"}
        return table(rows, "name", "what it is")

    def registered(self, package: str) -> list[str]:
        """The table of the components of a package."""
        registry = registry_of(package) if package != "jorbit" else None
        if registry is None:
            return []
        rows = [(f"`{key}`", f"`{registry[key]}`", about(registry.load(key))) for key in sorted(registry)]
        self.shown |= {registry[key].replace(":", ".") for key in registry}
        kind = registry.group.partition(".")[2]
        return [
            f"The {kind}, by the names that YAML files and model files use:",
            *table(rows, "name", "class", "what it is"),
        ]

    def text(self) -> str:
        """All of it."""
        contents = []
        for name in (part.removeprefix("## ") for part in self.sections if part.startswith("## ")):
            short = re.split(r"(?<=[.?]) ", first_sentence(modules()[name].about))[0]
            contents.append(f"* [{name}](#{name.replace('.', '')}): {short}")
        return "\n\n".join([*INTRODUCTION, "\n".join(contents), *self.sections, *BUILDING_BLOCKS, *self.blocks]) + "\n"


INTRODUCTION = (
    "# Public names",
    "Written by `python docs/make_api.py` from the docstrings; `help(name)` has arguments, shapes, units, errors and "
    "an example. Public is what a package exports, every registered component, and what README, these pages, the "
    "notebooks and their scripts use, with all else in the same module. Each name stands here once, at the shortest "
    "place to import it from. Commands of the terminal are on a [page of their own](commands.md). At the end are the "
    "[building blocks](#building-blocks): everything else that can be imported, which may change without notice.",
)
BUILDING_BLOCKS = (
    "## Building blocks",
    "For those who build on the parts or read along. They are documented and tested as everything else, but names and "
    "arguments may change between releases.",
)


if __name__ == "__main__":
    PAGE.write_text(Page().text(), encoding="utf-8")
    print(f"written: {PAGE.name}")
