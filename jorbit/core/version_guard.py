"""Known-bad releases of jax and jaxlib: a warning at start-up, because notebook users do not choose their wheel."""

import dataclasses
import importlib.metadata
import warnings
from collections.abc import Mapping

WATCHED = ("jax", "jaxlib")


class KnownBugWarning(UserWarning):
    """An installed package is a release with a bug that changes or slows down jorbit's results."""


@dataclasses.dataclass(frozen=True)
class KnownBug:
    """A release that jorbit should not run on.

    Attributes:
        package, version: which release.
        bug: what goes wrong, and where it is reported.
        cure: what to type.
    """

    package: str
    version: str
    bug: str
    cure: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {self.bug} Cure: {self.cure}"


_SLOW_SCATTER = "float32 scatter-add on NVIDIA GPUs is up to 450 times slower than it should be (openxla/xla#46225)."
_CURE = 'pip install -U "jax!=0.10.2,!=0.11.0,!=0.11.1" "jaxlib!=0.10.2,!=0.11.0,!=0.11.1", then restart Python.'

KNOWN_BUGS = (
    KnownBug(
        package="jaxlib",
        version="0.10.2",
        bug="silently wrong numbers on CPU in a vmapped small matrix-vector product followed by a reduction, beyond "
        f"16384 rows in float64 or 32768 in float32 (jax-ml/jax#39103); {_SLOW_SCATTER}",
        cure=_CURE,
    ),
    KnownBug(package="jaxlib", version="0.11.0", bug=_SLOW_SCATTER, cure=_CURE),
    KnownBug(
        package="jax",
        version="0.11.1",
        bug="flax up to 0.12.8, and so jax-md, cannot be imported (a class it builds on is gone).",
        cure=_CURE,
    ),
)


def installed_versions() -> dict[str, str]:
    """Versions of jax and jaxlib from their metadata, without importing them; absent packages are left out."""
    versions = {}
    for package in WATCHED:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def known_bad(versions: Mapping[str, str] | None = None) -> tuple[KnownBug, ...]:
    """The known bugs of some versions.

    Args:
        versions: package -> version; what is installed when not given. Local suffixes ("0.10.2+cuda12") are ignored.

    Example:
        >>> [bug.version for bug in known_bad({"jax": "0.10.1", "jaxlib": "0.10.2"})]
        ['0.10.2']
    """
    versions = installed_versions() if versions is None else versions
    return tuple(bug for bug in KNOWN_BUGS if versions.get(bug.package, "").partition("+")[0] == bug.version)


def warn_about_known_bugs(versions: Mapping[str, str] | None = None) -> None:
    """Warn once, naming every known bug of the installed versions and its cure. Silent on good versions."""
    bugs = known_bad(versions)
    if bugs:
        message = "A release with a known bug is installed. " + " ".join(str(bug) for bug in bugs)
        warnings.warn(message, KnownBugWarning, stacklevel=2)
