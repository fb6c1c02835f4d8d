"""The command line: what people type, composed from `commands/`. Each command imports what it needs when it runs."""

from __future__ import annotations

import sys

import typer

from .commands import codes, keeping, producing, proving, service
from .console import explain

app = typer.Typer(
    help="溯源：从田间到餐桌，逐环节签名、上链、可验证。 Traceability on a Merkle ledger, provable offline.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for part in (service, keeping, producing, codes, proving):
    app.add_typer(part.app)


def main() -> None:
    """Run the command line; foreseen errors are told in Chinese and English, others keep their traceback."""
    try:
        app(prog_name="suyuan")
    except Exception as error:
        code = explain(error)
        if code is None:
            raise
        sys.exit(code)


if __name__ == "__main__":
    main()
