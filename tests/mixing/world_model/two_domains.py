"""A simulator of two domains, and settings that learn it in a second."""

from tests.mixing.testbed.simulator import Simulator

from dmix.mixing.world_model.learned_simulator import SimulatorSettings

TWO = Simulator().restricted([0, 3], steps=5)
MODEL = SimulatorSettings(steps=150, batch_episodes=32, learning_rate=5e-3, width=16, held_out=0.0, seed=0)
