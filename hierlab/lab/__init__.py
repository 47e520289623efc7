"""The bench of a lab: settings, experiments, figures, claims, stepper; and what runs, publishes and checks labs."""

from hierlab.lab.bench import Bench
from hierlab.lab.settings import setting, settings
from hierlab.lab.stepper import stepper

__all__ = ["Bench", "setting", "settings", "stepper"]
