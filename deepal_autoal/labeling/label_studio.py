"""Label Studio's JSON: tasks with predictions out, annotations back (https://labelstud.io/guide/task_format)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from deepal_autoal.errors import InputError
from deepal_autoal.files import is_marked, parse_json, read_bytes
from deepal_autoal.labeling.data import ARRAY, FILES
from deepal_autoal.labeling.predictions import PERSON, Labeled
from deepal_autoal.labeling.project import Project
from deepal_autoal.labeling.sources import files_folder, texts_of

ID = "deepal_id"
CONTROL = "label"


def tasks(project: Project, labeled: Sequence[Labeled]) -> bytes:
    """Return all samples as tasks: labels as annotations, a model's as predictions with scores.

    The address of an image file is that of Label Studio's local storage, relative to the folder that holds the
    project's data.

    Args:
        project: Of image files or texts.
        labeled: What `labels_of` returned.

    Raises:
        InputError: If the samples are arrays, which Label Studio cannot show.
    """
    if project.settings.form == ARRAY:
        raise InputError("--format label-studio is for image files and texts; Label Studio shows no arrays: use csv")
    shown, known = _shown(project), {item.row: item for item in labeled}
    kind = _object(project)
    content = []
    for row, name in enumerate(project.state.ids):
        task: dict[str, Any] = {"data": {kind: shown[row], ID: name}, "annotations": [], "predictions": []}
        item = known.get(row)
        if item is not None and item.source == PERSON:
            task["annotations"].append({"result": [_choice(kind, item.label)], "was_cancelled": False})
        elif row in project.state.skipped:
            task["annotations"].append({"result": [], "was_cancelled": True})
        if item is not None and item.predicted is not None and item.predicted_confidence is not None:
            score = round(item.predicted_confidence, 4)
            task["predictions"].append({
                "model_version": f"deepal {len(project.state.labels)} labels", "score": score,
                "result": [{**_choice(kind, item.predicted), "score": score}],
            })  # fmt: skip
        content.append(task)
    return (json.dumps(content, indent=1) + "\n").encode()


def labeling_interface(project: Project) -> str:
    """Return the labeling interface to paste into Label Studio's settings."""
    kind = _object(project)
    choices = "".join(f"<Choice value={quoteattr(name)}/>" for name in project.classes)
    return (
        f'<View><{kind.capitalize()} name="{kind}" value="${kind}"/>'
        f'<Choices name="{CONTROL}" toName="{kind}" choice="single">{choices}</Choices></View>'
    )


def read_annotations(path: Path) -> list[tuple[str, list[str], str | None]]:
    """Return what an export in the format JSON says: where, the sample's names, and its class, None for skipped.

    Of several annotations of a task, a ground truth counts, else the newest. Tasks without one are left out.

    Raises:
        InputError: If the file is no such export, or an annotation chooses several classes.
    """
    content = parse_json(read_bytes(path), path)
    if isinstance(content, dict) and "data" in content:
        content = [content]
    if not isinstance(content, list) or not all(isinstance(task, dict) for task in content):
        raise InputError(f"{path} is not an export of Label Studio; export the project in the format JSON")
    found = []
    for number, task in enumerate(content, 1):
        where = f"{path}, task {task.get('id', number)}"
        if not isinstance(task.get("data"), dict) or not isinstance(task.get("annotations", []), list):
            raise InputError(f"{where}: it has no data and annotations; export in the format JSON, not JSON-MIN or CSV")
        annotations = [item for item in task.get("annotations", []) if isinstance(item, dict)]
        if annotations:
            label = _label(annotations, where)
            if label is not _NOTHING:
                found.append((where, _names(task["data"]), label))
    return found


def is_ours(path: Path) -> bool:
    """Return whether `tasks` wrote a file, not Label Studio itself, whose exports have more."""
    return is_marked(path, f'"{ID}"'.encode()) and not is_marked(path, b'"inner_id"')


_NOTHING = "\0"


def _label(annotations: Sequence[Mapping[str, Any]], where: str) -> str | None:
    """Return the class of a task, None if it was skipped, `_NOTHING` if nothing was chosen."""
    kept = [item for item in annotations if not item.get("was_cancelled")]
    if not kept:
        return None
    order = [(bool(item.get("ground_truth")), str(item.get("updated_at") or item.get("created_at") or ""), position)
             for position, item in enumerate(kept)]  # fmt: skip
    results = kept[max(order)[2]].get("result")
    chosen: list[str] = []
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        if isinstance(choices, list):
            chosen += [str(choice).strip() for choice in choices]
    if len(set(chosen)) > 1:
        raise InputError(f"{where}: it has several classes ({', '.join(chosen[:5])}); choose one there")
    return chosen[0] if chosen else _NOTHING


def _names(data: Mapping[str, Any]) -> list[str]:
    first = [data[ID]] if ID in data else []
    return [str(value) for value in (*first, *(data[key] for key in data if key != ID)) if isinstance(value, str | int)]


def _object(project: Project) -> str:
    return "image" if project.settings.form == FILES else "text"


def _shown(project: Project) -> list[str]:
    if project.settings.form != FILES:
        return texts_of(project)
    shown = []
    for source in project.state.sources:
        folder = files_folder(project, source).resolve().name
        shown += [f"/data/local-files/?d={quote(f'{folder}/{name}', errors='surrogateescape')}" for name in source.ids]
    return shown


def _choice(kind: str, label: str) -> dict[str, Any]:
    return {"from_name": CONTROL, "to_name": kind, "type": "choices", "value": {"choices": [label]}}
