"""Removes an installed model: out of its place first, in one rename, then off the disk."""

from pathlib import Path

from engine.errors import ModelMissing, Unavailable
from engine.models import catalog, manifest
from engine.models.staging import Staging, size_of


def remove(model_id: str, models_dir: Path) -> int:
    """Removes a model and what an unfinished download of it has left.

    Returns:
        Bytes freed.

    Raises:
        ModelNotFound: No model has that id.
        ModelMissing: It is not installed.
        Unavailable: It is being fetched just now, or a running server holds its files.
    """
    model_id = model_id.lower()
    if not _is_installed(model_id, models_dir):
        model_id = catalog.find(model_id).model_id
    staging = Staging(models_dir, model_id)
    if not staging.acquire(0):
        raise Unavailable(
            f"{model_id} is being fetched or removed by another npu-gateway just now; "
            "try again when that has ended."
        )
    try:
        return _remove_alone(model_id, models_dir, staging)
    finally:
        staging.release()


def _remove_alone(model_id: str, models_dir: Path, staging: Staging) -> int:
    freed = size_of(staging.download)
    if _is_installed(model_id, models_dir):
        freed += size_of(models_dir / model_id)
    elif not freed:
        raise ModelMissing(f"{model_id} is not installed; nothing was removed.")
    try:
        if _is_installed(model_id, models_dir):
            staging.withdraw()
    except PermissionError as error:
        raise Unavailable(
            f"{model_id} is in use; stop the npu-gateway that serves it, then try again."
        ) from error
    staging.forget()
    return freed


def _is_installed(model_id: str, models_dir: Path) -> bool:
    return any(
        place.name == model_id and manifest.is_in(place)
        for place in (models_dir.iterdir() if models_dir.is_dir() else ())
    )
