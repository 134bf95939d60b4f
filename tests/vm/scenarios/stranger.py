# SPDX-License-Identifier: Apache-2.0
"""A repository of the same image signed by a stranger: refused, nothing changed."""


def run(lab):
    host = lab.host(lab.serve(lab.folder / "stranger"))
    host.refused(r"sign|key|root")
    host.shows("stranger", "proactl why")
