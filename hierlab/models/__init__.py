"""Language models by name."""

from hierlab.models.language_model import LanguageModel
from hierlab.models.lora import LoRA
from hierlab.models.store import load, save
from hierlab.models.tiny import TinySize

__all__ = ["LanguageModel", "LoRA", "TinySize", "load", "save"]
