# SPDX-License-Identifier: Apache-2.0
"""The same with three tries: one failed health check is enough, the others are not spent."""
from scenarios import health_one_try


def run(lab):
    health_one_try.run(lab, tries=3)
