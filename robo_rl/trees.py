"""JAX trees as named NumPy arrays and back, exactly; random keys included."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.content import UserError


def to_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Every leaf by its path in the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path): np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)
        for path, leaf in leaves
    }


def from_arrays(
    arrays: dict[str, np.ndarray], like: Any, where: Path, growing: tuple[str, ...] = ()
) -> Any:
    """The tree of `like`'s structure with these leaves.

    A leaf whose name ends in one of `growing` may have fewer rows than `like`; the rest is zero.
    Raises UserError where a leaf is missing, left over, or of another shape or type.
    """
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    names = [jax.tree_util.keystr(path) for path, _ in leaves]
    if set(names) != set(arrays):
        different = sorted(set(names) ^ set(arrays))
        raise UserError(
            f"{where}: made by another kind of run; differs in {', '.join(different[:5])}."
        )
    return tree.unflatten(
        [
            _restore(
                _grown(arrays[name], leaf) if name.endswith(growing) else arrays[name],
                leaf,
                name,
                where,
            )
            for name, (_, leaf) in zip(names, leaves, strict=True)
        ]
    )


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key."""
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def row(tree: Any, index: int) -> Any:
    """One entry of a batched tree, batch axis kept at size 1."""
    return jax.tree.map(lambda leaf: leaf[index : index + 1], tree)


def _grown(stored: np.ndarray, leaf: Any) -> np.ndarray:
    if stored.shape[1:] != leaf.shape[1:] or len(stored) >= len(leaf):
        return stored
    return np.concatenate(
        [stored, np.zeros((len(leaf) - len(stored), *leaf.shape[1:]), leaf.dtype)]
    )


def _restore(stored: np.ndarray, leaf: Any, name: str, where: Path) -> Any:
    expected = jax.eval_shape(jax.random.key_data, leaf) if is_key(leaf) else leaf
    if stored.shape != expected.shape or stored.dtype != expected.dtype:
        raise UserError(
            f"{where}: {name} has shape {stored.shape} {stored.dtype}, "
            f"{expected.shape} {expected.dtype} expected."
        )
    value = jnp.asarray(stored)
    return jax.random.wrap_key_data(value) if is_key(leaf) else value
