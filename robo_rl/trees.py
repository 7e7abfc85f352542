"""JAX trees as named NumPy arrays and back, exactly; random keys included."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from robo_rl.errors import UserError


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

    A leaf whose name ends in one of `growing` may have fewer rows than in `like`; the rest is zero.
    Raises UserError where a leaf is missing, left over, or of another shape or type.
    """
    leaves, tree = named(like)
    return tree.unflatten(list(restored(arrays, leaves, where, growing).values()))


def named(tree: Any) -> tuple[dict[str, Any], Any]:
    """The leaves of a tree by their paths in it, and its structure."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(tree)
    return {jax.tree_util.keystr(path): leaf for path, leaf in leaves}, structure


def restored(
    arrays: dict[str, np.ndarray],
    leaves: dict[str, Any],
    where: Path,
    growing: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Stored arrays as leaves of these names and shapes; errors as from_arrays()."""
    if set(leaves) != set(arrays):
        different = sorted(set(leaves) ^ set(arrays))
        raise UserError(
            f"{where}: made by another kind of run; differs in {', '.join(different[:5])}."
        )
    made = {}
    for name, leaf in leaves.items():
        stored = _grown(arrays[name], leaf) if name.endswith(growing) else arrays[name]
        made[name] = _restore(stored, leaf, name, where)
    return made


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
