"""What an input is, without writing anything.

Order of the modules: `found` says what is told, `look` scans the files and reads a part of
them, `describe` counts.
"""

from pipeline.look.found import Forecast, Look, Masks, Problem
from pipeline.look.look import choose_images, choose_slices, look

__all__ = ["Forecast", "Look", "Masks", "Problem", "choose_images", "choose_slices", "look"]
