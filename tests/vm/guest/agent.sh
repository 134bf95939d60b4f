#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# The harness's hand inside the guest. Speaks lines over the second serial port:
#   guest: HELLO <boot id> <image version> <entry>      once per boot
#   host:  RUN <id> <seconds> <base64 of a shell script>
#   guest: DONE <id> <exit status> <base64 of stdout and stderr>
# Test-only: the fixture adds it to the image, no release of a product carries it.
port=/dev/ttyS1
exec 3<>"$port" || exit 1
stty -F "$port" raw -echo
loader=4a67b082-0a4c-41cf-b6c7-440b29bb8c4f
version=$(. /usr/lib/os-release && echo "$IMAGE_VERSION")
# Four bytes of attributes, then UTF-16; efivarfs cannot seek.
entry=$(cat "/sys/firmware/efi/efivars/LoaderEntrySelected-$loader" | tail -c +5 | tr -d '\0')
read -r boot </proc/sys/kernel/random/boot_id
# The empty line first ends whatever a cut boot left half written.
printf '\nHELLO %s %s %s\n' "$boot" "$version" "${entry:--}" >&3
while read -r word id seconds script <&3; do
	[ "$word" = RUN ] || continue
	base64 -d <<<"$script" >"/run/proa-test-$id.sh"
	timeout "$seconds" bash "/run/proa-test-$id.sh" >"/run/proa-test-$id.out" 2>&1 </dev/null
	status=$?
	printf 'DONE %s %s %s\n' "$id" "$status" "$(base64 -w0 "/run/proa-test-$id.out")" >&3
	rm -f "/run/proa-test-$id".*
done
