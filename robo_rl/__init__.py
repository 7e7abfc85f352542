"""The suite that decides whether a learned controller may go on a machine.

Importing it registers the environments with Gymnasium; it loads neither JAX nor torch.
"""

from robo_rl.interop.registration import register_all
from robo_rl.policy import Policy, load_policy

__version__ = "0.1.0"
__all__ = ["Policy", "__version__", "load_policy"]

register_all()
