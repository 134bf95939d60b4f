# SPDX-License-Identifier: Apache-2.0
"""A release whose health check fails, with one try: it falls back and is not offered again."""


def run(lab, tries=1):
    host = lab.host(lab.serve(), channel="sick", tries=tries)
    host.update()
    assert "proa_1.2.0+%d-0.efi" % tries in host.check("ls /efi/EFI/Linux")
    host.reboot()
    boots = host.wait_version("1.0.0")
    # Condemned at once: a health check that fails does not use up its tries one by one.
    assert [b.version for b in boots] == ["1.2.0", "1.0.0"], boots
    host.wait_settled()
    host.expect(host.until("proactl history"), r"1\.2\.0 +failed.*30-frobnicator.*marbles")
    host.expect(host.history(), r"1\.0\.0 +fell back")
    # Nothing to do now: the failed release is remembered.
    host.expect(host.run("proactl update", 300).out, r"1\.2\.0.*failed|not be tried")
    assert not host.run("ls /efi/EFI/Linux | grep 1.2.0+[1-9]").out
