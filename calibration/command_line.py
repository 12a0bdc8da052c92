"""How the modules that run with ``python -m`` end: errors of a user in a line, status 2."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from workloads.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable


def run_main(main: Callable[[], int | None]) -> NoReturn:
    """Run a module's ``main`` and exit: 2 after a user's error, printed in a line."""
    try:
        status = main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted; files already written are as they were", file=sys.stderr)
        sys.exit(130)
    sys.exit(status or 0)
