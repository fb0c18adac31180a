import numpy as np
import pytest
from tests.mixing.testbed.simulated import random_schedules, simulated_episodes, simulated_farm
from tests.mixing.world_model.two_domains import MODEL, TWO

from dmix.mixing.world_model.learned_simulator import fit_simulator


@pytest.fixture(scope="module")
def farm():
    return simulated_episodes([TWO], random_schedules(TWO, number=60, seed=0), np.random.default_rng(0))


@pytest.fixture(scope="module")
def learned(farm):
    return fit_simulator(simulated_farm(TWO, farm), settings=MODEL, progress=lambda line: None)
