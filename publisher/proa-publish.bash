# SPDX-License-Identifier: Apache-2.0
# bash completion for proa-publish(1)
_proa_publish() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local verbs="${COMP_WORDS[1]} ${COMP_WORDS[2]}" words=
	local keys='--keys --root --passphrase-file' change='--add-key --remove-key --threshold --revoke'
	local policy='--rollout --rollout-start --curve --minimum-from --floor --dead-end --critical --normal'
	local offer="$policy --notes-url --allow-older --propose"

	case $prev in
	--keys | --base-dir)
		mapfile -t COMPREPLY < <(compgen -d -- "$cur")
		return
		;;
	--type) words='ed25519 ecdsa rsa' ;;
	--arch) words='x86-64 arm64' ;;
	--curve) words='straight slow-start' ;;
	esac
	if [[ -z $words && $COMP_CWORD -eq 1 ]]; then
		words="$(proa-publish --help 2>/dev/null |
			sed -n 's/^\(Usage:\| *\) *proa-publish \([a-z|]*\).*/\2/p' | tr '|' '\n' | sort -u) --help --version"
	elif [[ -z $words && $COMP_CWORD -eq 2 ]]; then
		case ${COMP_WORDS[1]} in
		key) words='create show' ;;
		root) words='propose sign submit' ;;
		channel) words='add promote pause resume remove-release set propose sign submit' ;;
		esac
	fi
	if [[ -z $words && $cur == -* ]]; then
		case $verbs in
		init*) words="$keys --image --channel --arch --encrypt --propose --add-key --threshold" ;;
		release*) words="$keys $offer --channel --version --usr --like --kernel --initrd --uki --stub --cmdline --os-release
			--uname --sign-key --sign-cert --sbom --arch --salt --level --from --base-dir" ;;
		'channel promote') words="$keys $offer --from --to" ;;
		'channel set') words="$keys $policy --propose" ;;
		'key create') words='--keys --type --no-passphrase --passphrase-file' ;;
		'key show') words='--key --name --passphrase-file' ;;
		'root propose') words="$keys $change --rebuild" ;;
		'channel propose') words="$keys $change" ;;
		'channel add') words="$keys $change --propose" ;;
		*' sign') words="$keys --key --out --yes" ;;
		*' submit') words="$keys --rebuild" ;;
		channel*) words="$keys --propose" ;;
		status*) words='--keys --root --warn --json' ;;
		export*) words='--keys --root --channel --since' ;;
		verify*) words='--keys --root' ;;
		gc*) words='--keep --dry-run' ;;
		image*) words='--image --like --salt' ;;
		*) words=$keys ;;
		esac
	fi
	if [[ -n $words ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
	else
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
	fi
}
complete -o filenames -F _proa_publish proa-publish
