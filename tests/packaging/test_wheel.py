"""The wheel contains only the project's packages, and works without the checkout."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Build the wheel from a copy, to leave nothing in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if files.returncode:
        pytest.skip("needs a git checkout")
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / "src" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "src" / name).write_bytes((ROOT / name).read_bytes())
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(folder)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=folder / "src", check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    plugins = ("deepal_events", "deepal_ray", "deepal_strategies")
    packages = {"deepal_autoal": ROOT, **dict.fromkeys(plugins, ROOT / "plugins")}
    assert tops == {*packages, next(top for top in tops if top.endswith(".dist-info"))}
    for package, root in packages.items():
        files = [path for form in ("py", "template", "css", "js") for path in (root / package).rglob(f"*.{form}")]
        wanted = {str(path.relative_to(root)) for path in files}
        assert wanted | {f"{package}/py.typed"} <= set(names)


def test_runs_without_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)  # all that installing a pure wheel does
    # Ahead of the editable installation; PYTHONSAFEPATH keeps the checkout itself out.
    environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}
    code = (
        "import deepal_autoal, deepal_events, deepal_ray, deepal_strategies, os, sys\n"
        "for package in (deepal_autoal, deepal_events, deepal_ray, deepal_strategies):\n"
        "    assert package.__file__.startswith(os.environ['PYTHONPATH']), package.__file__\n"
        "sys.argv = ['deepal', 'run', '--strategy', 'autoal', '--candidates', 'entropy,kmeans', '--pool-size', '60',\n"
        "  '--initial', '20', '--rounds', '1', '--epochs', '1', '--model', 'linear', '--out', 'run']\n"
        "from deepal_autoal.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "summary.json").exists()
