"""An object that lives in a process of its own: for children forked from a process with JAX.

JAX's threads do not survive a fork, so a forked child that computes with it waits for ever. Such a
child, as gymnasium.vector.AsyncVectorEnv makes them, starts a fresh interpreter and asks that.
"""

import subprocess
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from typing import Any

from robo_rl.interop.registration import jax_hangs


def build(make: Callable[..., Any], *args: Any) -> Any:
    """make(*args), or a stand-in for it where JAX hangs; both pickle as what they stand for."""
    return Apart(make, *args) if jax_hangs() else make(*args)


class Apart:
    """Attributes and methods of make(*args), which a fresh interpreter holds."""

    def __init__(self, make: Callable[..., Any], *args: Any):
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-m", "robo_rl.interop.apart", str(theirs.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self._ask(make, args)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        is_method, value = self._ask("get", name)
        return (lambda *args: self._ask("call", name, args)) if is_method else value

    def close(self) -> None:
        """Ends the process; its end of the pipe closes with it."""
        if not self._pipe.closed:
            self._pipe.close()
            self._process.wait()

    def __del__(self) -> None:
        if "_process" in self.__dict__:
            self.close()

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        make, args = self._ask("call", "__reduce__", ())
        return build, (make, *args)

    def _ask(self, *question: Any) -> Any:
        self._pipe.send(question)
        worked, answer = self._pipe.recv()
        if worked:
            return answer
        raise answer


def serve(pipe: Connection) -> None:
    """Builds the object that comes first over the pipe and answers for it until the pipe closes."""
    held: Any = None
    while True:
        try:
            what, *rest = pipe.recv()
        except EOFError:
            return
        try:
            if callable(what):
                held, answer = what(*rest[0]), None
            elif what == "get":
                value = getattr(held, rest[0])
                answer = (True, None) if callable(value) else (False, value)
            else:
                answer = getattr(held, rest[0])(*rest[1])
            pipe.send((True, answer))
        except Exception as error:
            pipe.send((False, error))


if __name__ == "__main__":
    serve(Connection(int(sys.argv[1])))
