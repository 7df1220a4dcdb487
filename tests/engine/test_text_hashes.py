"""An id has one hash, whatever stands beside it in the batch."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.engine.truth import hash_texts

# Lone surrogates can stand in JSON, so an id may hold one.
TEXTS = st.lists(st.text(st.characters(codec=None), max_size=30), max_size=20)


@settings(deadline=None)  # the first example loads the compiled loop
@given(TEXTS)
def test_a_text_has_the_same_hash_in_every_batch(texts: list[str]) -> None:
    together = hash_texts([*texts, "plain"])
    alone = np.concatenate([hash_texts([text]) for text in [*texts, "plain"]])
    assert alone.tolist() == together.tolist()


@settings(deadline=None)  # the first example loads the compiled loop
@given(TEXTS)
def test_different_texts_have_different_hashes(texts: list[str]) -> None:
    distinct = sorted(set(texts))
    assert len(set(hash_texts(distinct).tolist())) == len(distinct)
