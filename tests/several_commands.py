"""A program for subprocesses: several commands of `deepal` for one import of torch."""

# Runs commands one after the other and prints their exit statuses and outputs: torch is imported once.
COMMANDS = """
import contextlib, io, json, sys
from deepal_autoal.cli.main import main
answers = []
for arguments in json.loads(sys.argv[1]):
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main(arguments)
    except SystemExit as stopped:
        answers.append([stopped.code, out.getvalue()])
print(json.dumps(answers))
"""
