"""The command line in process, in an empty folder."""

import pytest

from deepal_autoal.cli.main import main


@pytest.fixture
def new_plugin(capsys, monkeypatch, tmp_path):
    """Return a function that runs `deepal new-plugin` in `tmp_path` and returns (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(["new-plugin", *map(str, arguments)])
        output = capsys.readouterr()
        return stopped.value.code, output.out, output.err

    return call
