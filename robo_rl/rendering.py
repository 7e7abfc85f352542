"""Pictures of robots. Needs a GL library; everything else in the suite does without."""

import mujoco
import numpy as np

from robo_rl.content import UserError
from robo_rl.envs.step import Environment

WIDTH, HEIGHT = 640, 480
HELP = (
    "rendering needs an OpenGL library and found none. On Debian or Ubuntu: apt-get install libegl1"
    " (then MUJOCO_GL=egl) or apt-get install libosmesa6 (then MUJOCO_GL=osmesa)."
)


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

    def picture(self, bits: np.ndarray) -> np.ndarray:
        """The robot in a state (the engine's payload of one robot), [height, width, 3] uint8."""
        self.data.qpos[:], self.data.qvel[:] = self.env.engine.unpack(bits)
        mujoco.mj_forward(self.env.robot.model, self.data)
        self.renderer.update_scene(self.data, self.camera)
        return self.renderer.render()

    def close(self) -> None:
        """Frees the GL context."""
        self.renderer.close()
