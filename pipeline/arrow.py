"""Arrow's compute functions, which Arrow makes at import time and type checkers cannot see."""

from typing import Any

import pyarrow.compute

pc: Any = pyarrow.compute
