"""Our kinds, one module each; this registry is how rooms find the model of a kind."""

from typing import Final

from energaizer_operator.names import Kind
from energaizer_operator.resources.aiworkload import AIWorkload
from energaizer_operator.resources.energybudget import EnergyBudget
from energaizer_operator.resources.energypolicy import EnergyPolicy
from energaizer_operator.resources.energyreservation import EnergyReservation
from energaizer_operator.resources.gpuprofile import GPUProfile
from energaizer_operator.schema import Resource

MODELS: Final[dict[Kind, type[Resource]]] = {
    Kind.AI_WORKLOAD: AIWorkload,
    Kind.GPU_PROFILE: GPUProfile,
    Kind.ENERGY_POLICY: EnergyPolicy,
    Kind.ENERGY_BUDGET: EnergyBudget,
    Kind.ENERGY_RESERVATION: EnergyReservation,
}
