from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import deepal_autoal.plugins.host
from deepal_autoal.datasets import load_dataset
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.errors import InputError, PluginError, UnknownNameError
from deepal_autoal.plugins.hookspecs import hookimpl
from deepal_autoal.plugins.host import PluginHost


def toy(data_dir: Path) -> Dataset:
    x = np.arange(8, dtype=np.float32).reshape(4, 2)
    y = np.array([0, 1, 0, 1])
    return Dataset("toy", x, y, x, y, ("a", "b"), source={"data_dir": str(data_dir)})


def broken(data_dir: Path) -> list[int]:
    return [1]


class Plugin:
    @hookimpl
    def deepal_register_datasets(self, registry: Any) -> None:
        registry.add("toy", toy, summary="two classes")
        registry.add("broken", broken, summary="returns a list")


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginHost]:
    """A host with our own datasets and a plugin's, whether or not the package is installed."""
    from deepal_autoal.datasets import registration

    own = PluginHost()
    own.register(registration, "datasets")
    own.register(Plugin(), "plugin")
    monkeypatch.setattr(deepal_autoal.plugins.host, "plugin_host", lambda: own)
    yield own


def test_registered_names(host: PluginHost) -> None:
    assert {"digits", "mnist", "toy"} <= set(host.datasets.names())
    assert load_dataset("digits").name == "digits"
    assert all(entry.summary and "\n" not in entry.summary for entry in host.datasets.entries())


def test_the_data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEEPAL_DATA", raising=False)
    assert load_dataset("toy").source["data_dir"] == "data"
    monkeypatch.setenv("DEEPAL_DATA", str(tmp_path))
    assert load_dataset("toy").source["data_dir"] == str(tmp_path)
    assert load_dataset("toy", tmp_path / "given").source["data_dir"] == str(tmp_path / "given")


def test_a_name_takes_precedence_over_a_folder_unless_a_path_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_folder: Callable[..., Path]
) -> None:
    write_folder(tmp_path / "toy", {"x": 3, "y": 3})
    monkeypatch.chdir(tmp_path)
    assert load_dataset("toy").class_names == ("a", "b")
    for path in ("./toy", "toy/", str(tmp_path / "toy"), Path("toy")):
        assert load_dataset(path).class_names == ("x", "y")


def test_every_kind_of_path(tmp_path: Path, write_folder: Callable[..., Path]) -> None:
    write_folder(tmp_path / "pets", {"cat": 3, "dog": 3})
    rows = [f"pets/{label}/{number}.png,{label}" for label in ("cat", "dog") for number in range(3)]
    (tmp_path / "pets.CSV").write_text("\n".join(["path,label", *rows]))
    np.savez(tmp_path / "pets.npz", x=np.zeros((6, 5, 6, 3), np.uint8), y=np.array(["cat", "dog"] * 3))
    for name, kind in (("pets", "image folder"), ("pets.CSV", "CSV manifest"), ("pets.npz", "npz")):
        data = load_dataset(str(tmp_path / name))
        assert data.source["kind"] == kind and data.source["path"] == str(tmp_path / name)
        assert data.name == "pets" and data.class_names == ("cat", "dog")


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'digits'"):
        load_dataset("digts")


@pytest.mark.parametrize(
    "path", ["./none", "some/where", "own.npz", "~/none", "~no-such-user/x", "./" + "n" * 5000, Path("none")]
)
def test_missing_paths_are_named(path: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"there is no file or folder|no user's home folder here|255 bytes at most"):
        load_dataset(path)


@pytest.mark.parametrize("name", ["", " ", "a\0b"])
def test_invalid_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="empty or invalid"):
        load_dataset(name)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "data.feather").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"data\.feather is not a dataset; give a folder"):
        load_dataset(tmp_path / "data.feather")


def test_a_loader_that_returns_something_else_is_named() -> None:
    with pytest.raises(PluginError, match=r"'broken' .*returned list"):
        load_dataset("broken")


def test_importing_and_registering_is_light() -> None:
    code = (
        "import sys, deepal_autoal.datasets, deepal_autoal.datasets.registration; "
        "heavy = {'numpy', 'torch', 'sklearn', 'PIL', 'scipy', 'pandas', 'matplotlib', 'tqdm'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_public_names() -> None:
    import deepal_autoal.datasets as package

    assert package.Dataset is Dataset
    with pytest.raises(AttributeError):
        _ = package.nothing  # type: ignore[attr-defined]
