"""The keeper: the small process that holds every VM of this host and outlives it just long enough.

These files run in that process alone, from their code objects (see ``.._keeper``): one thread,
built-in modules and nothing else, so that it is up in 10 ms. The host imports nothing from here
but ``_words``.
"""

from __future__ import annotations

__all__: list[str] = []
