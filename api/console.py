"""What people see in a terminal: progress bars, and errors in Chinese and English with an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Literal

FAILED, UNUSABLE = 1, 2
"""Exit codes: it was judged, and does not hold or was refused; it could not be judged at all."""


class Unusable(Exception):
    """What was given cannot be worked with at all; told in Chinese and English, exit code 2."""

    def __init__(self, zh: str, en: str) -> None:
        super().__init__(en)
        self.zh = zh
        self.en = en


def language(environment: Mapping[str, str]) -> Literal["zh", "en"]:
    """The language of reports: Chinese where the locale is, otherwise English."""
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        if environment.get(name):
            return "zh" if environment[name].lower().startswith("zh") else "en"
    return "en"


class Bars:
    """Progress bars on standard error, as a context manager; nothing at all where nobody watches."""

    def __init__(self) -> None:
        self._bars: Any = None

    def __enter__(self) -> Bars:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bars = Progress(*columns, console=Console(stderr=True))
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def task(self, label: str, total: int) -> Callable[[int], None]:
        """A bar of `total` steps; the answer is called with the number of steps done since."""
        bars = self._bars
        if bars is None:
            return lambda steps: None
        task = bars.add_task(label, total=total)
        return lambda steps: bars.advance(task, steps)

    def measured(self, label: str) -> Callable[[int, int], None]:
        """A bar for work that tells how much is done of how much."""
        if self._bars is None:
            return lambda done, total: None
        bars, task = self._bars, self._bars.add_task(label, total=None)
        return lambda done, total: bars.update(task, completed=done, total=total)


def complain(zh: str, en: str) -> None:
    """Tell what is wrong, on standard error."""
    print(f"错误：{zh}\nerror: {en}", file=sys.stderr)


def explain(error: Exception) -> int | None:
    """Tell what an error means and give the exit code; None for an error that nobody foresaw."""
    from ..ledger.errors import LogHalted, ProofError, Refusal

    match error:
        case Unusable():
            complain(error.zh, error.en)
            return UNUSABLE
        case Refusal():
            for one in (error, *error.others):
                field = f"{one.field}: " if one.field else ""
                expected = f" → {one.expected}" if one.expected else ""
                complain(f"{field}{one.zh}{expected} [{one.rule}]", f"{field}{one.en}{expected} [{one.rule}]")
            return FAILED
        case ProofError():
            complain(f"证明不成立：{error}", f"a proof does not hold: {error}")
            return FAILED
        case LogHalted():
            complain(f"账本暂停签署：{error}", str(error))
            return FAILED
        case OSError() if error.filename is not None:
            complain(f"无法读写 {error.filename}：{error.strerror}", f"{error.filename}: {error.strerror}")
            return UNUSABLE
        case OSError() | UnicodeDecodeError():
            complain(f"无法读写：{error}", str(error))
            return UNUSABLE
    return _explain_rarer(error)


def _explain_rarer(error: Exception) -> int | None:
    """Errors of rooms that most commands never enter: nothing is imported for them that is not there already."""
    if "pydantic" in sys.modules:
        from .settings import SettingsError

        if isinstance(error, SettingsError):
            complain(f"设置不可用：{error}", f"the settings cannot be used: {error}")
            return UNUSABLE
    if "sqlalchemy" in sys.modules:
        from ..ledger.database import AnotherWriter, DatabaseUnavailable

        if isinstance(error, (DatabaseUnavailable, AnotherWriter)):
            complain(f"数据库不可用：{error}", f"the database cannot be used: {error}")
            return UNUSABLE
    if "httpx" in sys.modules:
        from .client import ClientError, Unreachable

        if isinstance(error, ClientError):
            complain(error.zh, error.en)
            return UNUSABLE if isinstance(error, Unreachable) else FAILED
    if "yaml" in sys.modules:
        import yaml

        if isinstance(error, yaml.YAMLError):
            complain(f"YAML 文件有误：{error}", f"a YAML file cannot be read: {error}")
            return UNUSABLE
    return None


def environment() -> Mapping[str, str]:
    """The environment variables: read here and handed on, nowhere else."""
    return os.environ
