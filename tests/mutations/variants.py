"""The variants: each breaks one promise by a patch in memory, and names tests that must fail.

A patch is applied in a process of its own (`tests.mutations.run`) and never undone.
"""

from __future__ import annotations

from tests.mutations import contents, endings
from tests.mutations.variant import Variant

VARIANTS: dict[str, Variant] = {
    variant.apply.__name__: variant for variant in (*contents.VARIANTS, *endings.VARIANTS)
}
"""By name."""
