"""The hands: one file for each family of models. The only room where torch is imported at module level.

A folder named in VIDGEN_FAMILIES adds rooms to this one: its Python files are families like those here.
"""

import os

os.environ.setdefault("CUDA_DEVICE_ORDER", "PCI_BUS_ID")  # the order in which `probe` counts the cards

__path__.extend(folder for folder in os.environ.get("VIDGEN_FAMILIES", "").split(os.pathsep) if folder)
