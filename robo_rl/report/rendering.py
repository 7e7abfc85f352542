"""Pictures of robots. Needs a GL library; everything else in the suite does without."""

from typing import NamedTuple

import jax
import mujoco
import numpy as np

from robo_rl.envs.mdp import Mdp
from robo_rl.envs.step import Environment, State
from robo_rl.errors import UserError
from robo_rl.robots.signals import Command
from robo_rl.robots.surroundings import Around

WIDTH, HEIGHT = 640, 480
OBSTACLE_M = 0.4  # height at which obstacles are drawn; to the scanner they have none
HELP = (
    "rendering needs an OpenGL library and found none. On Debian or Ubuntu: apt-get install libegl1"
    " (then MUJOCO_GL=egl) or apt-get install libosmesa6 (then MUJOCO_GL=osmesa)."
)


class Mark(NamedTuple):
    """A shape that is drawn and takes no part in physics."""

    kind: mujoco.mjtGeom
    size_m: tuple[float, float, float]
    position_w_m: tuple[float, float, float]
    rgba: tuple[float, float, float, float]


def marks(mdp: Mdp, command: Command, around: Around | None) -> list[Mark]:
    """The place a task asks for, as large as its tolerance, and the obstacles around."""
    found = []
    if mdp.goal and command.place_w_m is not None:
        x, y, *up = np.asarray(command.place_w_m).tolist()
        size = (mdp.goal.tolerance, mdp.goal.tolerance, mdp.goal.tolerance)
        place = (x, y, up[0] if up else 0.0)
        found.append(Mark(mujoco.mjtGeom.mjGEOM_SPHERE, size, place, (0.2, 0.7, 0.3, 0.5)))
    if around:
        circles = around.obstacles
        for (x, y), radius in zip(circles.centre_w_m, circles.radius_m, strict=True):
            size = (float(radius), float(radius), OBSTACLE_M / 2)
            place = (float(x), float(y), OBSTACLE_M / 2)
            found.append(Mark(mujoco.mjtGeom.mjGEOM_CYLINDER, size, place, (0.8, 0.4, 0.2, 1.0)))
    return found


def _add(scene: mujoco.MjvScene, mark: Mark) -> None:
    if scene.ngeom >= scene.maxgeom:
        return
    mujoco.mjv_initGeom(
        scene.geoms[scene.ngeom],
        mark.kind,
        np.array(mark.size_m),
        np.array(mark.position_w_m),
        np.eye(3).ravel(),
        np.array(mark.rgba, np.float32),
    )
    scene.ngeom += 1


class Camera:
    """Draws states of one environment's robot; off screen."""

    def __init__(self, env: Environment, width: int = WIDTH, height: int = HEIGHT):
        self.env, self.data = env, mujoco.MjData(env.robot.model)
        try:
            self.renderer = mujoco.Renderer(env.robot.model, height, width)
        except Exception as error:  # each backend fails in its own way
            raise UserError(f"{env.name}: {HELP} ({type(error).__name__}: {error})") from error
        self.camera = mujoco.MjvCamera()
        mujoco.mjv_defaultFreeCamera(env.robot.model, self.camera)
        self.camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        self.camera.trackbodyid = env.robot.base_body
        self.camera.distance = min(3.5, 2.6 * env.robot.model.stat.extent)
        self.camera.azimuth, self.camera.elevation = 90.0, -12.0 if env.robot.file.ground else -45.0

    def at_home(self) -> np.ndarray:
        """The robot in its start pose, [height, width, 3] uint8."""
        self.data.qpos[:], self.data.qvel[:] = self.env.robot.qpos0, 0.0
        mujoco.mj_forward(self.env.robot.model, self.data)
        self.renderer.update_scene(self.data, self.camera)
        return self.renderer.render()

    def picture(self, state: State, index: int) -> np.ndarray:
        """One robot of a batch, where it should go and what is in its way.

        [height, width, 3] uint8.
        """
        seen = jax.tree.map(
            lambda leaf: np.asarray(leaf[index]),
            (state.physics_state, state.command, state.signals.around),
        )
        physics_state, command, around = seen
        self.data.qpos[:], self.data.qvel[:] = self.env.engine.unpack(physics_state)
        mujoco.mj_forward(self.env.robot.model, self.data)
        self.renderer.update_scene(self.data, self.camera)
        for mark in marks(self.env.mdp, command, around):
            _add(self.renderer.scene, mark)
        return self.renderer.render()

    def close(self) -> None:
        """Frees the GL context."""
        self.renderer.close()
