"""The file that a bundled model is in."""

from __future__ import annotations

from pathlib import Path


def model_file(name: str) -> Path:
    """The absolute path of what the option `file` names, which can be read; raises ValueError."""
    file = Path(name).absolute()
    try:
        with file.open("rb"):
            return file
    except FileNotFoundError:
        advice = "there is no such file: put it there, or give its whole path"
    except IsADirectoryError:
        advice = "is a folder: name the file in it"
    except OSError as error:
        advice = f"can't be read: {error.strerror}: give it to the user that runs the model"
    raise ValueError(f"options: `file`: {file}: {advice}")
