"""What other settings would give on a sample: bytes against AP, or against IoU.

Order of the modules: `settings` lists what is tried, `sample` reads the images,
`overlaps` compares every pair once, `groups` decides all settings from those pairs,
`measure` gives bytes and quality of each, `front` chooses, and `page` draws.
"""

from pipeline.tune.front import Choice, choose
from pipeline.tune.measure import Point, Swept, sweep
from pipeline.tune.sample import Sample, read_sample
from pipeline.tune.settings import Setting, SweepConfig, list_settings

__all__ = [
    "Choice",
    "Point",
    "Sample",
    "Setting",
    "SweepConfig",
    "Swept",
    "choose",
    "list_settings",
    "read_sample",
    "sweep",
]
