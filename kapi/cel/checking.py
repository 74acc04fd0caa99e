"""Compiles an expression and checks its result type. Error texts are those of the API server."""

from kapi.cel import compiling
from kapi.cel.compiling import CompilationError
from kapi.cel.evaluating import Program
from kapi.cel.types import Environment, Type

_RUNTIME = {"null": "null_type"}


def compiled(text: str, environment: Environment | dict[str, Type], returns: tuple[str, ...] = ()) -> Program:
    """The program. Raises CompilationError: 'compilation failed: ERROR: …' or 'must evaluate to bool but got string'."""
    try:
        program = compiling.compiled(text, environment)
    except CompilationError as fault:
        raise CompilationError(f"compilation failed: {fault}") from None
    got = _RUNTIME.get(program.code.type.name, str(program.code.type))
    if returns and got not in returns:
        wanted = returns[0] if len(returns) == 1 else f"one of [{' '.join(returns)}]"
        raise CompilationError(f"must evaluate to {wanted} but got {got}")
    if program.broken:
        raise CompilationError(f"program instantiation failed: {program.broken}")
    return program


def check(text: str, environment: Environment | dict[str, Type], returns: tuple[str, ...] = ()) -> tuple[str, Type | None]:
    """(error text or '', result type or None)."""
    try:
        return "", compiled(text, environment, returns).code.type
    except CompilationError as fault:
        return str(fault), None
