"""The file of a node's handlers, looked at and not run: only sandboxes run it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from ..client.kinds import checked_kind
from ..client.modules import Modules
from ..overlay.errors import BadProgram, UsageError
from ..overlay.wire.kinds import Handlers
from .programs import source_of


def handlers_in(file: str) -> Handlers:
    """Raises UsageError where there is no such file, BadProgram where it has no handlers."""
    path = Path(file).resolve()
    source = source_of(str(path), None)
    kinds = list(_kinds_in(ast.parse(source.text), file))
    if not kinds:
        raise BadProgram(f'{file} has no handlers: write @potluck.handler("KIND") above a function')
    if twice := sorted({kind for kind in kinds if kinds.count(kind) > 1}):
        raise BadProgram(f"{file} has two handlers for kind {twice[0]!r}")
    libraries = Modules(beside=path.parent).imported_by(source.text)
    return Handlers(
        str(path), source.text.encode(), tuple(kinds), tuple((library.name, library.files) for library in libraries)
    )


def _kinds_in(tree: ast.Module, file: str) -> Iterator[str]:
    """Written out at the functions of the file, so that nothing has to be run to know them."""
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef):
            continue
        for decorator in node.decorator_list:
            if not (isinstance(decorator, ast.Call) and _names_handler(decorator.func)):
                continue
            match decorator.args, decorator.keywords:
                case [ast.Constant(value=str(kind))], []:
                    yield _checked(kind, file, decorator.lineno)
                case _:
                    raise BadProgram(
                        f"{file}, line {decorator.lineno}: the kind must be written out, as in handler('k')"
                    )


def _names_handler(function: ast.expr) -> bool:
    return (isinstance(function, ast.Attribute) and function.attr == "handler") or (
        isinstance(function, ast.Name) and function.id == "handler"
    )


def _checked(kind: str, file: str, line: int) -> str:
    try:
        return checked_kind(kind)
    except UsageError as error:
        raise BadProgram(f"{file}, line {line}: {error}") from None
