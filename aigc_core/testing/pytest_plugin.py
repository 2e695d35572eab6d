"""`pytest --aigc-backend NAME`: the conformance kit as tests, one a check, beside a backend's own.

Loaded by pytest wherever aigc-core is installed; costs nothing until the option is given.
"""

from __future__ import annotations

import functools
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from aigc_core.testing.kit import Case


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("aigc", "conformance of aigc backends")
    group.addoption(
        "--aigc-backend",
        action="append",
        default=[],
        metavar="NAME",
        help="put an installed backend to the conformance kit",
    )


def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    for name in dict.fromkeys(config.getoption("--aigc-backend")):  # pytest may parse its options twice
        from aigc_core.errors import AigcError
        from aigc_core.testing.kit import cases

        folder = Path(tempfile.mkdtemp(prefix="aigc-check-"))
        config.add_cleanup(functools.partial(shutil.rmtree, folder, ignore_errors=True))
        try:
            found = cases(name, folder)
        except AigcError as error:
            raise pytest.UsageError(str(error)) from None
        items.extend(CaseItem.from_parent(session, name=f"{name}: {case.name}", case=case) for case in found)


class CaseItem(pytest.Item):
    """One case of the kit."""

    def __init__(self, *, case: Case, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.case = case

    def runtest(self) -> None:
        self.case.run()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        from aigc_core.testing.kit import Failed

        if isinstance(excinfo.value, Failed):
            return f"{excinfo.value}\n\n{self.case.check.name}: {self.case.check.promise}"
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        return Path(self.case.check.run.__code__.co_filename), None, self.name
