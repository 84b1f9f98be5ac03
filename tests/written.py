"""Runs a module and prints every file it opens for writing, makes, renames or deletes.

    python tests/written.py MODULE ARGUMENTS…

Python's own calls only: what TensorFlow's C++ writes is seen by who compares the folders.
"""

import os
import runpy
import sys

# Event → the places of paths among its arguments.
_CHANGES = {
    "os.mkdir": (0,),
    "os.rename": (0, 1),
    "os.remove": (0,),
    "os.rmdir": (0,),
    "os.link": (1,),
    "os.symlink": (1,),
    "os.truncate": (0,),
    "os.chmod": (0,),
    "os.chown": (0,),
}
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def _hook(event: str, arguments: tuple) -> None:
    paths = []
    if event == "open":
        path, _, flags = arguments
        if isinstance(flags, int) and flags & _WRITING and not isinstance(path, int):
            paths.append(path)
    elif event in _CHANGES:
        paths += [arguments[place] for place in _CHANGES[event]]
    for path in paths:
        os.write(1, f"written: {os.path.abspath(os.fsdecode(path))}\n".encode())


if __name__ == "__main__":
    module, *rest = sys.argv[1:]
    sys.argv = [module, *rest]
    sys.path.insert(0, os.getcwd())
    sys.dont_write_bytecode = True
    sys.addaudithook(_hook)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
