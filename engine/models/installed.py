"""Which models are installed, and which of them serves a task, and why.

Knows nothing of fetching: it only says which command would. Rule: nothing is chosen without a
reason in words, and a broken model is passed over aloud.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from engine.errors import InvalidInput, ModelBroken, ModelMissing, ModelNotFound
from engine.models import catalog, folder, manifest
from engine.models.spec import DecoderSpec, EmbedderSpec, Task

_NOUNS: dict[Task, str] = {"embed": "embedder", "generate": "decoder"}


@dataclass(frozen=True, slots=True)
class InstalledModel:
    """A model folder in its place, whole or not."""

    model_id: str
    folder: Path
    size_bytes: int
    """Of its files when it was installed; 0 where the record of them cannot be read."""
    spec: EmbedderSpec | DecoderSpec | None
    """None where it is broken."""
    broken: str = ""
    """Why it is, and what to do; empty where it is whole."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The model that serves a task."""

    spec: EmbedderSpec | DecoderSpec
    reason: str
    """For people: why this one."""


def list_installed(models_dir: Path) -> list[InstalledModel]:
    """Every model with a manifest below the models folder, by id; what is being removed is not."""
    if not models_dir.is_dir():
        return []
    places = sorted(place for place in models_dir.iterdir() if not place.name.startswith("."))
    return [model for place in places if manifest.is_in(place) and (model := _look_at(place))]


def choose(task: Task, models_dir: Path, wanted: str | None) -> Choice:
    """The model that serves a task.

    Args:
        task: What it must do.
        models_dir: The folder of all installed models.
        wanted: A model's id or the path of a user's own folder; None for the best installed.

    Raises:
        ModelNotFound: No model has that id, and there is no such folder.
        ModelMissing: It, or any model for the task, is not installed; names the command.
        ModelBroken: It is installed or is a folder, but cannot be served.
        InvalidInput: It is made for the other task.
    """
    if wanted is None:
        return _best(task, models_dir)
    if is_path(wanted):
        path = Path(os.path.expanduser(wanted))
        if not os.path.isdir(path):
            raise ModelNotFound(f"There is no folder {path}; give a model's id or its folder.")
        choice = Choice(_read(path, models_dir), f"the folder {path} was asked for")
    else:
        choice = Choice(_named(task, wanted, models_dir), "asked for by name")
    _require(task, choice.spec.task, wanted)
    return choice


def _require(task: Task, made_to: Task, wanted: str) -> None:
    if made_to != task:
        raise InvalidInput(
            f"{wanted} cannot {task}: it is made to {made_to}; "
            "see what there is with: npu-gateway models"
        )


def _best(task: Task, models_dir: Path) -> Choice:
    noun, known = _NOUNS[task], catalog.of_task(task)
    there = {model.model_id: model for model in list_installed(models_dir)}
    broken = [there[m.model_id] for m in known if m.model_id in there and there[m.model_id].broken]
    for model in known:
        if (found := there.get(model.model_id)) and found.spec:
            worse = _passed_over(broken, known[0], model)
            return Choice(found.spec, f"the best installed {noun}{worse}")
    if broken:
        raise ModelBroken(broken[0].broken)
    raise ModelMissing(f"No {noun} is installed; run: npu-gateway pull")


def _passed_over(
    broken: list[InstalledModel], best: catalog.KnownModel, chosen: catalog.KnownModel
) -> str:
    """What to add where a better model exists; empty where there is none."""
    ranks = {model.model_id: model.rank for model in catalog.MODELS}
    better = [model for model in broken if ranks[model.model_id] > chosen.rank]
    if better:
        return f" that is whole; {better[0].model_id} would be preferred, but: {better[0].broken}"
    if best is not chosen:
        return f"; {best.model_id} would be preferred: npu-gateway pull {best.model_id}"
    return ""


def _named(task: Task, wanted: str, models_dir: Path) -> EmbedderSpec | DecoderSpec:
    there = {model.model_id: model for model in list_installed(models_dir)}
    if found := there.get(wanted.lower()):
        if found.spec is None:
            raise ModelBroken(found.broken)
        return found.spec
    known = catalog.find(wanted)
    _require(task, known.task, wanted)
    raise ModelMissing(f"{known.model_id} is not installed; run: npu-gateway pull {known.model_id}")


def _read(path: Path, models_dir: Path) -> EmbedderSpec | DecoderSpec:
    if path.resolve().parent == models_dir.resolve() and manifest.is_in(path):
        return folder.read_installed(path)
    return folder.read(path)


def _look_at(place: Path) -> InstalledModel | None:
    """What is in a model's place; None if it has gone meanwhile, which happens in one rename."""
    size = 0
    try:
        size = manifest.read(place).size_bytes
        return InstalledModel(place.name, place, size, folder.read_installed(place))
    except (ModelBroken, FileNotFoundError) as error:
        if not manifest.is_in(place):
            return None
        return InstalledModel(place.name, place, size, None, str(error))


def is_path(wanted: str) -> bool:
    """Whether a model that is wanted is named by its folder, not by its id."""
    if any(model.model_id == wanted.lower() for model in catalog.MODELS):
        return False
    return "/" in wanted or "\\" in wanted or os.path.isdir(wanted)
