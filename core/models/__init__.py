"""The family of models."""

from core.models.base import Model

MODELS: dict[str, type[Model]] = {  # to add one: write a module with a Model subclass, list it here
}
