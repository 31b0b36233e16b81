"""All mutations."""

from __future__ import annotations

from tests.mutations import of_backends, of_parts, of_rewriting, of_tables
from tests.mutations.mutation import Mutation

MUTATIONS: tuple[Mutation, ...] = (
    *of_tables.MUTATIONS,
    *of_rewriting.MUTATIONS,
    *of_parts.MUTATIONS,
    *of_backends.MUTATIONS,
)
