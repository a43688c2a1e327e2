"""How a table of attacks is carried out where they are made: the source of a function, for another
process, whose own functions and modules (`errno`) the attacks use."""

from __future__ import annotations

ATTEMPT = '''
def attempt(attacks):
    """What each comes to: the name of an error, or what was done."""
    found = {}
    for name, code in attacks.items():
        scope = dict(globals(), said=None)
        try:
            exec(code, scope)
            found[name] = f"done: {scope['said']!r}"
        except OSError as error:
            found[name] = errno.errorcode.get(error.errno, str(error))
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found
'''
