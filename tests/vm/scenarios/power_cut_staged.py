# SPDX-License-Identifier: Apache-2.0
"""Power cut between staging and applying: the version does not change, and apply still works."""


def run(lab):
    server = lab.serve()
    host = lab.host(server)
    host.check("proactl stage", 300)
    host.power_cut()
    assert not [n for n in host.esp() if "1.1.0" in n], host.esp()
    host.start()
    host.wait_boot("1.0.0")
    host.wait_settled()
    before = server.blob_bytes()
    host.expect(host.check("proactl status"), r"1\.1\.0.*staged")
    host.check("proactl apply", 120)
    assert server.blob_bytes() == before, "apply fetched something"
    host.first_boot_of("1.1.0")
